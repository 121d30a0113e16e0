rule sensitivity:
    """Checkpoint and training images -> second derivative of the loss per weight."""
    input:
        model=layout.MODEL,
        data=FILES.data,
    output:
        layout.SENSITIVITY,
    log:
        layout.log("sensitivity-{estimator}"),
    benchmark:
        layout.benchmark("sensitivity-{estimator}")
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        network=PLAN.trusted_network,
        settings=PLAN.sensitivity,
        code=CODE.sensitivity,
    message:
        "{wildcards.experiment}: second derivatives by {wildcards.estimator}"
    shell:
        "python -m swim sensitivity --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"
