rule evaluate:
    """Checkpoint, mask and test images -> accuracy of each programmed chip."""
    input:
        model=layout.MODEL,
        data=FILES.data,
        levels=PLAN.levels,
        mask=layout.MASK,
    output:
        chips=layout.CHIPS,
    log:
        layout.log("evaluate/{device}/sigma-{sigma}/{method}-{fraction}"),
    benchmark:
        layout.benchmark("evaluate/{device}/sigma-{sigma}/{method}-{fraction}")
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        network=PLAN.trusted_network,
        verified=lambda wildcards, input: ["--mask", input.mask],
        clean=[],
        settings=PLAN.evaluate,
        code=CODE.evaluate,
    message:
        "{wildcards.experiment}: chips of {wildcards.method} at {wildcards.fraction}"
        ", device {wildcards.device}, sigma {wildcards.sigma}"
    shell:
        "python -m swim evaluate --model {input.model:q} {params.network} --data {input.data:q}"
        " {params.verified:q} --out {output.chips:q} {params.clean:q}"
        " --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


use rule evaluate as evaluate_all_verified with:
    """Checkpoint and test images -> accuracy with all weights verified: every method's last point."""
    input:
        model=layout.MODEL,
        data=FILES.data,
        levels=PLAN.levels,
    output:
        chips=layout.ALL_CHIPS,
    log:
        layout.log("evaluate/{device}/sigma-{sigma}/all-1"),
    benchmark:
        layout.benchmark("evaluate/{device}/sigma-{sigma}/all-1")
    params:
        network=PLAN.trusted_network,
        verified=["--verify", "all"],
        clean=[],
        settings=PLAN.evaluate,
        code=CODE.evaluate,
    message:
        "{wildcards.experiment}: chips with full write-verify"
        ", device {wildcards.device}, sigma {wildcards.sigma}"


use rule evaluate_all_verified as evaluate_none_verified with:
    """The same with no weight verified, every method's first point, and before programming."""
    output:
        chips=layout.NONE_CHIPS,
        clean=layout.CLEAN_CHIPS,
    log:
        layout.log("evaluate/{device}/sigma-{sigma}/none-0"),
    benchmark:
        layout.benchmark("evaluate/{device}/sigma-{sigma}/none-0")
    params:
        network=PLAN.trusted_network,
        verified=["--verify", "none"],
        clean=lambda wildcards, output: ["--clean", output.clean],
        settings=PLAN.evaluate,
        code=CODE.evaluate,
    message:
        "{wildcards.experiment}: chips without write-verify"
        ", device {wildcards.device}, sigma {wildcards.sigma}"


rule program:
    """Checkpoint, second derivatives and test images -> accuracy of chips programmed by a policy."""
    input:
        model=layout.MODEL,
        data=FILES.data,
        levels=PLAN.levels,
        sensitivity=FILES.chosen_sensitivity,
    output:
        layout.PROGRAMMED,
    log:
        layout.log("program/{device}/sigma-{sigma}/{policy}-{budget}"),
    benchmark:
        layout.benchmark("program/{device}/sigma-{sigma}/{policy}-{budget}")
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        network=PLAN.trusted_network,
        settings=PLAN.program,
        code=CODE.program,
    message:
        "{wildcards.experiment}: chips of {wildcards.policy} within NWC {wildcards.budget}"
        ", device {wildcards.device}, sigma {wildcards.sigma}"
    shell:
        "python -m swim program --model {input.model:q} {params.network} --data {input.data:q}"
        " --sensitivity {input.sensitivity:q} --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule in_situ:
    """The baseline: checkpoint and training images -> accuracy of chips trained in place."""
    input:
        model=layout.MODEL,
        data=FILES.data,
        levels=PLAN.levels,
    output:
        layout.IN_SITU,
    log:
        layout.log("in_situ/{device}/sigma-{sigma}/{budget}"),
    benchmark:
        layout.benchmark("in_situ/{device}/sigma-{sigma}/{budget}")
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        network=PLAN.trusted_network,
        settings=PLAN.in_situ,
        code=CODE.in_situ,
    message:
        "{wildcards.experiment}: chips trained in place within NWC {wildcards.budget}"
        ", device {wildcards.device}, sigma {wildcards.sigma}"
    shell:
        "python -m swim in-situ --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule where:
    """Checkpoint, masks and second derivatives -> devices that each method rewrites at one NWC."""
    input:
        model=layout.MODEL,
        sensitivity=FILES.chosen_sensitivity,
        levels=PLAN.levels,
        masks=FILES.masks_at_budget,
    output:
        layout.WHERE,
    log:
        layout.log("where/{device}/sigma-{sigma}/{budget}"),
    benchmark:
        layout.benchmark("where/{device}/sigma-{sigma}/{budget}")
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        masks=lambda wildcards, input: [f"--mask={file}" for file in input.masks],
        policies=PLAN.policies,
        settings=PLAN.where,
        code=CODE.where,
    message:
        "{wildcards.experiment}: devices rewritten at NWC {wildcards.budget}"
        ", device {wildcards.device}, sigma {wildcards.sigma}"
    shell:
        "python -m swim where --model {input.model:q} --sensitivity {input.sensitivity:q}"
        " {params.masks:q} {params.policies} --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"
