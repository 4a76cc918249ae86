# Towards 94% on CIFAR-10 in the shortest time, and what each part of the recipe is worth.
use rule train as speedrun_train with:
    wildcard_constraints:
        experiment=names_of("speedrun", "ablation"),


rule speedrun_table:
    input:
        records_of("speedrun"),
    output:
        csv="<results>/tables/speedrun.csv",
        html=report_tables("speedrun"),
    log:
        "<results>/logs/speedrun_table.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        declared=declared("speedrun"),
        seeds=seeds_of("speedrun"),
        study=study_folder,
    shell:
        "python scripts/make_tables.py speedrun"
        " --study {params.study} --seeds {params.seeds:q} --declared {params.declared:q} 2>&1 | tee {log}"


rule ablation_table:
    input:
        records_of("ablation"),
    output:
        csv="<results>/tables/speedrun_ablation.csv",
        html=report_tables("speedrun_ablation"),
    log:
        "<results>/logs/speedrun_ablation.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_tables.py"),
        declared=declared("ablation"),
        seeds=seeds_of("ablation"),
        study=study_folder,
    shell:
        "python scripts/make_tables.py speedrun_ablation"
        " --study {params.study} --seeds {params.seeds:q} --declared {params.declared:q} 2>&1 | tee {log}"
