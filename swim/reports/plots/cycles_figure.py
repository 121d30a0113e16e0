"""Figure of ``cycles_to_accuracy.csv``: a point with its interval per method, and its ratio."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from swim.reports.plots import canvas
from swim.reports.plots.accuracy_figure import chosen
from swim.reports.plots.style import Format, MethodStyle, display_name, method_style, order
from swim.reports.plots.titles import Words, chips_words, points_words, words
from swim.settings import PlotJob, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "0.25"


@canvas.in_format
def cycles_figure(
    form: Format, table: pd.DataFrame, sigma: str, said: Words | None = None
) -> "Figure":
    """NWC from which on each method is within some points of full write-verify, at one sigma.

    Per device (and experiment) and within a pair of panels: NWC, and NWC over that of SWIM, both on
    logarithmic axes. A marker's ``gid`` is its method, its place the row's value, which is also
    written. Thick lines are intervals over chips, thin lines intervals over seeds; an arrow is an
    end that is not known. Where the curve crosses in a gap, a dotted line spans the gap and there
    is no marker. A method that is within at no rewrite is at the left edge, "0".

    Args:
        form: given by the argument ``width``.
        table: the result of :func:`swim.reports.cycles_to_accuracy.read`.
        sigma: one of its sigmas.
        said: network, data and devices in words; by default the table's names.
    """
    rows = table[table["sigma"] == sigma]
    said = said or words(PlotJob(), rows)
    places = list(dict.fromkeys(zip(rows["experiment"], rows["device"], strict=True)))
    parts = sorted(set(rows["within"]), key=float)
    methods = order(set(rows["method"]))
    lines, across = canvas.rows_and_columns(len(parts), form.across)
    each = (0.55 + 0.17 * len(methods)) * form.font / 7
    figure = canvas.new_figure(form.width, each * lines * len(places) + 0.3 * form.font / 7)
    panels = figure.subplots(
        lines * len(places), 2 * across, squeeze=False, sharex="col", width_ratios=[3, 2] * across
    )
    limits = _limits(rows, ["nwc", "nwc_low", "nwc_high", "seeds_high", "first"], one=True)
    ratios = _limits(rows, ["ratio_to_swim", "ratio_low", "ratio_high"], one=True)
    names = {device for _, device in places}
    for n, (experiment, device) in enumerate(places):
        block = panels[n * lines : (n + 1) * lines].reshape(lines * across, 2)
        where = (rows["experiment"] == experiment) & (rows["device"] == device)
        for k, pair in enumerate(map(list, block)):
            if k >= len(parts):
                _switch_off(pair)
                continue
            own = rows[where & (rows["within"] == parts[k])].set_index("method")
            _pair(pair, own, methods, (limits, ratios), named=k % across == 0)
            pair[0].set_title(points_words(parts[k]), loc="left")
            if k == 0 and len(places) > 1:
                place = said.device(device, names) if len(names) > 1 else experiment
                pair[0].set_title(f"{place}:\n{points_words(parts[k])}", loc="left")
    _label(panels, len(parts), across)
    one = [said.device(places[0][1])] if len(names) == 1 else []
    canvas.add_title(figure, form, said.title(*one, f"σ = {sigma}", chips_words(rows)))
    over = "; thin: over training seeds" if rows["seeds"].max() > 1 else ""
    note = f"lines: 95 % intervals over chips{over}"
    figure.supxlabel(canvas.wrapped(note, 0.95 * form.width, form.font))
    return figure


def _switch_off(pair: Sequence["Axes"]) -> None:
    for axes in pair:
        axes.set_axis_off()


def _label(panels: np.ndarray, parts: int, across: int) -> None:
    """Names of the axes below the lowest panels, and ticks where panels share them."""
    for column in range(2 * across):
        lowest = [axes for axes in panels[:, column] if axes.axison]
        for axes in lowest:
            axes.tick_params(labelbottom=axes is lowest[-1])
        if lowest:
            lowest[-1].set_xlabel("over SWIM's" if column % 2 else "NWC")


def _limits(rows: pd.DataFrame, columns: list[str], one: bool) -> tuple[float, float]:
    """Axis limits, with space for a number beyond the largest value.

    Values far below all methods' first points rest on a straight line alone and may be cut off.
    """
    values = rows[columns].to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 2.0
    least = rows["first"].min() / 20 if "first" in columns else 1e-4
    low, high = max(values.min() / 2, least), max(values.max(), 1.0)
    return low, high * (high / low) ** 0.45


def _pair(
    pair: Sequence["Axes"],
    own: pd.DataFrame,
    methods: Sequence[str],
    limits: Sequence[tuple[float, float]],
    named: bool,
) -> None:
    for axes, ends in zip(pair, limits, strict=True):
        axes.set_xscale("log")
        axes.set_xlim(*ends)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        canvas.grid(axes, axis="x")
        axes.set_yticks(range(len(methods)), [""] * len(methods))
        axes.tick_params(axis="y", length=0)
        _decades(axes)
    if named:
        pair[0].set_yticks(range(len(methods)), [display_name(name) for name in methods])
    pair[1].axvline(1.0, color="0.5", lw=0.6, zorder=1)
    for place, name in enumerate(methods):
        if name in own.index:
            row: Any = own.loc[name]
            _draw_cycles(pair[0], row, place, name)
            _draw_ratio(pair[1], row, place, name)
        else:
            _write(pair[0], place, "not measured")


def _decades(axes: "Axes") -> None:
    """Ticks at powers of ten, at most four of them, and none beside the numbers at the right."""
    low, high = (np.log10(end) for end in (axes.get_xlim()[0], _edge(axes)))
    powers = range(int(np.ceil(low)), int(np.floor(max(high, 0.0))) + 1)
    axes.set_xticks([10.0**power for power in list(powers)[:: -(-len(powers) // 4)]])
    axes.set_xticks([], minor=True)


def _draw_cycles(axes: "Axes", row: Any, place: int, name: str) -> None:
    style, left = method_style(name), axes.get_xlim()[0]
    edge = _edge(axes)
    if not np.isnan(row["between_low"]):
        span = [max(row["between_low"], left), row["between_high"]]
        axes.plot(span, [place] * 2, color=style.colour, ls=":", marker="|", gid=f"{name} gap")
        _write(axes, place, f"{row['between_low']:.2g} to {row['between_high']:.2g}")
        return
    if row["reached"] < row["seeds"] or np.isnan(row["nwc"]):
        span = [max(row["last"], left), edge]
        axes.plot(span, [place] * 2, color=_GREY, lw=0.6, marker=">", markevery=[1],
                  gid=f"{name} beyond")  # fmt: skip
        missing = row["seeds"] - row["reached"]
        some = f" ({missing} of {row['seeds']} seeds)" if row["seeds"] > 1 else ""
        _write(axes, place, f"> {row['last']:.2g}{some}")
        return
    for ends, width in (("seeds", 0.35), ("nwc", 1.3)):
        _span(axes, row, ends, place, name, style, width)
    at = max(row["nwc"], left)  # below the axis, or at no rewrite: at its left edge
    axes.plot([at], [place], ls="", gid=name, clip_on=False, zorder=4, **style.marks)
    _write(axes, place, f"{row['nwc']:.2g}")


def _draw_ratio(axes: "Axes", row: Any, place: int, name: str) -> None:
    ratio = row["ratio_to_swim"]
    if np.isnan(ratio):
        _write(axes, place, "–")
        return
    if name != "swim":
        _span(axes, row, "ratio", place, f"{name} over", method_style(name), 1.3)
    at = max(ratio, axes.get_xlim()[0])
    marks = method_style(name).marks
    axes.plot([at], [place], ls="", gid=f"{name} ratio", clip_on=False, zorder=4, **marks)
    _write(axes, place, f"{ratio:.2g}")


def _edge(axes: "Axes") -> float:
    """Where the numbers at the right begin."""
    left, right = axes.get_xlim()
    return float(right / (right / left) ** 0.28)


def _span(
    axes: "Axes", row: Any, ends: str, place: int, name: str, style: MethodStyle, width: float
) -> None:
    """An interval, with an arrow at an end that some resamples do not reach."""
    import matplotlib

    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    if np.isnan(low):
        return
    width *= matplotlib.rcParams["lines.linewidth"]
    line: dict[str, Any] = {"color": style.colour, "lw": width, "solid_capstyle": "butt"}
    if np.isnan(high):
        line |= {"marker": ">", "ms": 2.5 * width, "markevery": [1]}
    left = axes.get_xlim()[0]
    span = [max(low, left), max(_edge(axes) if np.isnan(high) else high, left)]
    axes.plot(span, [place, place], gid=f"{name} {ends}", **line)


def _write(axes: "Axes", place: int, text: str) -> None:
    axes.text(
        0.985, place, text, ha="right", va="center", color=_GREY,
        transform=axes.get_yaxis_transform(), fontsize="small",
        bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.4}, zorder=3,
    )  # fmt: skip


def draw_all(
    table: pd.DataFrame,
    folder: str | os.PathLike[str],
    sigmas: Sequence[str] = (),
    job: PlotJob | None = None,
) -> Iterator[Path]:
    """Write ``cycles-sigma-{sigma}`` of each sigma; yield the files' paths.

    Raises:
        SettingError: a sigma is not in the table.
    """
    job = job or PlotJob()
    said, width = words(job), job.figure_width
    for sigma in chosen(table, sigmas):
        figure = cycles_figure(table, sigma, said=said, width=width)
        yield from canvas.save(figure, folder, layout.file_name("cycles", sigma), width)
