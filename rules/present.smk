# Every result has one label, named `result`, whose text is unique in the whole report. Snakemake's
# page hides all rows but one of equal labels. Of several labels it may take one for a toggle (two
# values of equal number, in a category or in a search), and goes blank where a row lacks a value.


# Rules that others are made from hand on everything but this.
localrules:
    compare,
    explore_comparison,
    plot_reads,
    plot_cycles,
    plot_where,
    plot_learning,
    claims_of_comparison,


rule summarise:
    """All chips of an experiment -> the tidy tables, and both in the paper's layout."""
    input:
        lambda wildcards: chips(wildcards.experiment),
    output:
        csv=report(
            layout.ACCURACY,
            caption="report/accuracy.rst",
            category="{experiment}",
            labels={"result": "{experiment}: accuracy (table)"},
        ),
        paired=report(
            layout.PAIRED,
            caption="report/paired.rst",
            category="{experiment}",
            labels={"result": "{experiment}: differences, paired by chip (table)"},
        ),
        markdown=layout.SUMMARY,
        latex=layout.SUMMARY_LATEX,
    log:
        layout.log("summarise"),
    benchmark:
        layout.benchmark("summarise")
    localrule: True
    conda:
        conda_environment
    params:
        model=PLAN.label,
        dataset=PLAN.dataset,
        folder=layout.CHIPS_FOLDER,
        points=PLAN.summarise,
        code=code_digest.digest("summarise"),
    message:
        "{wildcards.experiment}: tables of accuracy"
    shell:
        "python -m swim summarise --folder {params.folder:q} --points {params.points:q}"
        " --experiment {wildcards.experiment}"
        " --model {params.model} --dataset {params.dataset}"
        " --out {output.csv:q} --paired {output.paired:q} --markdown {output.markdown:q}"
        " --latex {output.latex:q} > {log:q} 2>&1"


rule cycles:
    """All chips of an experiment -> write cycles from which on each method is accurate enough."""
    input:
        lambda wildcards: chips(wildcards.experiment),
    output:
        csv=report(
            layout.of_place(layout.CYCLES, "{experiment}"),
            caption="report/cycles.rst",
            category="{experiment}",
            labels={"result": "{experiment}: cycles to accuracy (table)"},
        ),
        markdown=layout.of_place(layout.CYCLES_MARKDOWN, "{experiment}"),
        latex=layout.of_place(layout.CYCLES_LATEX, "{experiment}"),
    log:
        layout.log("cycles"),
    benchmark:
        layout.benchmark("cycles")
    localrule: True
    conda:
        conda_environment
    params:
        name="{experiment}",
        folders=FILES.chips_folders,
        points=PLAN.summarise,
        within=PLAN.within,
        code=code_digest.digest("cycles"),
    message:
        "{wildcards.experiment}: cycles to accuracy"
    shell:
        "python -m swim cycles {params.folders:q} --points {params.points:q}"
        " --experiment {params.name} {params.within}"
        " --out {output.csv:q} --markdown {output.markdown:q}"
        " --latex {output.latex:q} > {log:q} 2>&1"


use rule cycles as compare with:
    """All chips of experiments that differ in their seed -> the same, averaged over seeds."""
    input:
        lambda wildcards: [
            file
            for name in PLAN.compared(wildcards.comparison)
            for file in chips(name)
        ],
    output:
        csv=layout.of_place(layout.CYCLES, layout.OF_COMPARISON),
        markdown=layout.of_place(layout.CYCLES_MARKDOWN, layout.OF_COMPARISON),
        latex=layout.of_place(layout.CYCLES_LATEX, layout.OF_COMPARISON),
    log:
        layout.log("compare", of=layout.OF_COMPARISON),
    benchmark:
        layout.benchmark("compare", of=layout.OF_COMPARISON)
    params:
        name="{comparison}",
        folders=FILES.chips_folders,
        points=PLAN.summarise,
        within=PLAN.within,
        code=code_digest.digest("cycles"),
    message:
        "comparison {wildcards.comparison}: cycles to accuracy"


rule claims:
    """The tables of an experiment -> what the papers' abstracts claim, and whether it holds here."""
    input:
        cycles=layout.of_place(layout.CYCLES, "{experiment}"),
        accuracy=layout.ACCURACY,
    output:
        json=layout.of_place(layout.CLAIMS, "{experiment}"),
        markdown=layout.of_place(layout.CLAIMS_MARKDOWN, "{experiment}"),
        latex=layout.of_place(layout.CLAIMS_LATEX, "{experiment}"),
        html=report(
            layout.of_place(layout.CLAIMS_PAGE, "{experiment}"),
            caption="report/claims.rst",
            # Categories are sorted by name: this one is the first.
            category="1. Claims",
            labels={"result": "{experiment}: claims (page)"},
        ),
    log:
        layout.log("claims"),
    benchmark:
        layout.benchmark("claims")
    localrule: True
    conda:
        conda_environment
    params:
        accuracy=lambda wildcards, input: [f"--accuracy={file}" for file in input[1:]],
        settings=PLAN.claims,
        code=code_digest.digest("claims"),
    message:
        "{wildcards.experiment}: claims of the papers against the tables"
    shell:
        "python -m swim claims --cycles {input.cycles:q} {params.accuracy:q}"
        " --settings {params.settings:q} --out {output.json:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --html {output.html:q} > {log:q} 2>&1"


use rule claims as claims_of_comparison with:
    """The tables of experiments that differ in their seed -> the same, over all of them."""
    input:
        cycles=layout.of_place(layout.CYCLES, layout.OF_COMPARISON),
        accuracy=lambda wildcards: FILES.accuracy(PLAN.compared(wildcards.comparison)),
    output:
        json=layout.of_place(layout.CLAIMS, layout.OF_COMPARISON),
        markdown=layout.of_place(layout.CLAIMS_MARKDOWN, layout.OF_COMPARISON),
        latex=layout.of_place(layout.CLAIMS_LATEX, layout.OF_COMPARISON),
        html=report(
            layout.of_place(layout.CLAIMS_PAGE, layout.OF_COMPARISON),
            caption="report/claims.rst",
            category="1. Claims",
            labels={"result": "comparison {comparison}: claims (page)"},
        ),
    log:
        layout.log("claims", of=layout.OF_COMPARISON),
    benchmark:
        layout.benchmark("claims", of=layout.OF_COMPARISON)
    params:
        accuracy=lambda wildcards, input: [f"--accuracy={file}" for file in input[1:]],
        settings=PLAN.claims,
        code=code_digest.digest("claims"),
    message:
        "comparison {wildcards.comparison}: claims of the papers against the tables"


rule tables:
    """The tables of an experiment -> one page to read, with intervals and colours."""
    input:
        accuracy=layout.ACCURACY,
        paired=layout.PAIRED,
        cycles=layout.of_place(layout.CYCLES, "{experiment}"),
    output:
        report(
            layout.TABLES_PAGE,
            caption="report/tables.rst",
            category="{experiment}",
            labels={"result": "{experiment}: all tables to read (page)"},
        ),
    log:
        layout.log("tables"),
    benchmark:
        layout.benchmark("tables")
    localrule: True
    conda:
        conda_environment
    params:
        titles=PLAN.plot,
        code=code_digest.digest("tables"),
    message:
        "{wildcards.experiment}: page of tables"
    shell:
        "python -m swim tables --experiment {wildcards.experiment}"
        " --accuracy {input.accuracy:q} --paired {input.paired:q} --cycles {input.cycles:q}"
        " --titles {params.titles:q} --out {output:q} > {log:q} 2>&1"


rule explore:
    """All chips of an experiment -> its curves as a page to explore in a browser."""
    input:
        lambda wildcards: chips(wildcards.experiment),
    output:
        report(
            layout.of_place(layout.EXPLORER, "{experiment}"),
            caption="report/explorer.rst",
            category="2. Explorers",
            labels={"result": "{experiment}: explorer (page)"},
        ),
    log:
        layout.log("explore"),
    benchmark:
        layout.benchmark("explore")
    localrule: True
    conda:
        conda_environment
    params:
        name="{experiment}",
        folders=FILES.chips_folders,
        members=PLAN.members,
        points=PLAN.summarise,
        within=PLAN.within,
        titles=PLAN.plot,
        code=code_digest.digest("explore"),
    message:
        "{wildcards.experiment}: page to explore curves"
    shell:
        "python -m swim explore {params.folders:q} --points {params.points:q}"
        " --experiment {params.name} {params.members} {params.within}"
        " --titles {params.titles:q} --out {output:q} > {log:q} 2>&1"


use rule explore as explore_comparison with:
    """All chips of experiments that differ in their seed -> their curves, side by side."""
    input:
        lambda wildcards: [
            file
            for name in PLAN.compared(wildcards.comparison)
            for file in chips(name)
        ],
    output:
        report(
            layout.of_place(layout.EXPLORER, layout.OF_COMPARISON),
            caption="report/explorer_comparison.rst",
            category="2. Explorers",
            labels={"result": "comparison {comparison}: explorer (page)"},
        ),
    log:
        layout.log("explore", of=layout.OF_COMPARISON),
    benchmark:
        layout.benchmark("explore", of=layout.OF_COMPARISON)
    params:
        name="{comparison}",
        folders=FILES.chips_folders,
        members=PLAN.members,
        points=PLAN.summarise,
        within=PLAN.within,
        titles=PLAN.plot,
        code=code_digest.digest("explore"),
    message:
        "comparison {wildcards.comparison}: page to explore curves"


rule join_comparisons:
    """Cycles to accuracy of all comparisons -> one table."""
    input:
        lambda _: FILES.cycles(PLAN.comparisons()),
    output:
        csv=report(
            layout.ALL_CYCLES,
            caption="report/cycles.rst",
            category="comparisons",
            labels={"result": "all comparisons: cycles to accuracy (table)"},
        ),
        markdown=layout.ALL_CYCLES_MARKDOWN,
        latex=layout.ALL_CYCLES_LATEX,
    log:
        layout.log("join_comparisons", of=layout.SUMMARIES),
    benchmark:
        layout.benchmark("join_comparisons", of=layout.SUMMARIES)
    localrule: True
    conda:
        conda_environment
    params:
        tables=lambda wildcards, input: [f"--table={file}" for file in input],
        code=code_digest.digest("cycles"),
    message:
        "all comparisons: cycles to accuracy in one table"
    shell:
        "python -m swim cycles {params.tables:q} --out {output.csv:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} > {log:q} 2>&1"


rule comparisons:
    """Cycles to accuracy of `comparisons:`, each a method's over training seeds."""
    input:
        lambda _: outcomes([], PLAN.comparisons()),
    localrule: True
    message:
        "all comparisons: everything is there"


rule plot:
    """The tidy table -> two figures a sigma: NWC as it is, and on a logarithmic axis."""
    input:
        layout.ACCURACY,
    output:
        png=report(
            layout.figure_at_sigma("accuracy", "png"),
            caption="report/figure.rst",
            category="{experiment}",
            labels={"result": "{experiment}: accuracy, sigma {sigma} (figure)"},
        ),
        svg=layout.figure_at_sigma("accuracy", "svg"),
        pdf=layout.figure_at_sigma("accuracy", "pdf"),
        log_png=report(
            layout.figure_at_sigma("accuracy-log", "png"),
            caption="report/figure_log.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: accuracy, sigma {sigma}, logarithmic axis (figure)"
            },
        ),
        log_svg=layout.figure_at_sigma("accuracy-log", "svg"),
        log_pdf=layout.figure_at_sigma("accuracy-log", "pdf"),
    log:
        layout.log("plot-sigma-{sigma}"),
    benchmark:
        layout.benchmark("plot-sigma-{sigma}")
    localrule: True
    conda:
        conda_environment
    params:
        figures="--sigma {sigma} --figure accuracy --figure accuracy-log",
        folder=lambda wildcards, output: os.path.dirname(output.png),
        titles=PLAN.plot,
        code=code_digest.digest("plot"),
    message:
        "{wildcards.experiment}: figures of accuracy, sigma {wildcards.sigma}"
    shell:
        "python -m swim plot {input:q} {params.figures} --titles {params.titles:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


use rule plot as plot_reads with:
    """The tidy table of an experiment with policies -> accuracy against reads per device."""
    output:
        png=report(
            layout.figure_at_sigma("reads", "png"),
            caption="report/reads.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: accuracy against reads, sigma {sigma} (figure)"
            },
        ),
        svg=layout.figure_at_sigma("reads", "svg"),
        pdf=layout.figure_at_sigma("reads", "pdf"),
    log:
        layout.log("plot_reads-sigma-{sigma}"),
    benchmark:
        layout.benchmark("plot_reads-sigma-{sigma}")
    params:
        figures="--sigma {sigma} --figure reads",
        folder=lambda wildcards, output: os.path.dirname(output.png),
        titles=PLAN.plot,
        code=code_digest.digest("plot"),
    message:
        "{wildcards.experiment}: figure of accuracy against reads, sigma {wildcards.sigma}"


use rule plot as plot_cycles with:
    """Cycles to accuracy, of an experiment or a comparison -> a point with its interval per method."""
    input:
        layout.CYCLES,
    output:
        png=report(
            layout.CYCLES_FIGURE.replace("{suffix}", "png"),
            caption="report/cycles_figure.rst",
            category=PLAN.report_category,
            labels=PLAN.report_label_of_cycles,
        ),
        svg=layout.CYCLES_FIGURE.replace("{suffix}", "svg"),
        pdf=layout.CYCLES_FIGURE.replace("{suffix}", "pdf"),
    log:
        layout.log("plot_cycles-sigma-{sigma}", of="{place}"),
    benchmark:
        layout.benchmark("plot_cycles-sigma-{sigma}", of="{place}")
    params:
        figures="--sigma {sigma} --figure cycles",
        folder=lambda wildcards, output: os.path.dirname(output.png),
        titles=PLAN.plot,
        code=code_digest.digest("plot"),
    message:
        "{wildcards.place}: figure of cycles to accuracy, sigma {wildcards.sigma}"


use rule plot as plot_where with:
    """Devices that each method rewrites at one NWC -> a map of layers and slices per method."""
    input:
        layout.WHERE,
    output:
        png=report(
            layout.WHERE_FIGURE.replace("{suffix}", "png"),
            caption="report/where.rst",
            category="{experiment}",
            labels={
                "result": "{experiment}: rewritten devices, {device}, NWC {budget},"
                " sigma {sigma} (figure)"
            },
        ),
        svg=layout.WHERE_FIGURE.replace("{suffix}", "svg"),
        pdf=layout.WHERE_FIGURE.replace("{suffix}", "pdf"),
    log:
        layout.log("plot_where-{device}-{budget}-sigma-{sigma}"),
    benchmark:
        layout.benchmark("plot_where-{device}-{budget}-sigma-{sigma}")
    params:
        figures="--figure where",
        folder=lambda wildcards, output: os.path.dirname(output.png),
        titles=PLAN.plot,
        code=code_digest.digest("plot"),
    message:
        "{wildcards.experiment}: figure of devices rewritten at NWC {wildcards.budget}"
        ", device {wildcards.device}, sigma {wildcards.sigma}"


use rule plot as plot_learning with:
    """One row an epoch -> loss and accuracy over the epochs of training."""
    input:
        layout.HISTORY,
    output:
        png=report(
            layout.figure("learning", "png"),
            caption="report/learning.rst",
            category="{experiment}",
            labels={"result": "{experiment}: learning curve (figure)"},
        ),
        svg=layout.figure("learning", "svg"),
        pdf=layout.figure("learning", "pdf"),
    log:
        layout.log("plot_learning"),
    benchmark:
        layout.benchmark("plot_learning")
    params:
        figures="--figure learning",
        folder=lambda wildcards, output: os.path.dirname(output.png),
        titles=PLAN.plot,
        code=code_digest.digest("plot"),
    message:
        "{wildcards.experiment}: figure of the learning curve"
