"""The numbers of an explorer: curves with their statistics, and what is needed to cross them.

An explorer is of one experiment, or of several that a comparison compares: its panels, one per
device and sigma, have the curves of each.

The page finds the crossing at any accuracy drop itself, by the rule of :mod:`..crossings` on curves
that were made to rise here. Intervals come from resampled chips, which are too many for a page:
they are made here for a grid of accuracy drops. An interval is monotone in the accuracy drop, so
that between two values of the grid the page takes the wider end of both.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from swim.reports import accuracy_tables, crossings, cycles_to_accuracy
from swim.reports.explorer import look
from swim.reports.plots.style import order
from swim.reports.plots.titles import Words


@dataclass(frozen=True)
class Axis:
    """What a curve may be drawn against.

    Attributes:
        column: its name in tables.
        label: in words, for the axis.
        short: the same for the head of a column.
        resampled: whether it has intervals: it depends on NWC alone, the greater the greater.
    """

    column: str
    label: str
    short: str
    resampled: bool


AXES = (
    Axis("nwc", "normalised write cycles (NWC)", "NWC", resampled=True),
    Axis("writes", "writes per device, the first included", "writes per device", resampled=True),
    Axis("reads", "reads per device", "reads per device", resampled=False),
)
Files = Iterable[str | os.PathLike[str]]
STATISTICS = ("mean", "ci95", "p05", "p05_low", "p05_high", "chips")
# Steps of the grid of accuracy drops, in hundredths of a percentage point: up to, by.
_STEPS = ((200, 5), (500, 10), (2000, 50), (10000, 100))


def explorer_data(
    members: Mapping[str, Files],
    name: str,
    within: Sequence[str],
    said: Words,
    custom: Collection[str] = (),
    resamples: int = cycles_to_accuracy.RESAMPLES,
) -> dict[str, Any]:
    """Everything that an explorer shows, ready for JSON.

    Args:
        members: experiment -> its chips files, in ``swim summarise``'s folders; several experiments
            differ in their seed and have equal points.
        name: of the experiment, or of the comparison of several.
        within: accuracy drops of ``cycles_to_accuracy.csv``; the page begins at the middle one.
        said: network, data and devices in words.
        custom: names of methods of the user's own.
        resamples: number of resamples of the chips.

    Raises:
        DataError: a file is incomplete, an experiment's files are not of one experiment or have
            other points than another's, or ``all/1`` is missing.
    """
    read = {own: [os.fspath(file) for file in files] for own, files in members.items()}
    points = {own: cycles_to_accuracy.read_points(files, custom) for own, files in read.items()}
    cycles_to_accuracy.require_equal_points(name, points.values())
    tables = {own: accuracy_tables.accuracy_table(files, {}) for own, files in read.items()}
    panels = []
    for device, sigma in next(iter(points.values())):
        at = {
            own: _Member.at(device, sigma, found[device, sigma], tables[own], resamples)
            for own, found in points.items()
        }
        shown = _panel(at, [float(part) for part in within])
        panels.append({"device": device, "sigma": sigma} | shown)
    devices = list(dict.fromkeys(panel["device"] for panel in panels))
    drawn = {
        curve for panel in panels for own in panel["members"].values() for curve in own["curves"]
    }
    return {
        "experiment": name,
        "experiments": list(read),
        "student": [float(stdtrit(count - 1, 0.975)) for count in range(2, len(read) + 1)],
        "title": said.title(),
        "devices": {name: said.device(name, devices) for name in devices},
        "within": sorted(within, key=float),
        "axes": [vars(axis) for axis in AXES],
        "methods": {name: look.method(name) for name in order(drawn)},
        "references": look.references(),
        "panels": panels,
    }


@dataclass(frozen=True)
class _Member:
    """One experiment at one device and sigma.

    Attributes:
        curves: by method.
        rows: of its table of accuracy.
        full: reads per device of full write-verify.
    """

    curves: dict[str, cycles_to_accuracy.Curve]
    rows: pd.DataFrame
    full: float

    @classmethod
    def at(
        cls,
        device: str,
        sigma: str,
        chips: cycles_to_accuracy.Chips,
        table: pd.DataFrame,
        resamples: int,
    ) -> "_Member":
        """With the resampled chips that the experiment's own ``cycles_to_accuracy.csv`` has."""
        network = cycles_to_accuracy.means(chips, 0, device, sigma, resamples=resamples)
        names = order(accuracy_tables.method_names(network.points))
        curves = {name: cycles_to_accuracy.curve(network, name) for name in names}
        full = network.points.loc[network.points["method"] == "all", "reads"].iloc[0]
        rows = table[(table["device"] == device) & (table["sigma"] == sigma)]
        return cls(curves, rows, float(full))

    def shown(self, steps: Sequence[float]) -> dict[str, Any]:
        """Its lines and curves, ready for JSON."""
        means = self.rows.set_index("method")["mean"]
        return {
            "references": {name: float(means[name]) for name in look.references() if name in means},
            "curves": {
                name: _curve(curve, self.rows, self.full, steps)
                for name, curve in self.curves.items()
            },
        }


def _panel(members: Mapping[str, _Member], within: Sequence[float]) -> dict[str, Any]:
    """The curves of all experiments at one device and sigma."""
    heights = [curve.above[0].min() for own in members.values() for curve in own.curves.values()]
    steps = drops(within, -100 * float(min(heights, default=0.0)))
    return {
        "steps": steps,
        "members": {name: own.shown(steps) for name, own in members.items()},
    }


def drops(within: Iterable[float], most: float) -> list[float]:
    """The grid of accuracy drops, rising: from 0 to the first that is at least ``most``.

    Args:
        within: values that it has in any case, in percentage points.
        most: the drop from which on every curve is within at its first point.
    """
    there = {float(value) for value in within}
    most = max(1.0, most, *there)
    start = 0
    for end, by in _STEPS:
        for step in range(start, end + by, by):
            there.add(step / 100)
            if step / 100 >= most:
                return sorted(there)
        start = end
    return sorted(there)


def costs(points: pd.DataFrame, full: float) -> dict[str, np.ndarray]:
    """What the points of a curve cost, by the column of each axis.

    Args:
        points: with ``nwc`` and ``reads``.
        full: reads per device of full write-verify.
    """
    nwc = points["nwc"].to_numpy(dtype=float)
    writes = accuracy_tables.writes_per_device(nwc, full)
    return {"nwc": nwc, "writes": writes, "reads": points["reads"].to_numpy(dtype=float)}


def _curve(
    curve: cycles_to_accuracy.Curve, rows: pd.DataFrame, full: float, steps: Sequence[float]
) -> dict[str, Any]:
    at = ["method", "fraction"]
    statistics = curve.points[at].merge(rows[[*at, *STATISTICS]], on=at, how="left", validate="1:1")
    nwc = np.array(list(_intervals(curve, steps)))  # (steps, 2)
    ends = {"nwc": nwc, "writes": accuracy_tables.writes_per_device(nwc, full)}
    return {
        "fraction": list(curve.points["fraction"]),
        "costs": {name: numbers(values) for name, values in costs(curve.points, full).items()},
        **{name: numbers(statistics[name]) for name in STATISTICS},
        "above": numbers(curve.above[0]),
        "gaps": [bool(gap) for gap in curve.gaps],
        "intervals": {
            axis.column: {
                "low": numbers(ends[axis.column][:, 0], 6),
                "high": numbers(ends[axis.column][:, 1], 6),
            }
            for axis in AXES
            if axis.resampled
        },
    }


def _intervals(
    curve: cycles_to_accuracy.Curve, steps: Sequence[float]
) -> Iterator[tuple[float, float]]:
    for within in steps:
        low, high = cycles_to_accuracy.cross(curve, within).nwc
        yield crossings.interval((low[1:], high[1:]))


def numbers(values: Iterable[Any], digits: int | None = None) -> list[float | None]:
    """Numbers for JSON, which has neither NaN nor infinity; of so many digits, or exactly."""
    found = [float(value) if pd.notna(value) else np.nan for value in values]
    return [
        None if not np.isfinite(value) else float(f"{value:.{digits}g}") if digits else value
        for value in found
    ]
