"""How every figure begins and ends: an empty figure, then PNG and SVG files of the same bytes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swim.runtime import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib writes the time into SVG files and its version into PNG files unless told not to.
_FORMATS: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, apart from pyplot's list of open figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", folder: str | os.PathLike[str], name: str) -> Iterator[Path]:
    """Write ``{name}.png`` and ``{name}.svg`` into a folder; yield their paths.

    The names of elements in an SVG file come from a fixed salt, so equal figures are equal bytes.
    """
    import matplotlib

    for suffix, metadata in _FORMATS.items():
        path = Path(folder) / f"{name}.{suffix}"
        with files.atomic(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "swim"}):
            figure.savefig(temporary, dpi=160, metadata=metadata)
        yield path
