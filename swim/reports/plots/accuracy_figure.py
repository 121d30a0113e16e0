"""Figures from ``accuracy.csv``."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from swim.errors import SettingError
from swim.reports import cycles_to_accuracy
from swim.reports.accuracy_tables import curve, method_names
from swim.reports.plots import canvas
from swim.reports.plots.style import (
    REFERENCE_COLOUR,
    REFERENCES,
    Format,
    method_style,
    order,
)
from swim.reports.plots.titles import Words, chips_words, words
from swim.settings import PlotJob, layout, registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 6  # methods whose bands are dark enough to be seen apart
_TICKS = (1, 2, 5, 10, 20, 50, 100)  # of an axis that goes beyond full write-verify


@canvas.in_format
def accuracy_figure(
    form: Format, table: pd.DataFrame, sigma: str, log: bool = False, said: Words | None = None
) -> "Figure":
    """Accuracy against normalised write cycles at one sigma, one panel per device.

    Each line's ``gid`` is its method; its points, and the 95 % band of the mean, are the rows
    of ``table``. Between two points that have unmeasured values of the grid between them
    (:func:`swim.reports.cycles_to_accuracy.gaps`) there is no line and no band.

    Args:
        form: given by the argument ``width``.
        table: the result of :func:`swim.reports.accuracy_tables.read_accuracy`.
        sigma: one of its sigmas.
        log: a logarithmic axis, linear from 0 to the smallest NWC beyond it.
        said: network, data and devices in words; by default the table's names.
    """
    scale = _logarithmic if log else _linear
    return _panels(form, table, sigma, "nwc", scale, "normalised write cycles (NWC)", said)


@canvas.in_format
def reads_figure(
    form: Format, table: pd.DataFrame, sigma: str, said: Words | None = None
) -> "Figure":
    """Accuracy against reads per device, as :func:`accuracy_figure`; for methods that read."""

    def scale(axes: "Axes", reads: pd.Series) -> str:
        axes.set_xlim(-0.02 * reads.max(), 1.02 * reads.max())
        return ""

    return _panels(form, table, sigma, "reads", scale, "reads per device", said)


def _linear(axes: "Axes", values: pd.Series) -> str:
    most = 1.02 * values.max()
    axes.set_xlim(-0.02, max(1.02, most))
    if most > 1.02:  # on-device training may spend more than full write-verify
        axes.set_xscale("symlog", linthresh=1, linscale=2)
        ticks = [0, 0.2, 0.4, 0.6, 0.8, *(t for t in _TICKS if t <= most)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    return ""


def _logarithmic(axes: "Axes", values: pd.Series) -> str:
    least, most = values[values > 0].min(), max(1.0, values.max())
    axes.set_xscale("symlog", linthresh=least, linscale=0.4)
    axes.set_xlim(-0.08 * least, 1.1 * most)
    each = [k * 10.0**power for power in range(-9, 4) for k in range(1, 10)]
    shown = [tick for tick in each if 0.99 * least <= tick <= 1.1 * most]
    decades = [tick for tick in shown if f"{tick:e}".startswith("1.0")]
    axes.set_xticks([0, *decades], ["0", *(f"{tick:g}" for tick in decades)])
    axes.set_xticks([tick for tick in shown if tick not in decades], minor=True)
    return f", linear below {least:.2g}"


def _panels(
    form: Format,
    table: pd.DataFrame,
    sigma: str,
    against: str,
    scale: Callable[["Axes", pd.Series], str],
    label: str,
    said: Words | None,
) -> "Figure":
    rows = table[table["sigma"] == sigma]
    said = said or words(PlotJob(), rows)
    devices = list(dict.fromkeys(rows["device"]))
    down, across = canvas.rows_and_columns(len(devices), form.across)
    height = max(0.72 * form.width / across, 0.3 * form.width)
    figure = canvas.new_figure(form.width, (height if across > 1 else 0.62 * form.width) * down)
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    legend: dict[str, Any] = {}
    for axes, device in zip(panels.flat, devices, strict=False):
        part = rows[rows["device"] == device]
        _draw(axes, part, against)
        unit = scale(axes, part[against])
        axes.set_xlabel(canvas.wrapped(label + unit, 0.85 * form.width / across, form.font))
        canvas.grid(axes)
        if len(devices) > 1:
            title = canvas.wrapped(
                said.device(device, devices), 0.9 * form.width / across, form.font
            )
            axes.set_title(title)
        handles, labels = axes.get_legend_handles_labels()
        legend |= {name: line for line, name in zip(handles, labels, strict=True)}
    for axes in list(panels.flat)[len(devices) :]:
        axes.set_axis_off()
    for line in panels:
        line[0].set_ylabel("accuracy (%)")
    one = [said.device(devices[0])] if len(devices) == 1 else []
    canvas.add_title(figure, form, said.title(*one, f"σ = {sigma}", chips_words(rows)))
    canvas.add_legend(figure, form, list(legend.values()), list(legend))
    return figure


def _draw(axes: "Axes", part: pd.DataFrame, against: str) -> None:
    methods = order(method_names(part))
    measured = cycles_to_accuracy.grid(part[part["method"] != "clean"])
    for name in methods:
        points = curve(part, name)
        if against == "reads" and not points["reads"].any():
            continue
        style = method_style(name)
        points = with_breaks(points, cycles_to_accuracy.gaps(points["fraction"], measured))
        mean, half = 100 * points["mean"], 100 * points["ci95"]
        alpha = 0.2 if len(methods) <= _FEW else 0.1
        axes.fill_between(
            points[against], mean - half, mean + half, color=style.colour, alpha=alpha, lw=0
        )
        axes.plot(points[against], mean, label=style.name, gid=name, **style.line)
    for name, (label, dashes) in REFERENCES.items():
        for value in part.loc[part["method"] == name, "mean"]:
            axes.axhline(
                100 * value, color=REFERENCE_COLOUR, ls=dashes, lw=0.8, label=label, gid=name,
                zorder=1,
            )  # fmt: skip


def with_breaks(points: pd.DataFrame, gaps: np.ndarray) -> pd.DataFrame:
    """Points of a curve with an empty row in each gap, where lines and bands break off."""
    places = [*points.index, *(points.index[:-1][gaps] + 0.5)]
    return points.reindex(sorted(places)).reset_index(drop=True)


FIGURES: dict[str, Callable[..., "Figure"]] = {
    "accuracy": accuracy_figure,
    "accuracy-log": partial(accuracy_figure, log=True),
    "reads": reads_figure,
}


def fitting(table: pd.DataFrame) -> list[str]:
    """The figures that a table has data for: reads are drawn where there are policies."""
    policies = set(table["method"]) & set(registry.POLICIES)
    return [name for name in FIGURES if name != "reads" or policies]


def draw_all(
    table: pd.DataFrame,
    folder: str | os.PathLike[str],
    sigmas: Sequence[str] = (),
    names: Sequence[str] = (),
    job: PlotJob | None = None,
) -> Iterator[Path]:
    """Write ``{name}-sigma-{sigma}`` of each figure and sigma; yield the files' paths.

    Args:
        table: the result of :func:`swim.reports.accuracy_tables.read_accuracy`.
        folder: folder of the files.
        sigmas: all by default.
        names: of :data:`FIGURES`, by default those that are :func:`fitting`.
        job: what titles say, and the width.

    Raises:
        SettingError: a sigma is not in the table.
    """
    job = job or PlotJob()
    said, width = words(job, table), job.figure_width
    for sigma in chosen(table, sigmas):
        for name in names or fitting(table):
            figure = FIGURES[name](table, sigma, said=said, width=width)
            yield from canvas.save(figure, folder, layout.file_name(name, sigma), width)


def chosen(table: pd.DataFrame, sigmas: Sequence[str]) -> list[str]:
    """These sigmas, or all of a table.

    Raises:
        SettingError: a sigma is not in the table.
    """
    known = list(dict.fromkeys(table["sigma"]))
    for sigma in sigmas:
        if sigma not in known:
            raise SettingError(f"the table has no sigma {sigma!r}; it has {', '.join(known)}")
    return list(sigmas) or known
