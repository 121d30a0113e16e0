# Every result has one label, named `result`, whose text is unique in the whole report. Snakemake's
# page hides all rows but one of equal labels. Of several labels it may take one for a toggle (two
# values of equal number, in a category or in a search), and goes blank where a row lacks a value.


rule summarise:
    """All chips of an experiment -> the tidy tables, and both in the paper's layout."""
    input:
        lambda wildcards: chips_of(wildcards.experiment),
    output:
        csv=report(
            "results/{experiment}/accuracy.csv",
            caption="report/accuracy.rst",
            category="{experiment}",
            labels={"result": "{experiment}: accuracy (table)"},
        ),
        paired=report(
            "results/{experiment}/paired.csv",
            caption="report/paired.rst",
            category="{experiment}",
            labels={"result": "{experiment}: differences, paired by chip (table)"},
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


rule cycles:
    """All chips of an experiment -> write cycles from which on each method is accurate enough."""
    input:
        lambda wildcards: chips_of(wildcards.experiment),
    output:
        csv=report(
            "results/{experiment}/cycles_to_accuracy.csv",
            caption="report/cycles.rst",
            category="{experiment}",
            labels={"result": "{experiment}: cycles to accuracy (table)"},
        ),
        markdown="results/{experiment}/cycles_to_accuracy.md",
    log:
        "results/{experiment}/logs/cycles.log",
    benchmark:
        "results/{experiment}/benchmarks/cycles.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folder=lambda wildcards: f"results/{wildcards.experiment}/chips",
        points=lambda wildcards: spec.section_json(points_of(wildcards.experiment)),
        within=lambda wildcards: within_of(wildcards.experiment),
        code=sources.digest("cycles"),
    shell:
        "python -m swim cycles {params.folder:q} --points {params.points:q}"
        " --experiment {wildcards.experiment} {params.within}"
        " --out {output.csv:q} --markdown {output.markdown:q} > {log:q} 2>&1"


rule compare:
    """All chips of experiments that differ in their seed -> the same, averaged over seeds."""
    input:
        lambda wildcards: [
            file for name in compared(wildcards.comparison) for file in chips_of(name)
        ],
    output:
        csv="results/summary/{comparison}/cycles_to_accuracy.csv",
        markdown="results/summary/{comparison}/cycles_to_accuracy.md",
    log:
        "results/summary/{comparison}/logs/compare.log",
    benchmark:
        "results/summary/{comparison}/benchmarks/compare.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folders=lambda wildcards: [
            f"results/{name}/chips" for name in compared(wildcards.comparison)
        ],
        points=lambda wildcards: spec.section_json(
            points_of(compared(wildcards.comparison)[0])
        ),
        within=lambda wildcards: within_of(compared(wildcards.comparison)[0]),
        code=sources.digest("cycles"),
    shell:
        "python -m swim cycles {params.folders:q} --points {params.points:q}"
        " --experiment {wildcards.comparison} {params.within}"
        " --out {output.csv:q} --markdown {output.markdown:q} > {log:q} 2>&1"


rule join_comparisons:
    """Cycles to accuracy of all comparisons -> one table."""
    input:
        lambda _: [
            f"results/summary/{name}/cycles_to_accuracy.csv" for name in comparisons()
        ],
    output:
        csv=report(
            "results/summary/cycles_to_accuracy.csv",
            caption="report/cycles.rst",
            category="comparisons",
            labels={"result": "all comparisons: cycles to accuracy (table)"},
        ),
        markdown="results/summary/cycles_to_accuracy.md",
    log:
        "results/summary/logs/join_comparisons.log",
    benchmark:
        "results/summary/benchmarks/join_comparisons.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        tables=lambda wildcards, input: [f"--table={file}" for file in input],
        code=sources.digest("cycles"),
    shell:
        "python -m swim cycles {params.tables:q} --out {output.csv:q}"
        " --markdown {output.markdown:q} > {log:q} 2>&1"


rule comparisons:
    """Cycles to accuracy of `comparisons:`, each a method's over training seeds."""
    input:
        lambda _: outcomes([], comparisons()),
    localrule: True


rule plot:
    """The tidy table -> two figures a sigma: NWC as it is, and on a logarithmic axis."""
    input:
        "results/{experiment}/accuracy.csv",
    output:
        png=report(
            "results/{experiment}/figures/accuracy-sigma-{sigma}.png",
            caption="report/figure.rst",
            category="{experiment}",
            labels={"result": "{experiment}: accuracy, sigma {sigma} (figure)"},
        ),
        svg="results/{experiment}/figures/accuracy-sigma-{sigma}.svg",
        log_png=report(
            "results/{experiment}/figures/accuracy-log-sigma-{sigma}.png",
            caption="report/figure_log.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: accuracy, sigma {sigma}, logarithmic axis (figure)"
            },
        ),
        log_svg="results/{experiment}/figures/accuracy-log-sigma-{sigma}.svg",
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
        "python -m swim plot {input:q} --sigma {wildcards.sigma} --figure accuracy"
        " --figure accuracy-log --out {params.folder:q} > {log:q} 2>&1"


rule plot_reads:
    """The tidy table of an experiment with policies -> accuracy against reads a device."""
    input:
        "results/{experiment}/accuracy.csv",
    output:
        png=report(
            "results/{experiment}/figures/reads-sigma-{sigma}.png",
            caption="report/reads.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: accuracy against reads, sigma {sigma} (figure)"
            },
        ),
        svg="results/{experiment}/figures/reads-sigma-{sigma}.svg",
    log:
        "results/{experiment}/logs/plot_reads-sigma-{sigma}.log",
    benchmark:
        "results/{experiment}/benchmarks/plot_reads-sigma-{sigma}.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.png),
        code=sources.digest("plot"),
    shell:
        "python -m swim plot {input:q} --sigma {wildcards.sigma} --figure reads"
        " --out {params.folder:q} > {log:q} 2>&1"


rule plot_cycles:
    """Cycles to accuracy, of an experiment or a comparison -> a bar a method."""
    input:
        "results/{place}/cycles_to_accuracy.csv",
    output:
        png=report(
            "results/{place}/figures/cycles-sigma-{sigma}.png",
            caption="report/cycles_figure.rst",
            category=lambda wildcards: place_in_report(wildcards)[0],
            labels=labels_of_cycles,
        ),
        svg="results/{place}/figures/cycles-sigma-{sigma}.svg",
    log:
        "results/{place}/logs/plot_cycles-sigma-{sigma}.log",
    benchmark:
        "results/{place}/benchmarks/plot_cycles-sigma-{sigma}.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.png),
        code=sources.digest("plot"),
    shell:
        "python -m swim plot {input:q} --sigma {wildcards.sigma} --figure cycles"
        " --out {params.folder:q} > {log:q} 2>&1"


rule plot_where:
    """Devices that each method rewrites at one NWC -> a map of layers and slices a method."""
    input:
        "results/{experiment}/where/{device}/sigma-{sigma}/{budget}.csv",
    output:
        png=report(
            "results/{experiment}/figures/where-{device}-{budget}-sigma-{sigma}.png",
            caption="report/where.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: rewritten devices, {device}, NWC {budget},"
                " sigma {sigma} (figure)"
            },
        ),
        svg="results/{experiment}/figures/where-{device}-{budget}-sigma-{sigma}.svg",
    log:
        "results/{experiment}/logs/plot_where-{device}-{budget}-sigma-{sigma}.log",
    benchmark:
        "results/{experiment}/benchmarks/plot_where-{device}-{budget}-sigma-{sigma}.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.png),
        code=sources.digest("plot"),
    shell:
        "python -m swim plot {input:q} --figure where --out {params.folder:q} > {log:q} 2>&1"
