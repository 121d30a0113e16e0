rule train:
    """Training images -> checkpoint of the last epoch, one row an epoch."""
    input:
        data=dataset_of,
    output:
        model="results/{experiment}/model.safetensors",
        history="results/{experiment}/train.csv",
    log:
        "results/{experiment}/logs/train.log",
    benchmark:
        "results/{experiment}/benchmarks/train.tsv"
    wildcard_constraints:
        experiment="|".join(TRAINED) or "-",
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        settings=lambda wildcards: job(spec.TrainJob, wildcards),
        code=lambda wildcards: sources.digest("train", network=network_of(wildcards)),
    shell:
        "python -m swim train --data {input.data:q} --out {output.model:q}"
        " --history {output.history:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule adopt:
    """A trained network of the user's own -> checkpoint, quantised if the settings say so."""
    input:
        checkpoint=lambda wildcards: experiment(wildcards).checkpoint,
        data=dataset_of,
    output:
        "results/{experiment}/model.safetensors",
    log:
        "results/{experiment}/logs/adopt.log",
    benchmark:
        "results/{experiment}/benchmarks/adopt.tsv"
    wildcard_constraints:
        experiment="|".join(ADOPTED) or "-",
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        settings=adopt_job,
        code=lambda wildcards: sources.digest("adopt", network=network_of(wildcards)),
    shell:
        "python -m swim adopt --checkpoint {input.checkpoint:q} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q} > {log:q} 2>&1"


rule settings:
    """Resolved settings of an experiment, what is programmed, versions, Snakemake's machine."""
    input:
        "results/{experiment}/model.safetensors",
    output:
        "results/{experiment}/settings.json",
    log:
        "results/{experiment}/logs/settings.log",
    benchmark:
        "results/{experiment}/benchmarks/settings.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        settings=lambda wildcards: spec.resolved_json(CONFIG, wildcards.experiment),
        code=sources.digest("describe"),
        versions=VERSIONS,
    shell:
        "python -m swim describe --settings {params.settings:q} --model {input:q}"
        " --out {output:q} > {log:q} 2>&1"
