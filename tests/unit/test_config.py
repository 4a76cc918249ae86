"""The configuration: what it resolves to, and what arms of a comparison differ in."""

import json

import jsonschema
import pytest
import yaml

import write_schema
from trainkit import lease
from trainkit.config import PRESETS, Study, as_options, load_study
from trainkit.errors import StudyError
from trainkit.layers import merge
from trainkit.spec import RunSpec


@pytest.fixture(scope="module", params=PRESETS)
def study(request, root) -> Study:
    """The repository's own study, in each preset."""
    return load_study(root, {"preset": request.param})


def flat(spec: RunSpec) -> dict[str, object]:
    """A spec's dump as dotted keys, without its name, title and task."""

    def walk(prefix: str, value: object):
        if isinstance(value, dict):
            for key, below in value.items():
                yield from walk(f"{prefix}{key}.", below)
        else:
            yield prefix.rstrip("."), value

    return dict(walk("", spec.model_dump(mode="json", exclude={"name", "title", "task"})))


def differences(study: Study, a: str, b: str) -> set[str]:
    """The keys in which two experiments' specs differ."""
    one, other = flat(study.run_spec(a)), flat(study.run_spec(b))
    return {key for key in one.keys() | other.keys() if one.get(key, "absent") != other.get(key, "absent")}


def test_the_study_is_called_as_its_preset_unless_it_has_a_name(root, study):
    assert study.study == study.preset
    named = load_study(root, {"preset": study.preset, "study": "mine"})
    assert (named.study, named.preset) == ("mine", study.preset)


def test_auto_takes_the_gpu_preset_where_there_is_a_gpu_that_may_be_used(root, monkeypatch):
    monkeypatch.setattr(lease, "gpu_models", lambda: {"GPU-1": "H100"})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert load_study(root, {"preset": "auto"}).preset == "gpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert load_study(root, {}).study == "cpu"
    monkeypatch.setattr(lease, "gpu_models", dict)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert load_study(root, {}).study == "cpu"


def test_auto_takes_the_cpu_preset_for_a_small_gpu_and_says_why(root, monkeypatch):
    monkeypatch.setattr(lease, "devices", lambda: ["GPU-1"])
    said = []
    for gigabytes, preset in (8.2, "cpu"), (24.0, "gpu"), (None, "gpu"):
        monkeypatch.setattr(lease, "memory_gb", lambda _, gigabytes=gigabytes: gigabytes)
        assert load_study(root, {}, say=said.append).preset == preset
    assert said[0].startswith("preset auto: cpu, for the GPU has 8 GB of memory, and the preset gpu needs 20")


def test_every_task_has_its_experiments_in_every_preset(study):
    for task in ("1.1", "1.2", "1.3", "1.4", "2.1.2", "2.1.3", "2.2", "3"):
        assert study.of_task(task), f"no experiment of task {task}"


def test_every_spec_survives_the_way_to_its_program(study):
    for name in study.experiments:
        spec = study.run_spec(name)
        assert RunSpec.model_validate_json(spec.model_dump_json()) == spec
        assert spec.name == name
        assert spec.recipe.epochs_of is None


def test_point_1_3_trains_as_many_epochs_as_1_2(study):
    plain, augmented = (study.run_spec(study.of_task(task)[0]) for task in ("1.2", "1.3"))
    assert augmented.recipe.epochs == plain.recipe.epochs > 0


def test_augmentation_is_all_that_the_augmented_convnet_changes(study):
    changed = differences(study, "mnist-convnet", "mnist-convnet-augmented")
    assert changed
    assert all(key.startswith("recipe.augment.") for key in changed)


def test_the_dense_networks_share_their_architecture(study):
    changed = differences(study, "mnist-dense-baseline", "mnist-dense-improved")
    assert all(key.startswith("recipe.") for key in changed)


def test_the_transfer_runs_differ_in_what_their_names_say(study):
    assert differences(study, "mnist-transfer-finetuned", "mnist-transfer-scratch") == {"model.weights"}
    frozen = differences(study, "mnist-transfer-finetuned", "mnist-transfer-frozen")
    assert "model.train" in frozen
    assert frozen <= {"model.train", "recipe.epochs", "recipe.batch_size"}


def test_each_contestant_differs_from_the_control_in_its_schedule_and_slow_weights_alone(study):
    control = "cifar10-fast-constant"
    contestants = [name for name in study.of_task("2.2") if name != control]
    assert contestants
    for name in contestants:
        plain = name.removesuffix("-lookahead").removesuffix("-ema")
        changed = differences(study, control, name) - {"tuned_by"}
        allowed = ["recipe.schedule."] if plain != control else []
        allowed += ["recipe.optimizer.lookahead"] if name.endswith("-lookahead") else []
        allowed += ["recipe.ema"] if name.endswith("-ema") else []
        assert all(key.startswith(tuple(allowed)) for key in changed), (name, changed)
        assert all(any(key.startswith(prefix) for key in changed) for prefix in allowed), (name, changed)


def test_all_contestants_have_one_budget_and_its_reference_is_the_control(study):
    budgets = {study.run_spec(name).recipe.budget for name in study.of_task("2.2")}
    assert len(budgets) == 1
    assert budgets.pop().reference == "cifar10-fast-constant"


def test_contestants_share_a_calibration_if_their_steps_cost_the_same(study):
    assert study.same_step("cifar10-fast-exponential-trial-1") == "cifar10-fast-constant"
    assert study.same_step("cifar10-fast-constant-lookahead") == "cifar10-fast-constant-lookahead"
    for name in study.of_task("2.2"):
        changed = differences(study, name, study.same_step(name)) - {"tuned_by"}
        assert all(key.startswith("recipe.schedule.") for key in changed), name


MEANING = (
    *("dataset", "model.name", "model.weights", "model.train", "recipe.epochs_of"),
    *("recipe.budget.reference", "recipe.optimizer.name", "recipe.schedule.name", "recipe.augment.flip"),
)


def test_presets_change_sizes_and_budgets_never_meaning(root):
    full, *others = (load_study(root, {"preset": preset}) for preset in PRESETS)
    for other in others:
        left = [name for name in full.experiments if name in other.experiments]  # a null leaves one out
        tasks = {experiment.task for experiment in full.experiments.values()}
        assert {experiment.task for experiment in other.experiments.values()} == tasks  # one of each at least
        for name in left:
            experiment = full.experiments[name]
            assert (other.experiments[name].task, other.experiments[name].title) == (
                experiment.task,
                experiment.title,
            )
            one, two = flat(full.run_spec(name)), flat(other.run_spec(name))
            for key in MEANING:
                assert one.get(key) == two.get(key), f"{name}: {key}"
            lengths = ("recipe.epochs", "recipe.budget.epochs", "recipe.until.max_epochs")
            assert [bool(one.get(k)) for k in lengths] == [bool(two.get(k)) for k in lengths], name


def test_the_parts_of_the_dense_recipe_are_together_what_the_recipe_changes(study):
    base, whole = "mnist-dense-baseline", "mnist-dense-improved"
    everything = differences(study, base, whole)
    alone = {
        name: differences(study, base, name) for name in study.of_task("1.1-parts") if "-without-" not in name
    }
    assert all(changed and changed < everything for changed in alone.values())
    assert sum(map(len, alone.values())) == len(set().union(*alone.values()))  # each key in one part
    for name in study.of_task("1.1-parts"):
        part = name.replace("-without-", "-")
        if part != name and part in alone:
            assert differences(study, whole, name) == alone[part], name


def test_each_operation_alone_is_the_augmented_convnets_own(study):
    together = study.run_spec("mnist-convnet-augmented").recipe.augment.model_dump()
    for name in study.of_task("1.3-parts"):
        changed = differences(study, "mnist-augment-none", name)
        assert all(key.startswith("recipe.augment.") for key in changed), name
        own = study.run_spec(name).recipe.augment.model_dump()
        assert all(own[key.rpartition(".")[2]] == together[key.rpartition(".")[2]] for key in changed)


def test_with_little_data_three_networks_have_the_same_images_batches_and_epochs(study):
    for name in study.of_task("1.5-more"):
        recipe = study.run_spec(name).recipe
        kind = name.rpartition("-")[2]
        if name.startswith("mnist-little-") and kind in ("scratch", "convnet"):
            tuned = study.run_spec(name.replace(kind, "finetuned")).recipe
            for key in ("train_images", "batch_size", "epochs"):
                assert getattr(recipe, key) == getattr(tuned, key), (name, key)
        if recipe.budget:
            reference = study.run_spec(recipe.budget.reference).recipe
            assert (recipe.budget.epochs, recipe.train_images) == (reference.epochs, reference.train_images)


# -- Layers ------------------------------------------------------------------------------------


def test_only_the_speedrun_keeps_fewer_images_for_validation_than_the_dataset_says(study):
    for name in study.experiments:
        spec = study.run_spec(name)
        own = study.datasets[spec.dataset].split
        assert spec.split.validation == (100 if spec.task == "speedrun" else own.validation), name
        assert (spec.split.train_limit, spec.split.test_limit) == (own.train_limit, own.test_limit)


def test_the_command_line_lies_over_the_preset_and_the_preset_over_the_file(root):
    smoke = load_study(root, {"preset": "smoke"})
    assert smoke.seeds == [0]  # the file has three
    assert load_study(root, {"preset": "smoke", "seeds": [4, 5]}).seeds == [4, 5]
    over = {"experiments": {"mnist-convnet": {"recipe": {"epochs": 3}}}}
    changed = load_study(root, {"preset": "smoke", **over})
    assert changed.run_spec("mnist-convnet").recipe.epochs == 3
    assert changed.run_spec("mnist-convnet-augmented").recipe.epochs == 3
    assert changed.run_spec("mnist-convnet").model == smoke.run_spec("mnist-convnet").model


def test_seeds_of_an_experiment_go_before_those_of_the_study(root):
    over = {"preset": "cpu", "seeds": [7], "experiments": {"cifar10-resnet": {"seeds": [1, 2]}}}
    study = load_study(root, over)
    assert study.experiments["cifar10-resnet"].seeds == [1, 2]
    assert study.experiments["mnist-convnet"].seeds == [7]


def test_another_kind_of_length_takes_the_place_of_the_inherited_one(root):
    over = {
        "like": "mnist-convnet",
        "title": "x",
        "recipe": {"until": {"patience": 1}, "schedule": {"name": "plateau"}},
    }
    study = load_study(root, {"preset": "cpu", "experiments": {"new": over}})
    recipe = study.run_spec("new").recipe
    assert recipe.epochs is None
    assert recipe.until.patience == 1


def test_merging_goes_key_by_key():
    assert merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}}) == {"a": {"x": 1, "y": 5}, "b": 3}
    assert merge({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


def test_a_table_of_another_name_brings_none_of_the_old_ones_options():
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.8}
    assert merge(sgd, {"name": "adamw", "lr": 0.01}) == {"name": "adamw", "lr": 0.01}
    assert merge(sgd, {"name": "sgd", "lr": 0.01}) == {"name": "sgd", "lr": 0.01, "momentum": 0.8}


def test_the_schema_in_the_repository_is_that_of_the_code(root):
    assert (root / "config" / "schema.json").read_text() == write_schema.schema()


def mistakes(content: dict) -> list[str]:
    schema = jsonschema.Draft202012Validator(json.loads(write_schema.schema()))
    return [error.message for error in schema.iter_errors(content)]


@pytest.mark.parametrize(
    "layer", ["config.yaml", "presets/gpu.yaml", "presets/cpu.yaml", "presets/smoke.yaml"]
)
def test_an_editor_finds_no_mistake_in_the_configuration(root, layer):
    assert mistakes(yaml.safe_load((root / "config" / layer).read_text())) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"like": "b", "recipe": {"epoch": 3}},
        {"model": {"name": "resnet", "dept": 20}},
        {"model": {"depth": "deep"}},
        {"alike": "b"},
    ],
)
def test_an_editor_finds_a_mistake_in_an_experiment(entry):
    assert len(mistakes({"experiments": {"mine": entry}})) == 1


def test_no_two_experiments_of_a_task_are_the_same(study):
    specs: dict[tuple, str] = {}
    for name in study.experiments:
        spec = study.run_spec(name)
        meaning = spec.model_dump_json(exclude={"name", "title", "tuned_by"})
        assert (twin := specs.setdefault((spec.task, meaning), name)) == name, f"{name} is {twin}"


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (
            {"experiments": {"mnist-convnet-agumented": None}},
            "--config: experiments.mnist-convnet-agumented: null leaves nothing out; did you mean "
            "'mnist-convnet-augmented'?",
        ),
        (
            {"contest": {"crossed": {"lookahaed": None}}},
            "--config: contest.crossed.lookahaed: null leaves nothing out; did you mean 'lookahead'?",
        ),
        (
            {"experiments": {"cifar10-fast-linear-at-thrid": None}},
            "null leaves nothing out; did you mean 'cifar10-fast-linear-at-third'?",
        ),
        (
            {"experiments": {"cifar10-fast-mine": {"like": "cifar10-fast-step", "recipe": {"epochs": 5}}}},
            "experiments.cifar10-fast-mine.recipe.budget: is missing, and the contest is one of equal time",
        ),
        (
            {
                "experiments": {
                    "cifar10-airbench": {"recipe": {"budget": {"reference": "speedrun-tta", "epochs": 2}}}
                }
            },
            "experiments.cifar10-airbench.recipe.budget.reference: speedrun-tta resizes its images",
        ),
        (
            {"experiments": {"cifar10-resnett": {"recipe": {"epochs": 3}}}},
            "--config: experiments.cifar10-resnett: there is no such experiment to change; did you mean "
            "'cifar10-resnet'?",
        ),
        (
            {"experiments": {"recipe": {"epochs": 3}}},
            "--config: experiments.recipe: there is no such experiment to change",
        ),
        (
            {"experiments": {"cifar10-fast-constant-at-triple": None}},
            "experiments.cifar10-fast-constant-at-triple: is left out, and cifar10-fast-",
        ),
        ({"seeds": [0, 0]}, "--config: seeds: [0, 0] names a seed twice"),
        ({"experiments": ["mnist-convnet"]}, "--config: experiments: expected a table of experiments"),
        ({"study": "my/study"}, "--config: study: expected letters, digits, . _ and -, at most 64"),
        (
            {"experiments": {"mnist-convnet": {"model": {"name": "convnett"}}}},
            "--config: experiments.mnist-convnet.model: expected one of dense, convnet, resnet, "
            "efficientnet_lite0, convnextv2, repvgg, fasternet, airbench, got 'convnett'; did you mean "
            "'convnet'?",
        ),
    ],
)
def test_what_would_do_nothing_or_break_off_later_is_refused_at_once(root, over, said):
    with pytest.raises(StudyError) as error:
        load_study(root, {"preset": "cpu"} | over)
    assert said in str(error.value)


def test_rates_may_be_written_without_a_point(root):
    over = {"experiments": {"mnist-convnet": {"recipe": {"optimizer": {"lr": "1e-3"}}}}}
    study = load_study(root, {"preset": "cpu", "study": "1e3"} | over)
    assert study.experiments["mnist-convnet"].recipe.optimizer.lr == 0.001
    assert study.study == "1e3"


@pytest.mark.parametrize("preset", ["smoke", "cpu", "gpu"])
@pytest.mark.parametrize(
    "over",
    [
        {"contest": {"crossed": {"lookahead": None}}},
        {"experiments": {"cifar10-fast-linear": None}},
        {"contest": {"budgets": {"triple": None}}},
    ],
)
def test_what_a_preset_adjusts_may_be_left_out_of_the_contest(root, preset, over):
    whole = load_study(root, {"preset": preset}).experiments
    fewer = load_study(root, {"preset": preset} | over).experiments
    assert fewer.keys() <= whole.keys()
    assert all(fewer[name] == whole[name] for name in fewer)


def test_one_mistake_is_not_counted_for_those_that_inherit_it(root):
    with pytest.raises(StudyError) as error:
        load_study(root, {"preset": "cpu", "experiments": {"cifar10-resnet": {"recipe": {"batchsize": 5}}}})
    assert "cifar10-resnet.recipe.batchsize: unknown key; did you mean 'batch_size'?" in str(error.value)
    assert "more" not in str(error.value)


@pytest.mark.parametrize("preset", ["smoke", "cpu", "gpu"])
def test_what_a_preset_leaves_out_can_be_left_out_again(root, preset):
    left_out = load_study(root, {"preset": preset}).left_out
    again = load_study(root, {"preset": preset, "experiments": dict.fromkeys(left_out)})
    assert again.left_out == left_out


def test_half_the_epochs_are_half_and_its_schedule_is_one_cycle(study):
    whole, half, ahead = (f"cifar10-resnet{suffix}" for suffix in ("", "-half", "-lookahead"))
    assert study.run_spec(whole).recipe.schedule.name == "one-cycle"  # as the others' titles say
    if half in study.experiments:
        assert differences(study, whole, half) == {"recipe.epochs"}
        assert 2 * study.run_spec(half).recipe.epochs == study.run_spec(whole).recipe.epochs
    if ahead in study.experiments:
        assert {key.rpartition(".")[0] for key in differences(study, whole, ahead)} <= {
            "recipe.optimizer",
            "recipe.optimizer.lookahead",
        }
    assert all(key.startswith("recipe.schedule.") for key in differences(study, whole, f"{whole}-constant"))


def test_a_study_is_made_again_by_its_files_and_what_the_command_line_gave(root):
    given = {"preset": "auto", "finished_only": "true", "deterministic": "true", "seeds": ["0", "1"]}
    study = load_study(root, {"preset": "smoke", "study": "mine"})
    said = as_options(study, ["my.yaml"], given)
    assert said == "--configfile my.yaml --config preset=smoke study=mine deterministic=true 'seeds=[0, 1]'"
    assert as_options(load_study(root, {"preset": "smoke"}), [], {}) == "--config preset=smoke"
