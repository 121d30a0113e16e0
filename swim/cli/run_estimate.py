"""What experiments cost: their jobs, each with the parts that it is made of."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swim.cli.planned_jobs import Job, jobs
from swim.cli.stored_times import Part, Subject
from swim.errors import SettingError
from swim.reports import run_cost
from swim.reports.run_cost import Cost, Spread
from swim.runtime import files, machine
from swim.settings import (
    Config,
    DeviceSettings,
    EvaluateJob,
    layout,
    policies,
    registry,
    section_json,
)
from swim.settings.experiments import ExperimentSettings
from swim.settings.loading import KNOWN_IMAGES, Images
from swim.settings.plan import Plan, as_dict

# Assumed, as results of LeNet are: bytes of an explorer, of a figure in three formats, of any other
# job's tables and logs, of a row of a chips file.
_EXPLORER, _FIGURES, _TABLE, _ROW = 2e6, 2e5, 2e4, 120
_DRAWN = ("plot", "plot_cycles", "plot_reads", "plot_learning", "correlate")
_NONE, _ALL = "evaluate_none_verified", "evaluate_all_verified"

Times = Mapping[str, Any]


@dataclass
class RunEstimate:
    """Jobs of experiments, the parts to measure, and what the jobs cost.

    Attributes:
        config: the configuration.
        names: of experiments.
        spread: assumed, of accuracies.
        reference: as for :func:`swim.reports.run_cost.sample`.
        environment: variables of the processes that measure parts.
        cores: of the run; 0: as many as this machine has.
    """

    config: Config
    names: list[str]
    spread: Spread = field(default_factory=Spread)
    reference: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: int = 0

    def __post_init__(self) -> None:
        """Count the jobs."""
        self.plan = Plan(self.config)
        self.cores = self.cores or machine.cores()
        self.jobs = [
            replace(job, threads=min(job.threads, self.cores))
            for job in jobs(self.plan, self.names)
        ]
        self._images: dict[str, Images] = {}

    def own(self, job: Job) -> ExperimentSettings:
        """The settings of a job's experiment."""
        return self.config.experiments[job.experiment]

    def images(self, dataset: str) -> Images:
        """What a data set holds, by its registration or by its prepared file.

        Raises:
            SettingError: it is the user's own, and not prepared.
        """
        if dataset not in self._images:
            known = KNOWN_IMAGES.get(dataset)
            self._images[dataset] = known or self._prepared(dataset)
        return self._images[dataset]

    def _prepared(self, dataset: str) -> Images:
        path = layout.DATA.format(dataset=dataset)
        if not Path(path).exists():
            raise SettingError(
                f"data_sets.{dataset}: the size of its images is known once they are prepared; run "
                f"`snakemake --cores 1 {path}` first"
            )
        record = files.read_settings(path)
        train, *shape = record["arrays"]["train_images"][1]
        test = record["arrays"]["test_images"][1][0]
        in_files = self.config.data_sets[dataset].folder is not None
        return Images(
            (shape[0], shape[1], shape[2]), record["classes"], train, test,
            record["augmentation"], in_files,
        )  # fmt: skip

    def subject(self, name: str) -> Subject:
        """What the parts of an experiment are measured on."""
        own = self.config.experiments[name]
        images = self.images(own.dataset)
        request = {
            "model": own.model.model_dump(mode="json"),
            "shape": list(images.shape),
            "classes": images.classes,
            "augmentation": images.augmentation,
            "test": _tested(own, images),
            "batch": max(own.training.batch_size, min(own.batch_size, images.train)),
            "compute": {
                "accelerator": own.accelerator,
                "arithmetic_threads": own.arithmetic_threads,
            },
        }
        return Subject(request, own.model.network, self.environment)

    def parts(self) -> dict[str, dict[str, Part]]:
        """Experiment -> what to measure of it, by a text that is equal for equal parts."""
        found: dict[str, dict[str, Part]] = {}
        for job in self.jobs:
            for part in self._parts(job).values():
                found.setdefault(job.experiment, {})[text_of(part)] = part
        return found

    def _parts(self, job: Job) -> dict[str, Part]:
        """The parts that a job's seconds are made of, by kind."""
        own = self.own(job)
        if job.rule == "train":
            kept = ("batch_size", "optimizer", "arithmetic", "weight_noise", "augment")
            settings = {name: getattr(own.training, name) for name in kept}
            return _by_kind({"kind": "train", "training": settings, "threads": job.threads})
        if job.rule == "sensitivity":
            settings = as_dict(self.plan.sensitivity(job.point))
            left_out = ("seed", "sensitivity_images")
            settings = {key: x for key, x in settings.items() if key not in left_out}
            return _by_kind({"kind": "sensitivity", "job": settings})
        if job.rule in ("perturb", "perturb_on_chips"):
            assert own.correlate is not None
            part = {"batch_size": own.batch_size, "weights": own.correlate.weights}
            return _by_kind({"kind": "perturb", **part}, self._passes(own))
        if job.step != "evaluation":
            # A file's size is known by the network's.
            return _by_kind(self._passes(own)) if job.rule in ("select", "adopt") else {}
        return _by_kind(self._passes(own), self._programming(job))

    def _passes(self, own: ExperimentSettings) -> Part:
        devices = {name: _described(self.config.devices[name]) for name in own.devices}
        shared = {"arithmetic": own.arithmetic, "batch_size": own.batch_size}
        return {"kind": "passes", **shared, "devices": devices}

    def _programming(self, job: Job) -> Part:
        """Programming one chip: where that costs more, at the largest sigma and a middle point."""
        own, device = self.own(job), self.config.devices[job.point.device]
        part = {"device": _described(device), "sigma": max(own.sigmas, key=float)}
        if job.rule == "in_situ":
            assert own.in_situ is not None
            return {"kind": "in_situ", **part, "in_situ": own.in_situ.model_dump(mode="json")}
        fractions = [text for text in own.fractions if text not in ("0", "1")] or ["0.5"]
        method, spent = "mask", fractions
        if job.rule == "program":
            method, spent = (
                job.point.method,
                policies.own_points(job.point.method, own.budgets or own.fractions),
            )
        elif device.write_verify != "closed_form" and job.rule in (_NONE, _ALL):
            method = "none" if job.rule == _NONE else "all"
        budget = statistics.median_low(sorted(spent, key=float))
        return {"kind": "program", **part, "method": method, "budget": budget}

    def costs(self, times: Callable[[str, Part], Times]) -> list[Cost]:
        """What each job costs.

        Args:
            times: of an experiment's part.
        """
        return [self._cost(job, times) for job in self.jobs]

    def _cost(self, job: Job, times: Callable[[str, Part], Times]) -> Cost:
        own, parts = self.own(job), self._parts(job)
        found = {kind: times(job.experiment, part) for kind, part in parts.items()}
        images = self.images(own.dataset)
        if job.step == "evaluation":
            return self._of_chips(job, found, images)
        seconds, memory, disk = run_cost.LIGHT_SECONDS, math.nan, _TABLE
        if job.rule == "train":
            seconds = run_cost.training_seconds(
                own.training, own.model.quantised, images.train, found["train"], job.threads
            )
            memory, disk = found["train"]["memory"], found["train"]["state"]
        elif job.rule == "sensitivity":
            chosen = min(own.sensitivity_images or images.train, images.train)
            seconds = run_cost.derivatives_seconds(chosen, found["sensitivity"])
            memory, disk = found["sensitivity"]["memory"], found["sensitivity"]["bytes"]
        elif job.rule in ("perturb", "perturb_on_chips"):
            seconds, memory = self._of_study(job, found["perturb"], images)
        elif job.rule == "prepare":
            count, pixels = images.train + images.test, math.prod(images.shape)
            seconds += count * run_cost.DECODED_IMAGE * images.files
            disk = count * (pixels + 8)
        elif job.rule == "select":
            seconds += found["passes"]["weights"] * run_cost.RANKED_WEIGHT
            disk += found["passes"]["weights"] / 8
        elif job.rule == "adopt":
            disk = found["passes"]["state"]
        elif job.rule == "explore":
            disk = _EXPLORER
        elif job.rule in _DRAWN:
            disk = _FIGURES
        return Cost(job, (seconds, seconds, seconds), memory, disk)

    def _of_study(self, job: Job, times: Times, images: Images) -> tuple[float, float]:
        study = self.own(job).correlate
        assert study is not None
        chosen = min(study.images or images.train, images.train)
        chips = study.chips if job.rule == "perturb_on_chips" else 0
        seconds = run_cost.perturbation_seconds(study.weights, chosen, chips, times)
        return seconds, times["memory"] + chosen * math.prod(images.shape) * 8

    def _of_chips(self, job: Job, found: Mapping[str, Times], images: Images) -> Cost:
        total = _tested(self.own(job), images)
        settings = EvaluateJob.model_validate(as_dict(self.plan.evaluate(job.point)))
        both = {**found.get("program", {}), **found["passes"]}
        if job.rule == "in_situ":
            both["chip"] = run_cost.on_device_chip(float(job.point.budget), found["in_situ"])
        cost = both[f"cost:{job.point.device}"]
        assumed = run_cost.sample(settings, total, cost, self.spread, self.reference)
        chips = [settings.chips, assumed.chips, assumed.chips]
        if settings.precision is not None:
            chips[2] = settings.max_chips
        seconds = [
            run_cost.chips_seconds(
                run_cost.Sample(count, assumed.images), total, both, clean=job.rule == _NONE
            )
            for count in chips
        ]
        memory = max(part["memory"] for part in found.values())
        memory += 2 * total * math.prod(images.shape) * 4  # images, and joined for samples
        return Cost(job, (seconds[0], seconds[1], seconds[2]), memory, _TABLE + _ROW * chips[1])


def _by_kind(*parts: Part) -> dict[str, Part]:
    return {part["kind"]: part for part in parts}


def _described(device: DeviceSettings) -> dict[str, Any]:
    return as_dict(section_json(device))


def text_of(part: Part) -> str:
    """A text that is the same for equal parts."""
    return json.dumps(part, sort_keys=True)


def _tested(own: ExperimentSettings, images: Images) -> int:
    return min(own.test_images or images.test, images.test)


def require_known(names: Iterable[str], config: Config) -> list[str]:
    """The experiments asked for, or all.

    Raises:
        SettingError: there is none of that name.
    """
    chosen = list(dict.fromkeys(names)) or list(config.experiments)
    for name in chosen:
        if name not in config.experiments:
            known = registry.suggest(name, config.experiments)
            raise SettingError(f"unknown experiment {name!r}; {known}")
    return chosen
