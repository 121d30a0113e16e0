"""Figure of the table of ``swim where``: a map of layers and slices a method."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from swim.reports.accuracy_tables import read_where
from swim.reports.plots import canvas
from swim.reports.plots.style import Format, display_name, order
from swim.reports.plots.titles import words
from swim.runtime.provenance import sigma_of
from swim.settings import PlotJob, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR = 1e-4  # smaller fractions have one colour


@canvas.in_format
def where_figure(form: Format, table: pd.DataFrame, title: str) -> "Figure":
    """The fraction of devices that each method rewrites, one row per layer, one column per slice.

    One panel per method, whose image's ``gid`` is the method; one logarithmic colour scale for all.
    Fractions below 0.01 % have the colour of zero.

    Args:
        form: given by the argument ``width``.
        table: the result of :func:`swim.reports.accuracy_tables.read_where`.
        title: title of the figure.
    """
    from matplotlib.colors import LogNorm

    methods = order(set(table["method"]))
    layers = list(dict.fromkeys(table["layer"]))
    slices = sorted(set(table["slice"]))
    rows, columns = canvas.rows_and_columns(len(methods), form.across + 1)
    line = 1.5 * form.font / 72  # inches
    height = max(14.0, (2.5 + len(layers)) * rows) * line  # room for the name of the scale
    figure = canvas.new_figure(form.width, 3 * line + height)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    scale = LogNorm(_FLOOR, 1.0)
    for axes, method in zip(grid.flat, methods, strict=False):
        own = table[table["method"] == method]
        part = own.pivot(index="layer", columns="slice", values="rewritten")
        part = part.reindex(index=layers, columns=slices)
        image = axes.imshow(part.clip(lower=_FLOOR), cmap="cividis", norm=scale, aspect="auto")
        image.set_gid(method)
        axes.set_title(display_name(method))
        _label(axes, layers, slices)
    for axes in list(grid.flat)[len(methods) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.9)
    bar.set_label("fraction of devices rewritten")
    figure.supxlabel("slice, the most significant first")
    canvas.add_title(figure, form, title)
    return figure


def _label(axes: "Axes", layers: list[str], slices: list[int]) -> None:
    names = [layer.removesuffix(".weight") for layer in layers]
    axes.set_yticks(range(len(layers)), names)
    axes.set_xticks(range(len(slices)), [str(place + 1) for place in slices])
    axes.tick_params(length=0)


def draw(
    table: str | os.PathLike[str], folder: str | os.PathLike[str], job: PlotJob | None = None
) -> Iterator[Path]:
    """Write ``where-{device}-{budget}-sigma-{sigma}``; yield the files' paths.

    Args:
        table: ``.../{device}/sigma-{sigma}/{budget}.csv``.
        folder: folder of the files.
        job: what the title says, and the width.
    """
    path, job = Path(table), job or PlotJob()
    device, sigma = path.parent.parent.name, sigma_of(path.parent.name)
    said = words(job)
    title = said.title(said.device(device), f"σ = {sigma}", f"NWC {path.stem}")
    figure = where_figure(read_where(path), title, width=job.figure_width)
    name = layout.file_name(f"where-{device}-{path.stem}", str(sigma))
    yield from canvas.save(figure, folder, name, job.figure_width)
