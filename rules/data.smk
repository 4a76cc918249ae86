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
        config=lambda wildcards: STUDY.datasets[wildcards.dataset].model_dump_json(exclude={"split"}),
    shell:
        "python scripts/fetch_dataset.py {wildcards.dataset} --config {params.config:q}"
        " --tensors {output.tensors} --manifest {output.manifest} 2>&1 | tee {log}"


rule weights:
    output:
        "<data>/{weights}.pth",
    log:
        "<data>/logs/{weights}.log",
    wildcard_constraints:
        weights="|".join(STUDY.weights),
    conda:
        "../envs/study.yaml"
    params:
        config=lambda wildcards: STUDY.weights[wildcards.weights].model_dump_json(),
    shell:
        "python scripts/fetch_weights.py {wildcards.weights} --config {params.config:q}"
        " --out {output} 2>&1 | tee {log}"
