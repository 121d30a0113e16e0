rule select:
    """Weights, and second derivatives if the method ranks by them -> which weights to verify."""
    input:
        model=layout.MODEL,
        sensitivity=FILES.sensitivity,
    output:
        layout.MASK,
    log:
        layout.log("select/{device}/{method}-{fraction}"),
    benchmark:
        layout.benchmark("select/{device}/{method}-{fraction}")
    localrule: True
    conda:
        conda_environment
    params:
        settings=PLAN.select,
        code=CODE.select,
        sensitivity=lambda wildcards, input: (
            f"--sensitivity {input.sensitivity}" if input.sensitivity else ""
        ),
    message:
        "{wildcards.experiment}: mask of {wildcards.method} at {wildcards.fraction}"
        ", device {wildcards.device}"
    shell:
        "python -m swim select --model {input.model:q} {params.sensitivity}"
        " --out {output:q} --settings {params.settings:q} > {log:q} 2>&1"
