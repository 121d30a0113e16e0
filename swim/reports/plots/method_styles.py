"""How methods look in every figure: colour, marker, dashes, and the order of lines and legends."""

from collections.abc import Iterable
from typing import Any

# Colour, marker and dashes: Okabe and Ito's colours, which colour-blind readers can distinguish.
# The paper's methods have fixed styles. Other methods take the remaining colours in turn, then
# the colours of the paper's methods that are not drawn.
_KNOWN = {
    "swim": ("#0072B2", "o", "-"),
    "magnitude": ("#D55E00", "s", "-"),
    "random": ("#009E73", "^", "-"),
    "in_situ": ("0.45", "x", (0, (1, 1))),
}
_COLOURS = ["#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F"]
_MARKERS = ["D", "v", "P", "X", "*", "<", "h"]
_DASHES = ["-", (0, (4, 1.5)), (0, (4, 1, 1, 1))]
_ORDER = {name: place for place, name in enumerate(_KNOWN)}


def styles(methods: list[str]) -> dict[str, tuple[str, str, Any]]:
    """Colour, marker and dashes of each method."""
    others = [name for name in methods if name not in _KNOWN]
    absent = {name: style for name, style in _KNOWN.items() if name not in methods}
    colours = [*_COLOURS, *(colour for colour, *_ in absent.values() if colour[0] == "#")]
    spare = {
        name: (
            colours[i % len(colours)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(colours) % len(_DASHES)],
        )
        for i, name in enumerate(others)
    }
    return {name: _KNOWN.get(name) or spare[name] for name in methods}


def order(methods: Iterable[str]) -> list[str]:
    """The paper's methods first, then the alphabet: the order of lines and of legends."""
    return sorted(methods, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
