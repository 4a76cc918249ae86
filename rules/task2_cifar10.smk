TASK2 = ("2.1.2", "2.1.3", "2.2", "2.2-whole", "2.3-budgets", "2.3-trials")
TASK2_TABLES = [
    "task2.1_baselines",
    "task2.2_fast_training",
    "task2.2_whole",
    "task2.3_equal_time",
    "task2.3_budgets",
    "task2.3_crossed",
    "task2.3_tuning",
]


use rule train as cifar10_shallow with:
    wildcard_constraints:
        experiment=to_train("2.1.2"),
    priority: in_blocks(2)


use rule train as cifar10_resnet with:
    wildcard_constraints:
        experiment=to_train("2.1.3", "2.2-whole"),
    priority: in_blocks(2)


use rule train as cifar10_fast with:
    wildcard_constraints:
        experiment=to_train("2.2"),
    priority: in_blocks(2)


# The same methods for other times, and the trials that choose each one's learning rate.
use rule train as cifar10_budgets with:
    wildcard_constraints:
        experiment=to_train("2.3-budgets"),
    priority: in_blocks(2)


use rule train as cifar10_trials with:
    wildcard_constraints:
        experiment=to_train("2.3-trials"),
    priority: in_blocks(2)


use rule task1_tables as task2_tables with:
    input:
        records_of(*TASK2),
    output:
        report_tables(*TASK2_TABLES),
    log:
        "<results>/logs/task2_tables.log",
    priority: 2
    params:
        tables=TASK2_TABLES,
        declared=declared(*TASK2),
        seeds=seeds_of(*TASK2),


rule task2_figures:
    input:
        records_of(*TASK2),
    output:
        report_figures(
            "task2.1_history.svg",
            "task2.2_schedules.svg",
            "task2.2_accuracy_against_seconds.svg",
            "task2.3_differences.svg",
            "task2.3_budgets.svg",
            "task2.3_crossed.svg",
        ),
    log:
        "<results>/logs/task2_figures.log",
    priority: 2
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_figures.py"),
        figures="task2",
        seeds=seeds_of(*TASK2),
        study=study_folder,
    shell:
        "python scripts/make_figures.py {params.figures}"
        " --study {params.study} --seeds {params.seeds:q} 2>&1 | tee {log}"
