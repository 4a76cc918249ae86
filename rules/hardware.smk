rule hardware:
    output:
        json="<results>/hardware.json",
        table="<results>/tables/task2.1.1_hardware.csv",
    log:
        "<results>/logs/hardware.log",
    conda:
        "../envs/study.yaml"
    threads: threads()
    resources:
        gpu=1,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        code=code_digest("capture_hardware.py"),
    shell:
        "python scripts/capture_hardware.py --threads {threads}"
        " --out {output.json} --table {output.table} 2>&1 | tee {log}"
