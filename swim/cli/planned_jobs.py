"""The jobs of experiments, with what each waits for: counted, not run.

The same as in the table of jobs that ``snakemake -n`` prints, from the same plan
(``tests/workflow/test_estimate.py`` compares both). Jobs of comparisons are not among them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swim.cli.targets import Targets
from swim.errors import SettingError
from swim.runtime import provenance
from swim.settings import layout, registry
from swim.settings.plan import Plan

STEPS = ("training", "scores", "evaluation", "rest")
_OF_STEP = {
    "training": ("train", "adopt"),
    "scores": ("sensitivity", "select", "perturb", "perturb_on_chips", "correlate"),
    "evaluation": (
        "evaluate", "evaluate_none_verified", "evaluate_all_verified", "program", "in_situ",
    ),
}  # fmt: skip
_CHIPS = _OF_STEP["evaluation"]


@dataclass(frozen=True)
class Job:
    """A job of Snakemake's.

    Attributes:
        experiment: whose it is; of a data set, the first experiment that needs it.
        rule: the rule's name.
        output: one of the files that it makes, by which it is known.
        needs: outputs of the jobs that it waits for.
        point: what its rule's wildcards are, beside the experiment.
        threads: CPU threads.
    """

    experiment: str
    rule: str
    output: str
    needs: tuple[str, ...]
    point: Any
    threads: int = 1

    @property
    def step(self) -> str:
        """The one of :data:`STEPS` that its rule belongs to."""
        return next((step for step, rules in _OF_STEP.items() if self.rule in rules), "rest")


def jobs(plan: Plan, names: Iterable[str]) -> list[Job]:
    """The jobs of experiments, shared ones once; a job comes after those that it waits for.

    Raises:
        SettingError: there is no such experiment.
    """
    found: dict[str, Job] = {}
    for name in names:
        if name not in plan.config.experiments:
            known = registry.suggest(name, plan.config.experiments)
            raise SettingError(f"unknown experiment {name!r}; {known}")
        for job in _Jobs(plan, name).all():
            found.setdefault(job.output, job)
    return list(found.values())


class _Jobs:
    """The jobs of one experiment."""

    def __init__(self, plan: Plan, name: str):
        self._plan, self._files, self._name = plan, Targets(plan), name
        self._own = plan.config.experiments[name]
        self._at = partial(SimpleNamespace, experiment=name)
        self._model = layout.MODEL.format(experiment=name)
        self._data = self._files.data(self._at())

    def all(self) -> Iterator[Job]:
        """Every job, those of a network that another experiment trains included."""
        yield self._job("prepare", self._data, point=SimpleNamespace(dataset=self._own.dataset))
        yield from self._network()
        yield self._job("settings", layout.SETTINGS.format(experiment=self._name), self._model)
        chips = list(self._chips())
        study = list(self._study())
        scores = [job for job in [*chips, *study] if job.rule != "sensitivity"]
        wanted = dict.fromkeys(need for job in scores for need in job.needs)
        pattern = layout.SENSITIVITY.format(experiment=self._name, estimator="{estimator}")
        for estimator in registry.ESTIMATORS:
            if (file := pattern.format(estimator=estimator)) in wanted:
                point = self._at(estimator=estimator)
                yield self._computing("sensitivity", file, self._model, self._data, point=point)
        yield from chips
        yield from study
        yield from self._tables([job.output for job in chips if job.rule in _CHIPS])

    def _job(self, rule: str, output: str, *needs: str, point: Any = None) -> Job:
        return Job(self._name, rule, output, needs, point or self._at())

    def _computing(self, rule: str, output: str, *needs: str, point: Any) -> Job:
        threads = self._plan.training_threads if rule == "train" else self._plan.threads
        return Job(self._name, rule, output, needs, point, threads(self._at()))

    def _network(self) -> Iterator[Job]:
        own = self._own
        if own.checkpoint is None:
            yield self._computing("train", self._model, self._data, point=self._at())
            return
        others = {layout.MODEL.format(experiment=n): n for n in self._plan.config.experiments}
        needs = [self._data]
        if own.checkpoint in others:
            other = _Jobs(self._plan, others[own.checkpoint])
            yield other._job(
                "prepare", other._data, point=SimpleNamespace(dataset=other._own.dataset)
            )
            yield from other._network()
            needs.append(own.checkpoint)
        yield self._job("adopt", self._model, *needs)

    def _chips(self) -> Iterator[Job]:
        """Jobs of chips files, each after the mask that it alone may need."""
        clean = Path(layout.CLEAN_CHIPS).name
        for file in self._files.chips(self._name):
            if Path(file).name == clean:
                continue  # made with the chips without write-verify
            point = self._at(**provenance.place_of(file))
            point.policy, point.budget = point.method, point.fraction
            both = [self._model, self._data]
            if point.method == registry.IN_SITU:
                yield self._computing("in_situ", file, *both, point=point)
            elif point.method in registry.POLICIES:
                both.append(self._files.chosen_sensitivity(point))
                yield self._computing("program", file, *both, point=point)
            elif file.endswith(f"{layout.NONE_VERIFIED}.csv"):
                yield self._computing("evaluate_none_verified", file, *both, point=point)
            elif file.endswith(f"{layout.ALL_VERIFIED}.csv"):
                yield self._computing("evaluate_all_verified", file, *both, point=point)
            else:
                mask = layout.MASK.format(**vars(point))
                ranked = self._files.sensitivity(point)
                yield self._job("select", mask, self._model, *ranked, point=point)
                yield self._computing("evaluate", file, *both, mask, point=point)

    def _study(self) -> Iterator[Job]:
        """Jobs of scores against measured losses."""
        if not self._own.correlate:
            return
        kinds = {"perturb": layout.PERTURBATION}
        if self._own.correlate.chips:
            kinds["perturb_on_chips"] = layout.PERTURBATION_ON_CHIPS
        needs = []
        for rule, device, sigma in product(kinds, self._own.devices, self._own.correlate.sigmas):
            point = self._at(device=device, sigma=sigma)
            needs.append(kinds[rule].format(**vars(point)))
            yield self._computing(rule, needs[-1], self._model, self._data, point=point)
        needs += [self._model, *self._files.scored_sensitivities(self._at())]
        yield self._job("correlate", layout.CORRELATION.format(experiment=self._name), *needs)

    def _tables(self, chips: list[str]) -> Iterator[Job]:
        """Jobs of tables and figures, which need all chips."""
        place = {"experiment": self._name, "place": self._name}
        accuracy, cycles = layout.ACCURACY.format(**place), layout.CYCLES.format(**place)
        yield self._job("summarise", accuracy, *chips)
        yield self._job("cycles", cycles, *chips)
        yield self._job("explore", layout.EXPLORER.format(**place), *chips)
        tables = {"claims": layout.CLAIMS, "tables": layout.TABLES_PAGE}
        for rule, pattern in tables.items():
            yield self._job(rule, pattern.format(**place), accuracy, cycles)
        drawn = {"plot": ("accuracy", accuracy), "plot_cycles": ("cycles", cycles)}
        if any(name in registry.POLICIES for name in self._own.method_names):
            drawn["plot_reads"] = ("reads", accuracy)
        for rule, (figure, table) in drawn.items():
            for sigma in self._own.sigmas:
                pattern = layout.figure_at_sigma(figure, "png")
                file = pattern.format(experiment=self._name, sigma=sigma)
                yield self._job(rule, file, table)
        if self._own.checkpoint is None:
            learning = layout.figure("learning", "png").format(experiment=self._name)
            yield self._job("plot_learning", learning, self._model)
