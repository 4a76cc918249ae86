# What the reports show: this project's page, and Snakemake's own.
TRANSFER = ["mnist-transfer-finetuned", "mnist-transfer-scratch"]
GALLERIES = {"task1": "mnist-convnet-augmented", "task2": "cifar10-resnet", "speedrun": "speedrun"}
REPORT_TEMPLATES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "report").glob("*.*"))
CATEGORIES = {
    "task1": "Task 1: MNIST",
    "task2": "Task 2: CIFAR-10",
    "task3": "Task 3: a newer network",
    "benchmark": "Benchmark",
    "speedrun": "Speedrun",
    "verify": "Verification",
}


def first_record(experiment):
    """The record of an experiment's first seed."""
    return record_of(experiment, STUDY.experiments[experiment].seeds[0])


def first_records(experiments):
    """The same of several, but for those that are missing."""
    return [
        first_record(name)
        for name in experiments
        if name in STUDY.experiments and is_included(name, STUDY.experiments[name].seeds[0])
    ]


def report_figures(*names):
    """Figures as outputs that `snakemake --report` shows, and their captions."""
    return _shown("figures", names)


def gallery(task):
    """The figures that `galleries` draws of one task's run; none where that is missing."""
    return if_trained([GALLERIES[task]], expand(rules.galleries.output, task=task))


def on_demand_results():
    """What the targets beside `all` leave, where they have been run, and nothing has changed since.

    The report shows it. `all` makes none of it again, which can take hours.
    """
    tables = Path("results", STUDY.study, "tables")
    leaves = []
    if (tables / "benchmark.csv").exists() and benchmark_is_current():
        leaves += [rules.benchmark_tables.output]
    if (tables / "speedrun.csv").exists() and runs_are_current("speedrun"):
        leaves += [rules.speedrun_table.output, gallery("speedrun")]
    if (tables / "speedrun_ablation.csv").exists() and runs_are_current("ablation"):
        leaves += if_trained(["speedrun-whole"], [rules.ablation_table.output])
    return leaves


def benchmark_is_current():
    return all(says(f"benchmark/{name}.json", benchmark_made_of(name)) for name in STUDY.benchmark.workloads)


def runs_are_current(task):
    """Whether all runs of a task are there; in a report on what is there, whether there is one."""
    there = [is_up_to_date(name, seed) for name, seed in runs_of(task)]
    return any(there) and (STUDY.finished_only or all(there))


def report_tables(*names):
    """Tables as outputs, in CSV, and in HTML for `snakemake --report`, which has no viewer for CSV."""
    csv = [f"<results>/tables/{name}.csv" for name in names]
    return csv + _shown("tables", [f"{name}.html" for name in names])


def _shown(folder, names):
    """Outputs `taskN[.point]_name` with category and labels, and the captions that lie beside them."""
    outputs = []
    for name in names:
        stem = Path(name).stem
        task, _, title = stem.partition("_")
        kind = folder.removesuffix("s")
        shown = dict(
            category=CATEGORIES.get(task.split(".")[0], "Examples, {task}"),
            labels={"point": task.removeprefix("task"), kind: title.replace("_", " ")},
        )
        if task == "{task}":  # Snakemake expands no wildcards in a caption's path
            caption, beside = ROOT / "report" / "captions" / f"{title}.rst", []
        else:
            caption = Path("results", STUDY.study, folder, f"{stem}.rst").absolute()
            beside = [f"<results>/{folder}/{stem}.rst"]
        outputs += [report(f"<results>/{folder}/{name}", caption=str(caption), **shown), *beside]
    return outputs
