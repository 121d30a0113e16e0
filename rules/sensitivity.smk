rule sensitivity:
    """Checkpoint and training images -> second derivative of the loss per weight."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
    output:
        "results/{experiment}/sensitivity/{estimator}.safetensors",
    log:
        "results/{experiment}/logs/sensitivity-{estimator}.log",
    benchmark:
        "results/{experiment}/benchmarks/sensitivity-{estimator}.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=lambda wildcards: job(
            spec.SensitivityJob, wildcards, estimator=wildcards.estimator
        ),
        code=lambda wildcards: sources.digest(
            "sensitivity",
            network=network_of(wildcards),
            estimator=wildcards.estimator,
        ),
    shell:
        "python -m swim sensitivity --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"
