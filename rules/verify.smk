# A sample of the finished runs once more: do they come out the same?
use rule train as verify_train with:
    output:
        record="<results>/verify/{experiment}/seed-{seed}/record.json",
        history="<results>/verify/{experiment}/seed-{seed}/history.csv",
        model="<results>/verify/{experiment}/seed-{seed}/model.safetensors",
        predictions="<results>/verify/{experiment}/seed-{seed}/predictions.safetensors",
    log:
        "<results>/logs/verify/{experiment}/seed-{seed}.log",
    wildcard_constraints:
        experiment=any_of(STUDY.experiments),


# The finished runs are no inputs: whatever they are like now is what is judged.
rule verify_table:
    input:
        verified,
    output:
        csv="<results>/tables/verify.csv",
        html=report_tables("verify"),
    log:
        "<results>/logs/verify_table.log",
    conda:
        "../envs/study.yaml"
    params:
        code=code_digest("make_verification.py"),
        declared=declared(),
        originals=verified_originals,
        folder=folder_of_output,
    shell:
        "python scripts/make_verification.py --again {input} --declared {params.declared:q}"
        " --out {params.folder} 2>&1 | tee {log}"
