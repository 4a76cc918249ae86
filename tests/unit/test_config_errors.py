"""Mistakes in the configuration: each ends in one line with file, key and expectation."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainkit.config import load_study
from trainkit.errors import StudyError

CONVNET = "experiments.mnist-convnet"
RESNET = "experiments.cifar10-resnet"
CONSTANT = "experiments.cifar10-fast-constant"
AUGMENTED = "experiments.mnist-convnet-augmented"
FROZEN = "experiments.mnist-transfer-frozen"
SHALLOW = "experiments.cifar10-shallow"
CONVNEXT = "experiments.cifar10-convnextv2"
DELETE = object()

# What is changed in config.yaml, to what, and what the line says after the file and the key.
MISTAKES: list[tuple[str, Any, str]] = [
    # unknown keys
    ("sedes", [0], "unknown key; did you mean 'seeds'?"),
    (f"{CONVNET}.recipe.batchsize", 64, "unknown key; did you mean 'batch_size'?"),
    (f"{CONVNET}.recipe.optimizer.rate", 1, "unknown key"),
    (f"{CONVNET}.model.depth", 20, "unknown key: convnet has none of this name; remove it"),
    (f"{CONVNET}.epochs", 3, "unknown key"),
    ("datasets.imagenet", {}, "input should be 'mnist' or 'cifar10'"),
    # wrong types and missing keys
    (f"{CONVNET}.recipe.epochs", "ten", "input should be a valid integer"),
    (f"{CONVNET}.recipe.epochs", 2.5, "got 2.5"),
    (f"{CONVNET}.recipe.epochs", True, "input should be a valid integer, got True"),
    (f"{CONSTANT}.recipe.budget.reference", "mnist-convnet", "name an experiment on cifar10"),
    (f"{CONVNET}.recipe.compile", "perhaps", "input should be a valid boolean"),
    (f"{CONVNET}.model.stages", 3, "input should be a valid list, got 3"),
    (f"{CONVNET}.recipe", "fast", "got 'fast'"),
    ("seeds", 3, "input should be a valid list, got 3"),
    ("seeds", [], "expected at least one, got none"),
    ("experiments", [], "expected a table of experiments, got []"),
    (CONVNET, None, "expected a mapping of keys, got None"),
    (f"{CONVNET}.title", DELETE, "is missing; add it"),
    (f"{CONVNET}.recipe.optimizer.lr", DELETE, "is missing; add it"),
    # numbers out of range
    (f"{CONVNET}.recipe.epochs", -3, "input should be greater than or equal to 1, got -3"),
    (f"{CONVNET}.recipe.optimizer.lr", 0, "input should be greater than 0, got 0"),
    (f"{CONVNET}.recipe.optimizer.lr", float("nan"), "got nan"),
    (f"{CONVNET}.recipe.label_smoothing", 1.0, "input should be less than 1"),
    ("seeds.0", -1, "input should be greater than or equal to 0, got -1"),
    (f"{CONVNET}.seeds", [1, 1], "[1, 1] names a seed twice"),
    (f"{RESNET}.model.depth", 21, "depth must be 18, 34 or 6n+2"),
    ("experiments.speedrun.recipe.resize.0.until", 2, "input should be less than 1, got 2"),
    (f"{SHALLOW}.recipe.resize", [{"until": 0.5, "pixels": 24}], "convnet takes images of one size"),
    (f"{CONSTANT}.recipe.resize", [{"until": 0.5, "pixels": 24}], "resize does not go with budget"),
    ("benchmark.pairs", 0, "input should be greater than or equal to 1, got 0"),
    ("benchmark.workloads.resnet18.batchsize", 8, "unknown key; did you mean 'batch_size'?"),
    (f"{CONVNET}.recipe.schedule", {"name": "warmup-stable-decay", "warmup": 0.9}, "longer than training"),
    (
        "experiments.cifar10-fast-constant-lookahead.recipe.ema",
        {"decay": 0.9},
        "ema and optimizer.lookahead exclude each other",
    ),
    # options of another one
    (
        "experiments.mnist-dense-baseline.recipe.optimizer.momentum",
        0.5,
        "unknown key: rmsprop has none of this name",
    ),
    (f"{CONVNET}.recipe.optimizer.matrix_factor", 7, "unknown key: sgd has none of this name"),
    (
        f"{RESNET}.recipe.optimizer.lookahead",
        {"momentum": 0.5},
        "this table has none of this name",
    ),
    (f"{CONVNET}.recipe.optimizer", {"lr": 0.1}, "is missing; add it"),
    (f"{CONVNET}.recipe.optimizer", "sgd", "expected a table with a name, got 'sgd'"),
    (f"{RESNET}.recipe.schedule.gamma", 0.5, "unknown key: one-cycle has none of this name"),
    # what the dataset cannot feed
    (f"{CONVNET}.model.stages", [[8]] * 5, "stages leave nothing of an image of 28x28 pixels"),
    ("benchmark.workloads.mnist-convnet.model.stages", [[8]] * 5, "leave nothing of an image of 28x28"),
    ("experiments.speedrun.model.widths", [8, 8, 8, 8, 8], "list should have at most 4 items"),
    (
        "experiments.speedrun-tta",
        {
            "like": "speedrun",
            "model": {"widths": [8] * 4},
            "recipe": {"resize": [{"until": 0.5, "pixels": 16}]},
        },
        "stages leave nothing of an image of 16x16 pixels",
    ),
    (f"{CONVNET}.recipe.train_images", 55_001, "55001 asked for, but 55000 are there beside the"),
    (f"{CONVNET}.recipe.validation_images", 60_000, "60000 leaves nothing to train on"),
    ("datasets.mnist.split.validation", 60_000, "60000 leaves nothing to train on"),
    ("datasets.cifar10.split", {"train_limit": 5000}, "5000 leaves nothing to train on"),
    # absurd sizes
    (f"{CONVNET}.recipe.batch_size", 10**9, "input should be less than or equal to 65536"),
    (f"{CONVNET}.recipe.epochs", 10**9, "input should be less than or equal to 10000"),
    (f"{RESNET}.model.depth", 10**6, "input should be less than or equal to 1202"),
    (f"{RESNET}.model.width", 10**6, "input should be less than or equal to 512"),
    (f"{CONVNET}.recipe.optimizer.lr", float("inf"), "got inf"),
    (f"{CONVNET}.recipe.optimizer.lr", 1e9, "input should be less than or equal to 100"),
    (f"{CONVNET}.recipe.optimizer.momentum", 1.0, "input should be less than 1"),
    (f"{CONVNET}.recipe.batch_size", -128, "input should be greater than or equal to 2"),
    ("seeds.0", 2**31, "input should be less than 2147483648"),
    ("threads", 10**6, "input should be less than or equal to 1024"),
    # schedules
    (f"{RESNET}.recipe.schedule", {"name": "step", "milestones": [1.5]}, "input should be less than 1"),
    (
        f"{RESNET}.recipe.schedule",
        {"name": "step", "milestones": [0.5, 0.5]},
        "in increasing order, each once",
    ),
    (f"{RESNET}.recipe.schedule.warmup", 1, "input should be less than 1, got 1"),
    # hostile words
    ("experiments.my net", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    ("experiments.$(reboot)", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    ("experiments.a;b", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    ("experiments.it's", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    ("experiments.-rf", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    ("experiments...", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    (f"experiments.{'x' * 65}", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    (f"{CONVNET}.title", "", "string should have at least 1 character"),
    (f"{CONVNET}.title", "x" * 121, "string should have at most 120 characters"),
    ("study", "a b", "expected letters, digits, . _ and -"),
    ("data_folder", "data; rm -rf x", "string should match pattern"),
    ("data_folder", "-data", "string should match pattern"),
    ("datasets.mnist.sources.1.package", "x; touch y", "string should match pattern"),
    ("datasets.mnist.sources.1.package", "--registry=evil", "string should match pattern"),
    # unknown names
    (f"{CONVNET}.model.name", "resnett", "got 'resnett'; did you mean 'resnet'?"),
    (
        f"{CONVNET}.recipe.optimizer.name",
        "adam",
        "sgd, adamw, rmsprop, muon, got 'adam'; did you mean 'adamw'?",
    ),
    (f"{CONVNET}.recipe.schedule.name", "onecycle", "got 'onecycle'; did you mean 'one-cycle'?"),
    (f"{CONVNET}.dataset", "svhn", "input should be 'mnist' or 'cifar10', got 'svhn'"),
    (f"{CONVNET}.task", "1.9", "got '1.9'"),
    ("preset", "tiny", "expected auto, gpu, cpu, smoke, got 'tiny'"),
    ("experiments.my/net", {"like": "mnist-convnet"}, "expected letters, digits, . _ and -"),
    # references
    (f"{AUGMENTED}.like", "mnist-convnett", "no experiment 'mnist-convnett'; did you mean 'mnist-convnet'?"),
    (f"{CONVNET}.like", "mnist-convnet", "mnist-convnet is like mnist-convnet; give"),
    (f"{AUGMENTED}.recipe.epochs_of", "nothing", "no experiment 'nothing'; known: mnist-dense-baseline, "),
    (f"{AUGMENTED}.recipe.epochs_of", "cifar10-shallow", "has no fixed epochs to take; name one"),
    (f"{CONSTANT}.recipe", "none", "input should be a valid dictionary"),
    ("experiments.mine", {"like": "cifar10-resnet", "task": "2.3-budgets"}, "is missing, and the contest is"),
    (
        "experiments.mine",
        {"like": "mnist-convnet", "task": "3"},
        "task: 3 compares networks on cifar10, and this",
    ),
    (
        "experiments.mine",
        {"like": "cifar10-resnet", "task": "1.2"},
        "task: 1.2 compares networks on mnist, and",
    ),
    (f"{CONSTANT}.recipe.budget", 3, "input should be a valid dictionary"),
    (f"{CONSTANT}.recipe.budget.reference", "cifar10-fast", "no experiment 'cifar10-fast'; did you mean"),
    # settings that do not go together
    (f"{CONVNET}.recipe.until", {}, "exactly one of epochs, epochs_of, budget, until must be given"),
    (f"{CONVNET}.recipe.epochs", DELETE, "exactly one of epochs, epochs_of, budget, until must be given"),
    (f"{CONVNET}.recipe.schedule", {"name": "plateau"}, "schedule plateau needs until"),
    (f"{SHALLOW}.recipe.schedule", {"name": "cosine"}, "goes with schedule plateau or constant only"),
    (f"{CONVNET}.recipe.augment", {"flip": True}, "recipe.augment.flip: a mirrored digit is another sign"),
    (f"{CONVNET}.recipe.test_time_augmentation", True, "it mirrors digits; remove it for mnist"),
    (f"{FROZEN}.recipe.augment", {"translate": 1}, "a frozen base sees each image once"),
    (f"{FROZEN}.model.weights", "random", "train: head needs weights: imagenet"),
    (f"{FROZEN}.model.train_last", 1, "train_last goes with train: all and weights: imagenet only"),
    ("experiments.mnist-stages-2.model.train_last", 5, "give at most 4, or leave it out to train all"),
    (f"{SHALLOW}.recipe.validate_every", 2, "validate_every does not go with until"),
    (
        "experiments.mnist-convnet-equal-seconds.recipe.budget.reference",
        "mnist-stages-0",
        "a frozen base's steps are not calibrated",
    ),
    (f"{CONVNEXT}.model.depths", [1, 1], "depths and widths must name the same number of stages"),
    (f"{RESNET}.recipe.schedule", {"name": "step", "milestones": [0.7, 0.3]}, "in increasing order"),
    # sources
    ("datasets.mnist.sources.0", {"kind": "folder"}, "path is missing: a source of kind folder needs it"),
    ("datasets.mnist.sources.0.kind", "ftp", "got 'ftp'"),
    ("datasets.mnist.sha256.test_images", "abc", "string should match pattern"),
    ("datasets.mnist.sha256.test_images", DELETE, "dictionary should have at least 4 items"),
]


@pytest.fixture(scope="module")
def content(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config" / "config.yaml").read_text())


def folder_with(tmp_path: Path, config: str, preset: str = "") -> Path:
    presets = tmp_path / "config" / "presets"
    presets.mkdir(parents=True)
    (tmp_path / "config" / "config.yaml").write_text(config)
    for name in ("gpu", "cpu", "smoke"):
        (presets / f"{name}.yaml").write_text(preset)
    return tmp_path


def error_of(root: Path, overrides: dict[str, Any]) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(root, overrides)
    return str(caught.value)


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The content with another value at a dotted key."""
    content = copy.deepcopy(content)
    *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
    node: Any = content
    for part in path:
        node = node[part] if isinstance(node, list) else node.setdefault(part, {})
    if value is DELETE:
        del node[last]
    else:
        node[last] = value
    return content


@pytest.mark.parametrize(
    ("key", "value", "expectation"), MISTAKES, ids=[f"{key}={value!r:.20}" for key, value, _ in MISTAKES]
)
def test_a_mistake_is_one_line_with_the_file_the_key_and_what_was_expected(
    tmp_path, content, key, value, expectation
):
    root = folder_with(tmp_path, yaml.safe_dump(changed(content, key, value), sort_keys=False))
    message = error_of(root, {} if key == "preset" else {"preset": "cpu"})
    file, where, what = message.split(": ", 2)
    assert file == "config/config.yaml"
    assert f"{key}.".startswith(f"{where}.") or where.startswith(f"{key}."), (
        "names not the key, nor its table"
    )
    assert expectation in what
    assert "\n" not in message


def test_two_experiments_that_are_like_each_other_go_round_in_a_circle(tmp_path, content):
    root = folder_with(
        tmp_path, yaml.safe_dump(changed(content, f"{CONVNET}.like", "mnist-convnet-augmented"))
    )
    message = error_of(root, {"preset": "cpu"})
    assert re.match(rf"config/config.yaml: {CONVNET}.*\.like: mnist-convnet", message)
    assert "mnist-convnet is like mnist-convnet-augmented is like mnist-convnet; give one of them" in message


def test_a_mistake_in_the_users_own_file_is_said_to_be_there(root):
    def told(**entries: Any) -> str:
        with pytest.raises(StudyError) as caught:
            load_study(root, {"preset": "cpu", "experiments": entries}, given="my.yaml or --config")
        return str(caught.value)

    where = "my.yaml or --config: experiments.mnist-convnet"
    assert told(**{"mnist-convnet": None}).startswith(f"{where}: is missing, and the report's answers need")
    assert told(**{"mnist-convnet": {"like": "no"}}).startswith(f"{where}.like: no experiment 'no'")
    assert told(**{"mnist-convnet": {"recipe": {"train_images": 10**6}}}).startswith(f"{where}.recipe.train")
    assert told(**{"mnist-convnet": 3}).startswith(f"{where}: expected a mapping of keys, got 3")


@pytest.mark.parametrize("entry", [None, {"recipe": {"epochs": 3}}, {"like": "mnist-convnet"}])
def test_a_number_in_place_of_a_name_is_one_line(root, entry):
    message = error_of(root, {"preset": "cpu", "experiments": {2: entry}})
    assert message.startswith("--config: experiments.2: ") and "\n" not in message


@pytest.mark.parametrize("name", ["model", "schedule"])
def test_an_experiment_may_be_called_as_a_key_is(root, name):
    entry = {"like": "mnist-convnet", "model": {"depth": 20}}
    message = error_of(root, {"preset": "cpu", "experiments": {name: entry}})
    assert message.startswith(f"--config: experiments.{name}.model.depth: unknown key: convnet has none")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("preset: auto\nseeds: [0, 1\n", r"config/config.yaml, line \d+: "),
        ("preset: auto\n\tseeds: [0]\n", r"config/config.yaml, line 2: .*; correct the YAML there"),
        (
            "seeds: [0]\npreset: cpu\nseeds: [1]\n",
            "config/config.yaml, line 3: the key 'seeds' is given twice",
        ),
        ("a:\n  b: 1\n  b: 1\n", "config/config.yaml, line 3: the key 'b' is given twice"),
        ("- seeds\n- [0]\n", "config/config.yaml: expected a mapping of keys, got list"),
        ("just words", "config/config.yaml: expected a mapping of keys, got str"),
        ("a: \x07", "config/config.yaml.*: .*; correct the YAML there"),
        ("", "config/config.yaml: experiments: expected a table of experiments, got None"),
    ],
    ids=["open list", "tab", "twice", "twice within", "list", "words", "control character", "empty"],
)
def test_what_is_not_a_table_in_yaml_is_named_with_its_line(tmp_path, text, line):
    assert re.match(line, error_of(folder_with(tmp_path, text), {"preset": "cpu"}))


def test_a_missing_file_is_named(tmp_path, root):
    assert error_of(tmp_path, {}).startswith("config/config.yaml: cannot be read (No such file")


def test_a_mistake_in_a_preset_names_the_preset(tmp_path, content):
    preset = "experiments: {mnist-convnet: {recipe: {epochs: 0}}}"
    root = folder_with(tmp_path, yaml.safe_dump(content), preset)
    assert error_of(root, {"preset": "smoke"}).startswith(
        "config/presets/smoke.yaml: experiments.mnist-convnet.recipe.epochs: "
    )


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"preset": "gpuu"}, "--config: preset: expected .*, got 'gpuu'; did you mean 'gpu'[?]"),
        ({"preset": 3}, "--config: preset: expected .* got 3"),
        (
            {"study": "../elsewhere"},
            "--config: study: expected letters, digits, . _ and -, .* got '../elsewhere'",
        ),
        ({"study": "a/b"}, "--config: study: expected letters, digits, . _ and -, .* got 'a/b'"),
        ({"study": ""}, "--config: study: expected letters, digits, . _ and -, .*"),
        ({"studdy": "x"}, "--config: studdy: unknown key; did you mean 'study'[?]"),
        ({"threads": 0}, "--config: threads: "),
        ({"data_folder": ""}, "--config: data_folder: "),
        ({"seeds": "many"}, "--config: seeds: input should be a valid list, got 'many'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_on_the_command_line_is_said_to_be_there(root, overrides, line):
    assert re.match(line, error_of(root, {"preset": "cpu", **overrides}))


def test_further_mistakes_are_counted(tmp_path, content):
    twice = changed(changed(content, "sedes", 1), f"{CONVNET}.recipe.epochs", 0)
    root = folder_with(tmp_path, yaml.safe_dump(twice))
    assert error_of(root, {"preset": "cpu"}).endswith(" (and 1 more)")
