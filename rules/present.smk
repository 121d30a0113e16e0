rule summarise:
    """All chips of an experiment -> the tidy tables, and both in the paper's layout."""
    input:
        lambda wildcards: chips_of(wildcards.experiment),
    output:
        csv=report(
            "results/{experiment}/accuracy.csv",
            caption="report/accuracy.rst",
            category="{experiment}",
            labels={"result": "accuracy", "form": "table"},
        ),
        paired=report(
            "results/{experiment}/paired.csv",
            caption="report/paired.rst",
            category="{experiment}",
            labels={"result": "differences, paired by chip", "form": "table"},
        ),
        markdown="results/summary/{experiment}.md",
    log:
        "results/{experiment}/logs/summarise.log",
    benchmark:
        "results/{experiment}/benchmarks/summarise.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        model=lambda wildcards: experiment(wildcards).model.label,
        dataset=lambda wildcards: experiment(wildcards).dataset,
        folder=lambda wildcards: f"results/{wildcards.experiment}/chips",
        points=lambda wildcards: spec.section_json(points_of(wildcards.experiment)),
        code=sources.digest("summarise"),
    shell:
        "python -m swim summarise --folder {params.folder:q} --points {params.points:q}"
        " --experiment {wildcards.experiment}"
        " --model {params.model} --dataset {params.dataset}"
        " --out {output.csv:q} --paired {output.paired:q} --markdown {output.markdown:q} > {log:q} 2>&1"


rule plot:
    """The tidy table -> one figure a sigma."""
    input:
        "results/{experiment}/accuracy.csv",
    output:
        png=report(
            "results/{experiment}/figures/accuracy-sigma-{sigma}.png",
            caption="report/figure.rst",
            category="{experiment}",
            labels={"result": "accuracy, sigma {sigma}", "form": "figure"},
        ),
        svg="results/{experiment}/figures/accuracy-sigma-{sigma}.svg",
    log:
        "results/{experiment}/logs/plot-sigma-{sigma}.log",
    benchmark:
        "results/{experiment}/benchmarks/plot-sigma-{sigma}.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.png),
        code=sources.digest("plot"),
    shell:
        "python -m swim plot {input:q} --sigma {wildcards.sigma} --out {params.folder:q}"
        " > {log:q} 2>&1"
