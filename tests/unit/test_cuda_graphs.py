"""Recorded steps, on a machine without a GPU: a tape of the operators in place of a CUDA graph.

It replays what a graph replays, the same operators on the same tensors, and none of the Python between them.
"""

import contextlib
import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_gpu import STUDIES, built, kinds
from tiny import CONVNET, PLAIN, SILENT, StopAt, recipe, trainer, validated, weights
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from capture_hardware import cuda_graphs_in_words
from trainkit import cuda_graph_check, cuda_graphs, datasets, device, lease, optim, runs
from trainkit.checkpoint import Checkpoints
from trainkit.config import load_study
from trainkit.datasets import Images
from trainkit.engine import Trainer
from trainkit.errors import WITHOUT_CUDA_GRAPHS, CudaGraphError, StudyError
from trainkit.interrupts import Interrupted
from trainkit.spec import Augment, Optimizer, Recipe, ResNet

SMALL = kinds([STUDIES[1]])  # networks as small as a CPU trains them
RECORDED = replace(PLAIN, cuda_graphs=True)
OPTIMIZERS = {
    "sgd": {"lr": 0.05, "weight_decay": 0.01, "bias_factor": 4},
    "adamw": {"lr": 0.003, "weight_decay": 0.05},
    "rmsprop": {"lr": 0.001},
    "muon": {"lr": 0.05, "momentum": 0.6, "bias_factor": 4},
}
RECIPES = {
    "augmented": {"augment": Augment(translate=1, flip=True, cutout=2, rotate=10), "label_smoothing": 0.1},
    "alternating, resized": {
        "augment": Augment(flip="alternating"),
        "resize": [{"until": 0.3, "pixels": 16}, {"until": 0.6, "pixels": 20}],
    },
    "lookahead": {"lookahead": {"k": 3, "alpha": 0.5}},
    "average": {"ema": {"decay": 0.9}, "schedule": {"name": "one-cycle"}},
}


class Tape(TorchDispatchMode):
    """Operators as they are called, with the tensors that they read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        assert func != torch.ops.aten._local_scalar_dense.default, "a recorded step must read no value"
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self.calls:
            for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder:
    """Records as `cuda_graphs.Recorder` does, on a tape."""

    def __init__(self, generator: torch.Generator) -> None:
        pass

    def record(self, step: Callable, batch: Images) -> Callable:
        kept, tape = Images(batch.x.clone(), batch.y.clone()), Tape()
        for _ in range(cuda_graphs.WARM_UPS):
            step(kept)
        with tape:
            step(kept)

        def replay(batch: Images) -> None:
            kept.x.copy_(batch.x)
            kept.y.copy_(batch.y)
            tape.replay()

        return replay


@pytest.fixture
def taped(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "Recorder", Recorder)
    module = importlib.import_module(torch.optim.RMSprop.__module__)  # else it is for GPUs alone
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])


def of(optimizer: str, name: str) -> Recipe:
    changes = dict(RECIPES[name])
    options = OPTIMIZERS[optimizer] | {"lookahead": changes.pop("lookahead", None)}
    made = recipe(**changes)
    return made.model_copy(update={"optimizer": validated(Optimizer, name=optimizer, **options)})


def network(made: Recipe) -> Any:
    """One that takes images of any size where they are resized."""
    return ResNet(name="resnet", depth=8, width=4) if made.resize else CONVNET


def trained(made: Recipe, numerics: device.Numerics, checkpoints: Checkpoints | None = None) -> Trainer:
    subject = trainer(made, model=network(made), numerics=numerics)
    subject.fit(12, SILENT, checkpoints)
    return subject


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_train_as_those_that_are_launched(taped, optimizer, name):
    made = of(optimizer, name)
    launched, recorded = trained(made, PLAIN), trained(made, RECORDED)
    assert len(recorded.recorded) == 1 + len(made.resize) and not launched.recorded
    begin = weights(trainer(made, model=network(made)))
    moved = (weights(launched) - begin).norm()
    assert (weights(recorded) - weights(launched)).norm() < 1e-4 * moved  # rates are float32 there
    assert torch.equal(launched.generator.get_state(), recorded.generator.get_state())


@pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)
def test_recorded_steps_train_the_networks_of_the_studies(taped, monkeypatch, spec):
    few = spec.recipe.model_copy(update={"batch_size": 4, "precision": "float32"})
    shape, dtype = datasets.SHAPES[spec.dataset], torch.uint8

    def after_steps() -> Trainer:
        torch.manual_seed(0)
        generator, model = torch.Generator().manual_seed(0), built(spec)
        if spec.frozen:
            norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
            x = torch.rand(16, norm.num_features)
        else:
            x = torch.randint(256, (16, *shape), dtype=dtype)
        images = Images(x, torch.randint(10, (16,)))
        pipeline = None if spec.frozen else runs.input_pipeline(spec, generator)
        splits = datasets.Splits(images, images, images)
        subject = Trainer(few, model, splits, pipeline, generator, RECORDED)
        subject.model.train()
        subject.warm_up()
        for count, batch in enumerate(subject.batches(), 1):
            subject.step(batch, few.optimizer.lr * count / 10)
        return subject

    recorded = after_steps()
    monkeypatch.setattr(Recorder, "record", lambda _, step, batch: step)
    launched = after_steps()
    assert recorded.recorded
    assert torch.equal(weights(recorded), weights(launched))


def test_a_rate_that_is_no_tensor_stays_what_it_was_in_the_recording(taped, monkeypatch):
    made, build = of("sgd", "average"), optim.build
    launched = trained(made, PLAIN)
    monkeypatch.setattr(optim, "build", lambda *args, capturable: build(*args))
    moved = (weights(launched) - weights(trainer(made))).norm()
    assert (weights(trained(made, RECORDED)) - weights(launched)).norm() > 0.01 * moved


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_run_of_recorded_steps_goes_on_from_its_checkpoint(taped, tmp_path, optimizer):
    made = of(optimizer, "lookahead")
    whole = trained(made, RECORDED)
    checkpoints = Checkpoints(tmp_path, "key")
    stopped = trainer(made, numerics=RECORDED)
    stopped.interrupts = StopAt(7)
    with pytest.raises(Interrupted):
        stopped.fit(12, SILENT, checkpoints)
    resumed = trained(made, RECORDED, checkpoints)
    assert resumed.at.resumed == 1
    assert torch.equal(weights(resumed), weights(whole))


# -- Whether to record -----------------------------------------------------------------------------


def test_steps_are_recorded_where_that_was_measured_to_pay(root, monkeypatch):
    spec = load_study(root, {"preset": "smoke"}).run_spec("mnist-convnet")
    families = ("linear", "convolution", "wide convolution", "depthwise", "convnext")
    training = {"choice": "float32", "layout": "contiguous"}
    hardware: dict[str, Any] = {"precision": {name: {"training": training} for name in families}}

    def chosen(**changes: Any) -> bool:
        changed = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
        return device.numerics(changed, hardware).cuda_graphs

    assert not chosen()  # a CPU's
    assert chosen(cuda_graphs=True)
    hardware["cuda_graphs"] = {"choice": True}
    monkeypatch.setattr(lease.LEASE, "device", "GPU-1")
    assert chosen() and not chosen(cuda_graphs=False) and not chosen(compile=True)
    monkeypatch.setattr(lease.LEASE, "device", lease.CPU)  # a GPU's hardware.json, read on a CPU
    assert not chosen()
    monkeypatch.setattr(lease.LEASE, "device", "GPU-1")
    monkeypatch.setenv(WITHOUT_CUDA_GRAPHS, "1")  # it has failed once
    assert not chosen() and not chosen(cuda_graphs=True)
    monkeypatch.delenv(WITHOUT_CUDA_GRAPHS)
    hardware["cuda_graphs"] = {"choice": False, "error": "no"}
    assert not chosen()


def test_a_cpu_says_that_it_records_nothing():
    with pytest.raises(StudyError, match=r"recipe\.cuda_graphs: true is for GPUs"):
        trainer(recipe(), numerics=RECORDED)


def test_a_compiled_network_is_not_recorded():
    with pytest.raises(ValueError, match="cuda_graphs does not go with compile"):
        recipe(compile=True, cuda_graphs=True)


def test_what_cannot_be_recorded_is_told_by_its_first_reason(monkeypatch):
    @contextlib.contextmanager
    def graph(*_: Any) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("the recording was invalidated")  # what its end says

    def step(_: Images) -> None:
        monkeypatch.setattr(torch.cuda, "graph", graph)
        if len(steps) == cuda_graphs.WARM_UPS:
            raise ValueError("it reads a value\nand more")
        steps.append(1)

    steps: list[int] = []
    stream = SimpleNamespace(wait_stream=lambda _: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    recorder = cuda_graphs.Recorder.__new__(cuda_graphs.Recorder)
    recorder.generator, recorder.stream, recorder.pool = torch.Generator(), stream, None
    batch = Images(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    said = "a step could not be recorded as a CUDA graph: it reads a value"
    with pytest.raises(CudaGraphError, match=f"^{said}$"):
        recorder.record(step, batch)


def test_no_network_of_a_warm_up_is_left_when_steps_are_recorded(taped, monkeypatch):
    """A recording would take over the nodes of such a one, and with them the stream that they are of."""
    alive: list[dict] = []
    loss = Trainer.loss

    def marked(self: Trainer, *args: Any) -> tuple[Tensor, Tensor]:
        made = loss(self, *args)
        for p in self.model.parameters():
            get_gradient_edge(p).node.metadata["seen"] = True
        return made

    def look(_: Any, step: Callable, batch: Images) -> Callable:
        for p in subject.model.parameters():
            alive.append(dict(get_gradient_edge(p).node.metadata))
        return step

    monkeypatch.setattr(Trainer, "loss", marked)
    monkeypatch.setattr(Recorder, "record", look)
    subject = trainer(recipe(augment=Augment(translate=1)), numerics=RECORDED)
    subject.model.train()
    subject.warm_up()
    assert alive and not any(alive)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_that_has_forgotten_steps_as_a_new_one(name):
    made, ways = of(name, "augmented"), []
    for steps_before in (0, 3):
        subject = trainer(made)
        begin = [p.detach().clone() for p in subject.model.parameters()]
        generator = torch.Generator().manual_seed(1)
        for step in range(steps_before + 1):
            if step == steps_before:
                optim.forget(subject.optimizer)
                generator = torch.Generator().manual_seed(1)
                with torch.no_grad():
                    for p, value in zip(subject.model.parameters(), begin, strict=True):
                        p.copy_(value)
            for p in subject.model.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            subject.optimizer.step()
        ways.append(torch.cat([p.detach().flatten() for p in subject.model.parameters()]))
    assert torch.equal(*ways)


WORK = """
import os, sys
from trainkit import lease
from trainkit.errors import CudaGraphError, run_program
def main():
    inherited = os.environ.get("STUDY_DEVICE")
    device = lease.LEASE.hold(print)
    print(sys.argv[1], os.environ.get("STUDY_WITHOUT_CUDA_GRAPHS"), inherited, device)
    if "STUDY_WITHOUT_CUDA_GRAPHS" not in os.environ:
        raise CudaGraphError("it cannot be recorded")
run_program(main)
"""


def test_a_program_that_cannot_record_starts_again_without(root, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    command = [sys.executable, tmp_path / "work.py", "argument"]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(root / "scripts"), "STUDY_LOCKS": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    first, warning, second = done.stdout.splitlines()
    assert (first, second) == ("argument None None cpu", "argument 1 None cpu")  # leased once more
    assert warning.startswith("warning: it cannot be recorded; it starts again without CUDA graphs")


def test_a_recording_that_leaves_no_memory_to_evaluate_in_is_given_up(taped, monkeypatch):
    def evaluate(*_: Any) -> None:
        raise torch.OutOfMemoryError

    subject = trainer(of("sgd", next(iter(RECIPES))), numerics=RECORDED)
    monkeypatch.setattr(subject, "evaluate", evaluate)
    with pytest.raises(CudaGraphError, match="leaves too little memory for an evaluation"):
        subject.warm_up()


# -- The check of a machine ------------------------------------------------------------------------


def test_a_machine_is_asked_whether_recorded_steps_give_the_same_weights_and_pay(taped, monkeypatch):
    monkeypatch.setattr(cuda_graph_check, "TIMED", 2)
    found = cuda_graph_check.measure(torch.device("cpu"), "float32")
    assert found["relative_distance"].keys() == {f"{name}, float32" for name in OPTIMIZERS}
    assert max(found["relative_distance"].values()) < 1e-3
    assert max(found["launched_twice"].values()) == 0  # a CPU adds in one order
    assert found["recorded"] > 0 < found["launched"]
    for launched, recorded, choice in (100.0, 300.0, True), (100.0, 105.0, False):
        monkeypatch.setattr(cuda_graph_check, "_rates", lambda *_, both=(launched, recorded): both)
        assert cuda_graph_check.measure(torch.device("cpu"), "float32")["choice"] == choice


def test_weights_that_differ_or_are_no_numbers_keep_steps_from_being_recorded(taped, monkeypatch):
    monkeypatch.setattr(cuda_graph_check, "_rates", lambda *_: (100.0, 300.0))
    for distances, choice in {
        (0.2, 0.0): False,
        (math.nan, 0.1): False,
        (0.2, 0.1): True,
        (0.4, 0.3): False,
    }.items():
        monkeypatch.setattr(cuda_graph_check, "_distances", lambda *_, both=distances: both)
        assert cuda_graph_check.measure(torch.device("cpu"), "bfloat16")["choice"] == choice


def test_a_rate_that_a_recording_forgets_is_found(taped, monkeypatch):
    build, sgd = optim.build, cuda_graph_check.OPTIMIZERS[0]
    monkeypatch.setattr(optim, "build", lambda *args, capturable: build(*args))
    assert cuda_graph_check._distances(sgd, "float32", torch.device("cpu"))[0] > cuda_graph_check.CLOSE


def test_a_machine_that_cannot_record_says_why(taped, monkeypatch):
    def fail(*_: Any) -> None:
        raise CudaGraphError("a step could not be recorded as a CUDA graph: no driver")

    monkeypatch.setattr(Recorder, "record", fail)
    found = cuda_graph_check.measure(torch.device("cpu"), "float32")
    assert found == {"choice": False, "error": "a step could not be recorded as a CUDA graph: no driver"}
    assert cuda_graphs_in_words(found) == "no: a step could not be recorded as a CUDA graph: no driver"
    found = {"choice": True, "launched": 100.0, "recorded": 450.0, "relative_distance": {"sgd": 1e-4}}
    found["launched_twice"] = {"sgd": 2e-4}
    said = "yes: a small network trains 4.50 times as fast by CUDA graphs"
    assert (
        cuda_graphs_in_words(found)
        == f"{said}, and its weights differ by 0.01% of their way (launched twice by 0.02%)"
    )
