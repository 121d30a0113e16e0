"""Figures from ``accuracy.csv``."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from swim.errors import SettingError
from swim.reports.accuracy_tables import ENDS, curve, method_names
from swim.reports.plots.canvas import new_figure, save
from swim.reports.plots.method_styles import order, styles
from swim.settings import layout, registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 6  # methods whose legend fits below the panels


def accuracy_figure(table: pd.DataFrame, sigma: str, log: bool = False) -> "Figure":
    """Accuracy against normalised write cycles at one sigma, one panel per device.

    Each line's ``gid`` is its method; its points, and the 95 % band of the mean, are the rows
    of ``table``.

    Args:
        table: the result of :func:`swim.reports.accuracy_tables.read_accuracy`.
        sigma: one of its sigmas.
        log: a logarithmic axis, linear from 0 to the smallest NWC beyond it.
    """

    def scale(axes: "Axes", part: pd.DataFrame) -> None:
        axes.set_xlabel("normalised write cycles (NWC)")
        most = 1.02 * part["nwc"].max()
        if log:
            _logarithmic(axes, part["nwc"])
            return
        axes.set_xlim(-0.02, max(1.02, most))
        if most > 1.02:  # on-device training may spend more than full write-verify
            axes.set_xscale("symlog", linthresh=1, linscale=2)
            ticks = [0, 0.2, 0.4, 0.6, 0.8, *(t for t in (1, 2, 5, 10, 20, 50, 100) if t <= most)]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)

    return _panels(table, sigma, "nwc", scale)


def reads_figure(table: pd.DataFrame, sigma: str) -> "Figure":
    """Accuracy against reads per device, as :func:`accuracy_figure`; for methods that read."""

    def scale(axes: "Axes", part: pd.DataFrame) -> None:
        axes.set_xlabel("reads per device")
        axes.set_xlim(-0.02 * part["reads"].max(), 1.02 * part["reads"].max())

    return _panels(table, sigma, "reads", scale)


def _logarithmic(axes: "Axes", values: pd.Series) -> None:
    least, most = values[values > 0].min(), max(1.0, values.max())
    axes.set_xscale("symlog", linthresh=least, linscale=0.4)
    axes.set_xlim(-0.08 * least, 1.1 * most)
    each = [k * 10.0**power for power in range(-9, 4) for k in range(1, 10)]
    shown = [tick for tick in each if 0.99 * least <= tick <= 1.1 * most]
    decades = [tick for tick in shown if f"{tick:e}".startswith("1.0")]
    axes.set_xticks([0, *decades], ["0", *(f"{tick:g}" for tick in decades)])
    axes.set_xticks([tick for tick in shown if tick not in decades], minor=True)
    axes.set_xlabel(f"{axes.get_xlabel()}, linear below {least:.2g}")


def _panels(
    table: pd.DataFrame, sigma: str, against: str, scale: Callable[["Axes", pd.DataFrame], None]
) -> "Figure":
    rows = table[table["sigma"] == sigma]
    devices = list(dict.fromkeys(rows["device"]))
    many = len(method_names(rows)) > _FEW
    figure = new_figure(5.6 * len(devices) + 1.6 * many, 4.6)
    panels = figure.subplots(1, len(devices), squeeze=False, sharey=True)[0]
    for axes, device in zip(panels, devices, strict=True):
        part = rows[rows["device"] == device]
        _draw(axes, part, against)
        scale(axes, part)
        axes.grid(alpha=0.25, lw=0.5)
        first = part.iloc[0]
        axes.set_title(
            f"{first['model']} on {first['dataset']}, {device}, σ = {sigma}", fontsize=10
        )
    panels[0].set_ylabel("accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    where = {"loc": "outside right upper"} if many else {"loc": "outside lower center", "ncols": 3}
    figure.legend(handles, labels, fontsize=8, frameon=False, handlelength=3, **where)
    return figure


def _draw(axes: "Axes", part: pd.DataFrame, against: str) -> None:
    references = {"clean": ("before programming", "-"), "all": (ENDS["all"], "--"),
                  "none": (ENDS["none"], ":")}  # fmt: skip
    methods = order(method_names(part))
    alpha = 0.2 if len(methods) <= _FEW else 0.1
    for name, (colour, marker, dashes) in styles(methods).items():
        points = curve(part, name)
        if against == "reads" and not points["reads"].any():
            continue
        mean, half = 100 * points["mean"], 100 * points["ci95"]
        band: dict[str, Any] = {"color": colour, "alpha": alpha, "lw": 0}
        axes.fill_between(points[against], mean - half, mean + half, **band)
        line = {"color": colour, "marker": marker, "ms": 5, "ls": dashes, "lw": 1.5}
        axes.plot(points[against], mean, label=name, gid=name, **line)
    for name, (label, dashes) in references.items():
        for value in part.loc[part["method"] == name, "mean"]:
            axes.axhline(
                100 * value, color="0.35", ls=dashes, lw=1, label=label, gid=name, zorder=1
            )


FIGURES: dict[str, Callable[[pd.DataFrame, str], "Figure"]] = {
    "accuracy": accuracy_figure,
    "accuracy-log": lambda table, sigma: accuracy_figure(table, sigma, log=True),
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
) -> Iterator[Path]:
    """Write ``{name}-sigma-{sigma}.png`` and ``.svg`` of each figure and sigma; yield their paths.

    Args:
        table: the result of :func:`swim.reports.accuracy_tables.read_accuracy`.
        folder: folder of the files.
        sigmas: all by default.
        names: of :data:`FIGURES`, by default those that are :func:`fitting`.

    Raises:
        SettingError: a sigma is not in the table.
    """
    for sigma in chosen(table, sigmas):
        for name in names or fitting(table):
            yield from save(FIGURES[name](table, sigma), folder, layout.file_name(name, sigma))


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
