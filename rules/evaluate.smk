rule evaluate:
    """Checkpoint, mask and test images -> accuracy of each programmed chip."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
        mask="results/{experiment}/masks/{device}/{method}/{fraction}.npz",
    output:
        "results/{experiment}/chips/{device}/sigma-{sigma}/{method}/{fraction}.csv",
    log:
        "results/{experiment}/logs/evaluate/{device}/sigma-{sigma}/{method}-{fraction}.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate/{device}/sigma-{sigma}/{method}-{fraction}.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=evaluate_job,
        code=lambda wildcards: sources.digest("evaluate", **chosen_code(wildcards)),
    shell:
        "python -m swim evaluate --model {input.model:q} {params.network} --data {input.data:q}"
        " --mask {input.mask:q} --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule evaluate_all_verified:
    """The end point that every method reaches: all weights verified."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
    output:
        "results/{experiment}/chips/{device}/sigma-{sigma}/all/1.csv",
    log:
        "results/{experiment}/logs/evaluate/{device}/sigma-{sigma}/all-1.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate/{device}/sigma-{sigma}/all-1.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=evaluate_job,
        code=lambda wildcards: sources.digest("evaluate", **chosen_code(wildcards)),
    shell:
        "python -m swim evaluate --model {input.model:q} {params.network} --data {input.data:q}"
        " --verify all --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule evaluate_none_verified:
    """The end point that every method starts from, and the network before programming."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
    output:
        chips="results/{experiment}/chips/{device}/sigma-{sigma}/none/0.csv",
        clean="results/{experiment}/chips/{device}/sigma-{sigma}/clean.csv",
    log:
        "results/{experiment}/logs/evaluate/{device}/sigma-{sigma}/none-0.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate/{device}/sigma-{sigma}/none-0.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=evaluate_job,
        code=lambda wildcards: sources.digest("evaluate", **chosen_code(wildcards)),
    shell:
        "python -m swim evaluate --model {input.model:q} {params.network} --data {input.data:q}"
        " --verify none --out {output.chips:q} --clean {output.clean:q}"
        " --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule program:
    """Checkpoint, second derivatives and test images -> accuracy of chips programmed by a policy."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
        sensitivity=chosen_curvature_of,
    output:
        "results/{experiment}/chips/{device}/sigma-{sigma}/{policy}/{budget}.csv",
    log:
        "results/{experiment}/logs/program/{device}/sigma-{sigma}/{policy}-{budget}.log",
    benchmark:
        "results/{experiment}/benchmarks/program/{device}/sigma-{sigma}/{policy}-{budget}.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=program_job,
        code=lambda wildcards: sources.digest(
            "program", **chosen_code(wildcards), policy=wildcards.policy
        ),
    shell:
        "python -m swim program --model {input.model:q} {params.network} --data {input.data:q}"
        " --sensitivity {input.sensitivity:q} --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule in_situ:
    """The baseline: checkpoint and training images -> accuracy of chips trained in place."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
    output:
        "results/{experiment}/chips/{device}/sigma-{sigma}/in_situ/{budget}.csv",
    log:
        "results/{experiment}/logs/in_situ/{device}/sigma-{sigma}/{budget}.log",
    benchmark:
        "results/{experiment}/benchmarks/in_situ/{device}/sigma-{sigma}/{budget}.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=in_situ_job,
        code=lambda wildcards: sources.digest("in_situ", **chosen_code(wildcards)),
    shell:
        "python -m swim in-situ --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule where:
    """Checkpoint, masks and second derivatives -> devices that each method rewrites at one NWC."""
    input:
        model="results/{experiment}/model.safetensors",
        sensitivity=chosen_curvature_of,
        levels=levels_of,
        masks=masks_at,
    output:
        "results/{experiment}/where/{device}/sigma-{sigma}/{budget}.csv",
    log:
        "results/{experiment}/logs/where/{device}/sigma-{sigma}/{budget}.log",
    benchmark:
        "results/{experiment}/benchmarks/where/{device}/sigma-{sigma}/{budget}.tsv"
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        masks=lambda wildcards, input: [f"--mask={file}" for file in input.masks],
        policies=policies_at,
        settings=where_job,
        code=where_code,
    shell:
        "python -m swim where --model {input.model:q} --sensitivity {input.sensitivity:q}"
        " {params.masks:q} {params.policies} --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"
