rule prepare:
    """A data set -> one file of uint8 images and int64 labels that all experiments share."""
    input:
        own_file_of,
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
        own=own_data_set,
        images=own_images,
        code=prepare_code,
    shell:
        "python -m swim prepare --dataset {wildcards.dataset} {params.own} --out {output:q}"
        " --data-root {resources.data_root:q} {resources.download} > {log:q} 2>&1"
