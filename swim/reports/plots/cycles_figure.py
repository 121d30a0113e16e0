"""Figure of ``cycles_to_accuracy.csv``: one bar per method, one panel per device and within."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from swim.reports import cycles_to_accuracy
from swim.reports.plots.accuracy_figure import chosen
from swim.reports.plots.canvas import new_figure, save
from swim.reports.plots.method_styles import order, styles
from swim.settings import layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cycles_figure(table: pd.DataFrame, sigma: str) -> "Figure":
    """NWC from which on each method is within some points of full write-verify, at one sigma.

    One row of panels per device (and experiment), one panel per within, bars on a logarithmic
    axis. A bar's ``gid`` is its method, its end the row's ``nwc``, which is also written. Thick
    lines are intervals over chips, thin lines intervals over seeds, arrows an end that some
    resamples do not reach. Where there is no bar, a text says why.

    Args:
        table: the result of :func:`swim.reports.cycles_to_accuracy.read`.
        sigma: one of its sigmas.
    """
    rows = table[table["sigma"] == sigma]
    places = list(dict.fromkeys(zip(rows["experiment"], rows["device"], strict=True)))
    parts = sorted(set(rows["within"]), key=float)
    methods = order(set(rows["method"]))
    size = (1.4 + 3.0 * len(parts), 0.9 + (0.5 + 0.27 * len(methods)) * len(places))
    figure = new_figure(*size)
    grid = figure.subplots(len(places), len(parts), squeeze=False, sharex=True, sharey=True)
    for (experiment, device), line in zip(places, grid, strict=True):
        for axes, within in zip(line, parts, strict=True):
            where = (rows["experiment"] == experiment) & (rows["device"] == device)
            axes.set_xscale("log")
            axes.set_xlim(*_limits(rows))
            _draw(axes, rows[where & (rows["within"] == within)].set_index("method"), methods)
        line[0].set_yticks(range(len(methods)), methods)
        line[0].set_ylim(len(methods) - 0.4, -0.6)
        line[0].set_ylabel(f"{experiment}, {device}", fontsize=9)
    for axes, within in zip(grid[0], parts, strict=True):
        axes.set_title(f"within {within} {'point' if within == '1' else 'points'}", fontsize=9)
    over = "; thin: over training seeds" if rows["seeds"].max() > 1 else ""
    figure.supxlabel(
        f"normalised write cycles (NWC), σ = {sigma}; thick lines: 95 % intervals over chips{over}",
        fontsize=9,
    )
    return figure


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Axis limits, with space for a number beyond the largest value.

    Values far below all methods' first points rest on a straight line alone and may be cut off.
    """
    values = rows[["nwc", "nwc_low", "nwc_high", "seeds_high", "first"]].to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = max(values.min() / 2, rows["first"].min() / 20), max(values.max(), 1.0)
    return low, high * (high / low) ** 0.25


def _draw(axes: "Axes", own: pd.DataFrame, methods: Sequence[str]) -> None:
    left, right = axes.get_xlim()
    edge = right / (right / left) ** 0.17  # numbers stand beyond it
    for place, (name, (colour, *_)) in enumerate(styles(list(methods)).items()):
        if name not in own.index:
            continue
        row: Any = own.loc[name]
        text: dict[str, Any] = {"va": "center", "fontsize": 7, "color": "0.25"}
        if np.isnan(row["nwc"]) or row["nwc"] == 0:
            words = cycles_to_accuracy.note(row)
            axes.text(0.02, place, words, transform=axes.get_yaxis_transform(), **text)
            continue
        bar = axes.barh(place, max(row["nwc"] - left, 0.0), 0.66, left, color=colour, alpha=0.8)
        bar[0].set_gid(name)
        for ends, width in (("seeds", 0.8), ("nwc", 2.6)):
            low, high = row[f"{ends}_low"], row[f"{ends}_high"]
            if np.isnan(low):
                continue
            line: dict[str, Any] = {"color": "0.15", "lw": width, "solid_capstyle": "butt"}
            if np.isnan(high):
                line |= {"marker": ">", "ms": 4, "markevery": [1]}
            span = [max(low, left), edge if np.isnan(high) else high]
            axes.plot(span, [place, place], gid=f"{name} {ends}", **line)
        number = f"{row['nwc']:.2g}"
        axes.text(0.98, place, number, ha="right", transform=axes.get_yaxis_transform(), **text)
    axes.grid(axis="x", alpha=0.25, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def draw_all(
    table: pd.DataFrame, folder: str | os.PathLike[str], sigmas: Sequence[str] = ()
) -> Iterator[Path]:
    """Write ``cycles-sigma-{sigma}.png`` and ``.svg`` of each sigma; yield their paths.

    Raises:
        SettingError: a sigma is not in the table.
    """
    for sigma in chosen(table, sigmas):
        yield from save(cycles_figure(table, sigma), folder, layout.file_name("cycles", sigma))
