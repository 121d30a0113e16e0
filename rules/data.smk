rule prepare:
    """A data set -> one file of uint8 images and int64 labels that all experiments share."""
    output:
        "results/data/{dataset}.safetensors",
    log:
        "results/data/logs/{dataset}.log",
    benchmark:
        "results/data/benchmarks/{dataset}.tsv"
    # Missing data ends a run before anything else is computed.
    priority: 1
    localrule: True
    conda:
        "../envs/swim.yaml"
    # Where the files come from is no part of the result, so it does not trigger reruns.
    resources:
        data_root=CONFIG.data_root,
        download="--download" if CONFIG.download else "--no-download",
    params:
        code=lambda wildcards: sources.digest("prepare", data_set=wildcards.dataset),
    shell:
        "python -m swim prepare --dataset {wildcards.dataset} --out {output:q}"
        " --data-root {resources.data_root:q} {resources.download} > {log:q} 2>&1"
