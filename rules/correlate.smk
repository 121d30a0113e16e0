rule perturb:
    """Checkpoint and training images -> what changing one weight alone costs in loss."""
    input:
        model=layout.MODEL,
        data=FILES.data,
        levels=PLAN.levels,
    output:
        layout.PERTURBATION,
    log:
        layout.log("perturb/{device}/sigma-{sigma}"),
    benchmark:
        layout.benchmark("perturb/{device}/sigma-{sigma}")
    wildcard_constraints:
        experiment=one_of(PLAN.correlated),
    conda:
        conda_environment
    threads: PLAN.threads
    resources:
        accelerator=PLAN.accelerator,
        gpu=gpus,
    params:
        network=PLAN.trusted_network,
        settings=PLAN.perturb,
        code=CODE.perturb,
    message:
        "{wildcards.experiment}: loss of single weights' errors"
        ", device {wildcards.device}, sigma {wildcards.sigma}"
    shell:
        "python -m swim perturb --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


use rule perturb as perturb_on_chips with:
    output:
        layout.PERTURBATION_ON_CHIPS,
    log:
        layout.log("perturb/{device}/programmed/sigma-{sigma}"),
    benchmark:
        layout.benchmark("perturb/{device}/programmed/sigma-{sigma}")
    params:
        network=PLAN.trusted_network,
        settings=PLAN.perturb_on_chips,
        code=CODE.perturb,
    message:
        "{wildcards.experiment}: loss of single weights' errors on programmed chips"
        ", device {wildcards.device}, sigma {wildcards.sigma}"


rule correlate:
    """What single weights cost, and every method's score of them -> correlations, scatter plots."""
    input:
        measured=FILES.perturbations,
        model=layout.MODEL,
        sensitivities=FILES.scored_sensitivities,
    output:
        csv=report(
            layout.CORRELATION,
            caption="report/correlation.rst",
            category="{experiment}",
            labels={"result": "{experiment}: scores against measured loss (table)"},
        ),
        scores=layout.SCORES,
        markdown=layout.CORRELATION_SUMMARY,
        png=report(
            layout.figure("correlation", "png"),
            caption="report/scatter.rst",
            category="{experiment}",
            labels={"result": "{experiment}: scores against measured loss (figure)"},
        ),
        svg=layout.figure("correlation", "svg"),
        pdf=layout.figure("correlation", "pdf"),
    log:
        layout.log("correlate"),
    benchmark:
        layout.benchmark("correlate")
    wildcard_constraints:
        experiment=one_of(PLAN.correlated),
    localrule: True
    conda:
        conda_environment
    params:
        settings=PLAN.correlate,
        methods=PLAN.scored,
        sensitivities=lambda wildcards, input: " ".join(
            f"--sensitivity {file}" for file in input.sensitivities
        ),
        model=PLAN.label,
        dataset=PLAN.dataset,
        titles=PLAN.plot,
        code=CODE.correlate,
    message:
        "{wildcards.experiment}: scores against measured loss"
    shell:
        "python -m swim correlate {input.measured:q} --model {input.model:q}"
        " {params.sensitivities} {params.methods}"
        " --experiment {wildcards.experiment} --label {params.model} --dataset {params.dataset}"
        " --out {output.csv:q} --scores {output.scores:q} --markdown {output.markdown:q}"
        " --figure {output.png:q} --titles {params.titles:q} --settings {params.settings:q} > {log:q} 2>&1"
