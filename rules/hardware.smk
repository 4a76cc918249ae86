# Measured once a study, whatever becomes of the code: all trainings come after it, and Snakemake asks no job
# that comes after one that runs whether its own parameters changed. `--forcerun hardware` measures again.
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
        version=3,  # of what is measured: a higher one makes old studies measure again
    shell:
        "python scripts/capture_hardware.py --threads {threads}"
        " --out {output.json} --table {output.table} 2>&1 | tee {log}"
