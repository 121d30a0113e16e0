"""Scatter plots: measured increase in loss of single weights against each method's score."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from swim.reports.correlation import ALL, KEYS, two_digits
from swim.reports.plots import canvas
from swim.reports.plots.style import Format, display_name
from swim.reports.plots.titles import Words, words
from swim.settings import PlotJob

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours; networks of more layers take a scale from dark to light.
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C564B", "0.4"]
# Fraction of an axis between the smallest positive value and the position of zeros.
_STRIP = 0.07
# Smaller increases, relative to the largest, are rounding errors even in float64.
_FLOOR = 1e-12


@canvas.in_format
def correlation_figure(
    form: Format,
    table: pd.DataFrame,
    correlations: pd.DataFrame,
    methods: Sequence[str],
    said: Words | None = None,
) -> "Figure":
    """Increase in loss against score, log-log: a panel per method and measured file.

    A weight's colour is its layer. A filled point's increase is positive, a hollow one's negative
    and drawn at its magnitude. A logarithmic axis has no zero, so scores of zero or less are drawn
    to the left of a dotted line, and increases of exactly zero (or of rounding alone) below one.
    The grey line is proportionality: it has slope one and goes through the medians.

    Args:
        form: given by the argument ``width``.
        table: the result of :func:`swim.reports.correlation.measured`.
        correlations: the result of :func:`swim.reports.correlation.correlation_table` for it.
        methods: columns of scores to draw.
        said: network, data and devices in words; by default the table's names.
    """
    said = said or words(PlotJob(), correlations)
    groups = list(table.groupby(KEYS, sort=False))
    each, across = canvas.rows_and_columns(len(methods), min(form.across + 1, 3))
    side = form.width / across
    figure = canvas.new_figure(form.width, 1.05 * side * each * len(groups))
    panels = figure.subplots(each * len(groups), across, squeeze=False, sharey=False)
    colours = _layer_colours(list(dict.fromkeys(table["layer"])))
    devices = [str(device) for (device, *_), _ in groups]
    for block, (keys, part) in enumerate(groups):
        device, around, sigma = keys
        at = correlations[(correlations[KEYS] == list(keys)).all(axis=1)]
        whole = at[at["layer"] == ALL].set_index("method")
        spots = panels[block * each : (block + 1) * each].flat
        place = f"{said.device(str(device), devices)}, σ = {sigma}"
        place += ", at chips" * (around == "programmed")
        for n, axes in enumerate(spots):
            if n >= len(methods):
                axes.set_axis_off()
                continue
            _draw(axes, part, methods[n], colours)
            spearman, pearson = (float(whole[c][methods[n]]) for c in ("spearman", "pearson"))
            heads = [display_name(methods[n]), *([place] if len(groups) > 1 else []),
                     f"Spearman {two_digits(spearman)}, Pearson {two_digits(pearson)}"]  # fmt: skip
            lines = (canvas.wrapped(head, 0.85 * side, form.font) for head in heads)
            axes.set_title("\n".join(lines))
            if n % across == 0:
                axes.set_ylabel("increase in mean loss")
    canvas.add_title(figure, form, said.title(*([place] if len(groups) == 1 else [])))
    _legend(figure, form, colours)
    return figure


def _layer_colours(layers: list[str]) -> dict[str, Any]:
    if len(layers) <= len(_COLOURS):
        return dict(zip(layers, _COLOURS, strict=False))
    import matplotlib

    scale = matplotlib.colormaps["viridis"]
    return {layer: scale(i / (len(layers) - 1)) for i, layer in enumerate(layers)}


def _draw(axes: "Axes", part: pd.DataFrame, method: str, colours: dict[str, Any]) -> None:
    score, increase = part[method].to_numpy(), part["increase"].to_numpy()
    rounding = np.abs(increase) <= _FLOOR * np.abs(increase).max()
    x, left = _with_strip(score, score <= 0)
    y, bottom = _with_strip(np.abs(increase), rounding)
    for layer, colour in colours.items():
        own = (part["layer"] == layer).to_numpy()
        for sign, filled in ((1, True), (-1, False)):
            chosen = own & ((increase < 0) & ~rounding if sign < 0 else (increase >= 0) | rounding)
            axes.scatter(
                x[chosen], y[chosen], s=_area(), linewidths=0.5, alpha=0.75, edgecolors=[colour],
                facecolors=[colour] if filled else "none",
                gid=f"{method} {layer} {'up' if filled else 'down'}",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter("")
    _proportion(axes, score, increase, rounding)
    edge: dict[str, Any] = {"color": "0.6", "ls": ":", "lw": 0.8, "zorder": 0}
    if left is not None:
        axes.axvline(left, **edge)
        label = "≤ 0" if score.min() < 0 else "0"
        _label_strip(axes.xaxis, axes.get_xlim(), left, float(x[score <= 0][0]), label)
    if bottom is not None:
        axes.axhline(bottom, **edge)
        _label_strip(axes.yaxis, axes.get_ylim(), bottom, float(y[rounding][0]), "0")
    axes.set_xlabel(f"score of {display_name(method)}")
    canvas.grid(axes)


def _area() -> float:
    """Of a point, in square points."""
    import matplotlib

    return float((matplotlib.rcParams["lines.markersize"] / 1.5) ** 2)


def _with_strip(values: np.ndarray, zero: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Values for a logarithmic axis, with zeros in a strip; and the edge of the strip."""
    if not zero.any():
        return values, None
    if zero.all():
        return np.ones_like(values), None
    low, high = (float(end) for end in (values[~zero].min(), values[~zero].max()))
    width = max(1.0, math.log10(high / low)) * _STRIP  # in decades
    return np.where(zero, low * 10**-width, values), low * 10 ** (-width / 2)


def _label_strip(
    axis: "Axis", limits: tuple[float, float], edge: float, strip: float, label: str
) -> None:
    """Keep the axis's powers of ten beyond ``edge``, and label the strip of zeros."""
    minor = [t for t in axis.get_minorticklocs() if edge < t <= limits[1]]
    kept = [float(t) for t in axis.get_majorticklocs() if edge < t <= limits[1]]
    apart = 0.13 * math.log10(limits[1] / limits[0])  # decades that two labels need
    clear = [t for t in kept if math.log10(t / strip) >= apart]
    minor += [t for t in kept if t not in clear and len(clear) > 1]
    kept = clear if len(clear) > 1 else kept
    powers = [rf"$10^{{{round(math.log10(t))}}}$" for t in kept]
    axis.set_ticks([strip, *kept], [label, *powers])
    axis.set_ticks(minor, minor=True)


def _proportion(
    axes: "Axes", score: np.ndarray, increase: np.ndarray, rounding: np.ndarray
) -> None:
    drawn = (score > 0) & (increase > 0) & ~rounding
    if not drawn.any():
        return
    x, y = float(np.median(score[drawn])), float(np.median(increase[drawn]))
    limits = axes.get_xlim(), axes.get_ylim()
    lowest = max(score[drawn].min(), increase[drawn].min() * x / y)
    ends = np.array([lowest, score[drawn].max()])
    axes.plot(ends, y / x * ends, color="0.5", lw=1, zorder=0, gid="proportion")
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _legend(figure: "Figure", form: Format, colours: dict[str, Any]) -> None:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"marker": "o", "ls": ""}
    layers = [Line2D([], [], color=c, label=layer, **dot) for layer, c in colours.items()]
    if len(layers) > len(_COLOURS):  # the first, the last, and some between
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, 6).round().astype(int)]
    others = [
        Line2D([], [], color="0.3", mfc="none", label="decrease, at its magnitude", **dot),
        Line2D([], [], color="0.5", label="proportional"),
        Line2D([], [], color="0.6", ls=":", label="beyond it: zero"),
    ]
    handles = [*layers, *others]
    canvas.add_legend(figure, form, handles, [handle.get_label() for handle in handles])


def draw(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    correlations: pd.DataFrame,
    methods: Sequence[str],
    job: PlotJob | None = None,
) -> list[Path]:
    """Write the figure as ``path`` (.png) and beside it as .svg and .pdf; the paths."""
    job = job or PlotJob()
    said, width = words(job, correlations), job.figure_width
    figure = correlation_figure(table, correlations, methods, said=said, width=width)
    return list(canvas.save(figure, Path(path).parent, Path(path).stem, width))
