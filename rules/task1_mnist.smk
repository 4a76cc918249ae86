TASK1_MAIN = ("1.1", "1.2", "1.3", "1.4")
TASK1 = (*TASK1_MAIN, "1.1-parts", "1.3-parts", "1.5-more")
TASK1_TABLES = ["task1_mnist", "task1.5_transfer"]
TASK1_PARTS = ["task1.1_parts", "task1.3_augmentation", "task1.5_more"]


use rule train as mnist_dense with:
    wildcard_constraints:
        experiment=to_train("1.1", "1.1-parts"),
    priority: in_blocks(3)


use rule train as mnist_convnet with:
    wildcard_constraints:
        experiment=to_train("1.2"),
    priority: in_blocks(3)


use rule train as mnist_augmented with:
    wildcard_constraints:
        experiment=to_train("1.3", "1.3-parts"),
    priority: in_blocks(3)


use rule train as mnist_transfer with:
    wildcard_constraints:
        experiment=to_train("1.4", "1.5-more"),
    priority: in_blocks(3)


rule input_pipeline:
    input:
        data=ancient("<data>/mnist.safetensors"),
        manifest="<data>/mnist.json",
    output:
        "<results>/tables/task1.3_input_pipeline.csv",
    log:
        "<results>/logs/input_pipeline.log",
    priority: 3
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=spec_json("mnist-convnet-augmented"),
        images=STUDY.profile_images,
        code=code_digest("profile_pipeline.py"),
    shell:
        "python scripts/profile_pipeline.py --spec {params.spec:q} --data {input.data}"
        " --images {params.images} --threads {threads} --out {output} 2>&1 | tee {log}"


rule task1_tables:
    input:
        records_of(*TASK1_MAIN),
    output:
        report_tables(*TASK1_TABLES),
    log:
        "<results>/logs/task1_tables.log",
    priority: 3
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        tables=TASK1_TABLES,
        declared=declared(*TASK1_MAIN),
        seeds=seeds_of(*TASK1_MAIN),
        study=study_folder,
    shell:
        "python scripts/make_tables.py {params.tables} --study {params.study} --seeds {params.seeds:q}"
        " --declared {params.declared:q} 2>&1 | tee {log}"


# What the improvements, the operations and the pretraining are worth, one at a time.
use rule task1_tables as task1_parts_tables with:
    input:
        records_of(*TASK1),
    output:
        report_tables(*TASK1_PARTS),
    log:
        "<results>/logs/task1_parts_tables.log",
    params:
        tables=TASK1_PARTS,
        declared=declared(*TASK1),
        seeds=seeds_of(*TASK1),


rule task1_figures:
    input:
        records=records_of(*TASK1),
        profile="<results>/tables/task1.3_input_pipeline.csv",
    output:
        report_figures(
            "task1_accuracy.svg",
            "task1_history.svg",
            "task1.1_parts.svg",
            "task1.3_augmentation.svg",
            "task1.3_input_pipeline.svg",
            "task1.5_little_data.svg",
            "task1.5_stages_and_size.svg",
        ),
    log:
        "<results>/logs/task1_figures.log",
    priority: 3
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_figures.py"),
        seeds=seeds_of(*TASK1),
        study=study_folder,
    shell:
        "python scripts/make_figures.py task1 --study {params.study} --seeds {params.seeds:q}"
        " --input-pipeline {input.profile} 2>&1 | tee {log}"


# What the pretrained base makes of test digits: as it came, fine-tuned, and trained from random weights.
rule task1_feature_map:
    input:
        records=first_records(TRANSFER),
        data=ancient("<data>/mnist.safetensors"),
        weights=ancient("<data>/efficientnet_lite0.pth"),
        weights_manifest="<data>/efficientnet_lite0.json",
    output:
        figure=report_figures("task1.5_features.png"),
    log:
        "<results>/logs/task1_feature_map.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_feature_map.py"),
    shell:
        "python scripts/make_feature_map.py --records {input.records} --data {input.data}"
        " --weights {input.weights} --out {output.figure[0]} 2>&1 | tee {log}"
