import json
import os
import shlex
import sys

sys.path.insert(0, workflow.basedir)

from rules.environment import gpu_visible, prefer
from snakemake.exceptions import WorkflowError
from swim import machine, registry, sources, spec
from swim.methods.base import estimator_of

prefer(workflow.basedir)

try:
    CONFIG = spec.load(config)
except spec.SettingError as error:
    raise WorkflowError(f"config.yaml\n{error}") from None
EXPERIMENTS = CONFIG.experiments
VERSIONS = json.dumps(machine.versions(), sort_keys=True)
# `--config download=false` arrives as text.
config["download"] = CONFIG.download


wildcard_constraints:
    experiment="|".join(EXPERIMENTS) or "-",
    dataset="|".join([*registry.DATASETS, *CONFIG.data_sets]),
    device="|".join(CONFIG.devices),
    method="|".join(registry.METHODS),
    end="none/0|all/1",
    sigma=r"[0-9.]+",
    fraction=r"[0-9.]+",
    estimator="|".join(registry.ESTIMATORS),


def experiment(wildcards):
    return EXPERIMENTS[wildcards.experiment]


def job(section, wildcards, **own):
    """What a step depends on, as one JSON text: a change of anything else reruns nothing."""
    shared = {
        name: getattr(experiment(wildcards), name)
        for name in section.model_fields
        if name in spec.ExperimentSettings.model_fields and name != "accelerator"
    }
    return spec.section_json(section(**shared | own), exclude={"accelerator"})


def evaluate_job(wildcards):
    device = CONFIG.devices[wildcards.device]
    return job(spec.EvaluateJob, wildcards, device=device, sigma=wildcards.sigma)


def network_of(wildcards):
    return experiment(wildcards).model.name


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
    return [own.file] if own else []


def own_data_set(wildcards):
    """The option that describes a data set of the user's own; nothing for a known one."""
    own = CONFIG.data_sets.get(wildcards.dataset)
    return f"--own {shlex.quote(spec.section_json(own))}" if own else ""


def prepare_code(wildcards):
    own = wildcards.dataset in CONFIG.data_sets
    return sources.digest("prepare", **{} if own else {"data_set": wildcards.dataset})


def dataset_of(wildcards):
    return f"results/data/{experiment(wildcards).dataset}.safetensors"


def sensitivity_of(wildcards):
    """What a method ranks by beside weights, if anything: its own estimator's, or the chosen one's."""
    needs = registry.find("method", wildcards.method).NEEDS
    estimator = estimator_of(needs, experiment(wildcards).estimator)
    if estimator is None:
        return []
    return f"results/{wildcards.experiment}/sensitivity/{estimator}.safetensors"


def points_of(name):
    """The points of an experiment's curves."""
    own = EXPERIMENTS[name]
    fields = spec.SummariseJob.model_fields
    return spec.SummariseJob(**{field: getattr(own, field) for field in fields})


def chips_of(name):
    """Every chips file of an experiment."""
    return [f"results/{name}/chips/{file}" for file in points_of(name).files()]


def outcome(name):
    """What an experiment's target makes."""
    figures = [
        f"results/{name}/figures/accuracy-sigma-{sigma}.{suffix}"
        for sigma in EXPERIMENTS[name].sigmas
        for suffix in ("png", "svg")
    ]
    return [
        f"results/{name}/settings.json",
        f"results/{name}/accuracy.csv",
        f"results/{name}/paired.csv",
        f"results/summary/{name}.md",
        *figures,
        *chips_of(name),
    ]
