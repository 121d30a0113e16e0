"""How every figure begins and ends: one format, a title and a legend that fit, equal bytes."""

import functools
import io
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from swim.reports.plots.style import FORMATS, Format, Width
from swim.runtime import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib writes the time and its version into files unless told not to.
_FORMATS: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}
SUFFIXES = tuple(_FORMATS)
P = ParamSpec("P")


def in_format(
    draw: Callable[Concatenate[Format, P], "Figure"],
) -> Callable[..., "Figure"]:
    """Let a function draw in the format of its argument ``width``, a page by default.

    The function takes the format first, and its artists have the format's fonts and lines.
    """

    @functools.wraps(draw)
    def drawn(*arguments: Any, width: Width = "page", **chosen: Any) -> "Figure":
        import matplotlib

        with matplotlib.rc_context(FORMATS[width].settings()):
            return draw(FORMATS[width], *arguments, **chosen)

    return drawn


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, apart from pyplot's list of open figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    # Notebooks ask for it; pyplot, which would show figures there, does not know this one.
    figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: "Figure") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=FORMATS["page"].dpi / 2)
    return picture.getvalue()


def rows_and_columns(count: int, most: int) -> tuple[int, int]:
    """Rows and columns of so many panels, at most ``most`` in a row and as even as can be."""
    rows = -(-count // most)
    return rows, -(-count // rows)


def text_width(text: str, size: float) -> float:
    """Width in inches of the widest line of a text of ``size`` points."""
    from matplotlib.textpath import TextPath

    return max(
        float(TextPath((0, 0), line, size=size).get_extents().width) / 72 if line.strip() else 0.0
        for line in text.split("\n")
    )


def wrapped(text: str, width: float, size: float) -> str:
    """A text in lines of at most ``width`` inches, broken at commas where that is possible."""
    lines: list[str] = []
    for part in text.split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and text_width(f"{longer},", size) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    fitting = [
        piece
        for line in lines
        for piece in (
            [line]
            if text_width(line, size) <= width
            else textwrap.wrap(line, max(8, int(len(line) * width / text_width(line, size))))
        )
    ]
    return ",\n".join(fitting) if fitting == lines else "\n".join(fitting)


def add_title(figure: "Figure", form: Format, text: str) -> None:
    """A title above all panels, in lines that fit; the figure grows by them."""
    if not text:
        return
    lines = wrapped(text, 0.97 * form.width, form.font)
    _grow(figure, (lines.count("\n") + 1) * 1.3 * form.font / 72)
    figure.suptitle(lines)


def add_legend(figure: "Figure", form: Format, handles: Sequence[Any], labels: Any) -> None:
    """A legend below all panels, in as many columns as fit; the figure grows by its lines."""
    if not handles:
        return
    labels = [str(label) for label in labels]
    size, em = form.font, form.font / 72
    each = max(text_width(label, size) for label in labels) + 4.6 * em
    columns = max(1, min(len(labels), int((0.97 * form.width - em) / each)))
    lines = -(-len(labels) // columns)
    columns = -(-len(labels) // lines)
    _grow(figure, (1.35 * lines + 1.0) * em)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False,
        handlelength=2.8, columnspacing=1.2, handletextpad=0.5, labelspacing=0.3, borderpad=0.2,
    )  # fmt: skip


def _grow(figure: "Figure", inches: float) -> None:
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)


def grid(axes: "Axes", **chosen: Any) -> None:
    """The lines behind a panel."""
    axes.grid(alpha=0.25, **chosen)
    axes.set_axisbelow(True)


def save(
    figure: "Figure", folder: str | os.PathLike[str], name: str, width: Width = "page"
) -> Iterator[Path]:
    """Write ``{name}.png``, ``.svg`` and ``.pdf`` into a folder; yield their paths.

    Equal figures are equal bytes.
    """
    import matplotlib

    form = FORMATS[width]
    with matplotlib.rc_context(form.settings()):
        _fix_layout(figure)
    for suffix, metadata in _FORMATS.items():
        path = Path(folder) / f"{name}.{suffix}"
        with files.atomic(path) as temporary, matplotlib.rc_context(form.settings()):
            figure.savefig(temporary, dpi=form.dpi, metadata=metadata)
        yield path


def _fix_layout(figure: "Figure") -> None:
    """Place all panels for good.

    The solver behind the layout ends in other last bits from process to process, and names in SVG
    files are hashes of positions.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        x, y, w, h = (round(float(v), 6) for v in axes.get_position(original=True).bounds)
        axes.set_position((x, y, w, h))
