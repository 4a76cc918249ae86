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
        seeds=seeds_of("2.1.2", "2.1.3", "3"),
        study=study_folder,
    shell:
        "python scripts/make_tables.py task3_architectures"
        " --study {params.study} --seeds {params.seeds:q} --declared {params.declared:q} 2>&1 | tee {log}"


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
        seeds=seeds_of("2.1.2", "2.1.3", "3"),
        study=study_folder,
    shell:
        "python scripts/make_figures.py task3"
        " --study {params.study} --seeds {params.seeds:q} 2>&1 | tee {log}"


# The league: three networks against the ResNet, each at equal parameters, multiply-adds and seconds.
use rule train as cifar10_league with:
    wildcard_constraints:
        experiment=names_of("3-more"),


rule task3_league_tables:
    input:
        records_of("3-more"),
    output:
        csv=expand("<results>/tables/{table}.csv", table=["task3_equal", "task3_ablation"]),
        html=report_tables("task3_equal", "task3_ablation"),
    log:
        "<results>/logs/task3_league_tables.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        declared=declared("3-more"),
        seeds=seeds_of("3-more"),
        study=study_folder,
    shell:
        "python scripts/make_tables.py task3_equal task3_ablation"
        " --study {params.study} --seeds {params.seeds:q} --declared {params.declared:q} 2>&1 | tee {log}"


rule task3_league_figure:
    input:
        records_of("3-more"),
    output:
        report_figures("task3_rankings.svg"),
    log:
        "<results>/logs/task3_league_figure.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_figures.py"),
        seeds=seeds_of("3-more"),
        study=study_folder,
    shell:
        "python scripts/make_figures.py task3-league"
        " --study {params.study} --seeds {params.seeds:q} 2>&1 | tee {log}"


# Inference by the trained networks: one seed of each, interleaved.
rule task3_inference:
    input:
        records=first_records(league_networks()),
        hardware="<results>/hardware.json",
        data=ancient("<data>/cifar10.safetensors"),
        manifest="<data>/cifar10.json",
    output:
        csv="<results>/tables/task3_inference.csv",
        html=report_tables("task3_inference"),
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
        code=code_digest("measure_inference.py", *sorted({model_file(name) for name in league_networks()})),
        declared=declared("3-more"),
        seconds=STUDY.inference_seconds,
        folder=folder_of_output,
    shell:
        "python scripts/measure_inference.py --records {input.records} --declared {params.declared:q}"
        " --hardware {input.hardware} --data {input.data} --seconds {params.seconds}"
        " --threads {threads} --out {params.folder} 2>&1 | tee {log}"
