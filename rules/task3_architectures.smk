use rule train as cifar10_architecture with:
    wildcard_constraints:
        experiment=names_of("3"),


rule task3_tables:
    input:
        records_of("2.1.2", "2.1.3", "3"),
    output:
        csv=expand("<results>/tables/{table}.csv", table=["task3_architectures"]),
        html=report_tables("task3_architectures"),
    log:
        "<results>/logs/task3_tables.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        declared=declared("2.1.2", "2.1.3", "3"),
        folder=folder_of_output,
    shell:
        "python scripts/make_tables.py task3_architectures"
        " --records {input} --declared {params.declared:q} --out {params.folder} 2>&1 | tee {log}"


rule task3_figures:
    input:
        records_of("2.1.2", "2.1.3", "3"),
    output:
        report_figures(
            "task3_architectures.svg",
            "task3_history.svg",
        ),
    log:
        "<results>/logs/task3_figures.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_figures.py"),
        folder=folder_of_output,
    shell:
        "python scripts/make_figures.py task3 --records {input}" " --out {params.folder} 2>&1 | tee {log}"


# On demand: further networks, and ConvNeXt V2 without some of its ingredients.
use rule train as cifar10_more with:
    wildcard_constraints:
        experiment=names_of("3-more"),


rule task3_more_table:
    input:
        records_of("2.1.3", "3", "3-more"),
    output:
        csv="<results>/tables/task3_more.csv",
        html=report_tables("task3_more"),
    log:
        "<results>/logs/task3_more_table.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        declared=declared("2.1.3", "3", "3-more"),
        folder=folder_of_output,
    shell:
        "python scripts/make_tables.py task3_more --records {input} --declared {params.declared:q}"
        " --out {params.folder} 2>&1 | tee {log}"
