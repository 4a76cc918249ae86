# Figures that show images, of the first seed of one run a task.
rule galleries:
    input:
        record=lambda wildcards: first_record(GALLERIES[wildcards.task]),
        data=lambda wildcards: ancient(f"<data>/{SPECS[GALLERIES[wildcards.task]].dataset}.safetensors"),
    output:
        report_figures(
            "{task}_confusion.svg", "{task}_misclassified.png", "{task}_augmented.png", "{task}_filters.png"
        ),
    log:
        "<results>/logs/{task}_galleries.log",
    wildcard_constraints:
        task=any_of(GALLERIES),
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_galleries.py"),
        prefix=lambda wildcards, output: output[0].removesuffix("_confusion.svg"),
    shell:
        "python scripts/make_galleries.py --record {input.record} --data {input.data}"
        " --prefix {params.prefix} 2>&1 | tee {log}"


rule study_report:
    input:
        records=records_of(*IN_ALL),
        tables=[
            rules.task1_tables.output,
            rules.task1_parts_tables.output,
            rules.task2_tables.output,
            rules.task3_tables.output,
            rules.task3_equal_cost_tables.output,
        ],
        # What the page shows beside what it makes of the records.
        shown=[
            rules.hardware.output.table,
            rules.input_pipeline.output,
            rules.task1_figures.output,
            rules.task2_figures.output,
            rules.task3_figures.output,
            rules.task3_equal_cost_figure.output,
            if_trained(equal_cost_networks(), rules.task3_inference.output),
            if_trained(TRANSFER, rules.task1_feature_map.output.figure),
            gallery("task1"),
            gallery("task2"),
            *on_demand_results(),
        ],
        templates=REPORT_TEMPLATES,
    output:
        report(
            "<results>/report.html",
            category="The study's report",
            caption="../report/captions/report.rst",
        ),
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_report.py"),
        preset=STUDY.preset,
        left_out=STUDY.left_out,
        missing=missing_runs(),
        why=why_missing(),
        seeds=seeds_of(*IN_ALL),
        study=folder_of_output,
    shell:
        "python scripts/make_report.py --study {params.study} --seeds {params.seeds:q}"
        " --shown {input.shown} --preset {params.preset} --left-out {params.left_out}"
        " --missing {params.missing} --out {output} 2>&1 | tee {log}"
