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
DELETE = object()

# What is changed in config.yaml, to what, and what the line must say after the file's name.
MISTAKES: list[tuple[str, Any, str]] = [
    # unknown keys
    ("sedes", [0], "sedes: unknown key; did you mean 'seeds'[?]"),
    (f"{CONVNET}.recipe.batchsize", 64, f"{CONVNET}.recipe.batchsize: unknown key; did you mean 'batch_size'[?]"),
    (f"{CONVNET}.recipe.optimizer.rate", 1, f"{CONVNET}.recipe.optimizer.rate: unknown key"),
    (f"{CONVNET}.model.depth", 20, f"{CONVNET}.model.depth: unknown key"),
    (f"{CONVNET}.epochs", 3, f"{CONVNET}.epochs: unknown key"),
    ("datasets.imagenet", {}, "datasets.imagenet: input should be 'mnist' or 'cifar10'"),
    # wrong types and missing keys
    (f"{CONVNET}.recipe.epochs", "ten", f"{CONVNET}.recipe.epochs: input should be a valid integer, .* got 'ten'"),
    (f"{CONVNET}.recipe.epochs", 2.5, f"{CONVNET}.recipe.epochs: input should be a valid integer, .* got 2.5"),
    (f"{CONVNET}.recipe.compile", "perhaps", f"{CONVNET}.recipe.compile: input should be a valid boolean"),
    (f"{CONVNET}.model.stages", 3, f"{CONVNET}.model.stages: input should be a valid list, got 3"),
    (f"{CONVNET}.recipe", "fast", f"{CONVNET}.recipe: input should be .*dictionary.*, got 'fast'"),
    ("seeds", 3, "seeds: input should be a valid list, got 3"),
    ("seeds", [], "seeds: list should have at least 1 item"),
    ("experiments", [], r"experiments: expected a table of experiments, got \[\]"),
    (CONVNET, None, f"{CONVNET}: expected a table, got None"),
    (f"{CONVNET}.title", DELETE, f"{CONVNET}.title: is missing; add it"),
    (f"{CONVNET}.recipe.optimizer.lr", DELETE, f"{CONVNET}.recipe.optimizer.lr: is missing; add it"),
    # numbers out of range
    (f"{CONVNET}.recipe.epochs", -3, f"{CONVNET}.recipe.epochs: input should be greater than or equal to 1, got -3"),
    (f"{CONVNET}.recipe.optimizer.lr", 0, f"{CONVNET}.recipe.optimizer.lr: input should be greater than 0, got 0"),
    (f"{CONVNET}.recipe.optimizer.lr", float("nan"), f"{CONVNET}.recipe.optimizer.lr: .*, got nan"),
    (f"{CONVNET}.recipe.label_smoothing", 1.0, f"{CONVNET}.recipe.label_smoothing: input should be less than 1"),
    ("seeds", [-1], "seeds.0: input should be greater than or equal to 0, got -1"),
    (f"{CONVNET}.seeds", [1, 1], rf"{CONVNET}: seeds: \[1, 1\] names a seed twice"),
    (f"{RESNET}.model.depth", 21, f"{RESNET}.model: depth must be 18, 34 or 6n\\+2"),
    # unknown names
    (f"{CONVNET}.model.name", "resnett", f"{CONVNET}.model: input tag 'resnett' .*'convnet'"),
    (f"{CONVNET}.recipe.optimizer.name", "adam", f"{CONVNET}.recipe.optimizer.name: .*'sgd', 'adamw' or 'rmsprop', got 'adam'"),
    (f"{CONVNET}.recipe.schedule.name", "onecycle", f"{CONVNET}.recipe.schedule.name: .*'one-cycle'.*got 'onecycle'"),
    (f"{CONVNET}.dataset", "svhn", f"{CONVNET}.dataset: input should be 'mnist' or 'cifar10', got 'svhn'"),
    (f"{CONVNET}.task", "1.9", f"{CONVNET}.task: .* got '1.9'"),
    ("preset", "tiny", "preset: expected auto, gpu, cpu, smoke, got 'tiny'"),
    ("experiments.my/net", {"like": "mnist-convnet"}, "experiments.my/net: string should match pattern"),
    # references
    (f"{CONVNET}-augmented.like", "mnist-convnett", f"{CONVNET}-augmented.like: no experiment 'mnist-convnett'; did you mean 'mnist-convnet'[?]"),
    (f"{CONVNET}.like", "mnist-convnet-augmented", f"{CONVNET}(-augmented)?.like: goes round in a circle"),
    (f"{CONVNET}.like", "mnist-convnet", f"{CONVNET}.like: goes round in a circle"),
    (f"{CONVNET}-augmented.recipe.epochs_of", "nothing", f"{CONVNET}-augmented.recipe.epochs_of: no experiment 'nothing'"),
    (f"{CONVNET}-augmented.recipe.epochs_of", "cifar10-shallow", f"{CONVNET}-augmented.recipe.epochs_of: cifar10-shallow has no fixed epochs"),
    (f"{CONSTANT}.recipe.budget.reference", "cifar10-fast", f"{CONSTANT}.recipe.budget.reference: no experiment 'cifar10-fast'; did you mean"),
    # settings that do not go together
    (f"{CONVNET}.recipe.until", {}, f"{CONVNET}.recipe: exactly one of epochs, epochs_of, budget, until"),
    (f"{CONVNET}.recipe.epochs", DELETE, f"{CONVNET}.recipe: exactly one of .* got none"),
    (f"{CONVNET}.recipe.schedule", {"name": "plateau"}, f"{CONVNET}.recipe: schedule plateau needs until"),
    ("experiments.cifar10-shallow.recipe.schedule", {"name": "cosine"}, "experiments.cifar10-shallow.recipe: until .* goes with schedule plateau or constant"),
    (f"{CONVNET}.recipe.augment", {"flip": True}, f"{CONVNET}: recipe.augment.flip: a mirrored digit is another sign"),
    ("experiments.mnist-transfer-frozen.recipe.augment", {"translate": 1}, "experiments.mnist-transfer-frozen: recipe.augment: a frozen base sees each image once"),
    ("experiments.mnist-transfer-frozen.model.weights", "random", "experiments.mnist-transfer-frozen.model: train: head needs weights: imagenet"),
    ("experiments.cifar10-convnextv2.model.depths", [1, 1], "experiments.cifar10-convnextv2.model: depths and widths must name the same number"),
    (f"{RESNET}.recipe.schedule.milestones", [0.7, 0.3], f"{RESNET}.recipe.schedule: milestones must rise"),
    # sources
    ("datasets.mnist.sources", [{"kind": "folder"}], "datasets.mnist.sources.0: path is missing: a source of kind folder"),
    ("datasets.mnist.sources", [{"kind": "ftp"}], "datasets.mnist.sources.0.kind: .*got 'ftp'"),
    ("datasets.mnist.sha256.test_images", "abc", "datasets.mnist.sha256.test_images: string should match pattern"),
    ("datasets.mnist.sha256.test_images", DELETE, "datasets.mnist.sha256: dictionary should have at least 4 items"),
]  # fmt: skip


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
    """The content with another value at a dotted key (tasks' dots do not occur in keys)."""
    content = copy.deepcopy(content)
    *path, last = key.split(".")
    node = content
    for part in path:
        node = node.setdefault(part, {})
    if value is DELETE:
        del node[last]
    else:
        node[last] = value
    return content


@pytest.mark.parametrize(
    ("key", "value", "line"), MISTAKES, ids=[f"{key}={value!r:.30}" for key, value, _ in MISTAKES]
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path, content, key, value, line):
    root = folder_with(tmp_path, yaml.safe_dump(changed(content, key, value), sort_keys=False))
    overrides = {} if key == "preset" else {"preset": "cpu"}
    message = error_of(root, overrides)
    assert re.match(f"config/config.yaml: {line}", message)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("preset: auto\nseeds: [0, 1\n", r"config/config.yaml, line \d+: "),
        ("preset: auto\n\tseeds: [0]\n", r"config/config.yaml, line 2: .*; mend the YAML there"),
        ("seeds: [0]\npreset: cpu\nseeds: [1]\n", "config/config.yaml, line 3: the key 'seeds' is given twice"),
        ("a:\n  b: 1\n  b: 1\n", "config/config.yaml, line 3: the key 'b' is given twice"),
        ("- seeds\n- [0]\n", "config/config.yaml: expected a table of keys, got list"),
        ("just words", "config/config.yaml: expected a table of keys, got str"),
        ("a: \x07", "config/config.yaml.*: .*; mend the YAML there"),
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
        ({"preset": "gpuu"}, "--config: preset: expected auto, gpu, cpu, smoke, got 'gpuu'; did you mean 'gpu'[?]"),
        ({"preset": 3}, "--config: preset: expected .* got 3"),
        ({"study": "../elsewhere"}, "--config: study: string should match pattern .* got '../elsewhere'"),
        ({"study": "a/b"}, "--config: study: string should match pattern .* got 'a/b'"),
        ({"study": ""}, "--config: study: string should match pattern"),
        ({"studdy": "x"}, "--config: studdy: unknown key; did you mean 'study'[?]"),
        ({"threads": 0}, "--config: threads: "),
        ({"data_folder": ""}, "--config: data_folder: "),
        ({"seeds": "many"}, "--config: seeds: input should be a valid list, got 'many'"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_said_to_be_there(root, overrides, line):
    assert re.match(line, error_of(root, {"preset": "cpu", **overrides}))


def test_further_mistakes_are_counted(tmp_path, content):
    twice = changed(changed(content, "sedes", 1), f"{CONVNET}.recipe.epochs", 0)
    root = folder_with(tmp_path, yaml.safe_dump(twice))
    assert error_of(root, {"preset": "cpu"}).endswith(" (and 1 more)")
