# One rule trains everything; the tasks' own rules (`use rule train as ...`) name it in the graph.
rule train:
    input:
        unpack(run_inputs),
    output:
        record="<results>/runs/{experiment}/seed-{seed}/record.json",
        history="<results>/runs/{experiment}/seed-{seed}/history.csv",
        model="<results>/runs/{experiment}/seed-{seed}/model.safetensors",
        predictions="<results>/runs/{experiment}/seed-{seed}/predictions.safetensors",
    log:
        "<results>/logs/runs/{experiment}/seed-{seed}.log",
    wildcard_constraints:
        experiment=to_train("extra"),
    priority: in_blocks(1)
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: spec_json(wildcards.experiment),
        code=lambda wildcards: run_digest(SPECS[wildcards.experiment].model.name),
        options=run_options,
        folder=folder_of_output,
    shell:
        "python scripts/train.py --spec {params.spec:q} --seed {wildcards.seed}"
        " --hardware {input.hardware} --data {input.data} {params.options}"
        " --threads {threads} --out {params.folder} 2>&1 | tee {log}"


# A frozen base's features, computed once for all seeds.
rule features:
    input:
        unpack(feature_inputs),
    output:
        tensors="<results>/features/{experiment}.safetensors",
        manifest="<results>/features/{experiment}.json",
    log:
        "<results>/logs/features/{experiment}.log",
    wildcard_constraints:
        experiment=any_of(name for name in SPECS if SPECS[name].frozen),
    priority: 3
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: feature_spec(wildcards.experiment),
        made_of=lambda wildcards: features_made_of(wildcards.experiment),
    shell:
        "python scripts/compute_features.py --spec {params.spec:q} --hardware {input.hardware}"
        " --data {input.data} --weights {input.weights} --threads {threads}"
        " --made-of {params.made_of} --out {output.tensors} 2>&1 | tee {log}"


# Seconds a step of a contestant beside its reference's: what equal time is fitted with.
rule calibrate:
    input:
        unpack(calibration_inputs),
    output:
        "<results>/calibration/{experiment}.json",
    log:
        "<results>/logs/calibration/{experiment}.log",
    wildcard_constraints:
        experiment=any_of(name for name in SPECS if SPECS[name].recipe.budget),
    priority: 2
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: spec_json(wildcards.experiment),
        reference=lambda wildcards: spec_json(SPECS[wildcards.experiment].recipe.budget.reference),
        made_of=lambda wildcards: calibration_made_of(wildcards.experiment),
        seconds=STUDY.calibration_seconds,
    shell:
        "python scripts/calibrate.py --spec {params.spec:q} --reference {params.reference:q}"
        " --hardware {input.hardware} --data {input.data} --threads {threads}"
        " --seconds {params.seconds} --made-of {params.made_of} --out {output} 2>&1 | tee {log}"
