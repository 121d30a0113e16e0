"""Figures from ``accuracy.csv``: what is drawn is what the table says."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from swim import io
from swim.errors import SettingError
from swim.tables import ENDS, curve, methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour, marker and dashes. Okabe and Ito's colours, which colour-blind readers tell apart; the
# methods of the paper keep their own, the others take what is spare in turn: a style
# comes back after 105.
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
    spare = {
        name: (
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, name in enumerate(others)
    }
    return {name: _KNOWN.get(name) or spare[name] for name in methods}


def accuracy_figure(table: pd.DataFrame, sigma: str) -> "Figure":
    """Accuracy against normalised write cycles at one sigma, one panel a device.

    Each line's ``gid`` is its method; its points, and the 95 % band of the mean, are the rows
    of ``table``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table[table["sigma"] == sigma]
    devices = list(dict.fromkeys(rows["device"]))
    figure = Figure(figsize=(5.6 * len(devices), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(devices), squeeze=False, sharey=True)[0]
    for axes, device in zip(panels, devices, strict=True):
        part = rows[rows["device"] == device]
        _draw(axes, part)
        first = part.iloc[0]
        axes.set_title(
            f"{first['model']} on {first['dataset']}, {device}, σ = {sigma}", fontsize=10
        )
    panels[0].set_ylabel("accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(axes: "Axes", part: pd.DataFrame) -> None:
    methods = sorted(methods_of(part), key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    references = {"clean": ("before programming", "-"), "all": (ENDS["all"], "--"),
                  "none": (ENDS["none"], ":")}  # fmt: skip
    for name, (colour, marker, dashes) in styles(methods).items():
        points = curve(part, name)
        mean, half = 100 * points["mean"], 100 * points["ci95"]
        axes.fill_between(points["nwc"], mean - half, mean + half, color=colour, alpha=0.2, lw=0)
        line = {"color": colour, "marker": marker, "ms": 5, "ls": dashes, "lw": 1.5}
        axes.plot(points["nwc"], mean, label=name, gid=name, **line)
    for name, (label, dashes) in references.items():
        for value in part.loc[part["method"] == name, "mean"]:
            axes.axhline(
                100 * value, color="0.35", ls=dashes, lw=1, label=label, gid=name, zorder=1
            )
    axes.set_xlabel("normalised write cycles (NWC)")
    most = 1.02 * part["nwc"].max()
    axes.set_xlim(-0.02, max(1.02, most))
    if most > 1.02:  # on-device training goes on beyond verifying everything
        axes.set_xscale("symlog", linthresh=1, linscale=2)
        ticks = [0, 0.2, 0.4, 0.6, 0.8, *(t for t in (1, 2, 5, 10, 20, 50, 100) if t <= most)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25, lw=0.5)


def draw_all(
    table: pd.DataFrame, folder: str | os.PathLike[str], sigmas: Sequence[str] = ()
) -> Iterator[Path]:
    """Write ``accuracy-sigma-{sigma}.png`` and ``.svg`` for each sigma; yield their paths.

    Raises:
        SettingError: a sigma is not in the table.
    """
    import matplotlib

    known = list(dict.fromkeys(table["sigma"]))
    for sigma in sigmas or known:
        if sigma not in known:
            raise SettingError(f"the table has no sigma {sigma!r}; it has {', '.join(known)}")
        figure = accuracy_figure(table, sigma)
        for suffix in ("png", "svg"):
            path = Path(folder) / f"accuracy-sigma-{sigma}.{suffix}"
            # A fixed salt and no date make equal figures equal bytes.
            with io.atomic(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "swim"}):
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(temporary, dpi=160, metadata=metadata)
            yield path
