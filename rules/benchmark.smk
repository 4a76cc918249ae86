# This project's trainer against the usual pipeline, interleaved, one workload after another.
rule benchmark_workload:
    input:
        unpack(benchmark_inputs),
    output:
        "<results>/benchmark/{workload}.json",
    log:
        "<results>/logs/benchmark/{workload}.log",
    wildcard_constraints:
        workload=any_of([] if STUDY.finished_only else STUDY.benchmark.workloads),
    conda:
        "../envs/study.yaml"
    # The reference has a worker process a core.
    threads: whole_machine() if STUDY.threads == "auto" else STUDY.threads
    resources:
        gpu=1,
        mem_mb=2 * STUDY.resources.mem_mb,  # five to seven sides at a time
        runtime=STUDY.resources.runtime,
    params:
        workload=lambda wildcards: STUDY.workload(wildcards.workload).model_dump_json(),
        pairs=STUDY.benchmark.pairs,
        seconds=STUDY.benchmark.seconds,
        made_of=lambda wildcards: benchmark_made_of(wildcards.workload),
    shell:
        "python scripts/benchmark.py {wildcards.workload} --workload {params.workload:q}"
        " --pairs {params.pairs} --seconds {params.seconds} --hardware {input.hardware}"
        " --data {input.data} --threads {threads} --made-of {params.made_of} --out {output} 2>&1 | tee {log}"


rule benchmark_tables:
    input:
        expand("<results>/benchmark/{workload}.json", workload=STUDY.benchmark.workloads),
    output:
        tables=report_tables("benchmark", "benchmark_ladder", "benchmark_breakdown"),
        figure=report_figures("benchmark.svg"),
    log:
        "<results>/logs/benchmark_tables.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_benchmark.py"),
        folder=folder_of_output,
    shell:
        "python scripts/make_benchmark.py --facts {input} --tables {params.folder}"
        " --figure {output.figure[0]} 2>&1 | tee {log}"
