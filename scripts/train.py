"""Train one experiment with one seed, and leave its record, history, weights and predictions."""

import argparse
import sys
import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a run costs
START = "warm" if "torch" in sys.modules else "cold"

import os  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402
from safetensors.torch import save  # noqa: E402

from trainkit import device as devices  # noqa: E402
from trainkit import digest, energy, memory, progress, runs  # noqa: E402
from trainkit.checkpoint import Checkpoints  # noqa: E402
from trainkit.engine import COLUMNS, Outcome, Trainer  # noqa: E402
from trainkit.errors import run_program  # noqa: E402
from trainkit.files import manifest, read_json, write_bytes, write_csv, write_text  # noqa: E402
from trainkit.interrupts import Interrupted  # noqa: E402
from trainkit.lease import LEASE, alone_in  # noqa: E402
from trainkit.progress import print_line  # noqa: E402
from trainkit.record import RunRecord, git_commit, package_versions  # noqa: E402
from trainkit.spec import RunSpec  # noqa: E402
from trainkit.tuning import chosen_rate  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the run's spec, as JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--weights", type=Path, help="pretrained weights, where the model takes them")
    parser.add_argument("--features", type=Path, help="a frozen base's features")
    parser.add_argument("--calibration", type=Path, help="the measured steps, for a budget in seconds")
    parser.add_argument("--trials", nargs="+", type=Path, help="records to choose the learning rate by")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    declared = RunSpec.model_validate_json(args.spec)
    if START == "warm" and declared.task == "speedrun":  # its seconds are those from a cold process
        os.execv(sys.executable, [sys.executable, *sys.argv])
    with alone_in(args.out, print_line):
        try:
            train(args, declared)
        finally:
            progress.forget(args.out)


def train(args: argparse.Namespace, declared: RunSpec) -> None:
    spec = declared.at_rate(chosen_rate(args.trials)) if args.trials else declared
    hardware = read_json(args.hardware)
    device = devices.acquire(args.threads, spec.deterministic, hardware)
    numerics = devices.numerics(spec, hardware)
    if (here := devices.name(device)) != hardware["measured_on"]:
        print_line(
            f"warning: {args.hardware} was measured on {hardware['measured_on']}, and this is {here}: "
            "precision and layout are that one's, and no table takes runs of both; give this machine a study "
            "of its own (--config study=NAME)"
        )
    meter = energy.Meter(device)
    # Now, for the files may change while it trains.
    code, commit = digest.run_digest(spec.model.name), git_commit(Path(__file__).parent)
    data_sha256 = manifest(args.data)["sha256"]
    run = runs.prepare(spec, args.seed, device, numerics, args.data, args.weights, args.features)
    run.trainer.began = BEGAN + LEASE.waited  # waiting for other runs is no part of this one
    run.trainer.seconds.load = time.perf_counter() - run.trainer.began

    def say(line: str) -> None:
        meter.read_packages()
        print_line(f"{spec.name} seed {args.seed}: {line}")

    steps, budget_seconds = length(run, spec, args.calibration)
    inputs = [manifest(path)["file_sha256"] for path in (args.data, args.weights, args.features) if path]
    machine = [devices.name(device), vars(numerics), torch.get_num_threads()]
    key = key_of(spec, args.seed, steps, code, inputs, machine)
    checkpoints = Checkpoints(args.out / "checkpoints", key)
    run.trainer.interrupts.watch()
    outcome = run.trainer.fit(steps, say, checkpoints, args.out / progress.FILE, spec.is_trial)
    seconds = run.trainer.seconds
    seconds.features = run.features_seconds
    seconds.total += time.perf_counter() - run.trainer.began
    record = RunRecord(
        experiment=spec.name,
        task=spec.task,
        title=spec.title,
        seed=args.seed,
        dataset=spec.dataset,
        model=spec.model.name,
        params_total=run.params_total,
        params_trainable=run.params_trainable,
        multiply_adds=run.multiply_adds,
        epochs=outcome.epochs,
        steps=outcome.steps,
        train_images=len(run.trainer.splits.train),
        batch_size=run.trainer.batch_size,
        converged=outcome.converged,
        resumed=outcome.resumed,
        diverged=outcome.diverged,
        learning_rate=spec.recipe.optimizer.lr,
        start=START,
        val_accuracy=outcome.val_accuracy,
        val_loss=outcome.val_loss,
        test_accuracy=outcome.test and outcome.test.accuracy,
        test_loss=outcome.test and outcome.test.loss,
        test_accuracy_tta=outcome.tta.accuracy if outcome.tta else None,
        test_images=len(outcome.test.logits) if outcome.test else 0,
        seconds=seconds,
        budget_seconds=budget_seconds,
        peak_memory_mb=memory.peak_mb(device),
        energy_joules={} if outcome.resumed else meter.joules(),
        device=devices.name(device),
        precision=numerics.precision,
        layout=numerics.layout,
        cuda_graphs=numerics.cuda_graphs,
        threads=torch.get_num_threads(),
        deterministic=spec.deterministic or device.type == "cpu",
        spec=declared.model_dump(mode="json"),
        code_digest=code,
        git_commit=commit,
        data_sha256=data_sha256,
        packages=package_versions(),
        hardware=hardware,
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    write(args.out, record, outcome, run.trainer)
    checkpoints.remove()
    test = f"test {100 * outcome.test.accuracy:.2f}%" if outcome.test else "not tested"
    tta = f" ({100 * outcome.tta.accuracy:.2f}% with test-time augmentation)" if outcome.tta else ""
    say(
        f"{test}{tta}, validation {100 * outcome.val_accuracy:.2f}%, "
        f"{seconds.train:.1f} s of training in {seconds.total:.1f} s ({numerics.precision})"
    )


def length(run: runs.Run, spec: RunSpec, calibration: Path | None) -> tuple[int | None, float | None]:
    """Steps to train, and the budget in seconds where the recipe has one.

    No steps are known for a run that trains until it converges.
    """
    if spec.recipe.budget is None:
        return spec.recipe.epochs and spec.recipe.epochs * run.trainer.steps_per_epoch, None
    assert calibration
    measured = read_json(calibration)
    reference_steps = spec.recipe.budget.epochs * measured["reference_steps_per_epoch"]
    reference_steps += measured["reference_finish_in_steps"]
    left = reference_steps - measured["finish_in_reference_steps"]
    steps = max(1, round(left / measured["ratio"]))
    return steps, reference_steps * measured["reference_seconds_per_step"]


def key_of(spec: RunSpec, seed: int, *others: object) -> str:
    """The digest of all that determines a run: two runs with one key go through the same states."""
    determining = spec.model_dump(mode="json", exclude={"title"})
    return digest.digest_of([determining, seed, *others, package_versions()])


def write(folder: Path, record: RunRecord, outcome: Outcome, trainer: Trainer) -> None:
    """The record comes last: where it stands, the run is complete.

    A signal that comes meanwhile has reached Snakemake too, which removes what is here already: the
    run goes on from its checkpoint then.
    """
    write_csv(folder / "history.csv", COLUMNS, ([row[key] for key in COLUMNS] for row in outcome.history))
    state = {key: value.cpu().contiguous() for key, value in trainer.model.state_dict().items()}
    predictions = {}
    if outcome.test:
        predictions = {"test_logits": outcome.test.logits, "test_labels": trainer.splits.test.y.cpu()}
    write_bytes(folder / "model.safetensors", save(state))
    write_bytes(folder / "predictions.safetensors", save(predictions))
    write_text(folder / "record.json", record.model_dump_json(indent=2) + "\n")
    try:
        trainer.interrupts.check()
    except Interrupted:
        (folder / "record.json").unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    run_program(main)
