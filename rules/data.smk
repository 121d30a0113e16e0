rule prepare:
    """A data set -> one file of uint8 images and int64 labels that all experiments share."""
    input:
        PLAN.data_files,
    output:
        layout.DATA,
    log:
        layout.log("{dataset}", of=layout.SHARED_DATA),
    benchmark:
        layout.benchmark("{dataset}", of=layout.SHARED_DATA)
    # Missing data ends a run before anything else is computed.
    priority: 1
    localrule: True
    conda:
        conda_environment
    # Where the files come from is no part of the result, so it does not trigger reruns.
    resources:
        data_root=CONFIG.data_root,
        download="--download" if CONFIG.download else "--no-download",
    params:
        own=PLAN.data_option,
        images=FILES.image_digest,
        code=CODE.prepare,
    message:
        "{wildcards.dataset}: images and labels into one file"
    shell:
        "python -m swim prepare --dataset {wildcards.dataset} {params.own} --out {output:q}"
        " --data-root {resources.data_root:q} {resources.download} > {log:q} 2>&1"
