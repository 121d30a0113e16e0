# The configuration, and what rules ask of it: PLAN knows each step's settings, CODE the digest of
# its code, FILES what it reads and makes. All are plain Python of swim/, tested without Snakemake.
import functools
import json
import os

from rules.environment import (
    commit,
    gpu_visible,
    prefer,
    rule_names,
)
from rules.log_lines import Shortened
from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from swim import errors, settings
from swim.cli import copied_results
from swim.cli.step_digests import StepDigests
from swim.cli.targets import Targets
from swim.reports import claims_page, outcome
from swim.reports import landing as landing_page
from swim.runtime import machine
from swim.settings import layout
from swim.settings.plan import Plan, one_of

prefer(workflow.basedir)
logger.addFilter(Shortened())


class WithWorkflowErrors:
    """An object of swim/ whose errors Snakemake shows as one message, without a traceback."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        return with_workflow_errors(value) if callable(value) else value


def with_workflow_errors(function):
    @functools.wraps(function)
    def run(*arguments, **chosen):
        try:
            return function(*arguments, **chosen)
        except errors.SwimError as error:
            raise WorkflowError(str(error)) from None

    return run


CONFIG = with_workflow_errors(settings.load)(
    config, ORIGINS, rule_names(workflow.basedir)
)
# An empty `experiments:` or `quick:` is a mapping of nothing, as the schema in Snakefile has it.
config.update(settings.without_gaps(config))
# `--config download=false` arrives as text.
config["download"] = CONFIG.download
PLAN = WithWorkflowErrors(Plan(CONFIG))
CODE = WithWorkflowErrors(StepDigests(Plan(CONFIG)))
FILES = WithWorkflowErrors(Targets(Plan(CONFIG)))
VERSIONS = json.dumps(machine.versions(), sort_keys=True)


wildcard_constraints:
    **PLAN.wildcards(),


def conda_environment(wildcards):
    """What a job runs in where --sdm conda asks for it, else nothing.

    Snakemake records this with a job's files whether or not it was installed, and its report lists
    what is recorded as the software that a rule used.
    """
    asked = workflow.deployment_settings.deployment_method
    return "../envs/swim.yaml" if DeploymentMethod.CONDA in asked else None


def gpus(wildcards):
    """One GPU a job where it will use one; the profile says how many there are."""
    wanted = PLAN.accelerator(wildcards)
    return int(wanted == "cuda" or (wanted == "auto" and gpu_visible()))


CHECKED = set()


def check_copied(name):
    """Refuse an experiment's files that were made with other settings, once per run.

    Files that Snakemake has no record of, as of a copy without its folder .snakemake, are compared
    with the settings. Where it has a record, it makes them again by itself.
    """
    records = workflow.persistence
    if not records or workflow.dag_settings.forceall or name in CHECKED:
        return
    CHECKED.add(name)
    unknown = [
        wanted
        for wanted in FILES.records(name)
        if os.path.exists(wanted[0]) and records.metadata(IOFile(wanted[0])) is None
    ]
    try:
        copied_results.require(unknown)
    except errors.SwimError as error:
        raise WorkflowError(f"{name}: {error}") from None


def chips(name):
    """Every chips file of an experiment, once copied files were checked."""
    check_copied(name)
    return FILES.chips(name)


# Experiments and comparisons that --configfile or --config names, if any.
NAMED = {section: ORIGINS.named(section) for section in ("experiments", "comparisons")}
ANNOUNCED = set()
PLANNED_CLAIMS = {}  # files of verdicts, in the order of the targets
PLANNED_EXPERIMENTS = {}
COMPARED = {}  # experiments of planned comparisons


def outcomes(experiments, comparisons=(), why=""):
    """What targets make; the log says what that is before any work, once."""
    planned = PLAN.planned(list(experiments), list(comparisons))
    if planned not in ANNOUNCED:
        ANNOUNCED.add(planned)
        logger.info(f"Planned: {planned or 'no experiment'}{why}")
        if workflow.dryrun and experiments:
            tell_cost(list(experiments))
    for name in experiments:
        chips(name)
    PLANNED_EXPERIMENTS.update(dict.fromkeys(experiments))
    PLANNED_CLAIMS.update(dict.fromkeys(FILES.claims(experiments, comparisons)))
    for owner in comparisons:
        COMPARED.update(dict.fromkeys(PLAN.compared(owner)))
    made = [file for name in experiments for file in FILES.experiment(name)]
    return made + FILES.comparisons(list(comparisons))


def tell_cost(names):
    """What experiments cost, by parts that `swim estimate` has measured; a dry run says it."""
    from swim.cli import estimate  # the command's modules take a while to load

    logger.info(estimate.line(CONFIG, names, workflow.cores))


def tell_made():
    """What this run was to make, with the number of points and chips, and where it is."""
    for name in PLANNED_EXPERIMENTS:
        if outcome.exists(name):
            precision = CONFIG.experiments[name].precision
            for line in with_workflow_errors(outcome.lines)(name, precision):
                logger.info(line)


def tell_claims():
    """What the papers claim, and whether it holds, of each experiment that this run was to make."""
    for file in PLANNED_CLAIMS:
        if os.path.exists(file):
            logger.info(with_workflow_errors(claims_page.read_text)(file))


def landing():
    """The first page of a report, from the results of its experiments."""
    page = with_workflow_errors(landing_page.text)
    return page(
        list(PLANNED_EXPERIMENTS | COMPARED),
        list(PLANNED_CLAIMS),
        commit(workflow.basedir),
    )


def outcomes_named():
    """What `snakemake` without a target makes where the command line names experiments."""
    why = f", as {' and '.join(ORIGINS.added)} names them; all others: the target `all`"
    return outcomes(NAMED["experiments"], NAMED["comparisons"], why)
