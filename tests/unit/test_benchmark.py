"""The benchmark's arithmetic, its reference pipeline, and what it says of a busy machine."""

import os
import time
from argparse import Namespace

import pytest
import torch
from torch import nn
from torchvision import transforms

import benchmark
from benchmark import SIDES, sides_of
from trainkit import benchmarks, profiling, winograd
from trainkit.config import load_study
from trainkit.errors import StudyError
from trainkit.files import write_json
from trainkit.reference import PILImages, Reference, usual_transforms


def facts(**changes):
    return {
        "workload": "net",
        "pairs": 3,
        "batch_size": 10,
        "precision": "bfloat16",
        "layout": "blocked",
        "cuda_graphs": False,
        "rounds": {
            "project": [100.0, 120.0, 110.0],
            "reference": [50.0, 40.0, 50.0],
            "matrix_gflops": [4.0, 5.0, 6.0],
        },
        "flops_per_image": 2e7,
        "convolution_flops_per_image": 1e7,
        "seconds_per_step": {"convolution": 0.04, "loss": 0.0, "other": 0.06},
        "compile_seconds": 1.0,
        "project_memory_mb": 100.0,
        "reference_memory_mb": 200.0,
        "others_cpu": 0.01,
        "busy": False,
        "device": "Some CPU",
        "threads": 2,
    } | changes


def test_rates_are_medians_and_the_ratio_is_taken_pair_by_pair():
    (row,) = benchmarks.rates([facts()])
    assert (row["project_images_per_second"], row["reference_images_per_second"]) == (110, 50)
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (2.2, 2.0, 3.0)
    assert row["fraction_of_peak"] == pytest.approx(110 * 2e7 / 5e9)
    assert row["convolution_fraction_of_peak"] == pytest.approx(1e7 * 10 / 0.04 / 5e9)
    assert row["ratio_at_peak"] == pytest.approx(5e9 / 2e7 / 50)
    assert row["ratio_of_convolutions"] == pytest.approx(10 / 0.04 / 50)
    assert (row["busy"], row["layout"]) == ("no", "blocked")


def test_the_ladder_tells_what_each_step_brings_round_by_round():
    rounds = facts()["rounds"] | {"input": [55.0, 60.0, 50.0], "step": [70.0, 60.0, 75.0]}
    rows = benchmarks.ladder([facts(rounds=rounds), facts()])  # the other has no network
    assert [row["step"] for row in rows] == [
        *(benchmarks.LADDER[side] for side in ("reference", "input", "step")),
        "+ the memory layout and convolutions that are fastest here: this project",
    ]
    assert [row["times_usual"] for row in rows] == [1, 1.1, 1.5, 2.2]
    first, second, third, _ = rows
    assert first["gain"] is first["gain_low"] is None
    assert (second["gain"], second["gain_low"], second["gain_high"]) == (1.1, 1.0, 1.5)
    assert third["gain"] == pytest.approx(70 / 55)


def test_the_sides_go_from_the_usual_pipeline_to_this_project_by_one_thing_each(root, tmp_path):
    study = load_study(root, {"preset": "smoke"})
    hardware = tmp_path / "hardware.json"

    def sides(name: str, choice: str, more: dict[str, object] | None = None) -> list[str]:
        found = {"choice": choice, "layout": "channels_last"}
        families = ("linear", "convolution", "wide convolution", "depthwise", "convnext")
        write_json(hardware, {"precision": {name: {"training": found} for name in families}} | (more or {}))
        args = Namespace(workload=study.workload(name).model_dump_json(), hardware=hardware)
        return sides_of(args)

    assert sides("resnet20", "bfloat16") == ["reference", "settings", "input", "step", "precision", "project"]
    assert sides("resnet20", "float32") == ["reference", "settings", "input", "step", "project"]
    assert sides("input-pipeline", "bfloat16") == ["reference", "project"]
    by_graphs = ["reference", "settings", "input", "step", "layout", "project"]
    assert sides("resnet20", "float32", {"cuda_graphs": {"choice": True}}) == by_graphs
    rounds = {side: [1.0] for side in by_graphs} | {"project": [3.0]}
    *_, before, last = benchmarks.ladder([facts(rounds=rounds)])
    assert before["step"] == benchmarks.LADDER["layout"]
    assert last["step"] == "+ a whole step launched by one call (CUDA graphs): this project"
    assert last["gain"] == 3
    assert SIDES.keys() == benchmarks.LADDER.keys()


def test_a_workload_without_arithmetic_has_no_fraction_of_the_peak():
    (row,) = benchmarks.rates([facts(flops_per_image=0.0, convolution_flops_per_image=0.0)])
    assert row["fraction_of_peak"] is None and row["convolution_fraction_of_peak"] is None
    assert row["ratio_at_peak"] is None and row["ratio_of_convolutions"] is None


def test_a_profile_that_saw_no_convolution_tells_nothing_of_them():
    (row,) = benchmarks.rates([facts(seconds_per_step={"convolution": 0.0, "other": 0.1})])
    assert row["convolution_fraction_of_peak"] is None and row["ratio_of_convolutions"] is None
    assert row["fraction_of_peak"] == pytest.approx(110 * 2e7 / 5e9)


@pytest.mark.parametrize(("others", "busy"), [(0.04, "no"), (0.06, "yes")])
def test_other_work_on_the_machine_is_said(monkeypatch, others, busy):
    class Side:
        process = Namespace(pid=os.getpid())

        def ask(self, request: str, *_: object) -> object:
            return {"cuda_graphs": False} if request == "analyse" else 100.0

    monkeypatch.setattr(benchmark.Load, "of_others", lambda self: others)
    sides = {name: Side() for name in ("reference", "project")}
    measured = benchmark.measure(sides, Namespace(name="tiny", pairs=2, seconds=1))
    (row,) = benchmarks.rates([facts() | {key: measured[key] for key in ("busy", "others_cpu")}])
    assert (row["busy"], row["others_cpu"]) == (busy, others)


def test_a_recorded_step_takes_its_measured_time_besides_the_kernels_that_the_profiler_saw(monkeypatch):
    class Side:
        process = Namespace(pid=os.getpid())

        def ask(self, request: str, *_: object) -> object:
            seconds = {"convolution": 0.03, "input": 0.01, "other": 0.4}  # launched one by one
            found = {"cuda_graphs": True, "batch_size": 10, "seconds_per_step": seconds}
            return found if request == "analyse" else 200.0

    sides = {name: Side() for name in ("reference", "project")}
    measured = benchmark.measure(sides, Namespace(name="tiny", pairs=2, seconds=1))
    assert measured["seconds_per_step"] == pytest.approx({"convolution": 0.03, "input": 0.01, "other": 0.01})


def test_the_memory_of_all_sides_together_is_named_where_it_is_not_enough():
    side = benchmark.Side.__new__(benchmark.Side)
    side.connection = Namespace(
        send=lambda _: None, recv=lambda: torch.OutOfMemoryError("CUDA out of memory.\nMore")
    )
    with pytest.raises(StudyError, match=r"^CUDA out of memory\. All sides .* batch_size"):
        side.ask("warm_up", 1)


def test_the_parts_of_a_step_are_ordered_and_sum_to_one():
    rows = benchmarks.breakdown([facts()])
    assert [(row["part"], row["milliseconds_per_step"]) for row in rows] == [
        ("other", 60),
        ("convolution", 40),
    ]
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_flops_are_counted_forward_and_backward_with_a_multiply_add_as_two():
    conv, linear = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Linear(8, 5, bias=False)
    x = torch.randn(4, 3, 6, 6)  # no gradient of the images: only the weights' one of the convolution
    counted = profiling.count_flops(lambda: linear(conv(x).mean((2, 3))).sum().backward())
    forward = 2 * 4 * 36 * 8 * 27
    assert counted["convolution"] == 2 * forward
    assert counted["total"] == 2 * forward + 3 * 2 * 4 * 8 * 5


def test_the_parts_of_winograds_algorithm_are_convolution():
    model = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.Flatten(), nn.Linear(128 * 64, 10))
    winograd.use(model, "float32")
    x = torch.randn(8, 128, 8, 8, requires_grad=True)
    cpu = torch.device("cpu")
    spent = profiling.breakdown(lambda: model(x).sum().backward(), cpu, steps=2)
    head = profiling.breakdown(lambda: model[2](x.flatten(1)).sum().backward(), cpu, steps=2)
    assert spent["convolution"] > sum(spent.values()) / 2
    assert spent["matrix product"] > 0
    assert head["convolution"] == 0 < head["matrix product"]


@pytest.mark.parametrize(
    ("operator", "part"),
    [
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::convolution_backward", "convolution"),
        ("aten::native_batch_norm_backward", "normalisation"),
        ("aten::addmm", "matrix product"),
        ("aten::threshold_backward", "activation"),
        ("aten::_fused_sgd_", "optimiser"),
        ("aten::index", "input"),
        ("aten::gather", "input"),
        ("aten::copy_", "copies and casts"),
        ("aten::add_", "addition"),
        ("aten::view", None),
    ],
)
def test_operators_are_counted_by_what_they_do(operator, part):
    assert profiling.part_of(operator) == part


def test_a_breakdown_accounts_for_the_whole_step_and_finds_where_it_goes():
    a = torch.randn(400, 400)

    def step() -> None:
        a @ a
        time.sleep(0.02)

    parts = profiling.breakdown(step, torch.device("cpu"), steps=3)
    assert parts["other"] > 0.015  # the sleep: no operator
    assert 0 < parts["matrix product"] < parts["other"]
    assert parts["convolution"] == 0


def test_the_reference_serves_images_as_torchvision_s_datasets_do():
    images = torch.randint(256, (5, 32, 32, 3), dtype=torch.uint8)
    dataset = PILImages(images, torch.arange(5), usual_transforms(32, 0, False, (0.5,) * 3, (0.25,) * 3))
    x, y = dataset[3]
    assert y == 3
    assert torch.allclose(x, (images[3].permute(2, 0, 1) / 255 - 0.5) / 0.25, atol=1e-6)
    names = [type(step) for step in usual_transforms(32, 4, True, (0.5,), (0.5,)).transforms]
    assert names == [
        transforms.RandomCrop,
        transforms.RandomHorizontalFlip,
        transforms.ToTensor,
        transforms.Normalize,
    ]


def test_the_reference_trains_the_network_that_it_is_given():
    images = torch.randint(256, (40, 8, 8, 1), dtype=torch.uint8)
    dataset = PILImages(images, torch.arange(40) % 3, usual_transforms(8, 2, False, (0.5,), (0.5,)))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    before = model[1].weight.detach().clone()
    assert Reference(model, dataset, 5, 0.05).images_per_second(30) > 0  # more than an epoch
    assert not torch.equal(before, model[1].weight)
