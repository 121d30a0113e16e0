"""How methods look in an explorer: what :mod:`swim.reports.plots.style` says, in a browser's words.

Nothing here names a method. Markers and dashes are translated, and colours that are too dark for a
dark page get lighter.
"""

import functools
from typing import Any

from swim.reports.plots.style import REFERENCES, method_style

WIDTH = 2  # of lines, in pixels
DARK = "#16181d"  # ground of a dark page, as page.css has it
CONTRAST = 4.5  # with that ground, at least

# Matplotlib's names of markers -> plotly.js'.
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "<": "triangle-left",
    ">": "triangle-right", "D": "diamond", "d": "diamond-tall", "p": "pentagon", "P": "cross",
    "X": "x", "x": "x-thin", "h": "hexagon", "H": "hexagon2", "*": "star", "8": "octagon",
}  # fmt: skip


def method(name: str) -> dict[str, Any]:
    """A method's name, colours, dashes and marker; ``path`` is the marker's SVG path."""
    style = method_style(name)
    return {
        "name": style.name,
        "colour": style.colour,
        "dark": on_dark(style.colour),
        "dash": dash(style.dashes),
        "symbol": SYMBOLS[style.marker],
        "filled": style.filled,
        "path": marker_path(style.marker),
    }


def references() -> dict[str, dict[str, str]]:
    """Words and dashes of the lines that all methods share."""
    return {name: {"name": words, "dash": dash(of)} for name, (words, of) in REFERENCES.items()}


def dash(style: Any) -> str:
    """Matplotlib's line style in plotly.js' words; lengths are in widths of the line."""
    if style == "-":
        return "solid"
    return ",".join(f"{WIDTH * length:g}px" for length in style[1])


@functools.cache
def marker_path(marker: str) -> str:
    """The outline of a marker of Matplotlib, about 10 pixels wide, as the path of an SVG."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path

    shape = MarkerStyle(marker)
    outline = shape.get_path().transformed(shape.get_transform())
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    parts = []
    for points, code in outline.iter_segments(simplify=False):
        # Up is up in Matplotlib, and down in SVG.
        numbers = [f"{10 * z * (-1) ** place:.3g}" for place, z in enumerate(points)]
        parts.append(letters[code] + " ".join(numbers) if code in letters else "Z")
    return "".join(parts)


def on_dark(colour: str) -> str:
    """A colour with white in it until it has enough contrast with a dark ground."""
    parts = _parts(colour)
    for white in range(0, 101, 5):
        mixed = [part + (1 - part) * white / 100 for part in parts]
        lighter = "#" + "".join(f"{round(255 * part):02x}" for part in mixed)
        if contrast(lighter, DARK) >= CONTRAST:
            return lighter
    raise ValueError(f"no contrast with {DARK}")


def contrast(one: str, other: str) -> float:
    """Ratio of two colours' luminances, from 1 to 21 (WCAG 2.2, section "contrast ratio")."""
    low, high = sorted(_luminance(_parts(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _parts(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def _luminance(parts: list[float]) -> float:
    linear = [z / 12.92 if z <= 0.04045 else ((z + 0.055) / 1.055) ** 2.4 for z in parts]
    return sum(weight * z for weight, z in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
