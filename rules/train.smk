rule train:
    """Training images -> checkpoint of the last epoch, one row an epoch."""
    input:
        data=FILES.data,
    output:
        model=layout.MODEL,
        history=layout.HISTORY,
    log:
        layout.log("train"),
    benchmark:
        layout.benchmark("train")
    wildcard_constraints:
        experiment=one_of(PLAN.trained),
    conda:
        conda_environment
    threads: PLAN.training_threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        settings=PLAN.train,
        code=CODE.train,
    message:
        "{wildcards.experiment}: train the network"
    shell:
        "python -m swim train --data {input.data:q} --out {output.model:q}"
        " --history {output.history:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule adopt:
    """A trained network of the user's own -> checkpoint, quantised if the settings say so."""
    input:
        checkpoint=lambda wildcards: PLAN.experiment(wildcards).checkpoint,
        data=FILES.data,
    output:
        layout.MODEL,
    log:
        layout.log("adopt"),
    benchmark:
        layout.benchmark("adopt")
    wildcard_constraints:
        experiment=one_of(PLAN.adopted),
    localrule: True
    conda:
        conda_environment
    params:
        settings=PLAN.adopt,
        code=CODE.adopt,
    message:
        "{wildcards.experiment}: take over the checkpoint"
    shell:
        "python -m swim adopt --checkpoint {input.checkpoint:q} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q} > {log:q} 2>&1"


rule settings:
    """Resolved settings of an experiment, what is programmed, versions, Snakemake's machine."""
    input:
        layout.MODEL,
    output:
        layout.SETTINGS,
    log:
        layout.log("settings"),
    benchmark:
        layout.benchmark("settings")
    localrule: True
    conda:
        conda_environment
    params:
        settings=PLAN.describe,
        code=code_digest.digest("describe"),
        versions=VERSIONS,
    message:
        "{wildcards.experiment}: store settings, versions and hardware"
    shell:
        "python -m swim describe --settings {params.settings:q} --model {input:q}"
        " --out {output:q} > {log:q} 2>&1"
