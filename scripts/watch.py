"""Watch a study that runs elsewhere: its curves, and how far it is. Ctrl-C ends the watching alone."""

import argparse
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from trainkit.errors import StudyError, run_program
from trainkit.watching import Running, Watch, estimate, newest, sparkline

SECONDS = 2
# Of terminals (ECMA-48): from the upper left corner on, to the end of the line, below it; the cursor.
HOME, REST_OF_LINE, BELOW, CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", type=Path, help="its folder (default: the newest in results/)")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 has no bars
    folder = args.study or newest(Path("results"))
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder; expected a study's, such as results/cpu")
    watch = Watch(folder)
    if not sys.stdout.isatty():
        print("\n".join(lines(watch, 200)))
        return
    try:
        sys.stdout.write(HIDE + CLEAR)
        look(watch)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(SHOW + "\n")
        sys.stdout.flush()


def look(watch: Watch) -> None:
    """Show the study again and again, until all that the last call of Snakemake makes is there."""
    while True:
        size = shutil.get_terminal_size()
        shown = [line[: size.columns - 1] + REST_OF_LINE for line in lines(watch, size.columns)]
        sys.stdout.write(HOME + "\n".join(shown[: size.lines - 2]) + BELOW)
        sys.stdout.flush()
        alive = any(each.alive for each in watch.running())
        plan, _ = watch.plan()
        if plan is not None and not alive and not plan.keys() - watch.finished():
            return
        time.sleep(SECONDS)


def lines(watch: Watch, width: int) -> list[str]:
    """The study as it is now."""
    plan, finished, running = watch.plan()[0] or {}, watch.finished(), watch.running()
    under_way = {each.run for each in running if each.alive}
    remaining = [run for run in plan if run not in finished and run not in under_way]
    of = f" of {len(plan.keys() | under_way)}" if plan else ""
    text = [f"{watch.folder}: {len(finished)}{of} trainings finished, {len(under_way)} running"]
    if plan:
        text[0] += f", {len(remaining)} remaining"
    took = {run: seconds for run, (seconds, _) in watch.all_finished().items()}
    likely = estimate(remaining, took, running)
    if likely and plan and (remaining or running):
        end, left = clock(likely.seconds), duration(likely.seconds)
        text.append(f"estimated end of the trainings: {end}, in about {left} ({likely.basis})")
    elif remaining:
        text.append("no estimate of the end yet: no run is finished")
    for each in running:
        text += ["", *of_run(each, width)]
    return text


def of_run(each: Running, width: int) -> list[str]:
    kind, name, seed = each.run
    facts = [f"epoch {each.epoch:.1f} of at most {each.epochs:.4g}"]
    if each.loss is not None:
        facts += [f"loss {each.loss:.3f}", f"validation {100 * each.accuracies[-1]:.2f}%"]
    if each.images_per_second is not None and each.seconds_left is not None:
        facts += [f"{each.images_per_second:,.0f} images/s", f"at most {duration(each.seconds_left)} left"]
    if not each.alive:
        facts.append(f"NO NEWS for {duration(each.silent)}: it was stopped, or takes very long steps")
    curve = sparkline(each.accuracies, max(8, width - 26))
    spread = f" {100 * min(each.accuracies):.1f} to {100 * max(each.accuracies):.1f}%" if curve else ""
    again = " once more" if kind == "verify" else ""
    return [f"{name} seed {seed}{again}", "  " + ", ".join(facts), *([f"  {curve}{spread}"] if curve else [])]


def duration(seconds: float) -> str:
    """Seconds for people: ``40 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """The local time so many seconds from now."""
    end = datetime.now() + timedelta(seconds=seconds)
    return end.strftime("%H:%M" if seconds < 12 * 3600 else "%a %H:%M")


if __name__ == "__main__":
    run_program(main)
