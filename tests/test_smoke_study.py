"""The whole study on a slice of the real data, from one command, and what it leaves."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from project import ROOT, Project

from trainkit import runs
from trainkit.datasets import CLASSES
from trainkit.errors import StudyError

pytestmark = pytest.mark.slow

TABLES = {
    "task1_mnist": 7,
    "task1.5_transfer": 3,
    "task1.1_parts": 6,
    "task1.3_augmentation": 2,
    "task1.5_more": 12,
    "task2.1_baselines": 2,
    "task2.2_fast_training": 5,
    "task2.2_whole": 2,
    "task2.3_equal_time": 5,
    "task2.3_budgets": 7,
    "task3_architectures": 4,
    "task3_equal": 8,
    "task3_ablation": 3,
}
POINTS = ("1.1", "1.2", "1.3", "1.4", "1.5", "2.1.1", "2.1.2", "2.1.3", "2.2", "2.3", "3")
FIELDS = """
    experiment task seed dataset model params_total params_trainable epochs steps val_accuracy
    test_accuracy seconds device precision code_digest git_commit data_sha256 packages hardware
"""
HISTORY = "epoch,step,seconds,lr,train_loss,train_accuracy,val_loss,val_accuracy"


@pytest.mark.parametrize(("name", "rows"), TABLES.items())
def test_every_table_of_the_design_has_a_row_an_experiment(smoke: Project, name: str, rows: int):
    table = pd.read_csv(smoke.results / "tables" / f"{name}.csv")
    assert len(table) == rows
    assert table.test_accuracy.between(1, 100).all()


def test_the_contest_is_run_in_blocks_after_all_its_trials(smoke: Project):
    finished: dict[tuple[str, int], list[str]] = {}
    for path in (smoke.results / "runs").glob("*/seed-*/record.json"):
        record = json.loads(path.read_text())
        finished.setdefault((record["task"], record["seed"]), []).append(record["finished"])
    trials, first, second = (finished[key] for key in (("2.3-trials", 1000), ("2.2", 0), ("2.2", 1)))
    assert (len(trials), len(first), len(second)) == (10, 5, 2)
    assert max(trials) < min(first) and max(first) < min(second)


def test_every_run_leaves_a_whole_record_and_history(smoke: Project):
    records = sorted((smoke.results / "runs").glob("*/seed-*/record.json"))
    assert len(records) == 54
    for path in records:
        record = json.loads(path.read_text())
        assert set(FIELDS.split()) <= record.keys(), path
        assert {"load", "compile", "train", "evaluate", "total"} <= record["seconds"].keys()
        parts = sum(record["seconds"][key] for key in ("load", "compile", "train", "evaluate"))
        assert parts <= record["seconds"]["total"] + 0.01, path
        assert (path.parent / "history.csv").read_text().splitlines()[0] == HISTORY
        history = pd.read_csv(path.parent / "history.csv")
        assert history.step.iloc[-1] == record["steps"]
        assert (path.parent / "model.safetensors").stat().st_size > 1000


def test_who_watches_knows_the_runs_of_the_call(smoke: Project):
    command = [sys.executable, "scripts/watch.py", "results/smoke"]
    done = subprocess.run(command, cwd=smoke.folder, capture_output=True, text=True)
    assert "54 of 54 trainings finished, 0 running, 0 remaining" in done.stdout, done.stderr


def test_tables_are_means_of_the_records(smoke: Project):
    name = "cifar10-fast-linear"
    records = [json.loads(p.read_text()) for p in smoke.results.glob(f"runs/{name}/seed-*/record.json")]
    assert len(records) == 2
    table = pd.read_csv(smoke.results / "tables" / "task2.3_equal_time.csv").set_index("experiment")
    mean = 100 * sum(record["test_accuracy"] for record in records) / 2
    assert table.test_accuracy[name] == pytest.approx(mean, rel=1e-4)


def test_augmented_and_plain_convnet_train_equally_long(smoke: Project):
    steps = [
        json.loads((smoke.results / "runs" / name / "seed-0" / "record.json").read_text())["steps"]
        for name in ("mnist-convnet", "mnist-convnet-augmented")
    ]
    assert steps[0] == steps[1] > 0


def test_a_frozen_base_trains_its_head_only(smoke: Project):
    table = pd.read_csv(smoke.results / "tables" / "task1.5_transfer.csv").set_index("experiment")
    frozen, tuned = table.loc["mnist-transfer-frozen"], table.loc["mnist-transfer-finetuned"]
    assert frozen.params_total == tuned.params_total == tuned.params_trainable
    assert frozen.params_trainable < 0.2 * frozen.params_total
    assert frozen.features_seconds > 0


def test_a_trained_network_is_used_as_the_results_page_shows(smoke: Project):
    page = (ROOT / "results" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1].replace("results/cpu", "results/smoke")
    done = subprocess.run([sys.executable, "-c", code], cwd=smoke.folder, capture_output=True, text=True)
    names = ast.literal_eval(done.stdout)
    assert len(names) == 8 and set(names) <= set(CLASSES["cifar10"]), done.stderr


def test_a_frozen_bases_run_is_no_whole_network(smoke: Project):
    with pytest.raises(StudyError, match=r"base was frozen, and model\.safetensors holds its head alone"):
        runs.trained(smoke.results / "runs" / "mnist-transfer-frozen" / "seed-0" / "record.json")


def test_contestants_get_steps_by_their_measured_cost(smoke: Project):
    plain = json.loads((smoke.results / "calibration" / "cifar10-fast-constant.json").read_text())
    ahead = json.loads((smoke.results / "calibration" / "cifar10-fast-constant-lookahead.json").read_text())
    assert plain["ratio"] == 1.0
    record = json.loads((smoke.results / "runs/cifar10-fast-linear-lookahead/seed-0/record.json").read_text())
    left = 2 * ahead["reference_steps_per_epoch"] - ahead["finish_in_reference_steps"]
    assert record["steps"] == round(left / ahead["ratio"])
    # The end of both is 20 forward passes here, which are counted.
    assert min(ahead["finish_in_reference_steps"], plain["finish_in_reference_steps"]) > 1
    control = json.loads((smoke.results / "runs/cifar10-fast-constant/seed-0/record.json").read_text())
    assert control["steps"] == round(
        2 * plain["reference_steps_per_epoch"] - plain["finish_in_reference_steps"]
    )


def test_contestants_take_the_rate_that_their_trials_chose_without_seeing_the_test(smoke: Project):
    runs = smoke.results / "runs"
    trials = [json.loads(p.read_text()) for p in runs.glob("cifar10-fast-linear-trial-*/seed-*/record.json")]
    assert sorted(trial["learning_rate"] for trial in trials) == [0.03, 0.1]
    assert {trial["test_accuracy"] for trial in trials} == {None}
    best = max(trials, key=lambda trial: (trial["val_accuracy"], -trial["learning_rate"]))["learning_rate"]
    for name in ("cifar10-fast-linear", "cifar10-fast-linear-at-triple"):
        assert json.loads((runs / name / "seed-0/record.json").read_text())["learning_rate"] == best
    seeds = {trial["seed"] for trial in trials}
    assert not (runs / "cifar10-fast-linear" / f"seed-{seeds.pop()}").exists()


def test_the_report_answers_every_point_with_this_studys_numbers(smoke: Project):
    report = (smoke.results / "report.html").read_text()
    for point in POINTS:
        assert f'id="t{point}"' in report, point
    table = pd.read_csv(smoke.results / "tables" / "task1_mnist.csv")
    for accuracy in table.test_accuracy:
        assert f"{accuracy:.2f}%" in report
    outside_of_scripts = re.sub(r"(<script[^>]*>).*?</script>", r"\1", report, flags=re.DOTALL)
    assert not re.search(r'(src|href)="https?:', outside_of_scripts)


def test_the_hardware_table_says_what_could_not_be_read(smoke: Project):
    hardware = json.loads((smoke.results / "hardware.json").read_text())
    table = pd.read_csv(smoke.results / "tables" / "task2.1.1_hardware.csv").set_index("item").value
    if not hardware["gpus"]:
        assert table["GPUs"].startswith("0: ")
    if hardware["cpu"]["clock_base_mhz"] is None:
        assert "not reported" in table["CPU clock, base"]
    assert hardware["cpu"]["model"] == table["CPU model"]


def test_a_second_call_does_nothing_and_says_so(smoke: Project):
    assert "Nothing to be done" in smoke.snakemake("--resources", "gpu=1")


def test_targets_and_graphs_work(smoke: Project):
    for target in ("task1", "task2", "task3"):
        assert smoke.planned(target) in ({}, {target: 1})
    graph = smoke.snakemake("--rulegraph")
    for rule in ("mnist_dense", "mnist_transfer", "cifar10_resnet", "cifar10_fast", "study_report"):
        assert f'label = "{rule}"' in graph


def test_no_command_of_the_largest_preset_comes_near_linuxs_limit_of_128_kib(smoke: Project):
    snakemake = str(Path(sys.executable).parent / "snakemake")
    options = ["-n", "-p", "--quiet", "host", "--config", "preset=gpu", "study=large"]
    done = subprocess.run([snakemake, *options], cwd=smoke.folder, capture_output=True, text=True)
    commands = [
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Shell command:")
    ]
    assert len(commands) > 900, done.stderr[-3000:]
    assert max(map(len, commands)) < 64 * 1024


def test_a_timed_job_takes_all_the_cores_that_there_are_to_take(smoke: Project):
    target = "results/smoke/runs/mnist-convnet/seed-0/record.json"
    for cores in ("1", "64"):  # more than this machine has, so that nothing runs beside it there either
        printed = smoke.snakemake(target, "-n", "-p", "--force", "--quiet", "host", "--cores", cores)
        assert f"--threads {cores} " in printed


# -- What reruns, and what does not --------------------------------------------------------


def test_touching_and_commenting_rerun_nothing(editable: Project):
    engine = editable.folder / "scripts/trainkit/engine.py"
    engine.write_text(engine.read_text() + "\n# a comment at the end\n")
    for path in editable.folder.glob("scripts/**/*.py"):
        path.touch()
    assert editable.planned() == {}


def test_a_change_that_is_taken_back_reruns_nothing(editable: Project):
    path = editable.folder / "scripts/trainkit/models/convnet.py"
    text = path.read_text()
    path.write_text(text + "\nEDITED = True\n")
    assert editable.planned() != {}
    path.write_text(text)
    assert editable.planned() == {}


def test_editing_an_architecture_retrains_its_runs_alone(editable: Project):
    path = editable.folder / "scripts/trainkit/models/convnextv2.py"
    path.write_text(path.read_text().replace("std=0.02", "std=0.03"))
    planned = editable.planned()
    trained = {rule for rule in planned if rule.startswith(("mnist_", "cifar10_"))}
    assert trained == {"cifar10_architecture", "cifar10_equal_cost"}
    assert planned["task3_tables"] == planned["study_report"] == 1
    assert "task1_tables" not in planned


TRAINING = ("mnist_", "cifar10_", "calibrate", "features")


def test_measuring_the_machine_anew_retrains_nothing(editable: Project):
    path = editable.folder / "scripts/trainkit/precision.py"
    path.write_text(path.read_text().replace("ROUNDS = 6", "ROUNDS = 7"))
    assert editable.planned() == {}  # it is measured once a study, or by force
    planned = editable.planned("--forcerun", "hardware")
    assert planned["hardware"] == planned["study_report"] == 1
    assert not [rule for rule in planned if rule.startswith(TRAINING)]


@pytest.mark.parametrize("measured_anew", [False, True])
def test_code_that_all_runs_and_the_measurement_share_retrains_all(editable: Project, measured_anew: bool):
    path = editable.folder / "scripts/trainkit/device.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    planned = editable.planned(*(["--forcerun", "hardware"] if measured_anew else []))
    assert ("hardware" in planned) == measured_anew
    assert sum(n for rule, n in planned.items() if rule.startswith(TRAINING)) > 60
    assert planned["task1_tables"] == planned["task2_tables"] == planned["study_report"] == 1


def test_changing_one_experiment_reruns_it_alone(editable: Project):
    path = editable.folder / "config/config.yaml"
    text = path.read_text()
    assert "{schedule: {name: exponential}}" in text
    path.write_text(
        text.replace("{schedule: {name: exponential}}", "{schedule: {name: exponential, final: 0.02}}")
    )
    planned = editable.planned()
    assert {rule: n for rule, n in planned.items() if rule.startswith(("mnist_", "cifar10_", "cal"))} == {
        "cifar10_fast": 1,
        "cifar10_trials": 2,
    }


def test_adding_a_seed_trains_that_seed_alone(editable: Project):
    path = editable.folder / "config/presets/smoke.yaml"
    path.write_text(path.read_text().replace("mnist-convnet: {", "mnist-convnet: {seeds: [0, 7], "))
    planned = editable.planned()
    # mnist-convnet-augmented is like mnist-convnet, seeds and all, and so are 1.3's two parts
    assert planned["mnist_convnet"] == 1
    assert planned["mnist_augmented"] == 3
    assert "mnist_dense" not in planned


def test_changing_the_reports_prose_renders_the_report_alone(editable: Project):
    path = editable.folder / "report/appendix.html.j2"
    path.write_text(path.read_text().replace("Protocol", "The protocol"))
    assert editable.planned() == {"study_report": 1}


def test_a_record_of_other_code_is_refused_by_the_tables(editable: Project):
    path = editable.results / "runs/cifar10-shallow/seed-0/record.json"
    path.write_text(path.read_text().replace('"code_digest": "', '"code_digest": "0'))
    printed = editable.snakemake("results/smoke/tables/task2.1_baselines.csv", ok=False)
    assert (
        "error: results/smoke/runs/cifar10-shallow/seed-0/record.json: was made from another code" in printed
    )
    assert "Traceback" not in printed


HOSTILE = """<script>alert(1)</script> "$(touch pwned)" '; touch pwned; ' `touch pwned` $x$ {y} %s"""


def test_a_hostile_title_is_only_a_word(editable: Project):
    path = editable.folder / "config/presets/smoke.yaml"
    path.write_text(
        path.read_text().replace("mnist-convnet: {", f"mnist-convnet: {{title: {json.dumps(HOSTILE)}, ")
    )
    editable.snakemake()
    record = json.loads((editable.results / "runs/mnist-convnet/seed-0/record.json").read_text())
    assert record["title"] == HOSTILE
    assert not list(editable.folder.rglob("pwned"))
    for page in (editable.results / "report.html", editable.results / "tables/task1_mnist.html"):
        assert "&lt;script&gt;alert(1)" in page.read_text()
        assert "<script>alert(1)" not in page.read_text()
    editable.snakemake("--report", "snakemake.html")  # its captions are reStructuredText and Jinja templates


def test_a_report_of_the_finished_runs_says_what_is_missing_and_why(editable: Project):
    runs, logs = editable.results / "runs", editable.results / "logs" / "runs"
    for name in ("mnist-convnet", "cifar10-shallow", "cifar10-equal-params-repvgg"):
        shutil.rmtree(runs / name)
    (logs / "mnist-convnet" / "seed-0.log").write_text("epoch 1\nerror: out of memory: 3 bytes needed\n")
    shutil.rmtree(logs / "cifar10-shallow")
    record = json.loads((runs / "cifar10-resnet/seed-0/record.json").read_text())
    (runs / "cifar10-resnet/seed-0/record.json").write_text(json.dumps(record | {"code_digest": "another"}))
    (editable.folder / "own.yaml").write_text("verify_runs: 2\n")
    option = ("--configfile", "own.yaml", "--config", "finished_only=true")
    trains = {"mnist_convnet", "cifar10_shallow", "cifar10_resnet", "cifar10_equal_cost"}
    assert not trains & editable.planned(*option).keys()
    editable.snakemake(*option)
    page = (editable.results / "report.html").read_text()
    assert "of 54 runs 4 are" in page
    assert 'ARGS="--configfile own.yaml --config preset=smoke"' in page  # how to make the whole of it
    for run, why in {
        "mnist-convnet/seed-0": "error: out of memory: 3 bytes needed",
        "cifar10-shallow/seed-0": "not begun",
        "cifar10-equal-params-repvgg/seed-0": "begun, and stopped without an error of its own",
        "cifar10-resnet/seed-0": "made of another spec, code or data than this study&#39;s",
    }.items():
        assert f'<tr><td><code>{run}</code></td><td class="words">{why}</td></tr>' in page
    assert page.count("This waits for") >= 5
    assert (editable.results / "figures/task2_confusion.svg").exists()  # of the run that does not count
    assert page.count("Not drawn, for runs are") == 4
    assert "ConvNeXt V2 reaches" in page  # what does not need them stands
    assert editable.planned()["mnist_convnet"] == 1  # and a later call trains them
    # What its runs were fitted to, or what is wrong with one, may change: still nothing is trained.
    assert editable.planned(*option, "calibration_seconds=2") == {}
    (logs / "mnist-convnet" / "seed-0.log").write_text("error: no space left on device\n")
    assert editable.planned(*option) == {"study_report": 1}


def test_verify_repeats_a_sample_of_runs_and_finds_them_the_same(editable: Project):
    printed = editable.snakemake("verify")
    assert "3 of 3 runs reproduce bit for bit" in printed
    table = pd.read_csv(editable.results / "tables" / "verify.csv")
    assert len(table) == 3 and table.experiment.is_unique
    assert (table.machine == "the same").all() and table.same_weights_and_history.all()
    assert (table.verdict == "reproduces bit for bit").all()
    assert editable.planned("verify") in ({}, {"verify": 1})
    path = editable.results / "runs" / table.experiment[0] / f"seed-{table.seed[0]}" / "record.json"
    path.write_text(path.read_text().replace('"finished": "2', '"finished": "3'))
    assert editable.planned("verify")["verify_table"] == 1  # another record is judged anew
    engine = editable.folder / "scripts/trainkit/engine.py"
    engine.write_text(engine.read_text() + "\nEDITED = True\n")
    printed = editable.snakemake("-n", "verify", ok=False)
    assert "no up-to-date run is there to verify; run snakemake first" in printed


# -- Mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("study=a/b", "study"),
        ("sedes=[1]", "did you mean 'seeds'"),
        ('experiments={"mnist-convnet": {"recipe": {"epochs": -1}}}', "mnist-convnet.recipe.epochs"),
    ],
)
def test_a_mistake_ends_in_one_line(smoke: Project, option: str, expected: str):
    printed = smoke.snakemake("-n", "--config", option, ok=False)
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "--config" in errors[0]
    assert expected in errors[0]
    assert "Traceback" not in printed


def test_a_call_that_could_never_do_anything_ends_at_once(smoke: Project, tmp_path: Path):
    assert "error: --cores 0: no job could ever run" in smoke.snakemake("--cores", "0", ok=False)
    own = tmp_path / "my.yaml"
    own.write_text("preset: smoke\npreset: cpu\n")
    printed = smoke.snakemake("-n", "--configfile", str(own), ok=False)
    assert "my.yaml, line 2: the key 'preset' is given twice" in printed
    elsewhere = Project(tmp_path)
    printed = elsewhere.snakemake("-n", "-s", str(smoke.folder / "Snakefile"), ok=False)
    assert f"error: run snakemake in {smoke.folder} itself" in printed
