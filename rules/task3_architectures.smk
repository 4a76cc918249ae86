TASK3 = ("2.1.2", "2.1.3", "3")
EQUAL_COST_TABLES = ["task3_equal", "task3_ablation"]


use rule train as cifar10_architecture with:
    wildcard_constraints:
        experiment=to_train("3"),


use rule task1_tables as task3_tables with:
    input:
        records_of(*TASK3),
    output:
        report_tables("task3_architectures"),
    log:
        "<results>/logs/task3_tables.log",
    priority: 0
    params:
        tables=["task3_architectures"],
        declared=declared(*TASK3),
        seeds=seeds_of(*TASK3),


use rule task2_figures as task3_figures with:
    input:
        records_of(*TASK3),
    output:
        report_figures("task3_architectures.svg", "task3_history.svg"),
    log:
        "<results>/logs/task3_figures.log",
    priority: 0
    params:
        figures="task3",
        seeds=seeds_of(*TASK3),


# At equal cost: three networks against the ResNet, each at equal parameters, multiply-adds and seconds.
use rule train as cifar10_equal_cost with:
    wildcard_constraints:
        experiment=to_train("3-more"),


use rule task1_tables as task3_equal_cost_tables with:
    input:
        records_of("3-more"),
    output:
        report_tables(*EQUAL_COST_TABLES),
    log:
        "<results>/logs/task3_equal_cost_tables.log",
    priority: 0
    params:
        tables=EQUAL_COST_TABLES,
        declared=declared("3-more"),
        seeds=seeds_of("3-more"),


use rule task2_figures as task3_equal_cost_figure with:
    input:
        records_of("3-more"),
    output:
        report_figures("task3_rankings.svg"),
    log:
        "<results>/logs/task3_equal_cost_figure.log",
    priority: 0
    params:
        figures="task3-equal-cost",
        seeds=seeds_of("3-more"),


# Inference by the trained networks: one seed of each, interleaved.
rule task3_inference:
    input:
        records=first_records(equal_cost_networks()),
        hardware="<results>/hardware.json",
        data=ancient("<data>/cifar10.safetensors"),
        manifest="<data>/cifar10.json",
    output:
        report_tables("task3_inference"),
    log:
        "<results>/logs/task3_inference.log",
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        code=code_digest(
            "measure_inference.py", *sorted({model_file(name) for name in equal_cost_networks()})
        ),
        declared=declared("3-more"),
        seconds=STUDY.inference_seconds,
        folder=folder_of_output,
    shell:
        "python scripts/measure_inference.py --records {input.records} --declared {params.declared:q}"
        " --hardware {input.hardware} --data {input.data} --seconds {params.seconds}"
        " --threads {threads} --out {params.folder} 2>&1 | tee {log}"
