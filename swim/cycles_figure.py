"""Figure of ``cycles_to_accuracy.csv``: a bar a method, a panel a device and within."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from swim import cycles
from swim.figures import chosen, order, save, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cycles_figure(table: pd.DataFrame, sigma: str) -> "Figure":
    """NWC from which on each method is within some points of everything verified, at one sigma.

    One row of panels a device (and experiment), one panel a within, bars on a logarithmic axis.
    A bar's ``gid`` is its method, its end the row's ``nwc``; dark whiskers are the interval over
    chips, wide pale ones that over seeds. Where there is no bar, a text says why.

    Args:
        table: as :func:`swim.cycles.read` gives it.
        sigma: one of its sigmas.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table[table["sigma"] == sigma]
    places = list(dict.fromkeys(zip(rows["experiment"], rows["device"], strict=True)))
    parts = sorted(set(rows["within"]), key=float)
    methods = order(set(rows["method"]))
    size = (1.2 + 3.1 * len(parts), (0.9 + 0.27 * len(methods)) * len(places))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(places), len(parts), squeeze=False, sharex=True, sharey=True)
    limits = _limits(rows)
    for (experiment, device), line in zip(places, grid, strict=True):
        for axes, within in zip(line, parts, strict=True):
            where = (rows["experiment"] == experiment) & (rows["device"] == device)
            own = rows[where & (rows["within"] == within)].set_index("method")
            axes.set_xscale("log")
            axes.set_xlim(*limits)
            _draw(axes, own, methods)
            unit = "point" if within == "1" else "points"
            axes.set_title(f"within {within} {unit}, {device}, σ = {sigma}", fontsize=9)
        line[0].set_yticks(range(len(methods)), methods, fontsize=8)
        line[0].set_ylim(len(methods) - 0.4, -0.6)
    for axes in grid[-1]:
        axes.set_xlabel("normalised write cycles (NWC)", fontsize=9)
    return figure


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """From below the smallest value to room for a label beyond the largest."""
    values = rows[["nwc", "nwc_low", "nwc_high", "first"]].to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    return 10 ** np.floor(np.log10(values.min() / 1.5)), 4 * max(values.max(), 1.0)


def _draw(axes: "Axes", own: pd.DataFrame, methods: Sequence[str]) -> None:
    left = axes.get_xlim()[0]
    for place, (name, (colour, *_)) in enumerate(styles(list(methods)).items()):
        if name not in own.index:
            continue
        row: Any = own.loc[name]
        text: dict[str, Any] = {"va": "center", "fontsize": 7, "color": "0.25"}
        if np.isnan(row["nwc"]) or row["nwc"] == 0:
            axes.text(1.15 * left, place, cycles.note(row), style="italic", **text)
            continue
        bar = axes.barh(place, row["nwc"] - left, 0.66, left, color=colour, alpha=0.75)
        bar[0].set_gid(name)
        reach = row["nwc"]
        whiskers: list[tuple[str, str, dict[str, Any]]] = [
            ("seeds_low", "seeds_high", {"color": "0.6", "lw": 3}),
            ("nwc_low", "nwc_high", {"color": "0.1", "lw": 1.2}),
        ]
        for low, high, line in whiskers:
            if np.isnan(row[low]):
                continue
            end = axes.get_xlim()[1] if np.isnan(row[high]) else row[high]
            axes.plot([max(row[low], left), end], [place, place], gid=f"{name} {low}", **line)
            reach = max(reach, end)
        axes.text(1.12 * reach, place, f"{row['nwc']:.2g}", **text)
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
        yield from save(cycles_figure(table, sigma), folder, f"cycles-sigma-{sigma}")
