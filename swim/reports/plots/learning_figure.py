"""Figure of ``train.csv``: loss and accuracy over the epochs of training."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from swim.reports.plots import canvas
from swim.reports.plots.style import BLUE, VERMILION, Format
from swim.reports.plots.titles import words
from swim.runtime.csv_files import read_table
from swim.settings import PlotJob

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("epoch", "quantised", "learning_rate", "loss", "accuracy")


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``train.csv``, one row per epoch.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    return read_table(path, COLUMNS)


@canvas.in_format
def learning_figure(form: Format, table: pd.DataFrame, title: str = "") -> "Figure":
    """Loss and accuracy on the training images against the epoch; quantised epochs are shaded.

    Both are over an epoch's own batches, while the weights change.

    Args:
        form: given by the argument ``width``.
        table: the result of :func:`read`.
        title: title of the figure.
    """
    figure = canvas.new_figure(form.width, 0.4 * form.width)
    left, right = figure.subplots(1, 2, sharex=True)
    for axes, name, scale, label, colour in (
        (left, "loss", 1, "training loss", BLUE),
        (right, "accuracy", 100, "training accuracy (%)", VERMILION),
    ):
        axes.plot(table["epoch"], scale * table[name], color=colour, marker=".", gid=name)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(label)
        canvas.grid(axes)
        quantised = table.loc[table["quantised"], "epoch"]
        if len(quantised):
            first, last = quantised.min() - 0.5, quantised.max() + 0.5
            axes.axvspan(first, last, color="0.9", lw=0, zorder=0, label="quantised", gid="span")
    if (table["loss"] > 0).all():
        left.set_yscale("log")
    handles, labels = right.get_legend_handles_labels()
    canvas.add_title(figure, form, title)
    canvas.add_legend(figure, form, handles, labels)
    return figure


def draw(
    table: str | os.PathLike[str], folder: str | os.PathLike[str], job: PlotJob | None = None
) -> Iterator[Path]:
    """Write ``learning.png``, ``.svg`` and ``.pdf``; yield the files' paths.

    Args:
        table: ``train.csv``.
        folder: folder of the files.
        job: what the title says, and the width.
    """
    job = job or PlotJob()
    figure = learning_figure(read(table), words(job).title("training"), width=job.figure_width)
    yield from canvas.save(figure, folder, "learning", job.figure_width)
