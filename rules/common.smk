import json
import os
import shlex
from pathlib import Path

from rules.environment import gpu_visible, prefer
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from swim import errors, settings as spec
from swim.data import image_digest as fingerprint, level_table
from swim.runtime import code_digest as sources, machine, provenance as origin
from swim.selection.scores.base import estimator_of
from swim.settings import registry, validation as faults

prefer(workflow.basedir)


def check(path, function, *arguments, **chosen):
    """Call what reads code or a file that a setting names; say which one it was."""
    try:
        function(*arguments, **chosen)
    except (spec.SettingError, errors.DataError) as error:
        where = ORIGINS.where(path)
        raise WorkflowError(f"{where}: {'.'.join(path)}: {error}") from None


try:
    CONFIG = spec.load(config, ORIGINS)
except spec.SettingError as error:
    raise WorkflowError(str(error)) from None
config.update(spec.without_gaps(config))
for name, settings in CONFIG.experiments.items():
    path = ("experiments", name, "model")
    check(path, sources.digest_of, network=settings.model.network)
    for device in settings.devices:
        if variation := CONFIG.devices[device].variation:
            path = ("devices", device, "variation")
            check(path, sources.digest_of, variation=variation.source)
            if variation.table:
                check((*path, "table"), level_table.read, variation.table)
EXPERIMENTS = CONFIG.experiments
TRAINED = [name for name, own in EXPERIMENTS.items() if own.checkpoint is None]
CORRELATED = [name for name, own in EXPERIMENTS.items() if own.correlate is not None]
ADOPTED = [name for name in EXPERIMENTS if name not in TRAINED]
VERSIONS = json.dumps(machine.versions(), sort_keys=True)
# `--config download=false` arrives as text.
config["download"] = CONFIG.download
# Sigmas and fractions in their one spelling, as settings have them: 0.10 is no target.
NUMBER = r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{0,14}[1-9])?"


wildcard_constraints:
    experiment="|".join(EXPERIMENTS) or "-",
    dataset="|".join([*registry.DATASETS, *CONFIG.data_sets]),
    device="|".join(CONFIG.devices),
    method="|".join(registry.METHODS),
    policy="|".join(registry.POLICIES),
    end="none/0|all/1",
    sigma=NUMBER,
    fraction=NUMBER,
    budget=NUMBER,
    estimator="|".join(registry.ESTIMATORS),
    comparison="|".join(CONFIG.comparisons) or "-",
    place="|".join([*EXPERIMENTS, *(f"summary/{name}" for name in CONFIG.comparisons)]),


def experiment(wildcards):
    return EXPERIMENTS[wildcards.experiment]


def job(section, wildcards, **own):
    """What a step depends on, as one JSON text: a change of anything else reruns nothing."""
    shared = {
        name: getattr(experiment(wildcards), name)
        for name in section.model_fields
        if name in spec.ExperimentSettings.model_fields and name != "accelerator"
    }
    return as_json(section, shared | own)


def as_json(section, content):
    """A step's settings; wildcards of a target that a user has typed may be misspelt."""
    try:
        made = faults.parse(section, content, "target")
    except spec.SettingError as error:
        raise WorkflowError(str(error)) from None
    return spec.section_json(made, exclude={"accelerator"})


def evaluate_job(wildcards):
    device = CONFIG.devices[wildcards.device]
    return job(spec.EvaluateJob, wildcards, device=device, sigma=wildcards.sigma)


def in_situ_job(wildcards):
    device = CONFIG.devices[wildcards.device]
    own = {"device": device, "sigma": wildcards.sigma, "budget": wildcards.budget}
    return job(spec.InSituJob, wildcards, **own)


def program_job(wildcards):
    device = CONFIG.devices[wildcards.device]
    own = {"device": device, "sigma": wildcards.sigma, "budget": wildcards.budget}
    return job(spec.ProgramJob, wildcards, policy=wildcards.policy, **own)


def perturb_job(wildcards):
    own = experiment(wildcards).correlate
    device = CONFIG.devices[wildcards.device]
    sampled = {"weights": own.weights, "images": own.images}
    place = {"device": device, "sigma": wildcards.sigma}
    return job(spec.PerturbJob, wildcards, **place, **sampled)


def where_job(wildcards):
    own = experiment(wildcards)
    device = CONFIG.devices[wildcards.device]
    content = {
        "device": device,
        "sigma": wildcards.sigma,
        "budget": wildcards.budget,
        "seed": own.seed,
        "arithmetic_threads": own.arithmetic_threads,
    }
    return as_json(spec.WhereJob, content)


def at_budget(wildcards):
    """Methods with a mask, and policies, that have a point at this NWC."""
    own = experiment(wildcards)
    policies = [name for name in own.methods if name in registry.POLICIES]
    masks = [name for name in own.methods if name not in registry.POLICIES]
    if wildcards.budget not in own.fractions:
        masks = []
    if wildcards.budget not in (own.budgets or own.fractions):
        policies = []
    if not masks + policies:
        raise WorkflowError(
            f"{wildcards.experiment}: no method has a point at NWC {wildcards.budget}"
        )
    return masks, policies


def masks_at(wildcards):
    masks, _ = at_budget(wildcards)
    folder = f"results/{wildcards.experiment}/masks/{wildcards.device}"
    return [f"{folder}/{name}/{wildcards.budget}.npz" for name in masks]


def policies_at(wildcards):
    _, policies = at_budget(wildcards)
    return " ".join(f"--policy {name}" for name in policies)


def where_code(wildcards):
    _, policies = at_budget(wildcards)
    return [
        sources.digest("where", **variation_of(wildcards)),
        *(sources.digest_of(policy=name) for name in policies),
    ]


def network_of(wildcards):
    return experiment(wildcards).model.network


def variation_of(wildcards):
    """A device's variation, as what a digest of code covers."""
    variation = CONFIG.devices[wildcards.device].variation
    return {"variation": variation.source} if variation else {}


def chosen_code(wildcards):
    """What the code of a step that programs chips depends on: a network, a device's variation."""
    return {"network": network_of(wildcards), **variation_of(wildcards)}


def levels_of(wildcards):
    """The table of a device that was measured."""
    variation = CONFIG.devices[wildcards.device].variation
    return [variation.table] if variation and variation.table else []


def trusted_network(wildcards):
    """The option that lets a step import a network of the user's own."""
    own = experiment(wildcards).model.factory
    return f"--network {own}" if own else ""


def adopt_job(wildcards):
    own = experiment(wildcards)
    images = own.training.calibration_images
    return spec.section_json(spec.AdoptJob(model=own.model, calibration_images=images))


def threads_of(wildcards):
    return experiment(wildcards).arithmetic_threads


def accelerator_of(wildcards):
    return experiment(wildcards).accelerator


def gpus_of(wildcards):
    """One GPU a job where it will use one; the profile says how many there are."""
    wanted = accelerator_of(wildcards)
    return int(wanted == "cuda" or (wanted == "auto" and gpu_visible()))


def own_file_of(wildcards):
    own = CONFIG.data_sets.get(wildcards.dataset)
    return [own.file] if own and own.file else []


def own_images(wildcards):
    """A digest of the images in a folder of the user's own, which are too many to be inputs."""
    own = CONFIG.data_sets.get(wildcards.dataset)
    if not own or not own.folder:
        return ""
    try:
        cache = Path("results/data", f".{wildcards.dataset}.images.json")
        return fingerprint.of_images(Path(own.folder), cache)
    except errors.DataError as error:
        raise WorkflowError(f"data_sets.{wildcards.dataset}: {error}") from None


def own_data_set(wildcards):
    """The option that describes a data set of the user's own; nothing for a known one."""
    own = CONFIG.data_sets.get(wildcards.dataset)
    return f"--own {shlex.quote(spec.section_json(own))}" if own else ""


def prepare_code(wildcards):
    own = CONFIG.data_sets.get(wildcards.dataset)
    chosen = {"own_data_set": own.kind} if own else {"data_set": wildcards.dataset}
    return sources.digest("prepare", **chosen)


def dataset_of(wildcards):
    return f"results/data/{experiment(wildcards).dataset}.safetensors"


def sensitivity_of(wildcards):
    """What a method ranks by beside weights, if anything: its own estimator's, or the chosen one's."""
    needs = registry.find("selection method", wildcards.method).NEEDS
    estimator = estimator_of(needs, experiment(wildcards).estimator)
    if estimator is None:
        return []
    return f"results/{wildcards.experiment}/sensitivity/{estimator}.safetensors"


def chosen_curvature_of(wildcards):
    """What policies rank by."""
    return f"results/{wildcards.experiment}/sensitivity/{experiment(wildcards).estimator}.safetensors"


def scored_of(wildcards):
    """The methods whose scores are compared with measured loss."""
    return experiment(wildcards).scored


def sensitivities_of(wildcards):
    """Every estimator's file that those methods rank by."""
    needs = [
        registry.find("selection method", method).NEEDS
        for method in scored_of(wildcards)
    ]
    own = experiment(wildcards).estimator
    estimators = {estimator_of(need, own) for need in needs} - {None}
    folder = f"results/{wildcards.experiment}/sensitivity"
    return [f"{folder}/{estimator}.safetensors" for estimator in sorted(estimators)]


def correlate_code(wildcards):
    """A digest of the code of the study of scores."""
    methods = [
        registry.home("selection method", method) for method in scored_of(wildcards)
    ]
    return sources.digest_of("swim.cli.correlate", *methods)


def perturbations_of(name):
    """What single weights' errors cost, measured at each device and sigma of the study."""
    own = EXPERIMENTS[name]
    return [
        f"results/{name}/perturbation/{device}/sigma-{sigma}.csv"
        for device in own.devices
        for sigma in own.correlate.sigmas
    ]


def correlations_of(name):
    """What the correlation study makes, where an experiment has one."""
    if EXPERIMENTS[name].correlate is None:
        return []
    return [
        f"results/{name}/correlation.csv",
        f"results/{name}/scores.csv",
        f"results/summary/{name}-correlation.md",
        f"results/{name}/figures/correlation.png",
        f"results/{name}/figures/correlation.svg",
    ]


def points_of(name):
    """The points of an experiment's curves."""
    own = EXPERIMENTS[name]
    fields = ("devices", "sigmas", "methods", "fractions", "budgets")
    shared = {field: getattr(own, field) for field in fields}
    return spec.SummariseJob(
        **shared, in_situ=own.in_situ.budgets if own.in_situ else []
    )


def chips_of(name):
    """Every chips file of an experiment."""
    require_settings(name)
    return [f"results/{name}/chips/{file}" for file in points_of(name).files()]


def within_of(name):
    """The options that say how near to everything verified is near enough."""
    return " ".join(f"--within {points}" for points in EXPERIMENTS[name].within)


def comparisons():
    """Names of the comparisons, of which there must be one."""
    if not CONFIG.comparisons:
        raise WorkflowError(
            "config.yaml: there is nothing under `comparisons:` to compare"
        )
    return list(CONFIG.comparisons)


def compared(name):
    """The experiments of a comparison, which differ in their seed."""
    return CONFIG.comparisons[name].experiments


def place_in_report(wildcards):
    """Category, and whose result it is, of a result that experiments and comparisons have."""
    kind, _, name = wildcards.place.rpartition("/")
    return ("comparisons", f"comparison {name}") if kind else (name, name)


def labels_of_cycles(wildcards):
    _, owner = place_in_report(wildcards)
    text = f"{owner}: cycles to accuracy, sigma {wildcards.sigma} (figure)"
    return {"result": text}


def outcome(name):
    """What an experiment's target makes."""
    drawn = ["accuracy", "accuracy-log", "cycles"]
    if any(method in registry.POLICIES for method in EXPERIMENTS[name].methods):
        drawn.append("reads")
    figures = [
        f"results/{name}/figures/{figure}-sigma-{sigma}.{suffix}"
        for figure in drawn
        for sigma in EXPERIMENTS[name].sigmas
        for suffix in ("png", "svg")
    ]
    return [
        f"results/{name}/settings.json",
        f"results/{name}/accuracy.csv",
        f"results/{name}/paired.csv",
        f"results/{name}/cycles_to_accuracy.csv",
        f"results/{name}/cycles_to_accuracy.md",
        f"results/summary/{name}.md",
        *figures,
        *correlations_of(name),
        *chips_of(name),
    ]


def outcome_of_comparisons(names):
    """What the target `comparisons` makes: each one's, and all in one table if all are asked for."""
    whole = set(names) == set(CONFIG.comparisons)
    folders = [""] if whole else [f"{name}/" for name in names]
    return [
        *(
            f"results/summary/{folder}cycles_to_accuracy.{suffix}"
            for folder in folders
            for suffix in ("csv", "md")
        ),
        *(
            f"results/summary/{name}/figures/cycles-sigma-{sigma}.{suffix}"
            for name in names
            for sigma in EXPERIMENTS[compared(name)[0]].sigmas
            for suffix in ("png", "svg")
        ),
    ]


# Experiments and comparisons that --configfile or --config names, if any.
NAMED = {section: ORIGINS.named(section) for section in ("experiments", "comparisons")}
ANNOUNCED = set()


def outcomes(experiments, comparisons=(), why=""):
    """What targets make; the log says what that is before any work, once."""
    words = {"experiment": list(experiments), "comparison": list(comparisons)}
    planned = " and ".join(
        f"{len(names)} {word}{'s' if len(names) > 1 else ''} "
        f"({', '.join([*names[:20], '...'] if len(names) > 20 else names)})"
        for word, names in words.items()
        if names
    )
    if planned not in ANNOUNCED:
        ANNOUNCED.add(planned)
        logger.info(f"Planned: {planned or 'no experiment'}{why}")
    made = [file for name in experiments for file in outcome(name)]
    return made + (outcome_of_comparisons(comparisons) if comparisons else [])


def outcome_of_named():
    """What `snakemake` without a target makes where the command line names experiments."""
    why = f", as {' and '.join(ORIGINS.added)} names them; all others: the target `all`"
    return outcomes(NAMED["experiments"], NAMED["comparisons"], why)
