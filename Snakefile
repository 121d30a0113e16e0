from snakemake.utils import min_version, validate

min_version("9.5")


report: "rules/report/workflow.rst"


include: "rules/sources.smk"


configfile: os.path.join(workflow.basedir, "config.yaml")


include: "rules/common.smk"
include: "rules/checks.smk"


# The same rules as JSON schema, generated from swim.settings; common.smk has explained any fault.
validate(config, "rules/schemas/config.schema.json", set_default=False)


# What the report's first page calls; it sees nothing else of ours.
config["landing"] = landing


rule all:
    """What `snakemake` without a target makes: every experiment and comparison."""
    input:
        lambda _: outcomes(CONFIG.experiments, CONFIG.comparisons),
    message:
        "all experiments and comparisons: everything is there"


rule named:
    """Or, where --configfile or --config names experiments, those alone."""
    default_target: bool(NAMED["experiments"] or NAMED["comparisons"])
    input:
        lambda _: outcomes_named(),
    message:
        "what the command line names: everything is there"


for name in CONFIG.experiments:

    rule:
        name:
            name
        input:
            lambda _, name=name: outcomes([name]),
        message:
            f"{name}: everything is there"


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/sensitivity.smk"
include: "rules/select.smk"
include: "rules/evaluate.smk"
include: "rules/correlate.smk"
include: "rules/present.smk"


onsuccess:
    tell_made()
    tell_claims()
