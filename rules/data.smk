localrules:
    dataset,
    weights,


rule dataset:
    output:
        tensors="<data>/{dataset}.safetensors",
        manifest="<data>/{dataset}.json",
    log:
        "<data>/logs/{dataset}.log",
    conda:
        "../envs/study.yaml"
    params:
        # By content only: a new source for the same bytes reruns nothing (a param that is derived
        # from the output, as `config` is, does not count).
        sha256=lambda wildcards: STUDY.datasets[wildcards.dataset].sha256,
        config=lambda wildcards, output: STUDY.datasets[wildcards.dataset].model_dump_json(exclude={"split"}),
    shell:
        "python scripts/fetch_dataset.py {wildcards.dataset} --config {params.config:q}"
        " --tensors {output.tensors} --manifest {output.manifest} 2>&1 | tee {log}"


rule weights:
    output:
        file="<data>/{weights}.pth",
        manifest="<data>/{weights}.json",
    log:
        "<data>/logs/{weights}.log",
    wildcard_constraints:
        weights=any_of(STUDY.weights),
    conda:
        "../envs/study.yaml"
    params:
        sha256=lambda wildcards: STUDY.weights[wildcards.weights].sha256,
        config=lambda wildcards, output: STUDY.weights[wildcards.weights].model_dump_json(),
    shell:
        "python scripts/fetch_weights.py {wildcards.weights} --config {params.config:q}"
        " --out {output.file} --manifest {output.manifest} 2>&1 | tee {log}"
