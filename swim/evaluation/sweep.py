"""``swim.sweep``: accuracy against write cycles, of several methods, in one call."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from swim.curvature.estimate import scaled, second_derivative
from swim.curvature.spread import Estimate
from swim.devices.bit_sliced import Device
from swim.errors import SettingError, short
from swim.evaluation import statistics
from swim.evaluation.api import measured, require_device
from swim.evaluation.monte_carlo import clean_of, prepare
from swim.evaluation.result import Result, Setup, html_table
from swim.networks.programmed import programmed_weights
from swim.programming.chip import Chip, Policy
from swim.programming.lookup import policy
from swim.programming.mask import VerifyMask, verify_all
from swim.runtime.progress_bar import progress_bar
from swim.selection.api import label, masked, ranking, select
from swim.selection.masks import count
from swim.selection.scores.base import Layers, estimator_of
from swim.settings import decimals, policies, registry
from swim.settings.arguments import whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHODS = ("swim", "magnitude", "random")  # the paper's
FRACTIONS = ("0.01", "0.03", "0.1", "0.3", "0.5")
# Tables and figures are of a later room, which imports this one, so modules are found by name.
_TABLES = "swim.reports.accuracy_tables"
_FIGURE = "swim.reports.plots.accuracy_figure"
Method = Any  # a name, an import, a function of inputs, or scores


class Point(NamedTuple):
    """A point of a sweep; all in the spelling of ``accuracy.csv``.

    Attributes:
        sigma: a decimal.
        method: its name; ``none`` and ``all`` are the end points.
        fraction: of the weights that are verified, or a policy's budget: a decimal.
    """

    sigma: str
    method: str
    fraction: str


@dataclass(frozen=True, repr=False)
class Sweep:
    """Accuracy of several methods at several fractions and sigmas, on the same chips.

    Attributes:
        points: the result of each point, in the order in which they were measured.
        clean: accuracy of the network before programming, in [0, 1].
        model: the network's class, as tables name it.
    """

    points: Mapping[Point, Result]
    clean: float
    model: str

    @property
    def sigmas(self) -> list[str]:
        """The sigmas, in the order of the call."""
        return list(dict.fromkeys(point.sigma for point in self.points))

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the call, without the end points ``none`` and ``all``."""
        names = dict.fromkeys(point.method for point in self.points)
        return [name for name in names if name not in ("none", "all")]

    def at(self, method: str, fraction: str | float, sigma: str | float | None = None) -> Result:
        """The result at a point; at fractions 0 and 1 of a mask, that of the end point.

        Args:
            method: a method, ``none`` or ``all``.
            fraction: of the weights, or a policy's budget.
            sigma: may be left out where there is one.

        Raises:
            SettingError: there is no such point.
        """
        if method not in (*self.methods, "none", "all"):
            raise SettingError(f"no method {short(method)} was swept; those are "
                               f"{', '.join([*self.methods, 'none', 'all'])}")  # fmt: skip
        at, part = self._sigma(sigma), _spelt("fraction", fraction)
        end = {"0": "none", "1": "all"}.get(part)
        for name in [method, *(name for name in policies.shared_points(method) if name == end)]:
            if (found := self.points.get(Point(at, name, part))) is not None:
                return found
        there = [p.fraction for p in self.points if p.method == method and p.sigma == at]
        raise SettingError(f"{method} was not measured at {part}; it was at {', '.join(there)}")

    def _sigma(self, sigma: str | float | None) -> str:
        if sigma is None and len(self.sigmas) == 1:
            return self.sigmas[0]
        wanted = None if sigma is None else _spelt("sigma", sigma)
        if wanted not in self.sigmas:
            raise SettingError(f"give sigma=, one of {', '.join(self.sigmas)}, not {short(sigma)}")
        return wanted

    def __repr__(self) -> str:
        chips = len(next(iter(self.points.values())).loss)
        sigmas = f"sigma {', '.join(self.sigmas)}"
        return (
            f"Sweep({len(self.points)} points of {chips:,} chips: {', '.join(self.methods)}; "
            f"{sigmas}; before programming {self.clean:.2%})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (f"σ = {p.sigma}, {p.method}, {p.fraction}",
             f"{100 * found.mean:.2f} ± {100 * found.ci95:.2f} %, NWC {found.nwc:.3g}")
            for p, found in self.points.items()
        ]  # fmt: skip
        return html_table("Sweep: accuracy, mean ± 95 % interval over chips", rows)

    def to_frame(
        self,
        *,
        experiment: str = "sweep",
        model: str | None = None,
        dataset: str = "",
        device: str = "device",
    ) -> "pd.DataFrame":
        """One row per point, with the columns of the pipeline's ``accuracy.csv`` (docs/tables.md).

        Rows are in the order of that file, sigma and fraction are decimal strings, ``clean`` is the
        network before programming. Reports, ``swim plot`` among them, read such tables.

        Args:
            experiment: text in the first column.
            model: text in the second; the model's class where it is None.
            dataset: text in the third.
            device: name of the memory device.
        """
        named = {"experiment": experiment, "model": self.model if model is None else model,
                 "dataset": dataset, "device": device}  # fmt: skip
        rows: list[dict[str, Any]] = []
        for point, found in self.points.items():
            chips = (found.accuracy.numpy(), found.nwc_per_chip.numpy(), found.reads.numpy())
            rows.append({**named, **point._asdict(), **statistics.point(*chips)})
        for sigma in self.sigmas:
            place = {"sigma": sigma, "method": "clean", "fraction": ""}
            rows.append({**named, **place, "mean": self.clean})
        table: pd.DataFrame = import_module(_TABLES).tidy(rows)
        return table

    def plot(
        self, sigma: str | float | None = None, *, log: bool = False, width: str = "page"
    ) -> "Figure":
        """Accuracy against normalised write cycles, as the pipeline draws it.

        Args:
            sigma: may be left out where there is one.
            log: a logarithmic axis.
            width: ``column`` (3.5 inches), ``page`` (7.1) or ``slide`` (12).

        Returns:
            A figure of matplotlib, apart from pyplot's: ``figure.savefig("accuracy.pdf")``.

        Raises:
            SettingError: there are several sigmas, or no such one.
        """
        draw = import_module(_FIGURE).accuracy_figure
        figure: Figure = draw(self.to_frame(), self._sigma(sigma), log=log, width=width)
        return figure


def sweep(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    device: Device,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    fractions: Iterable[str | float] = FRACTIONS,
    sigmas: Iterable[str | float] | None = None,
    training: Iterable[tuple[Any, Any]] | None = None,
    estimator: str = "recursion",
    chips: int = 100,
    seed: int = 0,
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Sweep:
    """Accuracy against write cycles of several methods, all on the same programmed chips.

    Every point has the numbers that :func:`swim.evaluate` gives alone, of the mask that
    :func:`swim.select` or the policy that :func:`swim.policy` returns. What points share is done
    once: second derivatives by each estimator, the scores of each method (so that its masks are
    nested), the model's trace and its images in memory, the end points ``none`` and ``all``.

    Args:
        model: as in :func:`swim.evaluate`; left exactly as it was.
        batches: test images, as in :func:`swim.evaluate`.
        device: the memory device.
        methods: names of selection methods and policies (docs/selection.md, docs/policies.md), or
            a mapping of names of your own to such a name, to a function of
            :class:`swim.selection.scores.base.Inputs`, or to scores as :func:`swim.sensitivity`
            returns them, whose masks are ``swim.select(scores, fraction, tie_break=weights)``.
        fractions: of the weights, in [0, 1], and NWC budgets of policies; 0 and 1 are measured in
            any case, but of policies whose curves have no such point.
        sigmas: standard deviations of a device written once, instead of the device's own.
        training: training images for second derivatives; without them ``batches`` are taken.
        estimator: of the methods that name none, such as ``swim`` and all policies;
            ``recursion`` is the paper's, ``gauss_newton_probe`` takes every differentiable network.
        chips: number of chips of each point.
        seed: of all random draws.
        digital: names or patterns of weights that no device holds.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        progress: True for a bar on a terminal, or a function of the number of finished chips and
            of all chips.

    Raises:
        SettingError: as in :func:`swim.evaluate` and :func:`swim.select`, a number is out of range
            or there twice, there are no methods, or a policy cannot program the device.
        DataError, UnsupportedOperationError: as in :func:`swim.evaluate` and
            :func:`swim.sensitivity`.
    """
    chips, seed = whole("chips", chips, 1), whole("seed", seed)
    require_device(device)
    chosen, digital = _named(methods), tuple(digital)
    parts = _decimals("fractions", fractions)
    for part in parts:
        count(part, 1)  # in [0, 1]
    given = [str(device.sigma)] if sigmas is None else sigmas
    devices = {
        sigma: dataclasses.replace(device, sigma=float(sigma))
        for sigma in _decimals("sigmas", given)
    }
    batches = list(batches)
    network = prepare(model, batches, digital=digital, inputs=inputs)
    images, weights = network.digests()
    masks = _Policies(
        model, batches if training is None else training, estimator, seed, digital, inputs,
        programmed_weights(model, batches, digital=digital, inputs=inputs),
    )  # fmt: skip
    points: list[tuple[str, str, Callable[[], Policy]]] = [
        ("none", "0", lambda: VerifyMask({})),
        ("all", "1", lambda: verify_all(network.targets)),
    ]
    for name, method in chosen.items():
        points += [(name, part, make) for part, make in masks.of(method, parts)]
    for name, _, make in points:
        if name in registry.POLICIES:  # what cannot program these devices is refused at once
            make().program(Chip(network.targets, next(iter(devices.values())), seed, 0))
    found: dict[Point, Result] = {}
    with _counting(progress, chips * len(devices) * len(points)) as tell:
        for name, part, make in points:
            own = make()
            for sigma, its_device in devices.items():
                setup = Setup(its_device, seed, 0, "cross_entropy", network.images, images, weights)
                at = Point(sigma, name, part)
                found[at] = measured(model, network, own, setup, chips, tell)
    accuracy, _ = clean_of(model, network)
    return Sweep(found, accuracy, type(model).__name__)


class _Policies:
    """Masks and policies of methods; what several need is computed once."""

    def __init__(
        self,
        model: nn.Module,
        training: Iterable[tuple[Any, Any]],
        estimator: str,
        seed: int,
        digital: tuple[str, ...],
        inputs: str | Sequence[str] | None,
        weights: dict[str, Tensor],
    ):
        self._model, self._estimator, self._seed, self._weights = model, estimator, seed, weights
        self._training = training if isinstance(training, list) else list(training)
        self._rest: dict[str, Any] = {"seed": seed, "digital": digital, "inputs": inputs}
        self._estimates: dict[str, Estimate] = {}

    def of(self, method: Method, parts: list[str]) -> Iterator[tuple[str, Callable[[], Policy]]]:
        """The points of a method that it shares with no other, and what makes each."""
        if isinstance(method, Mapping):
            for part in policies.own_points("", parts):
                yield part, functools.partial(self._of_scores, method, part)
            return
        if isinstance(method, str) and method in registry.POLICIES:
            sensitivities = scaled(self._estimate(self._estimator), self._weights)
            for part in policies.own_points(method, parts):
                yield part, functools.partial(policy, method, float(part), sensitivities)
            return
        needs = (
            "curvature"
            if callable(method) or ":" in method
            else registry.find("selection method", method).NEEDS
        )
        name = estimator_of(needs, self._estimator)
        curvature = None if name is None else self._estimate(name)
        scores, ties = ranking(method, self._weights, curvature, self._seed)
        for part in policies.own_points("", parts):
            yield part, functools.partial(self._of_ranking, scores, ties, part, label(method))

    def _of_scores(self, scores: Mapping[str, Tensor], part: str) -> Policy:
        return VerifyMask(select(scores, part, tie_break=self._weights))

    def _of_ranking(self, scores: Layers, ties: Layers, part: str, by: str) -> Policy:
        return VerifyMask(masked(scores, part, ties, self._weights, by))

    def _estimate(self, name: str) -> Estimate:
        if name not in self._estimates:
            self._estimates[name] = second_derivative(
                self._model, self._training, estimator=name, **self._rest
            )
        return self._estimates[name]


def _named(methods: Iterable[Method] | Mapping[str, Method]) -> dict[str, Method]:
    """Methods by name.

    Raises:
        SettingError: there are none, a name is there twice or that of an end point, or a policy
            has a name that is not its own, by which tables know how its curve begins and ends.
    """
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise SettingError(f"methods must be names or a mapping, not {short(methods)}")
    named = list(methods.items()) if isinstance(methods, Mapping) else [
        (label(method), method) for method in methods
    ]  # fmt: skip
    if not named:
        raise SettingError(f"methods is empty; known are {', '.join(registry.METHODS)}, and "
                           f"policies {', '.join(registry.POLICIES)}")  # fmt: skip
    found: dict[str, Method] = {}
    for name, method in named:
        if not isinstance(method, Mapping | str) and not callable(method):
            raise SettingError(f"method {name} must be a name, a function or scores, not "
                               f"{short(method)}")  # fmt: skip
        if name in found or name in ("none", "all", "clean", policies.IN_SITU):
            raise SettingError(f"a method's name must be its own, and {name!r} is taken")
        if method != name and {name, method if isinstance(method, str) else ""} & set(
            registry.POLICIES
        ):
            raise SettingError(f"{name!r}: a policy keeps its name, which says how its curve ends")
        found[str(name)] = method
    return found


def _decimals(name: str, values: Iterable[str | float]) -> list[str]:
    """Numbers in the spelling of tables.

    Raises:
        SettingError: there are none, one is no number of at least zero, or one is there twice.
    """
    if isinstance(values, str | int | float | Decimal):
        values = [values]
    found = [_spelt(name, value) for value in values]
    if not found or len(set(found)) < len(found):
        said = f"has {', '.join(found)}" if found else "is empty"
        raise SettingError(f"{name} {said}; give numbers, each once")
    return found


def _spelt(name: str, value: Any) -> str:
    plain = value.item() if getattr(value, "ndim", None) == 0 else value
    try:
        exact = Decimal("nothing" if isinstance(plain, bool) else str(plain))
    except InvalidOperation:
        raise SettingError(f"{name}: {short(value)} is not a number") from None
    if not exact.is_finite() or exact < 0:
        raise SettingError(f"{name}: {short(value)} must be a finite number of at least 0")
    return decimals.spelt(exact)


@contextmanager
def _counting(
    progress: bool | Callable[[int, int], None], total: int
) -> Iterator[Callable[[int], None] | None]:
    """A function that is told of each finished chip."""
    if not progress:
        yield None
    elif callable(progress):
        done = itertools.count(1)
        yield lambda _: progress(next(done), total)
    else:
        with progress_bar(total, "chip") as bar:
            yield lambda _: bar.update()
