rule perturb:
    """Checkpoint and training images -> what changing one weight alone costs in loss."""
    input:
        model="results/{experiment}/model.safetensors",
        data=dataset_of,
        levels=levels_of,
    output:
        "results/{experiment}/perturbation/{device}/sigma-{sigma}.csv",
    log:
        "results/{experiment}/logs/perturb/{device}/sigma-{sigma}.log",
    benchmark:
        "results/{experiment}/benchmarks/perturb/{device}/sigma-{sigma}.tsv"
    wildcard_constraints:
        experiment="|".join(CORRELATED) or "-",
    conda:
        "../envs/swim.yaml"
    threads: threads_of
    resources:
        accelerator=accelerator_of,
        gpu=gpus_of,
    params:
        network=trusted_network,
        settings=perturb_job,
        code=lambda wildcards: sources.digest("perturb", **chosen_code(wildcards)),
    shell:
        "python -m swim perturb --model {input.model:q} {params.network} --data {input.data:q}"
        " --out {output:q} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} > {log:q} 2>&1"


rule correlate:
    """What single weights cost, and every method's score of them -> correlations, scatter plots."""
    input:
        measured=lambda wildcards: perturbations_of(wildcards.experiment),
        model="results/{experiment}/model.safetensors",
        sensitivities=sensitivities_of,
    output:
        csv=report(
            "results/{experiment}/correlation.csv",
            caption="report/correlation.rst",
            category="{experiment}",
            labels={"result": "{experiment}: scores against measured loss (table)"},
        ),
        scores="results/{experiment}/scores.csv",
        markdown="results/summary/{experiment}-correlation.md",
        png=report(
            "results/{experiment}/figures/correlation.png",
            caption="report/scatter.rst",
            category="{experiment}",
            labels={"result": "{experiment}: scores against measured loss (figure)"},
        ),
        svg="results/{experiment}/figures/correlation.svg",
    log:
        "results/{experiment}/logs/correlate.log",
    benchmark:
        "results/{experiment}/benchmarks/correlate.tsv"
    wildcard_constraints:
        experiment="|".join(CORRELATED) or "-",
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        settings=lambda wildcards: job(spec.CorrelateJob, wildcards),
        methods=lambda wildcards: " ".join(
            f"--method {m}" for m in scored_of(wildcards)
        ),
        sensitivities=lambda wildcards, input: " ".join(
            f"--sensitivity {file}" for file in input.sensitivities
        ),
        model=lambda wildcards: experiment(wildcards).model.label,
        dataset=lambda wildcards: experiment(wildcards).dataset,
        code=correlate_code,
    shell:
        "python -m swim correlate {input.measured:q} --model {input.model:q}"
        " {params.sensitivities} {params.methods}"
        " --experiment {wildcards.experiment} --label {params.model} --dataset {params.dataset}"
        " --out {output.csv:q} --scores {output.scores:q} --markdown {output.markdown:q}"
        " --figure {output.png:q} --settings {params.settings:q} > {log:q} 2>&1"
