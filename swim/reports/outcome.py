"""What a run made of an experiment, in lines for the end of its log."""

import os

from swim.reports.accuracy_tables import read_accuracy
from swim.reports.plots.titles import chips_words
from swim.settings import layout


def lines(experiment: str, precision: float | None = None) -> list[str]:
    """Points and chips of an experiment, where its results are, and whether a precision was missed.

    Args:
        experiment: its name; ``accuracy.csv`` is read.
        precision: half-width of the mean's 95 % interval that was asked for, in [0, 1].

    Raises:
        DataError: the table is missing or damaged.
    """
    accuracy = layout.ACCURACY.format(experiment=experiment)
    table = read_accuracy(accuracy)
    points = table[table["method"] != layout.CLEAN]
    figures = layout.FIGURES.format(experiment=experiment)
    found = [
        f"{experiment}: {len(points)} points of {chips_words(points)}: {accuracy}, to read "
        f"{layout.SUMMARY.format(experiment=experiment)}; figures in {figures}, claims "
        f"{layout.CLAIMS_PAGE.format(place=experiment)}"
    ]
    wide = points[points["ci95"] > precision] if precision is not None else points[:0]
    if len(wide):
        worst = wide.sort_values("ci95").iloc[-1]
        found.append(
            f"{experiment}: warning: the precision of {precision:g} was not reached at {len(wide)} "
            f"of {len(points)} points before max_chips; the widest interval is ± "
            f"{worst['ci95']:.2g} ({worst['method']} {worst['fraction']}, {worst['device']}, sigma "
            f"{worst['sigma']})"
        )
    return found


def exists(experiment: str) -> bool:
    """Whether there is a table to read."""
    return os.path.exists(layout.ACCURACY.format(experiment=experiment))
