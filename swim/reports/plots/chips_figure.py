"""How a value is distributed over chips: the fraction of the chips at or below each value."""

from typing import TYPE_CHECKING

import numpy as np

from swim.evaluation import statistics
from swim.reports.plots import canvas
from swim.reports.plots.style import BLUE, REFERENCE_COLOUR, Format

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.in_format
def chips_figure(form: Format, values: np.ndarray, label: str, title: str = "") -> "Figure":
    """The empirical distribution of a value over chips.

    The line rises by one chip's share at each chip's value; a vertical line is the mean, with its
    95 % interval as a band, and a dotted one the fifth percentile, where there are chips enough.

    Args:
        form: given by the argument ``width``.
        values: one per chip, in the unit of the axis: (chips,).
        label: of the axis.
        title: above the panel.
    """
    figure = canvas.new_figure(form.width, 0.5 * form.width)
    axes = figure.subplots()
    found = statistics.summarise(values)
    axes.ecdf(values, color=BLUE, gid="chips")
    half = 0.0 if np.isnan(found.ci95) else found.ci95
    axes.axvspan(found.mean - half, found.mean + half, color=BLUE, alpha=0.2, lw=0)
    axes.axvline(found.mean, color=BLUE, lw=0.8, label="mean, 95 % interval", gid="mean")
    if not np.isnan(found.p05.value):
        axes.axvline(
            found.p05.value, color=REFERENCE_COLOUR, ls=":", label="fifth percentile", gid="p05"
        )
    axes.set_xlabel(label)
    axes.set_ylabel("fraction of chips")
    canvas.grid(axes)
    canvas.add_title(figure, form, title)
    canvas.add_legend(figure, form, *axes.get_legend_handles_labels())
    return figure
