"""The files of a run: what each step reads and what experiments and comparisons make."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swim.cli.copied_results import Wanted
from swim.data import image_digest
from swim.errors import DataError
from swim.runtime import provenance
from swim.selection.scores.base import estimator_of
from swim.settings import layout, registry, section_json
from swim.settings.plan import Plan, Wildcards, as_dict

_CLAIMS = (layout.CLAIMS, layout.CLAIMS_MARKDOWN, layout.CLAIMS_LATEX, layout.CLAIMS_PAGE)


class Targets:
    """Files by wildcards, or by the name of an experiment or comparison."""

    def __init__(self, plan: Plan):
        """Of the steps of a plan."""
        self._plan = plan

    # --- what steps read ------------------------------------------------------------------------

    def data(self, wildcards: Wildcards) -> str:
        """The experiment's images."""
        return layout.DATA.format(dataset=self._plan.dataset(wildcards))

    def image_digest(self, wildcards: Wildcards) -> str:
        """A digest of the images in a folder of the user's own, which are too many to be inputs.

        Raises:
            DataError: there are none, or one cannot be read; the setting is named.
        """
        images = self._plan.config.data_sets.get(wildcards.dataset)
        if not images or not images.folder:
            return ""
        cache = Path(layout.IMAGE_DIGESTS.format(dataset=wildcards.dataset))
        try:
            return image_digest.of_images(Path(images.folder), cache)
        except DataError as error:
            raise DataError(f"data_sets.{wildcards.dataset}: {error}") from None

    def _sensitivity(self, wildcards: Wildcards, estimator: str) -> str:
        return layout.SENSITIVITY.format(experiment=wildcards.experiment, estimator=estimator)

    def sensitivity(self, wildcards: Wildcards) -> list[str]:
        """What a method ranks by beside weights: its own estimator's, the chosen one's, or none."""
        estimator = self._estimator(wildcards, wildcards.method)
        return [] if estimator is None else [self._sensitivity(wildcards, estimator)]

    def _estimator(self, wildcards: Wildcards, method: str) -> str | None:
        """The estimator whose result a method ranks by; None if weights are enough."""
        own = self._plan.experiment(wildcards)
        score = own.custom_scores.get(method)
        needs = score.needs if score else registry.find("selection method", method).NEEDS
        return estimator_of(needs, own.estimator)

    def chosen_sensitivity(self, wildcards: Wildcards) -> str:
        """What policies rank by."""
        return self._sensitivity(wildcards, self._plan.experiment(wildcards).estimator)

    def scored_sensitivities(self, wildcards: Wildcards) -> list[str]:
        """Every estimator's file that the methods of the study of scores rank by."""
        scored = self._plan.experiment(wildcards).scored
        estimators = {self._estimator(wildcards, method) for method in scored} - {None}
        return [self._sensitivity(wildcards, str(name)) for name in sorted(map(str, estimators))]

    def masks_at_budget(self, wildcards: Wildcards) -> list[str]:
        """The masks that have a point at this NWC.

        Raises:
            SettingError: no method has one.
        """
        masks, _ = self._plan.at_budget(wildcards)
        place = {"experiment": wildcards.experiment, "device": wildcards.device}
        return [
            layout.MASK.format(**place, method=name, fraction=wildcards.budget) for name in masks
        ]

    def perturbations(self, wildcards: Wildcards) -> list[str]:
        """What single weights' errors cost, measured at each device and sigma of the study."""
        return [file for file, *_ in self._perturbations(wildcards.experiment)]

    def _perturbations(self, name: str) -> Iterator[tuple[str, dict[str, str], Callable[..., str]]]:
        """The same with each file's device and sigma, and what makes its settings."""
        plan, own = self._plan, self._plan.config.experiments[name]
        if own.correlate is None:
            return
        kinds = [(layout.PERTURBATION, plan.perturb)]
        if own.correlate.chips:
            kinds.append((layout.PERTURBATION_ON_CHIPS, plan.perturb_on_chips))
        for (pattern, made), device, sigma in product(kinds, own.devices, own.correlate.sigmas):
            place = {"device": device, "sigma": sigma}
            yield pattern.format(experiment=name, **place), place, made

    def chips(self, name: str) -> list[str]:
        """Every chips file of an experiment."""
        folder = layout.CHIPS_FOLDER.format(experiment=name)
        return [f"{folder}/{file}" for file in self._plan.points(name).files()]

    def chips_folders(self, wildcards: Wildcards) -> list[str]:
        """The folders of the chips of an experiment, or of all that a comparison compares."""
        shown = self._plan.shown(wildcards)
        return [layout.CHIPS_FOLDER.format(experiment=name) for name in shown]

    # --- what is made ---------------------------------------------------------------------------

    def experiment(self, name: str) -> list[str]:
        """What an experiment's target makes."""
        own = self._plan.config.experiments[name]
        drawn = ["accuracy", "accuracy-log", "cycles"]
        if any(method in registry.POLICIES for method in own.method_names):
            drawn.append("reads")
        figures = [
            layout.FIGURE_AT_SIGMA.format(experiment=name, figure=figure, sigma=sigma, suffix=kind)
            for figure in drawn
            for sigma in own.sigmas
            for kind in layout.FIGURE_SUFFIXES
        ]
        tables = [layout.SETTINGS, layout.ACCURACY, layout.PAIRED, layout.CYCLES,
                  layout.CYCLES_MARKDOWN, layout.CYCLES_LATEX, layout.SUMMARY, layout.SUMMARY_LATEX,
                  layout.EXPLORER, layout.TABLES_PAGE, *_CLAIMS]  # fmt: skip
        return [
            *(table.format(experiment=name, place=name) for table in tables),
            *figures,
            *(self._correlations(name) if own.correlate else []),
            *([] if own.checkpoint else self._learning(name)),
            *self.chips(name),
        ]

    def _learning(self, name: str) -> list[str]:
        pattern = layout.figure("learning", "{suffix}")
        return [pattern.format(experiment=name, suffix=kind) for kind in layout.FIGURE_SUFFIXES]

    def _correlations(self, name: str) -> list[str]:
        tables = [layout.CORRELATION, layout.SCORES, layout.CORRELATION_SUMMARY]
        figures = [layout.figure("correlation", suffix) for suffix in layout.FIGURE_SUFFIXES]
        return [pattern.format(experiment=name) for pattern in [*tables, *figures]]

    def cycles(self, names: Sequence[str]) -> list[str]:
        """The tables of comparisons."""
        return [layout.CYCLES.format(place=_place(name)) for name in names]

    def accuracy(self, names: Sequence[str]) -> list[str]:
        """The tables of accuracy of experiments."""
        return [layout.ACCURACY.format(experiment=name) for name in names]

    def claims(self, experiments: Sequence[str], comparisons: Sequence[str]) -> list[str]:
        """The verdicts on claims of experiments and comparisons."""
        places = [*experiments, *map(_place, comparisons)]
        return [layout.CLAIMS.format(place=place) for place in places]

    def comparisons(self, names: Sequence[str]) -> list[str]:
        """What comparisons make: each one's, and all in one table if all are asked for."""
        if not names:
            return []
        whole = set(names) == set(self._plan.config.comparisons)
        tables = [layout.ALL_CYCLES, layout.ALL_CYCLES_MARKDOWN, layout.ALL_CYCLES_LATEX]
        if not whole:
            tables = [
                table.format(place=_place(name))
                for name in names
                for table in (layout.CYCLES, layout.CYCLES_MARKDOWN, layout.CYCLES_LATEX)
            ]
        figures = [
            layout.CYCLES_FIGURE.format(place=_place(name), sigma=sigma, suffix=suffix)
            for name in names
            for sigma in self._plan.config.experiments[self._plan.compared(name)[0]].sigmas
            for suffix in layout.FIGURE_SUFFIXES
        ]
        pages = [
            page.format(place=_place(name))
            for name in names
            for page in (*_CLAIMS, layout.EXPLORER)
        ]
        return [*tables, *figures, *pages]

    # --- what files say of themselves -----------------------------------------------------------

    def records(self, name: str) -> Iterator[Wanted]:
        """An experiment's files that say what they are: with which settings, and from which files.

        As :mod:`swim.cli.copied_results` compares them.
        """
        plan, own = self._plan, self._plan.config.experiments[name]
        at = partial(SimpleNamespace, experiment=name)
        data, model = self.data(at()), layout.MODEL.format(experiment=name)
        adopted = {"checkpoint": own.checkpoint} if own.checkpoint else {}
        made = plan.adopt(at()) if own.checkpoint else plan.train(at())
        yield model, json.dumps(as_dict(made) | {"dataset": own.dataset}), {"data": data, **adopted}
        if images := plan.config.data_sets.get(own.dataset):
            said = {key: getattr(images, key) for key in ("mean", "std", "augmentation")}
            yield data, json.dumps({key: x for key, x in said.items() if x is not None}), {}
        both = {"model": model, "data": data}
        for estimator in registry.ESTIMATORS:
            file = self._sensitivity(at(), estimator)
            if Path(file).exists():
                yield file, plan.sensitivity(at(estimator=estimator)), both
        for file in self.chips(name):
            yield from self._records_of_point(file, at(**provenance.place_of(file)), both)
        for file, place, settings in self._perturbations(name):
            yield file, settings(at(**place)), both
        points = as_dict(section_json(plan.points(name)))
        shown = {"experiment": name, "model": own.model.label, "dataset": own.dataset}
        accuracy = layout.ACCURACY.format(experiment=name)
        yield accuracy, json.dumps({**shown, "points": points}), both
        within = {"experiment": name, "within": own.within, "points": points}
        yield layout.CYCLES.format(place=name), json.dumps(within), {}

    def _records_of_point(self, file: str, point: Any, both: dict[str, str]) -> Iterator[Wanted]:
        """The same of a chips file, and of its mask."""
        plan, inputs = self._plan, dict(both)
        point.policy, point.budget = point.method, point.fraction
        if levels := plan.levels(point):
            inputs["levels"] = levels[0]
        made = plan.evaluate
        if point.method == registry.IN_SITU:
            made = plan.in_situ
        elif point.method in registry.POLICIES:
            made = plan.program
            inputs["sensitivity"] = self.chosen_sensitivity(point)
        elif point.method in {*registry.METHODS, *plan.experiment(point).custom_scores}:
            inputs["mask"] = layout.MASK.format(**vars(point))
            ranked = {"model": both["model"]}
            if sensitivity := self.sensitivity(point):
                ranked["sensitivity"] = sensitivity[0]
            yield inputs["mask"], plan.select(point), ranked
        yield file, made(point), inputs


def _place(comparison: str) -> str:
    return layout.OF_COMPARISON.format(comparison=comparison)
