"""What a run asks of the configuration: each step's settings, points and options, by wildcards.

Wildcards are the names in the braces of :mod:`.layout`'s patterns, such as experiment, device and
sigma: here any object that has them as attributes. Nothing is read but the configuration, and
nothing is written.
"""

import json
import shlex
from typing import Any

from swim.errors import SettingError
from swim.settings import layout, registry
from swim.settings.experiments import Config, ExperimentSettings, resolved_json, section_json
from swim.settings.jobs import (
    AdoptJob,
    ClaimsJob,
    CorrelateJob,
    EvaluateJob,
    InSituJob,
    PerturbJob,
    PlotJob,
    ProgramJob,
    SelectJob,
    SensitivityJob,
    SummariseJob,
    TrainJob,
    WhereJob,
)
from swim.settings.sections import Section, VariationSettings
from swim.settings.validation import parse

Wildcards = Any
# Sigmas and fractions in their one spelling, as settings have them: 0.10 is no target.
NUMBER = r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{0,14}[1-9])?"
NOTHING = "-"  # a name that no experiment or comparison has


class Plan:
    """The steps of all experiments.

    Attributes:
        config: the resolved configuration.
    """

    def __init__(self, config: Config):
        """The steps of a configuration."""
        self.config = config

    # --- names ------------------------------------------------------------------------------------

    @property
    def trained(self) -> list[str]:
        """Experiments that train their network."""
        return [name for name, own in self.config.experiments.items() if own.checkpoint is None]

    @property
    def adopted(self) -> list[str]:
        """Experiments that start from a checkpoint of the user's own."""
        return [name for name, own in self.config.experiments.items() if own.checkpoint]

    @property
    def correlated(self) -> list[str]:
        """Experiments that compare scores with measured losses."""
        return [name for name, own in self.config.experiments.items() if own.correlate]

    def wildcards(self) -> dict[str, str]:
        """Regular expressions of the names that wildcards may be."""
        experiments, comparisons = list(self.config.experiments), list(self.config.comparisons)
        places = [layout.OF_COMPARISON.format(comparison=name) for name in comparisons]
        names = {
            "experiment": experiments,
            "dataset": [*registry.DATASETS, *self.config.data_sets],
            "device": list(self.config.devices),
            "method": [*registry.METHODS, *self._custom_names()],
            "policy": list(registry.POLICIES),
            "estimator": list(registry.ESTIMATORS),
            "comparison": comparisons,
            "place": [*experiments, *places],
        }
        numbers = dict.fromkeys(("sigma", "fraction", "budget"), NUMBER)
        return {name: one_of(known) for name, known in names.items()} | numbers

    def _custom_names(self) -> list[str]:
        """Names of methods of the user's own, in any experiment."""
        experiments = self.config.experiments.values()
        return list(dict.fromkeys(name for own in experiments for name in own.custom_scores))

    def experiment(self, wildcards: Wildcards) -> ExperimentSettings:
        """The settings of a job's experiment."""
        return self.config.experiments[wildcards.experiment]

    # --- each step's settings, as one JSON text: a change of anything else reruns nothing ---------

    def _job(self, section: type[Section], wildcards: Wildcards, **own: Any) -> str:
        settings = self.experiment(wildcards)
        shared = {
            name: getattr(settings, name)
            for name in section.model_fields
            if name in ExperimentSettings.model_fields and name != "accelerator"
        }
        return _as_json(section, shared | own)

    def train(self, wildcards: Wildcards) -> str:
        """Settings of training."""
        threads = self.experiment(wildcards).threads_to_train
        return self._job(TrainJob, wildcards, arithmetic_threads=threads)

    def adopt(self, wildcards: Wildcards) -> str:
        """Settings of a checkpoint that is taken over."""
        own = self.experiment(wildcards)
        images = own.training.calibration_images
        return section_json(AdoptJob(model=own.model, calibration_images=images))

    def describe(self, wildcards: Wildcards) -> str:
        """All settings of the experiment."""
        return resolved_json(self.config, wildcards.experiment)

    def sensitivity(self, wildcards: Wildcards) -> str:
        """Settings of second derivatives."""
        return self._job(SensitivityJob, wildcards, estimator=wildcards.estimator)

    def select(self, wildcards: Wildcards) -> str:
        """Settings of a mask."""
        chosen = {"method": wildcards.method, "fraction": wildcards.fraction}
        score = self.experiment(wildcards).custom_scores.get(wildcards.method)
        return self._job(SelectJob, wildcards, **chosen, score=score)

    def evaluate(self, wildcards: Wildcards) -> str:
        """Settings of chips that a mask programs."""
        return self._job(EvaluateJob, wildcards, **self._at(wildcards))

    def program(self, wildcards: Wildcards) -> str:
        """Settings of chips that a policy programs."""
        own = {"policy": wildcards.policy, "budget": wildcards.budget}
        return self._job(ProgramJob, wildcards, **self._at(wildcards), **own)

    def in_situ(self, wildcards: Wildcards) -> str:
        """Settings of chips that are trained in place."""
        return self._job(InSituJob, wildcards, **self._at(wildcards), budget=wildcards.budget)

    def where(self, wildcards: Wildcards) -> str:
        """Settings of the map of rewritten devices."""
        own = self.experiment(wildcards)
        content = {
            "budget": wildcards.budget,
            "seed": own.seed,
            "arithmetic_threads": own.arithmetic_threads,
        }
        return _as_json(WhereJob, content | self._at(wildcards))

    def perturb(self, wildcards: Wildcards) -> str:
        """Settings of the loss that single weights cost."""
        return self._perturb(wildcards)

    def perturb_on_chips(self, wildcards: Wildcards) -> str:
        """The same, on top of the errors of programmed chips."""
        return self._perturb(wildcards, on_chips=True)

    def _perturb(self, wildcards: Wildcards, on_chips: bool = False) -> str:
        study = self.experiment(wildcards).correlate
        assert study is not None
        chips = study.chips if on_chips else 0
        sampled = {"weights": study.weights, "images": study.images, "chips": chips}
        return self._job(PerturbJob, wildcards, **self._at(wildcards), **sampled)

    def correlate(self, wildcards: Wildcards) -> str:
        """Settings of the correlations of scores with measured losses."""
        own = self.experiment(wildcards)
        scores = {name: own.custom_scores[name] for name in own.scored if name in own.custom_scores}
        return self._job(CorrelateJob, wildcards, custom=scores)

    def plot(self, wildcards: Wildcards) -> str:
        """What figures of an experiment, or of all that a comparison compares, say of it."""
        own = self.config.experiments[self._first_of_place(wildcards)]
        devices = {name: self.config.devices[name] for name in own.devices}
        shown = PlotJob(
            model=own.model,
            dataset=own.dataset,
            devices=devices,
            figure_width=own.figure_width,
        )
        return section_json(shown)

    def points(self, name: str) -> SummariseJob:
        """The points of an experiment's curves."""
        own = self.config.experiments[name]
        fields = ("devices", "sigmas", "fractions", "budgets")
        shared = {field: getattr(own, field) for field in fields}
        return SummariseJob(
            **shared,
            methods=own.method_names,
            custom=list(own.custom_scores),
            in_situ=own.in_situ.budgets if own.in_situ else [],
        )

    def summarise(self, wildcards: Wildcards) -> str:
        """The same as JSON, of a job's experiment or comparison."""
        return section_json(self.points(self.shown(wildcards)[0]))

    def claims(self, wildcards: Wildcards) -> str:
        """Settings of the verdicts on claims, of a job's experiment or comparison."""
        own = self.config.experiments[self.shown(wildcards)[0]]
        dependent = [name for name in own.devices if self.config.devices[name].variation]
        return section_json(ClaimsJob(estimator=own.estimator, level_dependent=dependent))

    def _at(self, wildcards: Wildcards) -> dict[str, Any]:
        return {"device": self.config.devices[wildcards.device], "sigma": wildcards.sigma}

    # --- what commands are told beside ------------------------------------------------------------

    def network(self, wildcards: Wildcards) -> str:
        """The network's name, or its import."""
        return self.experiment(wildcards).model.network

    def score(self, experiment: str, method: str) -> str:
        """A selection method's name, or its import."""
        own = self.config.experiments[experiment].custom_scores.get(method)
        return own.factory if own else method

    def trusted_network(self, wildcards: Wildcards) -> str:
        """The option that lets a step import a network of the user's own."""
        factory = self.experiment(wildcards).model.factory
        return f"--network {factory}" if factory else ""

    def variation(self, wildcards: Wildcards) -> VariationSettings | None:
        """How a device's error depends on its level, if it does."""
        return self.config.devices[wildcards.device].variation

    def levels(self, wildcards: Wildcards) -> list[str]:
        """The table of a device that was measured: one file, or none."""
        variation = self.variation(wildcards)
        return [variation.table] if variation and variation.table else []

    def data_files(self, wildcards: Wildcards) -> list[str]:
        """The file of a data set of the user's own: one, or none."""
        images = self.config.data_sets.get(wildcards.dataset)
        return [images.file] if images and images.file else []

    def data_option(self, wildcards: Wildcards) -> str:
        """The option that describes a data set of the user's own; nothing for a known one."""
        images = self.config.data_sets.get(wildcards.dataset)
        return f"--own {shlex.quote(section_json(images))}" if images else ""

    def threads(self, wildcards: Wildcards) -> int:
        """CPU threads of a job."""
        return self.experiment(wildcards).arithmetic_threads

    def training_threads(self, wildcards: Wildcards) -> int:
        """CPU threads of training."""
        return self.experiment(wildcards).threads_to_train

    def accelerator(self, wildcards: Wildcards) -> str:
        """Where networks run."""
        return self.experiment(wildcards).accelerator

    def label(self, wildcards: Wildcards) -> str:
        """The network's name in tables."""
        return self.experiment(wildcards).model.label

    def dataset(self, wildcards: Wildcards) -> str:
        """The data set's name."""
        return self.experiment(wildcards).dataset

    def within(self, wildcards: Wildcards) -> str:
        """The options that say how near to everything verified is near enough."""
        own = self.config.experiments[self.shown(wildcards)[0]]
        return " ".join(f"--within {points}" for points in own.within)

    def at_budget(self, wildcards: Wildcards) -> tuple[list[str], list[str]]:
        """Methods with a mask, and policies, that have a point at this NWC.

        Raises:
            SettingError: there is none.
        """
        own = self.experiment(wildcards)
        policies = [name for name in own.method_names if name in registry.POLICIES]
        masks = [name for name in own.method_names if name not in registry.POLICIES]
        if wildcards.budget not in own.fractions:
            masks = []
        if wildcards.budget not in (own.budgets or own.fractions):
            policies = []
        if not masks + policies:
            raise SettingError(
                f"{wildcards.experiment}: no method has a point at NWC {wildcards.budget}"
            )
        return masks, policies

    def policies(self, wildcards: Wildcards) -> str:
        """The options that name the policies that have a point at this NWC."""
        return " ".join(f"--policy {name}" for name in self.at_budget(wildcards)[1])

    def scored(self, wildcards: Wildcards) -> str:
        """The options that name the methods whose scores are compared with measured losses."""
        return " ".join(f"--method {name}" for name in self.experiment(wildcards).scored)

    # --- comparisons ------------------------------------------------------------------------------

    def comparisons(self) -> list[str]:
        """Names of the comparisons.

        Raises:
            SettingError: there is none.
        """
        if not self.config.comparisons:
            raise SettingError("config.yaml: there is nothing under `comparisons:` to compare")
        return list(self.config.comparisons)

    def compared(self, name: str) -> list[str]:
        """The experiments of a comparison, which differ in their seed and have equal points."""
        return self.config.comparisons[name].experiments

    def shown(self, wildcards: Wildcards) -> list[str]:
        """The experiments of a job: those of its comparison, or its own."""
        name = getattr(wildcards, "comparison", None)
        return self.compared(name) if name else [wildcards.experiment]

    def members(self, wildcards: Wildcards) -> str:
        """The options that name the experiments of a comparison; nothing for an experiment."""
        shown = self.shown(wildcards) if getattr(wildcards, "comparison", None) else []
        return " ".join(f"--member {name}" for name in shown)

    def _first_of_place(self, wildcards: Wildcards) -> str:
        """The first experiment of a job that has an experiment, a comparison or a place of both."""
        kind, _, name = getattr(wildcards, "place", "").rpartition("/")
        if not name:
            return self.shown(wildcards)[0]
        return self.compared(name)[0] if kind else name

    def report_category(self, wildcards: Wildcards) -> str:
        """The part of the report that a result of an experiment or a comparison is in."""
        kind, _, name = wildcards.place.rpartition("/")
        return "comparisons" if kind else name

    def report_label_of_cycles(self, wildcards: Wildcards) -> dict[str, str]:
        """What the report calls the figure of cycles to accuracy."""
        kind, _, name = wildcards.place.rpartition("/")
        owner = f"comparison {name}" if kind else name
        return {"result": f"{owner}: cycles to accuracy, sigma {wildcards.sigma} (figure)"}

    def planned(self, experiments: list[str], comparisons: list[str]) -> str:
        """What a run makes, in words; at most twenty names of a kind."""
        words = {"experiment": experiments, "comparison": comparisons}
        return " and ".join(
            f"{len(names)} {word}{'s' if len(names) > 1 else ''} "
            f"({', '.join([*names[:20], '...'] if len(names) > 20 else names)})"
            for word, names in words.items()
            if names
        )


def one_of(names: list[str]) -> str:
    """A regular expression of names; of none, what no name is."""
    return "|".join(names) or NOTHING


def _as_json(section: type[Section], content: dict[str, Any]) -> str:
    """A step's settings; wildcards of a target that a user has typed may be misspelt.

    Raises:
        SettingError: they are.
    """
    return section_json(parse(section, content, "target"), exclude={"accelerator"})


def as_dict(text: str) -> dict[str, Any]:
    """A step's settings, read back."""
    found: dict[str, Any] = json.loads(text)
    return found
