"""``swim.sweep``: accuracy against write cycles, of several methods, in one call."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from swim.devices.bit_sliced import Device
from swim.engine.evaluator import Network
from swim.errors import SettingError, short
from swim.evaluation import statistics
from swim.evaluation.api import measured, require_device
from swim.evaluation.monte_carlo import clean_of, prepare
from swim.evaluation.result import Result, Setup, html_table
from swim.evaluation.swept_policies import Method, SweptPolicies, decimals_of, named, spelt
from swim.networks.programmed import programmed_weights
from swim.programming.chip import Chip, Policy
from swim.programming.mask import VerifyMask, verify_all
from swim.runtime.progress_bar import progress_bar
from swim.selection.masks import count
from swim.settings import policies, registry
from swim.settings.arguments import whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHODS = ("swim", "magnitude", "random")  # the paper's
FRACTIONS = ("0.01", "0.03", "0.1", "0.3", "0.5")
# Tables and figures are of a later room, which imports this one, so modules are found by name.
_TABLES = "swim.reports.accuracy_tables"
_FIGURE = "swim.reports.plots.accuracy_figure"

_Made = tuple[str, str, Callable[[], Policy]]  # name, fraction, and what makes the mask or policy


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
        at, part = self._sigma(sigma), spelt("fraction", fraction)
        end = {"0": "none", "1": "all"}.get(part)
        for name in [method, *(name for name in policies.shared_points(method) if name == end)]:
            if (found := self.points.get(Point(at, name, part))) is not None:
                return found
        there = [p.fraction for p in self.points if p.method == method and p.sigma == at]
        raise SettingError(f"{method} was not measured at {part}; it was at {', '.join(there)}")

    def _sigma(self, sigma: str | float | None) -> str:
        if sigma is None and len(self.sigmas) == 1:
            return self.sigmas[0]
        wanted = None if sigma is None else spelt("sigma", sigma)
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
    arithmetic: str = "float32",
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
        arithmetic: as in :func:`swim.evaluate`.
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
    chosen, digital = named(methods), tuple(digital)
    parts = decimals_of("fractions", fractions)
    for part in parts:
        count(part, 1)  # in [0, 1]
    devices = _devices(device, [str(device.sigma)] if sigmas is None else sigmas)
    batches = list(batches)
    network = prepare(model, batches, digital=digital, inputs=inputs, arithmetic=arithmetic)
    values = (*network.digests(), arithmetic)
    masks = SweptPolicies(
        model, batches if training is None else training, estimator, seed, digital, inputs,
        programmed_weights(model, batches, digital=digital, inputs=inputs),
    )  # fmt: skip
    points: list[_Made] = [
        ("none", "0", lambda: VerifyMask({})),
        ("all", "1", lambda: verify_all(network.targets)),
    ]
    for name, method in chosen.items():
        points += [(name, part, make) for part, make in masks.of(method, parts)]
    _require(points, network, next(iter(devices.values())), seed)
    found: dict[Point, Result] = {}
    with _counting(progress, chips * len(devices) * len(points)) as tell:
        for name, part, make in points:
            own = make()
            for sigma, its in devices.items():
                setup = Setup(its, seed, 0, "cross_entropy", network.images, *values)
                found[Point(sigma, name, part)] = measured(model, network, own, setup, chips, tell)
    accuracy, _ = clean_of(model, network)
    return Sweep(found, accuracy, type(model).__name__)


def _devices(device: Device, sigmas: Iterable[str | float]) -> dict[str, Device]:
    """The device at each sigma, by the sigma's shortest spelling."""
    return {
        sigma: dataclasses.replace(device, sigma=float(sigma))
        for sigma in decimals_of("sigmas", sigmas)
    }


def _require(points: Iterable[_Made], network: Network, device: Device, seed: int) -> None:
    """Refuse a policy that cannot program the device, before there is any work."""
    for name, _, make in points:
        if name in registry.POLICIES:
            make().program(Chip(network.targets, device, seed, 0))


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
