"""How methods look in every figure: name, colour, marker and dashes, whichever methods are drawn.

Colours are Okabe and Ito's and Tol's, which colour-blind readers can distinguish. Any two methods
of the registry differ in marker or dashes, too, so that no figure needs its colours. A user-defined
method takes its look from a digest of its name: the same in each figure, and with dashes that no
method of the registry has.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Width = Literal["column", "page", "slide"]


@dataclass(frozen=True)
class MethodStyle:
    """How a method looks.

    Attributes:
        name: as a paper has it.
        colour: of line and marker, and of intervals.
        marker: Matplotlib's name of its form.
        dashes: Matplotlib's line style.
        filled: whether the marker is; a hollow one is white inside.
    """

    name: str
    colour: str
    marker: str
    dashes: Any
    filled: bool = True

    @property
    def marks(self) -> dict[str, Any]:
        """Matplotlib's properties of its markers."""
        inside = self.colour if self.filled else "white"
        return {"marker": self.marker, "mfc": inside, "mec": self.colour}

    @property
    def line(self) -> dict[str, Any]:
        """Matplotlib's properties of its line and markers."""
        return {"color": self.colour, "ls": self.dashes, **self.marks}


SOLID, DASHED, DOTTED = "-", (0, (4, 1.5)), (0, (1, 1))
DASH_DOTTED, LONG = (0, (5, 1, 1, 1)), (0, (8, 2))
BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, WINE = "#E69F00", "#56B4E9", "#000000", "#661100"
OLIVE, VIOLET, GREY, INDIGO, DEEP = "#808000", "#AA4499", "#737373", "#332288", "#2200CC"

# The paper's methods, policies, then other scores: the order of lines and of legends.
_KNOWN = {
    "swim": MethodStyle("SWIM", BLUE, "o", SOLID),
    "magnitude": MethodStyle("magnitude", VERMILION, "s", DASHED),
    "random": MethodStyle("random", GREEN, "^", DOTTED),
    "in_situ": MethodStyle("in-situ training", GREY, "x", DASH_DOTTED),
    "uswim": MethodStyle("U-SWIM", INDIGO, "D", DASH_DOTTED),
    "swim_device": MethodStyle("SWIM per device", SKY, "v", SOLID),
    "magnitude_device": MethodStyle("magnitude per device", WINE, "s", DASH_DOTTED),
    "top_slice": MethodStyle("top slice", GREY, "p", SOLID),
    "read_first": MethodStyle("read first", ORANGE, "D", SOLID),
    "compensate": MethodStyle("compensate", PINK, "P", DASHED),
    "marginal": MethodStyle("marginal benefit", BLACK, "X", SOLID),
    "reslice": MethodStyle("reslice", WINE, "<", DASH_DOTTED),
    "reslice_pair": MethodStyle("reslice, pairs", DEEP, ">", DASHED),
    "swim_coherent": MethodStyle("SWIM, coherent", SKY, "o", DASHED, filled=False),
    "swim_release": MethodStyle("SWIM, first release", INDIGO, "o", DOTTED, filled=False),
    "layer_greedy": MethodStyle("layer by layer", OLIVE, "h", SOLID),
    "second": MethodStyle("second derivative", VIOLET, "^", SOLID, filled=False),
    "saliency": MethodStyle("saliency", PINK, "v", DASHED, filled=False),
    "gradient": MethodStyle("gradient", ORANGE, "D", DASHED, filled=False),
    "fisher": MethodStyle("empirical Fisher", VIOLET, "d", DASH_DOTTED, filled=False),
    "monte_carlo_fisher": MethodStyle("Monte Carlo Fisher", WINE, "s", DOTTED, filled=False),
    "gauss_newton": MethodStyle("Gauss–Newton", BLACK, "*", SOLID),
    "gauss_newton_probe": MethodStyle("Gauss–Newton, probes", GREY, "*", DASHED),
    "hutchinson": MethodStyle("Hutchinson", OLIVE, "P", DOTTED, filled=False),
}  # fmt: skip
_ORDER = {name: place for place, name in enumerate(_KNOWN)}
# Of user-defined methods: dashes that no method of the registry has.
_COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK, WINE, OLIVE, VIOLET, INDIGO)
_MARKERS = ("8", "d", "H", "p", "h", "D", "s", "v")
_DASHES = (LONG, (0, (6, 1, 1, 1, 1, 1)), (0, (2, 2)))

# Lines that all methods share.
REFERENCES = {
    "clean": ("before programming", SOLID),
    "all": ("full write-verify", DASHED),
    "none": ("no write-verify", DOTTED),
}
REFERENCE_COLOUR = "0.35"


def method_style(name: str) -> MethodStyle:
    """How a method looks, from its name alone."""
    if name in _KNOWN:
        return _KNOWN[name]
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    number, colour = divmod(number, len(_COLOURS))
    number, marker = divmod(number, len(_MARKERS))
    dashes = _DASHES[number % len(_DASHES)]
    return MethodStyle(name, _COLOURS[colour], _MARKERS[marker], dashes)


def display_name(name: str) -> str:
    """What figures call a method."""
    return method_style(name).name


def order(methods: Iterable[str]) -> list[str]:
    """The paper's methods, policies, other scores, then user-defined ones by the alphabet."""
    return sorted(methods, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))


@dataclass(frozen=True)
class Format:
    """The size of a figure and of what is in it.

    Attributes:
        width: inches.
        font: points; all sizes follow from it.
        across: most panels in a row.
        dpi: of the PNG file.
    """

    width: float
    font: float
    across: int
    dpi: int

    def settings(self) -> Any:
        """Matplotlib's settings: fonts are embedded in PDF files, and text is text in SVG files."""
        small = 0.9 * self.font
        return {
            "font.size": self.font,
            "font.family": "sans-serif",
            "axes.titlesize": self.font,
            "axes.labelsize": self.font,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": self.font,
            "figure.titlesize": self.font,
            "figure.labelsize": self.font,
            "lines.linewidth": self.font / 6.5,
            "lines.markersize": self.font / 1.9,
            "lines.markeredgewidth": self.font / 10,
            "axes.linewidth": self.font / 12,
            "grid.linewidth": self.font / 16,
            "xtick.major.width": self.font / 12,
            "ytick.major.width": self.font / 12,
            "xtick.major.size": self.font / 2.5,
            "ytick.major.size": self.font / 2.5,
            "xtick.minor.size": self.font / 4,
            "svg.fonttype": "none",
            "svg.hashsalt": "swim",  # names of elements: equal figures are equal bytes
            "pdf.fonttype": 42,
        }


# One column and a page of a two-column paper, and a slide.
FORMATS: dict[Width, Format] = {
    "column": Format(3.5, 7.0, 1, 300),
    "page": Format(7.1, 7.0, 3, 220),
    "slide": Format(12.0, 14.0, 3, 120),
}
