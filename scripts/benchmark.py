"""Measure the project's trainer against the usual pipeline on this machine, and against its limit.

Each side runs in a process of its own; they take turns (A B, A B, ...), so that a machine whose
speed drifts slows both alike, and the one that waits does nothing.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
import torch.nn.functional as F

from trainkit import datasets, lease, memory, peak, profiling, runs
from trainkit import device as devices
from trainkit.augment import Pipeline
from trainkit.device import Clock, Numerics
from trainkit.engine import Trainer
from trainkit.errors import StudyError, first_line, run_program
from trainkit.files import read_json, write_json
from trainkit.progress import print_line
from trainkit.reference import PILImages, Reference, UsualStep, usual_transforms
from trainkit.spec import SGD, Augment, Recipe, Workload

LR = 0.05
BUSY = 0.05  # of the processors, used by others: from here on a measurement is doubtful
COUNTED = 2  # images whose FLOPs are counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the workload's name, for the table")
    parser.add_argument("--workload", required=True, help="the workload, as JSON")
    parser.add_argument("--pairs", type=int, required=True, help="rounds of A B")
    parser.add_argument("--seconds", type=float, required=True, help="about so long each side, each round")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--made-of", required=True, help="the digest of what decides the result")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lease.LEASE.hold(print_line)  # for all sides, which take turns
    sides = {name: Side(name, args) for name in sides_of(args)}
    try:
        facts = measure(sides, args)
    finally:
        for side in sides.values():
            side.stop()
    write_json(args.out, facts | {"made_of": args.made_of})
    if facts["busy"]:
        print_line(
            f"warning: other work used {100 * facts['others_cpu']:.0f}% of the processors during this "
            "benchmark; run it again on an idle machine"
        )


def measure(sides: dict[str, "Side"], args: argparse.Namespace) -> dict[str, Any]:
    """All facts of one workload; rates of every round are kept, so that a table can show the spread."""
    print_line(
        f"{args.name}: warming up {len(sides)} sides, up to a minute each for a large network on a CPU"
    )
    steps = {name: side.ask("warm_up", args.seconds) for name, side in sides.items()}
    began = time.monotonic()
    load = Load([side.process.pid for side in sides.values()])
    rounds: dict[str, list[float]] = {name: [] for name in ("matrix_gflops", *sides)}
    for count in range(args.pairs):
        rounds["matrix_gflops"].append(sides["project"].ask("matrix_gflops"))
        for name, side in sides.items():
            rounds[name].append(side.ask("images_per_second", steps[name]))
        left = (time.monotonic() - began) / (count + 1) * (args.pairs - count - 1)
        print_line(
            f"{args.name}: pair {count + 1} of {args.pairs}, {rounds['project'][-1]:.0f} and "
            f"{rounds['reference'][-1]:.0f} images/s, {left:.0f} s left"
        )
    others = load.of_others()
    facts = {"workload": args.name, "pairs": args.pairs, "rounds": rounds}
    facts |= {"others_cpu": others, "busy": others > BUSY}
    for name in ("project", "reference"):
        facts[f"{name}_memory_mb"] = sides[name].ask("memory_mb")
    facts |= sides["project"].ask("analyse")
    if facts["cuda_graphs"]:
        # The profiler saw the kernels of launched steps; the rest of a recorded one takes less.
        spent, whole = facts["seconds_per_step"], facts["batch_size"] / median(rounds["project"])
        spent["other"] = max(0.0, whole - (sum(spent.values()) - spent["other"]))
    return facts


def sides_of(args: argparse.Namespace) -> list[str]:
    """The sides that take turns, by name, from the usual pipeline to this project."""
    workload = Workload.model_validate_json(args.workload)
    if not workload.model:
        return ["reference", "project"]
    chosen = fastest(workload, read_json(args.hardware))
    steps = {"precision": chosen.precision != "float32", "layout": chosen.cuda_graphs}
    return [name for name in SIDES if steps.get(name, True)]


def fastest(workload: Workload, hardware: dict[str, Any]) -> Numerics:
    """What this project trains the workload's network in on this machine."""
    assert workload.model
    found = devices.measured(workload.model, hardware, compile=workload.compile)
    return replace(found, cuda_graphs=devices.uses_cuda_graphs("auto", workload.compile, hardware))


class Side:
    """One of them, in a process of its own that waits for requests."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, args))
        self.process.start()
        theirs.close()

    def ask(self, request: str, *arguments: Any) -> Any:
        self.connection.send((request, arguments))
        try:
            answer = self.connection.recv()
        except EOFError as error:
            raise StudyError(
                f"the {self.name} process of the benchmark died while asked to {request}"
            ) from error
        if isinstance(answer, torch.OutOfMemoryError):
            raise StudyError(
                f"{first_line(answer)} All sides of the benchmark are on the device together: lower "
                "batch_size of this one of benchmark.workloads"
            )
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        self.connection.close()
        self.process.join()


def serve(connection: Connection, name: str, args: argparse.Namespace) -> None:
    """Answer requests until the other end closes."""
    side = None
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            side = side or SIDES[name](args)
            connection.send(getattr(side, request)(*arguments))
        except Exception as error:
            connection.send(error)


class Measured:
    """What all sides share: how many steps fill the time asked for, and the memory held."""

    batch_size: int
    device: torch.device

    def images_per_second(self, steps: int) -> float:
        raise NotImplementedError

    def warm_up(self, seconds: float) -> int:
        """Run a few steps; how many would fill ``seconds``."""
        self.images_per_second(3)
        memory.reset_peak(self.device)  # cuDNN's search for algorithms took what no step will
        return max(3, round(seconds * self.images_per_second(3) / self.batch_size))

    def memory_mb(self) -> float:
        return memory.peak_mb(self.device)


class Project(Measured):
    """This project's trainer, or its input pipeline alone."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.workload = workload = Workload.model_validate_json(args.workload)
        hardware = read_json(args.hardware)
        self.device = devices.acquire(args.threads, False, hardware)
        self.numerics = self.choose(fastest(workload, hardware)) if workload.model else Numerics()
        images, evaluated = load(args.data, workload)
        generator = torch.Generator(self.device).manual_seed(0)
        mean, std = datasets.MEAN[workload.dataset], datasets.STD[workload.dataset]
        augment = Augment(translate=workload.translate, flip=workload.flip)
        self.pipeline = Pipeline(augment, mean, std, generator)
        splits = datasets.Splits(*(part.to(self.device) for part in (images, evaluated, evaluated)))
        self.name = devices.name(self.device)
        recipe = Recipe(
            epochs=1,
            batch_size=workload.batch_size,
            optimizer=SGD(name="sgd", lr=LR, weight_decay=5e-4),
            compile=workload.compile,
        )
        torch.manual_seed(0)
        model = network(workload) or torch.nn.Identity()
        self.trainer = Trainer(recipe, model, splits, self.pipeline, generator, self.numerics)
        self.batch_size, self.trains = self.trainer.batch_size, workload.model is not None
        self.recording_mb = 0.0  # replays allocate nothing that PyTorch counts
        if self.trains:
            self.trainer.model.train()
            self.trainer.warm_up()
            if self.trainer.recorded:
                self.recording_mb = memory.peak_mb(self.device)
        self.batches = self.endless()

    def choose(self, fastest: Numerics) -> Numerics:
        """What to compute in, of what the hardware capture found ``fastest``."""
        return fastest

    def endless(self) -> Iterator[datasets.Images]:
        while True:
            yield from self.trainer.batches()

    def step(self) -> None:
        batch = next(self.batches)
        if self.trains:
            self.trainer.step(batch, LR)
        else:
            self.pipeline.train(batch.x)

    def images_per_second(self, steps: int) -> float:
        clock = Clock(self.device)
        for _ in range(steps):
            self.step()
        return steps * self.batch_size / clock.lap()

    def matrix_gflops(self) -> float:
        rate = peak.matrix_rate(self.device, getattr(torch, self.numerics.precision))
        memory.reset_peak(self.device)  # steps follow
        return rate

    def memory_mb(self) -> float:
        if self.trains:
            self.trainer.evaluate(self.trainer.splits.val)  # for the memory that it takes
        return max(super().memory_mb(), self.recording_mb)

    def analyse(self) -> dict[str, Any]:
        """Facts that need no other side: FLOPs an image, and where a step's time goes.

        FLOPs are those of plain convolutions: rows of images also multiply zeros, and Winograd's algorithm
        multiplies less.
        """
        flops = {"total": 0, "convolution": 0}
        if self.trains:
            few = self.trainer.splits.train.take(slice(COUNTED))
            plain = network(self.workload).to(self.device)
            flops = profiling.count_flops(
                lambda: F.cross_entropy(plain(self.pipeline.train(few.x)), few.y).backward()
            )
        self.trainer.recorded.clear()  # as recorded steps, operators could not be told apart
        return {
            "device": self.name,
            "precision": self.numerics.precision,
            "layout": self.numerics.layout,
            "cuda_graphs": self.numerics.cuda_graphs,
            "threads": torch.get_num_threads(),
            "batch_size": self.batch_size,
            "flops_per_image": flops["total"] / COUNTED,
            "convolution_flops_per_image": flops["convolution"] / COUNTED,
            "compile_seconds": self.trainer.seconds.compile,
            "seconds_per_step": profiling.breakdown(self.step, self.device, steps=5),
        }


class InOneLayout(Project):
    """This project's trainer in the precision and layout that are fastest, without CUDA graphs."""

    def choose(self, fastest: Numerics) -> Numerics:
        return replace(fastest, cuda_graphs=False)


class InOnePrecision(Project):
    """This project's trainer in the precision that is fastest, without the layout that is."""

    def choose(self, fastest: Numerics) -> Numerics:
        return Numerics(fastest.precision, devices.CONTIGUOUS)


class InFloat32(Project):
    """This project's trainer in the reference's numerics."""

    def choose(self, fastest: Numerics) -> Numerics:
        return Numerics("float32", devices.CONTIGUOUS)


class WithThisInput(InFloat32):
    """The reference's training step, fed by this project's input pipeline."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.usual = UsualStep(network(self.workload), self.device, LR)

    def step(self) -> None:
        batch = next(self.batches)
        self.usual.learn(self.pipeline.train(batch.x).contiguous(), batch.y)


class UsualPipeline(Measured):
    """The reference, on the very same images and network."""

    def __init__(self, args: argparse.Namespace) -> None:
        workload = Workload.model_validate_json(args.workload)
        images, _ = load(args.data, workload)
        mean, std = datasets.MEAN[workload.dataset], datasets.STD[workload.dataset]
        change = usual_transforms(images.x.shape[1], workload.translate, workload.flip, mean, std)
        torch.manual_seed(0)
        dataset = PILImages(images.x, images.y, change)
        self.reference = Reference(network(workload), dataset, workload.batch_size, LR)
        self.batch_size, self.device = self.reference.batch_size, self.reference.device

    def images_per_second(self, steps: int) -> float:
        return self.reference.images_per_second(steps)


class InThisProcess(UsualPipeline):
    """The reference in a process that is set up as this project's: how it allocates, and its threads."""

    def __init__(self, args: argparse.Namespace) -> None:
        devices.acquire(args.threads, False, read_json(args.hardware))
        super().__init__(args)


# In the order of the ladder: each has one thing more of this project than the one before.
SIDES = {
    "reference": UsualPipeline,
    "settings": InThisProcess,
    "input": WithThisInput,
    "step": InFloat32,
    "precision": InOnePrecision,
    "layout": InOneLayout,
    "project": Project,
}


class Load:
    """How much of the processors others used since the start of this object."""

    def __init__(self, pids: list[int]) -> None:
        self.processes = [psutil.Process(pid) for pid in (*pids, psutil.Process().pid)]
        self.began, self.own = self.all(), self.ours()

    def all(self) -> tuple[float, float]:
        """Seconds that all processors were busy (with another guest of the host, too), and there were."""
        times = psutil.cpu_times()._asdict()
        idle = times["idle"] + times.get("iowait", 0.0)
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # counted in user and nice
        whole = sum(times.values()) - guests
        return whole - idle, whole

    def ours(self) -> float:
        return sum(sum(process.cpu_times()[:4]) for process in self.processes)

    def of_others(self) -> float:
        """A fraction of all processors."""
        busy, whole = (now - then for now, then in zip(self.all(), self.began, strict=True))
        return max(0.0, busy - (self.ours() - self.own)) / max(whole, 1e-9)


def load(path: Path, workload: Workload) -> tuple[datasets.Images, datasets.Images]:
    """The training images, and 500 of the test images, which nothing is judged by."""
    splits = datasets.load_splits(path, workload.split)
    if len(splits.train) < 4 * workload.batch_size:
        raise StudyError(
            f"benchmark: {len(splits.train)} training images make fewer than four batches of "
            f"{workload.batch_size}; raise datasets.{workload.dataset}.split.train_limit"
        )
    return splits.train, splits.test.take(slice(500))


def network(workload: Workload) -> torch.nn.Module | None:
    return runs.build_model(workload.dataset, workload.model, None) if workload.model else None


if __name__ == "__main__":
    run_program(main)
