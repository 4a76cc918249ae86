# Towards 94% on CIFAR-10 in the shortest time, and what each part of the recipe is worth.
use rule train as speedrun_train with:
    wildcard_constraints:
        experiment=to_train("speedrun", "ablation"),


use rule task1_tables as speedrun_table with:
    input:
        records_of("speedrun"),
    output:
        report_tables("speedrun"),
    log:
        "<results>/logs/speedrun_table.log",
    priority: 0
    params:
        tables=["speedrun"],
        declared=declared("speedrun"),
        seeds=seeds_of("speedrun"),


use rule task1_tables as ablation_table with:
    input:
        records_of("ablation"),
    output:
        report_tables("speedrun_ablation"),
    log:
        "<results>/logs/speedrun_ablation.log",
    priority: 0
    params:
        tables=["speedrun_ablation"],
        declared=declared("ablation"),
        seeds=seeds_of("ablation"),
