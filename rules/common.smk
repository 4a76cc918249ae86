# The study's configuration, and helpers that the rules share.
import json
import os
import re
import sys
import threading
from functools import cache
from pathlib import Path

ROOT = Path(workflow.basedir)
if Path.cwd().resolve() != ROOT.resolve():
    sys.exit(
        f"error: run snakemake in {ROOT} itself (without -s, -d or module): programs and results lie there"
    )
sys.path.insert(0, str(ROOT / "scripts"))
# The rules' programs run in the environment that runs Snakemake, unless conda provides one.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))

# Where there is no GPU, PyTorch's profiler logs that as an error, which it is not.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import warm
from trainkit import models
from trainkit.config import as_options, load_study
from trainkit.digest import code_digest, digest_of, run_digest
from trainkit.errors import StudyError
from trainkit.files import read_json, sha256_of_file, write_json
from trainkit.layers import read_yaml
from trainkit.lease import CPU, devices, share
from trainkit.record import identity, read_record
from trainkit.spec import IN_ALL, FeatureSpec
from trainkit.watching import CALL

if workflow.resource_settings.cores == 0:
    sys.exit("error: --cores 0: no job could ever run; say --cores all")

try:
    # Of two equal keys Snakemake takes the last one, and says nothing.
    for path in workflow.overwrite_configfiles:
        read_yaml(Path(path), os.path.relpath(path))
    STUDY = load_study(
        ROOT,
        config,
        say=lambda line: print(line, file=sys.stderr),
        given=" or ".join([*map(os.path.relpath, workflow.overwrite_configfiles), "--config"]),
    )
    # On a cluster the number of threads is given, for this machine tells nothing of its nodes.
    ON_CPU = STUDY.threads == "auto" and STUDY.preset != "gpu" and devices() == [CPU]
except StudyError as error:
    sys.exit(f"error: {error}")

# Snakemake's locks outlive a killed call. While this call lives it shares a lock that does not; where
# no other call does, locks that lie here are a dead one's.
if workflow.is_main_process:
    ALIVE = share(
        Path(".snakemake/alive.lock"),
        clear=lambda: [stale.unlink(missing_ok=True) for stale in Path(".snakemake/locks").glob("*.lock")],
    )

if unknown := {e.model.name for e in STUDY.experiments.values()} - models.architectures():
    sys.exit(
        f"error: scripts/trainkit/models/{min(unknown)}.py: no such file, and config names that model; add it"
    )

SPECS = {name: STUDY.run_spec(name) for name in STUDY.experiments}
MOST_SEEDS = max(len(experiment.seeds) for experiment in STUDY.experiments.values())


def threads():
    """CPU threads of a timed job: on a CPU it must have the machine for itself."""
    if STUDY.threads != "auto":
        return STUDY.threads
    return whole_machine() if ON_CPU else 4


def whole_machine():
    """As many threads as leave no core here for other jobs, also where --cores says more than there are."""
    return max(len(os.sched_getaffinity(0)), workflow.resource_settings.cores or 0)


def any_of(names):
    """A wildcard constraint: one of these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def to_train(*tasks):
    """A wildcard constraint: the experiments of these tasks.

    None in a report on what is there: no rule makes a record then, whatever has become of what it is made of.
    """
    return any_of([] if STUDY.finished_only else STUDY.of_task(*tasks))


def runs_of(*tasks):
    """All seeds of the experiments of these tasks, each an experiment and a seed."""
    return [(name, seed) for name in STUDY.of_task(*tasks) for seed in STUDY.experiments[name].seeds]


def in_blocks(priority):
    """The priority of a task's runs: its experiments' first seeds before any second ones, in random order.

    So a drift of the machine's speed meets all of them alike: a randomised complete block design, whose
    blocks are the seeds (Fisher 1935, The Design of Experiments, chapter 4). Trials, of all seeds, come before
    the runs that take their rates: else a method whose trials are done would make several seeds in a row.
    """

    def of_run(wildcards):
        seeds, seed = STUDY.experiments[wildcards.experiment].seeds, int(wildcards.seed)
        block = seeds.index(seed) if seed in seeds else len(seeds)  # one that was asked for by hand
        if SPECS[wildcards.experiment].is_trial:
            block = -1
        place = int(digest_of([wildcards.experiment, wildcards.seed]), 16) / 16**16
        return priority - (block + place) / MOST_SEEDS

    return of_run


@cache
def made_of(name):
    """What an experiment's records must have been made of."""
    spec = SPECS[name]
    return identity(
        spec.model_dump(mode="json"), run_digest(spec.model.name), STUDY.datasets[spec.dataset].sha256
    )


@cache
def is_up_to_date(name, seed):
    """Whether a run's record is there, and made of what its spec, code and data are now."""
    try:
        return read_record(finished_record(name, seed)).identity() == made_of(name)
    except StudyError:
        return False


def is_included(name, seed):
    """Whether a run is part of the study: those that are there, where nothing is to be trained."""
    return not STUDY.finished_only or is_up_to_date(name, seed)


def included(*tasks):
    """The seeds of these tasks' experiments that are part of the study."""
    seeds = {}
    for name, seed in runs_of(*tasks):
        if is_included(name, seed):
            seeds.setdefault(name, []).append(seed)
    return seeds


def records_of(*tasks):
    """The records of these tasks' runs."""
    return [record_of(name, seed) for name, seeds in included(*tasks).items() for seed in seeds]


def record_of(name, seed):
    return f"<results>/runs/{name}/seed-{seed}/record.json"


def seeds_of(*tasks):
    """The same runs for a command, which Linux limits to 128 KiB: hundreds of paths are more."""
    return json.dumps(included(*tasks))


def missing_runs():
    """The runs that a report on what is there lacks."""
    return [f"{name}/seed-{seed}" for name, seed in runs_of(*IN_ALL) if not is_included(name, seed)]


def why_missing():
    """When their records and logs were written, which tell why: with others the report changes."""
    study = Path("results", STUDY.study)
    files = [
        file
        for run in missing_runs()
        for file in (study / "runs" / run / "record.json", study / "logs" / "runs" / f"{run}.log")
    ]
    return [f"{file.parent} {file.stat().st_mtime_ns}" for file in files if file.exists()]


def spec_json(experiment):
    """A run's spec as its program takes it."""
    return SPECS[experiment].model_dump_json()


def declared(*tasks):
    """What the records of these tasks (or all) must have been made of: a table refuses any other."""
    names = STUDY.of_task(*tasks) if tasks else STUDY.experiments
    return json.dumps({name: made_of(name) for name in names})


def feature_spec(experiment):
    """What determines a frozen base's features, as their program takes it."""
    spec = SPECS[experiment]
    shared = {key: getattr(spec, key) for key in FeatureSpec.model_fields if hasattr(spec, key)}
    return FeatureSpec(**shared, train_images=spec.recipe.train_images).model_dump_json()


def equal_cost_networks():
    """The experiments at equal cost of different networks: what differs in training alone is left out."""
    first = {SPECS[name].model.model_dump_json(): name for name in reversed(STUDY.of_task("3-more"))}
    return [name for name in STUDY.of_task("3-more") if name in first.values()]


def if_trained(names, outputs):
    """Outputs that need trained networks; none where none of these is there."""
    return outputs if first_records(names) else []


def model_file(experiment):
    """The file of an experiment's architecture, below scripts/."""
    return f"trainkit/models/{SPECS[experiment].model.name}.py"


def calibration_made_of(experiment):
    """The digest of what decides a calibration: both specs, the code that measures them, and for how long."""
    reference = SPECS[experiment].recipe.budget.reference
    code = code_digest("calibrate.py", model_file(experiment), model_file(reference))
    return digest_of([spec_json(experiment), spec_json(reference), code, STUDY.calibration_seconds])


def features_made_of(experiment):
    """The digest of what decides a frozen base's features: their spec, and the code that computes them."""
    return digest_of([feature_spec(experiment), code_digest("compute_features.py")])


def benchmark_made_of(name):
    """The digest of what decides a measurement of the benchmark: the workload, how it is measured, code."""
    workload, benchmark = STUDY.workload(name), STUDY.benchmark
    model = [f"trainkit/models/{workload.model.name}.py"] if workload.model else []
    code = code_digest("benchmark.py", *model)
    return digest_of([workload.model_dump_json(), benchmark.pairs, benchmark.seconds, code])


# Large files are `ancient`, which is to say that their time does not count: the manifest beside
# each does, by its content.


def data_inputs(dataset, is_current):
    """A dataset with its manifest, and the measured machine.

    Measured anew, the machine is the same but for chance: what is there and made of what it should be is not
    made again for that. What is not must say so itself, for Snakemake does not ask it (`rule hardware`).
    """
    hardware = "<results>/hardware.json"
    return {
        "hardware": ancient(hardware) if is_current else hardware,
        "data": ancient(f"<data>/{dataset}.safetensors"),
        "manifest": f"<data>/{dataset}.json",
    }


def feature_inputs(wildcards):
    """What a frozen base's features are computed from."""
    name = wildcards.experiment
    is_current = says(f"features/{name}.json", features_made_of(name))
    return data_inputs(SPECS[name].dataset, is_current) | weight_inputs(wildcards)


def calibration_inputs(wildcards):
    """What a calibration trains with."""
    name = wildcards.experiment
    return data_inputs(SPECS[name].dataset, says(f"calibration/{name}.json", calibration_made_of(name)))


def benchmark_inputs(wildcards):
    """What a workload of the benchmark is measured with."""
    name = wildcards.workload
    is_current = says(f"benchmark/{name}.json", benchmark_made_of(name))
    return data_inputs(STUDY.workload(name).dataset, is_current)


def says(path, made_of):
    """Whether a file of the study is there and says that it was made of this."""
    try:
        return read_json(Path("results", STUDY.study, path))["made_of"] == made_of
    except (OSError, ValueError, KeyError):
        return False


def weight_inputs(wildcards):
    """A pretrained model's weights with their manifest; nothing for other models."""
    model = SPECS[wildcards.experiment].model
    if getattr(model, "weights", None) != "imagenet":
        return {}
    return {
        "weights": ancient(f"<data>/{model.name}.pth"),
        "weights_manifest": f"<data>/{model.name}.json",
    }


def run_inputs(wildcards):
    """What a run needs beside its spec."""
    spec = SPECS[wildcards.experiment]
    inputs = data_inputs(spec.dataset, is_up_to_date(spec.name, int(wildcards.seed)))
    if spec.frozen:
        inputs["features"] = ancient(f"<results>/features/{spec.name}.safetensors")
        inputs["features_manifest"] = f"<results>/features/{spec.name}.json"
    else:
        inputs |= weight_inputs(wildcards)
    if spec.tuned_by:
        seeds = {trial: STUDY.experiments[trial].seeds for trial in spec.tuned_by}
        inputs["trials"] = [record_of(trial, seed) for trial in seeds for seed in seeds[trial]]
    if spec.recipe.budget:
        inputs["calibration"] = f"<results>/calibration/{STUDY.same_step(spec.name)}.json"
    return inputs


def run_options(wildcards, input):
    """The command-line options of the inputs that only some runs have."""
    optional = [key for key in ("weights", "features", "calibration", "trials") if key in input.keys()]
    return " ".join(f"--{key} {input[key]}" for key in optional)


def folder_of_output(wildcards, output):
    """The folder of a rule's first output."""
    return str(Path(output[0]).parent)


def study_folder(wildcards, output):
    """The study's folder, of a rule whose first output lies in a folder there."""
    return str(Path(output[0]).parent.parent)


def to_verify():
    """A sample of the finished runs, each an experiment and a seed."""
    finished = [
        (name, seed)
        for name, experiment in STUDY.experiments.items()
        for seed in experiment.seeds
        if is_up_to_date(name, seed)
    ]
    sample = STUDY.to_verify(finished)
    if not sample:
        sys.exit(f"error: results/{STUDY.study}: no up-to-date run is there to verify; run snakemake first")
    return sample


def finished_record(name, seed):
    return Path("results", STUDY.study, "runs", name, f"seed-{seed}", "record.json")


def verified(wildcards):
    """The records that repeating the sample will leave."""
    return [f"<results>/verify/{name}/seed-{seed}/record.json" for name, seed in to_verify()]


def verified_originals(wildcards):
    """What the sample's own records are like now: should they change, they are judged anew."""
    return [sha256_of_file(finished_record(name, seed)) for name, seed in to_verify()]


def this_call(dag):
    """What a call was given and makes: for the report, and for who watches."""
    return {"options": options_to_repeat(), "runs": planned_runs(dag), "graph": rule_graph(dag)}


def options_to_repeat():
    """The options of a command that makes the study again."""
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    return as_options(STUDY, files, dict(workflow.config_settings.config))


def rule_graph(dag):
    """How many jobs each rule has, and which rules it needs."""
    jobs, needs = {}, {}
    for job in dag.jobs:
        jobs[job.rule.name] = jobs.get(job.rule.name, 0) + 1
        needs.setdefault(job.rule.name, set()).update(other.rule.name for other in dag.job_dependencies(job))
    return {"jobs": jobs, "needs": {rule: sorted(others) for rule, others in sorted(needs.items())}}


def planned_runs(dag):
    """The folder of every run that a call makes or needs, below the study's, and whether it is to be made."""
    study = Path("results", STUDY.study)
    return {
        str(Path(job.output.record).parent.relative_to(study)): dag.needrun(job)
        for job in dag.jobs
        if "record" in job.output.keys()
    }
