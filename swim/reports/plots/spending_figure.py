"""Figure of the table of ``swim where``: a map of layers and slices a method."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from swim.reports.accuracy_tables import read_where
from swim.reports.plots.canvas import new_figure, save
from swim.reports.plots.method_styles import order
from swim.runtime.provenance import sigma_of
from swim.settings import layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4  # panels in a row
_FLOOR = 1e-4  # smaller fractions have one colour


def where_figure(table: pd.DataFrame, title: str) -> "Figure":
    """The fraction of devices that each method rewrites, one row per layer, one column per slice.

    One panel per method, whose image's ``gid`` is the method; one logarithmic colour scale for all.
    Fractions below 0.01 % have the colour of zero.

    Args:
        table: the result of :func:`swim.reports.accuracy_tables.read_where`.
        title: title of the figure.
    """
    from matplotlib.colors import LogNorm

    methods = order(set(table["method"]))
    layers = list(dict.fromkeys(table["layer"]))
    slices = sorted(set(table["slice"]))
    columns = min(_COLUMNS, len(methods))
    rows = -(-len(methods) // columns)
    size = (2.0 + (0.6 + 0.24 * len(slices)) * columns, 0.7 + (0.6 + 0.22 * len(layers)) * rows)
    figure = new_figure(max(size[0], 4.5), size[1])
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    scale = LogNorm(_FLOOR, 1.0)
    for axes, method in zip(grid.flat, methods, strict=False):
        own = table[table["method"] == method]
        part = own.pivot(index="layer", columns="slice", values="rewritten")
        part = part.reindex(index=layers, columns=slices)
        image = axes.imshow(part.clip(lower=_FLOOR), cmap="cividis", norm=scale, aspect="auto")
        image.set_gid(method)
        axes.set_title(method, fontsize=9)
        _label(axes, layers, slices)
    for axes in list(grid.flat)[len(methods) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.9)
    bar.set_label("fraction of devices rewritten", fontsize=9)
    figure.supxlabel("slice, the most significant first", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _label(axes: "Axes", layers: list[str], slices: list[int]) -> None:
    names = [layer.removesuffix(".weight") for layer in layers]
    axes.set_yticks(range(len(layers)), names, fontsize=7)
    axes.set_xticks(range(len(slices)), [str(place + 1) for place in slices], fontsize=7)
    axes.tick_params(length=0)


def draw(table: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Write ``where-{device}-{budget}-sigma-{sigma}.png`` and ``.svg``; yield their paths.

    Args:
        table: ``.../{device}/sigma-{sigma}/{budget}.csv``.
        folder: folder of the files.
    """
    path = Path(table)
    device, sigma = path.parent.parent.name, sigma_of(path.parent.name)
    figure = where_figure(read_where(path), f"NWC {path.stem}, {device}, σ = {sigma}")
    yield from save(figure, folder, layout.file_name(f"where-{device}-{path.stem}", str(sigma)))
