from snakemake.utils import min_version

min_version("9.19")


include: "rules/common.smk"
include: "rules/shown.smk"


# A GPU, or the whole CPU, belongs to one timed training at a time; clusters count for themselves.
resource_scopes:
    gpu="local",


pathvars:
    results=f"results/{STUDY.study}",
    data=STUDY.data_folder,


wildcard_constraints:
    dataset=any_of(STUDY.datasets),
    experiment=any_of(STUDY.experiments),
    seed="0|[1-9][0-9]*",


include: "rules/hardware.smk"
include: "rules/data.smk"
include: "rules/training.smk"
include: "rules/task1_mnist.smk"
include: "rules/task2_cifar10.smk"
include: "rules/task3_architectures.smk"
include: "rules/benchmark.smk"
include: "rules/speedrun.smk"
include: "rules/verify.smk"
include: "rules/report.smk"


# Seconds each: on a cluster they stay on the login node.
localrules:
    task1_tables,
    task1_parts_tables,
    task1_figures,
    task1_feature_map,
    task2_tables,
    task2_figures,
    task3_tables,
    task3_figures,
    task3_equal_cost_tables,
    task3_equal_cost_figure,
    galleries,
    benchmark_tables,
    speedrun_table,
    ablation_table,
    verify_table,
    study_report,


# The graph of rules is drawn in the report. Local jobs start from processes that have imported PyTorch; printed commands run by hand as they are.
onstart:
    # Snakemake's own lock cannot be taken twice by one thread: a signal that comes while it is held would wait for ever.
    if not hasattr(workflow.scheduler, "_lock"):
        sys.exit("error: this Snakemake is newer than any that was tried: install 9.27.1")
    workflow.scheduler._lock = threading.RLock()
    write_json(Path("results", STUDY.study, CALL), this_call(workflow.dag))
    if STUDY.warm_start and workflow.local_exec and not workflow.deployment_settings.deployment_method:
        shell.prefix(warm.shell_prefix())


onsuccess:
    if any(job.rule.name == "study_report" for job in workflow.dag.jobs):
        print(f"The report is ready: results/{STUDY.study}/report.html", file=sys.stderr)


onerror:
    print(
        "Stopped before the end. Nothing is lost: the same command goes on from here. If a job failed, its own "
        f"line begins with `error:` above, and results/{STUDY.study}/logs has it (of data: {STUDY.data_folder}/logs); "
        "where one was Killed without such a line, the kernel did it, most often for want of memory. "
        "With finished_only=true after --config it makes a report of the runs that are there.",
        file=sys.stderr,
    )


rule all:
    default_target: True
    input:
        "<results>/report.html",


rule task1:
    input:
        rules.task1_tables.output,
        rules.task1_parts_tables.output,
        rules.task1_figures.output,
        if_trained(TRANSFER, rules.task1_feature_map.output),


rule task2:
    input:
        rules.hardware.output,
        rules.task2_tables.output,
        rules.task2_figures.output,


rule task3:
    input:
        rules.task3_tables.output,
        rules.task3_figures.output,
        rules.task3_equal_cost_tables.output,
        rules.task3_equal_cost_figure.output,
        if_trained(equal_cost_networks(), rules.task3_inference.output),


rule architectures:
    input:
        rules.task3_equal_cost_tables.output,
        rules.task3_equal_cost_figure.output,
        if_trained(equal_cost_networks(), rules.task3_inference.output),


# Not part of `all`: they measure this project itself.
rule benchmark:
    input:
        rules.benchmark_tables.output,


rule speedrun:
    input:
        rules.speedrun_table.output,
        gallery("speedrun"),


rule ablation:
    input:
        rules.ablation_table.output,


rule verify:
    input:
        rules.verify_table.output,
