"""What a machine without a GPU can tell of one: every operator of a step, on tensors that have no data.

PyTorch's fake tensors know their device, shape and dtype. An operator refuses those of two devices, and
any that must read a value, which on a GPU would wait for it, raises `DataDependentOutputException`.
Backward passes are left out: autograd's engine asks for the driver.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainkit import datasets, runs
from trainkit.augment import PLAIN_VIEW, TEST_TIME_VIEWS
from trainkit.config import Study, load_study
from trainkit.datasets import Images, Splits
from trainkit.device import Numerics
from trainkit.engine import Trainer
from trainkit.optim import schedules
from trainkit.spec import RunSpec

GPU = torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[2]
STUDIES = [load_study(ROOT, {"preset": preset}) for preset in ("gpu", "cpu")]  # a GPU may run either


class Generator(torch.Generator):
    """A generator that says that it is the GPU's; fake tensors ask it for no numbers."""

    device = GPU


def kinds(studies: list[Study]) -> dict[str, RunSpec]:
    """Experiments that together have every network, optimiser and augmentation of the studies."""
    seen: set[object] = set()
    found = {}
    for spec in (study.run_spec(name) for study in studies for name in study.experiments):
        recipe = spec.recipe
        augment = {(key, bool(value), value == "alternating") for key, value in recipe.augment}
        parts = {
            (spec.model.name, spec.frozen, recipe.optimizer.name),
            ("lookahead", bool(recipe.optimizer.lookahead)),
            ("ema", bool(recipe.ema)),
            ("resize", bool(recipe.resize)),
            *augment,
        }
        if parts - seen:
            found[spec.name] = spec
        seen |= parts
    return found


KINDS = kinds(STUDIES)


def built(spec: RunSpec) -> nn.Module:
    options = spec.model
    if options.name == "efficientnet_lite0":
        options = options.model_copy(update={"weights": "random"})
    return runs.build_model(spec.dataset, options, None)


def put_on_gpu(model: nn.Module) -> nn.Module:
    """A model with its parameters and buffers on the GPU, without their values."""

    def moved(tensor: Tensor) -> Tensor:
        memory_format = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU, memory_format=memory_format)

    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(moved(parameter), parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, moved(buffer))
    model.to = lambda *args, **options: model
    return model


def trainer(spec: RunSpec, model: nn.Module) -> Trainer:
    """A trainer whose data, weights and random numbers are on the GPU."""
    generator = Generator()
    pipeline = None if spec.frozen else runs.input_pipeline(spec, generator)

    def images(count: int) -> Images:
        shape, dtype = datasets.SHAPES[spec.dataset], torch.uint8
        if spec.frozen:
            norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
            shape, dtype = (norm.num_features,), torch.float32
        x = torch.empty(count, *shape, dtype=dtype, device=GPU)
        return Images(x, torch.empty(count, dtype=torch.int64, device=GPU))

    splits = Splits(images(3 * spec.recipe.batch_size), images(500), images(500))
    subject = Trainer(spec.recipe, put_on_gpu(model), splits, pipeline, generator, Numerics())
    for group in subject.optimizer.param_groups:
        if group.get("fused"):
            group["fused"] = False  # fused updates have no fake twin
    return subject


class OnTheGpu(TorchDispatchMode):
    """Refuses to take a tensor from the CPU: a copy waits, and a CUDA graph would record its value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        devices = {leaf.device for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, Tensor)}
        assert len(devices) < 2, func
        return made


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_a_step_stays_on_the_gpu_and_never_waits_for_it(spec, monkeypatch):
    model = built(spec)
    with FakeTensorMode():
        subject = trainer(spec, model)
        trainable = [p for p in model.parameters() if p.requires_grad]
        losses = []

        def backward(loss: Tensor) -> None:
            losses.append(loss)
            for p in trainable:
                p.grad = torch.empty_like(p)

        monkeypatch.setattr(Tensor, "backward", backward)
        monkeypatch.setattr(Tensor, "cpu", None)  # copying to the CPU waits too, though it reads no value
        with OnTheGpu():
            for z in (0.0, 0.99):
                subject.pixels = schedules.image_size(spec.recipe, z)
                for batch in subject.batches():
                    subject.step(batch, 0.1)
            subject.finish()
        assert len(losses) == 6 and all(loss.device == GPU for loss in losses)
        with pytest.raises(DataDependentOutputException):
            subject._read_counts()  # reading the counts is what waits: this check can fail


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_the_evaluation_stays_on_the_gpu_and_reads_its_result_last(spec, monkeypatch):
    model = built(spec)
    read: list[Tensor] = []
    monkeypatch.setattr(Tensor, "item", lambda self: read.append(self) or 0.5)
    with FakeTensorMode():
        subject = trainer(spec, model)
        found = subject.evaluate(subject.splits.test, TEST_TIME_VIEWS if subject.pipeline else PLAIN_VIEW)
        assert [value.device for value in read] == [GPU, GPU]
        assert found.logits.device.type == "cpu" and found.logits.shape == (500, 10)


def test_tensors_of_two_devices_are_refused():
    with FakeTensorMode(), pytest.raises(RuntimeError, match=r"cuda:0(,| and) cpu"):
        torch.empty(3, device=GPU) + torch.empty(3)


def test_a_tensor_of_the_cpu_is_refused_in_a_step():
    with FakeTensorMode(), OnTheGpu(), pytest.raises(AssertionError, match="_to_copy"):
        torch.empty(3, device=GPU) + torch.empty(3).to(GPU)
