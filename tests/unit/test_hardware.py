"""The description of the machine: what is there, and words for what is not."""

import copy
import json
import os
import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch

from capture_hardware import table
from trainkit import blocked, hardware, lease, precision, side_by_side, winograd
from trainkit import device as devices
from trainkit import limits as process_limits
from trainkit.config import load_study
from trainkit.device import Numerics
from trainkit.errors import StudyError
from trainkit.models import build, module
from trainkit.spec import Airbench, ConvNet, ResNet

ROOT = Path(__file__).resolve().parents[2]

MEASURED = {
    "measured_on": "Z80",
    "matrix_product_gflops": {"float32": 100.0},
    "threads": 2,
    "threads_images_per_second": {"1": 60.0, "2": 90.0},
    "precision": {
        "linear": {
            "training": {"float32": 100.0, "bfloat16": 150.0, "choice": "bfloat16", "layout": "channels_last"}
        }
    },
}


@pytest.fixture(scope="module")
def facts() -> dict:
    return hardware.describe()


def bare(**changes) -> dict:
    """A machine that tells nothing of itself, but for the ``changes`` of its CPU."""
    cpu = dict.fromkeys(
        ("sockets", "physical_cores", "clock_base_mhz", "clock_max_mhz", "clock_current_mhz", "hypervisor")
    )
    return {
        "gpus": [],
        "gpu_note": "no GPU: NVML says nothing",
        "cpu": {"model": "Z80", "logical_cores": 1, "caches": {}, "instruction_sets": [], **cpu, **changes},
        "memory_mb": 512,
        "limits": dict.fromkeys(("cpus_by_affinity", "cpus_by_cgroup_quota", "memory_mb_by_cgroup")),
        "system": {"os": "CP/M", "kernel": "2.2", "python": "3.11"},
        **MEASURED,
    }


def test_this_machine_is_described_as_it_is(facts):
    assert facts["cpu"]["logical_cores"] == os.cpu_count()
    assert facts["memory_mb"] == psutil.virtual_memory().total // 2**20
    assert facts["system"]["python"] == platform.python_version()
    assert facts["limits"]["cpus_by_affinity"] == len(os.sched_getaffinity(0))
    assert facts["cpu"]["model"]
    assert facts["gpu_note"]


def test_the_description_can_be_stored(facts):
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_instruction_sets_are_those_that_the_kernel_lists(facts):
    cpuinfo = Path("/proc/cpuinfo").read_text().split()
    for name, flag in hardware.INSTRUCTION_SETS.items():
        assert (name in facts["cpu"]["instruction_sets"]) == (flag in cpuinfo), name


def test_the_table_of_this_machine_has_a_text_for_every_item(facts):
    rows = table({**facts, **MEASURED})
    items = [item for item, _ in rows]
    assert len(set(items)) == len(items)
    assert all(isinstance(value, str) and value and "None" not in value for _, value in rows)
    assert dict(rows)["CPU model"] == facts["cpu"]["model"]
    training = {"choice": "float32", "float32": 2.0, "bfloat16": 1.0, "layout": "contiguous"}
    both = {"blocked": True, "winograd": True}
    for more, words in ({}, "contiguous"), ({"blocked": True}, "blocks"), (both, "Winograd"):
        wide = {"precision": {"wide convolution": {"training": training | more}}}
        assert words in dict(table({**facts, **MEASURED, **wide}))["Precision, wide convolution"]
    assert {"GPUs", "CPU cores", "CPU clock, maximum", "Memory", "Operating system"} <= set(items)


def test_what_a_machine_does_not_report_is_said_in_words():
    rows = dict(table(bare()))
    for item in ("CPU sockets", "CPU clock, base", "CPU clock, maximum", "CPU caches"):
        assert rows[item] == "not reported by this machine"
    assert rows["GPUs"] == "0: no GPU: NVML says nothing"
    assert rows["CPUs allowed by cgroup quota"] == "no quota"
    assert rows["Memory allowed by cgroup"] == "no limit"
    machine = bare()
    rows = dict(table(machine | {"limits": machine["limits"] | {"cgroup_v2": False}}))
    assert rows["Memory allowed by cgroup"] == "not read: there is no cgroup v2 here"
    assert rows["CPU instruction sets"] == "none of those that matter here"


def test_a_virtual_machine_is_named_where_it_hides_something():
    rows = dict(table(bare(hypervisor="KVM")))
    assert rows["CPU clock, base"] == "not reported by this machine (virtual machine: KVM)"


def test_a_gpu_has_its_rows_and_a_missing_power_limit_its_words():
    gpu = {"model": "H100", "memory_mb": 81920, "driver": "550", "cuda": "12.4", "power_limit_w": None}
    rows = dict(table(bare() | {"gpus": [gpu, gpu | {"power_limit_w": 700.0, "memory_mb": None}]}))
    assert rows["GPUs"] == "2"
    assert rows["GPU 0 model"] == "H100"
    assert rows["GPU 0 memory"] == "80.0 GiB"
    assert rows["GPU 1 memory"] == "not reported by this GPU"
    assert rows["GPU 0 driver"] == "550, CUDA 12.4, power limit not reported"
    assert rows["GPU 1 driver"].endswith("power limit 700 W")


def test_measured_rates_and_choices_are_in_the_table():
    rows = dict(table(bare()))
    assert rows["Matrix product, float32"] == "100 GFLOP/s measured"
    assert "bfloat16" in rows["Precision, linear"]
    assert "1.50 times" in rows["Precision, linear"]
    assert rows["Precision, linear"].endswith("channels_last")
    measured = copy.deepcopy(MEASURED)
    measured["precision"]["linear"]["training"]["layout"] = "side_by_side"
    rows = dict(table(bare() | measured))
    assert rows["Precision, linear"].endswith("channels_last, small images side by side")
    measured["precision"]["linear"]["training"]["blocked"] = True
    rows = dict(table(bare() | measured))
    assert rows["Precision, linear"].endswith("in oneDNN's blocks where a network can")
    assert rows["CPU threads of a run"] == "2 (images/s by threads: 1: 60, 2: 90)"


# -- What is measured ------------------------------------------------------------------------------

FOUND = {
    family: {
        "training": {"choice": "bfloat16", "layout": "contiguous"},
        "inference": {"choice": "float32", "layout": "channels_last"},
    }
    for family in (devices.CONVOLUTION, devices.WIDE, "linear")
}


def test_a_run_takes_what_was_measured_for_its_family_unless_the_recipe_says_otherwise():
    model = ResNet(name="resnet")
    assert devices.measured(model, {"precision": FOUND}) == Numerics("bfloat16", "contiguous")
    assert devices.measured(model, {"precision": FOUND}, "inference") == Numerics("float32", "channels_last")
    study = load_study(ROOT, {"preset": "smoke"})
    spec = study.run_spec("cifar10-resnet")
    assert devices.numerics(spec, {"precision": FOUND}) == Numerics("bfloat16", "contiguous")
    recipe = spec.recipe.model_copy(update={"precision": "float32", "layout": "channels_last"})
    assert devices.numerics(spec.model_copy(update={"recipe": recipe}), {"precision": FOUND}) == Numerics()


def test_a_recipe_that_asks_for_blocks_gets_them_or_an_error():
    study = load_study(ROOT, {"preset": "smoke"})
    for name, fits in (("cifar10-resnet", True), ("cifar10-equal-params-fasternet", False)):
        spec = study.run_spec(name)
        recipe = spec.recipe.model_copy(update={"precision": "float32", "layout": "blocked"})
        spec = spec.model_copy(update={"recipe": recipe})
        if fits:
            assert devices.numerics(spec, {"precision": FOUND}) == Numerics("float32", "blocked")
        else:
            with pytest.raises(StudyError, match=r"cifar10-equal-params-fasternet: recipe\.layout"):
                devices.numerics(spec, {"precision": FOUND})


@pytest.mark.parametrize(("choice", "other"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_winograds_algorithm_is_for_the_precision_it_was_measured_in_without_compile(
    monkeypatch, choice, other
):
    wide = ResNet(name="resnet", depth=18, width=64)
    training = {"choice": choice, "layout": "channels_last", "winograd": True, "blocked": True}
    found = {"precision": {devices.WIDE: {"training": training}}}
    monkeypatch.setattr(blocked, "available", lambda dtype: False)
    assert devices.measured(wide, found) == Numerics(choice, "winograd")
    assert devices.measured(wide, found, precision=choice) == Numerics(choice, "winograd")
    assert devices.measured(wide, found, precision=other).layout == "channels_last"
    assert devices.measured(wide, found, compile=True).layout == "channels_last"
    monkeypatch.setattr(blocked, "available", lambda dtype: True)
    assert devices.measured(wide, found) == Numerics(choice, "winograd")
    narrower = Airbench(name="airbench", widths=[32, 128, 128])  # gains in float32 only
    expected = {"float32": "winograd", "bfloat16": "blocked"}[choice]
    assert devices.measured(narrower, found) == Numerics(choice, expected)
    single = ConvNet(name="convnet", stages=[[16], [32], [64, 64], [128]])  # its widest takes 64 channels in
    assert devices.measured(single, found) == Numerics(choice, "blocked")
    spec = load_study(ROOT, {"preset": "smoke"}).run_spec("cifar10-resnet")
    recipe = spec.recipe.model_copy(update={"layout": "winograd", "precision": choice})
    asked = spec.model_copy(update={"recipe": recipe, "model": wide})
    assert devices.numerics(asked, {"precision": FOUND}) == Numerics(choice, "winograd")
    pretrained = load_study(ROOT, {"preset": "smoke"}).run_spec("mnist-transfer-finetuned").model
    assert not devices.can_winograd(pretrained, choice, compile=False)
    for change in ({"model": single}, {"recipe": recipe.model_copy(update={"compile": True})}):
        with pytest.raises(StudyError, match=r"cifar10-resnet: recipe\.layout: winograd takes no"):
            devices.numerics(asked.model_copy(update=change), {"precision": FOUND})


def test_a_network_of_no_measured_family_is_told_which_there_are(monkeypatch):
    monkeypatch.setattr(module("resnet"), "FAMILY", "mixer")
    monkeypatch.delattr(module("resnet"), "widest")
    with pytest.raises(
        StudyError, match=r"FAMILY .* expected convolution, wide convolution, linear, got 'mixer'"
    ):
        devices.measured(ResNet(name="resnet"), {"precision": FOUND})


def test_every_stand_in_is_measured_in_every_precision_and_layout():
    facts = precision.measure(torch.device("cpu"))
    assert set(facts) == set(precision.STAND_INS)
    for family in (devices.CONVOLUTION, devices.WIDE):
        convolution = facts[family]["training"]
        assert ("blocked_gain" in convolution) == blocked.available(getattr(torch, convolution["choice"]))
    for uses in facts.values():
        for found in uses.values():
            precisions = {name: found[name] for name in ("float32", "bfloat16")}
            assert found["choice"] == precision.clearly_best(precisions)
            layouts = {layout: found[layout] for layout in ("channels_last", "contiguous")}
            rows = found.get("side_by_side_gain", 0) > precision.MARGIN
            assert found["layout"] == ("side_by_side" if rows else precision.clearly_best(layouts))
    assert convolution["winograd"] == (convolution["winograd_gain"] > precision.MARGIN)


@pytest.mark.parametrize(
    ("bfloat16", "contiguous", "rows", "winograd", "blocks", "layout", "in_blocks", "by_winograd"),
    [
        (2.0, 0.5, 1.5, 1.0, 1.0, "side_by_side", False, False),
        (2.0, 0.5, 1.5, 1.0, 1.4, "side_by_side", True, False),
        (2.0, 0.5, 1.05, 1.0, 0.9, "channels_last", False, False),
        (2.0, 0.5, 1.05, 1.0, 0.95, "channels_last", True, False),  # as fast, for all that can be told
        (2.0, 1.5, 1.6, 1.0, 1.2, "contiguous", False, False),  # rows are not tried, blocks are slower
        (2.0, 1.15, 1.5, 1.0, 1.2, "contiguous", True, False),
        (2.0, 0.5, 1.5, 1.6, 1.0, "side_by_side", False, False),  # no more than chance beyond rows
        (2.0, 0.5, 1.5, 1.8, 1.0, "side_by_side", False, True),
        (2.0, 0.5, 1.05, 1.25, 1.2, "channels_last", True, False),  # nor beyond blocks
        (2.0, 0.5, 1.05, 1.4, 1.2, "channels_last", True, True),
        (0.5, 0.5, 9.9, 1.5, 0.8, "channels_last", False, True),  # rows are not tried in float32
        (0.5, 1.5, 9.9, 1.6, 1.2, "contiguous", False, False),
        (0.5, 1.2, 9.9, 1.6, 1.2, "contiguous", True, True),
    ],
)
def test_layouts_of_our_own_are_taken_where_they_were_measured_faster_or_blocks_no_slower(
    monkeypatch, bfloat16, contiguous, rows, winograd, blocks, layout, in_blocks, by_winograd
):
    speed = {"float32": 1.0, "bfloat16": bfloat16, "channels_last": 1.0, "contiguous": contiguous}
    speed |= {"side_by_side": rows, "winograd": winograd, "blocked": blocks}

    def rates(stand_in, images, device, training, variants, rounds=None):
        ways = {way for _, way in variants}
        assert (stand_in is precision._stride_one) == ("winograd" in ways)
        if {"side_by_side", "winograd", "blocked"} & ways:
            assert rounds == precision.LAYOUT_ROUNDS
        assert {way: p for p, way in variants}.get("side_by_side") in (None, "bfloat16")
        if stand_in is precision._convolution:  # the narrow one has none of the two, and is faster in blocks
            assert not {"side_by_side", "winograd"} & ways
            return {(p, way): speed[p] * {"blocked": 2.0}.get(way, 1.0) for p, way in variants}
        return {(p, way): speed[p] * speed[way] for p, way in variants}

    monkeypatch.setattr(precision, "_rates", rates)
    monkeypatch.setattr(blocked, "available", lambda dtype: True)
    facts = precision.measure(torch.device("cpu"))
    found = facts[devices.WIDE]["training"]
    assert (found["layout"], found["blocked"], found["winograd"]) == (layout, in_blocks, by_winograd)
    narrow = facts[devices.CONVOLUTION]["training"]
    assert (narrow["layout"], narrow["blocked"]) == ("channels_last", True)
    assert not any("blocked" in facts[family]["training"] for family in ("linear", "depthwise"))
    assert facts[devices.WIDE]["inference"]["layout"] not in ("side_by_side", "winograd", "blocked")


def test_the_widest_convolutions_are_those_of_the_network():
    seen = {}
    for preset in ("smoke", "cpu", "gpu"):
        for name in (study := load_study(ROOT, {"preset": preset})).experiments:
            model = study.run_spec(name).model
            seen[model.model_dump_json()] = model
    families = set()
    for model in seen.values():
        families.add(devices.family(model))
        if widest := getattr(module(model.name), "widest", None):
            network = build(model, (32, 32, 3), 10)
            convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
            wide = max(m.out_channels for m in convolutions if m.kernel_size == (3, 3))
            assert widest(model) == wide
    assert families == set(precision.STAND_INS)


def test_a_network_with_wide_convolutions_takes_what_was_measured_for_them():
    narrow = ResNet(name="resnet", depth=20)
    wide = ResNet(name="resnet", depth=18, width=64)
    training = {"choice": "float32", "layout": "channels_last"}
    found = {
        family: {"training": training | {"blocked": family == devices.CONVOLUTION}}
        for family in (devices.CONVOLUTION, devices.WIDE)
    }
    assert devices.measured(narrow, {"precision": found}).layout == "blocked"
    assert devices.measured(wide, {"precision": found}).layout == "channels_last"


def test_blocks_are_left_out_where_onednn_cannot_have_them(monkeypatch):
    def rates(stand_in, images, device, training, variants, rounds=None):
        if "blocked" in dict((layout, p) for p, layout in variants):
            raise RuntimeError("could not create a primitive")
        return dict.fromkeys(variants, 1.0)

    monkeypatch.setattr(precision, "_rates", rates)
    for there in (False, True):
        monkeypatch.setattr(blocked, "available", lambda dtype, there=there: there)
        found = precision.measure(torch.device("cpu"))["convolution"]["training"]
        assert not {"blocked", "blocked_gain"} & set(found)
        assert found.get("blocked_error") == ("could not create a primitive" if there else None)


def test_a_network_is_laid_out_as_was_measured():
    model = build(ResNet(name="resnet", depth=8, width=64), (32, 32, 3), 10)
    kinds = (side_by_side.Conv2d, blocked.Conv2d, winograd.Conv2d)
    for layout, numbers in (
        ("channels_last", [0, 0, 0]),
        ("contiguous", [0, 0, 0]),
        ("side_by_side", [2, 0, 0]),
        ("blocked", [0, 7, 0]),
        ("winograd", [0, 0, 2]),
    ):
        laid = Numerics(layout=layout).lay_out(copy.deepcopy(model))
        assert [sum(isinstance(m, kind) for m in laid.modules()) for kind in kinds] == numbers
    wide = build(Airbench(name="airbench", widths=[128, 128, 256]), (32, 32, 3), 10)
    for asked, number in (("float32", 5), ("bfloat16", 2)):
        laid = Numerics(asked, "winograd").lay_out(copy.deepcopy(wide))
        assert sum(isinstance(m, winograd.Conv2d) for m in laid.modules()) == number


def test_contiguous_memory_is_taken_only_where_it_is_clearly_faster():
    assert precision.clearly_best({"channels_last": 100.0, "contiguous": 105.0}) == "channels_last"
    assert precision.clearly_best({"channels_last": 100.0, "contiguous": 120.0}) == "contiguous"


@pytest.mark.parametrize(("asked", "measured", "threads"), [(64, 8, 8), (64, 4, 4), (3, 8, 3), (64, 99, 8)])
def test_a_run_has_the_threads_that_were_measured_best_even_above_the_physical_cores(
    monkeypatch, asked, measured, threads
):
    taken = []
    monkeypatch.setattr(devices, "thread_counts", lambda: [4, 8])
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    devices.acquire(asked, False, {"threads": measured})
    devices.acquire(64, False)  # before the machine is measured: one a physical core
    assert taken == [threads, 4]


def test_threads_are_tried_and_put_back():
    before = torch.get_num_threads()
    rates = precision.measure_threads([1])
    assert rates["1"] > 0
    assert torch.get_num_threads() == before


def test_no_more_threads_are_tried_than_the_quota_allows(monkeypatch):
    monkeypatch.setattr(devices, "limits", lambda: {"cpus_by_cgroup_quota": 1.0})
    assert devices.thread_counts() == [1]


def test_hyperthreads_of_one_core_are_one_also_where_only_some_cores_may_be_used(monkeypatch):
    siblings = {0: "0,8", 1: "1,9", 8: "0,8", 9: "1,9"}

    def read(path):
        return siblings.get(int(path.split("/cpu")[2].partition("/")[0]))

    monkeypatch.setattr(process_limits, "read", read)
    assert process_limits.physical_cores({0, 1, 8, 9}) == 2
    assert process_limits.physical_cores({0, 8}) == 1
    assert process_limits.physical_cores({0, 1}) == 2
    assert process_limits.physical_cores({4, 5, 6}) == 3  # where the kernel says nothing
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: {0, 1, 8, 9})
    monkeypatch.setattr(devices, "limits", lambda: {"cpus_by_cgroup_quota": None})
    assert devices.thread_counts() == [2, 4]


# -- Limits ----------------------------------------------------------------------------------------


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """A function that makes a cgroup and its parents, own one first, with these limits."""

    def make(*limits: tuple[str | None, str | None]) -> dict:
        folders = []
        for number, (cpu, memory) in enumerate(limits):
            folder = tmp_path / str(number)
            folder.mkdir()
            for name, text in (("cpu.max", cpu), ("memory.max", memory)):
                if text is not None:
                    (folder / name).write_text(text + "\n")
            folders.append(folder)
        monkeypatch.setattr(process_limits, "cgroup_folders", lambda: folders)
        return process_limits.limits()

    return make


@pytest.mark.parametrize(
    ("limits", "cpus", "memory_mb"),
    [
        ([], None, None),
        ([("max 100000", "max")], None, None),
        ([("150000 100000", str(2**31))], 1.5, 2048),
        ([("400000 100000", "max"), ("200000 100000", str(2**30))], 2.0, 1024),
        ([("150000 100000", str(2**32)), ("400000 100000", str(2**33))], 1.5, 4096),
        ([(None, str(2**32)), ("max 100000", "max")], None, 4096),
    ],
    ids=["no cgroup", "no limit", "one", "the parent's is tighter", "the own is tighter", "memory alone"],
)
def test_the_tightest_limit_of_a_process_and_its_parents_holds(cgroups, limits, cpus, memory_mb):
    found = cgroups(*limits)
    assert found["cpus_by_cgroup_quota"] == cpus
    assert found["memory_mb_by_cgroup"] == memory_mb


def test_a_cgroups_own_folder_comes_first_and_the_root_last():
    folders = process_limits.cgroup_folders()
    assert all(parent == child.parent for child, parent in pairwise(folders))
    assert not folders or folders[-1] == Path("/sys/fs/cgroup")


def test_a_gpu_that_pytorch_cannot_use_ends_in_one_line_with_the_remedy(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine's GPU can be used")
    monkeypatch.setenv(lease.HELD, "GPU-1")
    with pytest.raises(StudyError, match=r"cannot use the GPU: .* CUDA_VISIBLE_DEVICES= before"):
        devices.acquire(1, False)


def test_products_of_float32_that_are_made_as_tf32_are_called_so():
    rows = [dict(table(bare() | {"tf32": tf32})) for tf32 in (False, True)]
    assert "Matrix product, float32" in rows[0]
    assert "Matrix product, float32 (as TF32)" in rows[1]


@pytest.mark.parametrize(
    ("times", "fastest", "hopeless"),
    [
        ([5.0], 0.05, True),
        ([5.0], float("inf"), False),  # nothing to hold it against yet
        ([0.9], 0.05, False),  # libraries are loaded in the first round
        ([5.0, 0.2], 0.05, True),
        ([5.0, 0.1], 0.05, False),
    ],
)
def test_only_a_precision_far_slower_than_the_fastest_is_not_tried_again(times, fastest, hopeless):
    assert precision._hopeless(times, fastest, torch.device("cpu")) is hopeless


@pytest.mark.parametrize(
    ("one", "other", "settled"),
    [
        ([9.0, 1.0, 1.2], [9.0, 1.5, 1.6], True),
        ([9.0, 1.5, 1.6], [9.0, 1.0, 1.2], True),
        ([9.0, 1.0, 1.2], [9.0, 1.3, 1.6], False),  # the first round warms up, the fastest one counts
    ],
)
def test_no_more_rounds_are_made_where_layouts_are_far_apart(one, other, settled):
    assert precision._settled([one, other]) is settled


def test_a_gpus_first_round_which_tries_algorithms_says_nothing_of_a_precision():
    assert not precision._hopeless([5.0], 0.05, torch.device("cuda"))
    assert precision._hopeless([5.0, 0.2], 0.05, torch.device("cuda"))


@pytest.mark.parametrize(("given", "expected"), [({}, "AUTO"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE")])
def test_mkl_is_asked_for_the_same_sums_in_every_run_before_its_first_product(root, given, expected):
    code = (
        "import os, sys, torch; from trainkit import device; device.acquire(1, False); "
        "torch.ones(8, 8) @ torch.ones(8, 8); print(os.environ['MKL_CBWR'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"} | given
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root / "scripts", env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == (f"{expected}\n", 0), done.stderr
