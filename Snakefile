from snakemake.utils import min_version, validate

min_version("9.5")


configfile: os.path.join(workflow.basedir, "config.yaml")


include: "rules/common.smk"
include: "rules/copies.smk"


# The same rules as JSON schema, generated from swim.spec; common.smk has explained any fault.
validate(config, "rules/schemas/config.schema.json", set_default=False)


# The first rule is what `snakemake` without a target makes: every experiment.
rule all:
    input:
        [outcome(name) for name in EXPERIMENTS],
        outcome_of_comparisons() if CONFIG.comparisons else [],


for name in EXPERIMENTS:

    rule:
        name:
            name
        input:
            outcome(name),


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/sensitivity.smk"
include: "rules/select.smk"
include: "rules/evaluate.smk"
include: "rules/correlate.smk"
include: "rules/present.smk"
