"""The tables stored in docs/, of runs of their time, as today's code reads them.

These tables are older than some columns and than files' digests: they are read as they are, and
what they lack is empty. Crossings are of today's rule (:mod:`swim.reports.crossings`), from the
means in ``accuracy.csv``; their intervals over chips need the chips, which are not stored, and are
those that ``cycles_to_accuracy.csv`` had, of the rule before (from which on the curve stays above).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from swim.reports import accuracy_tables, crossings, cycles_to_accuracy
from swim.reports.cycles_to_accuracy import Means

DOCS = Path(__file__).parents[1] / "docs"
_TEXT = ("experiment", "model", "dataset", "device", "sigma", "method", "other", "fraction",
         "within", "layer")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What is stored of one experiment, or of several that differ in their seed.

    Attributes:
        cycles: file of cycles to accuracy, relative to docs/.
        accuracy: files of accuracy, one per seed.
        level_dependent: devices whose error depends on their level.
    """

    cycles: str
    accuracy: tuple[str, ...]
    level_dependent: tuple[str, ...] = ()


def _plain(folder: str) -> Run:
    return Run(f"{folder}/cycles_to_accuracy.csv", (f"{folder}/accuracy.csv",))


RUNS = {
    "lenet_mnist": _plain("lenet_mnist"),
    "lenet_float_mnist": _plain("lenet_float_mnist"),
    "mlp3_mnist": _plain("mlp3_mnist"),
    "mlp4_mnist": _plain("mlp4_mnist"),
    "lenet_cycles": Run(
        "lenet_cycles/cycles_to_accuracy.csv",
        tuple(f"lenet_cycles/accuracy{seed}.csv" for seed in ("", "_seed_1", "_seed_2")),
    ),
    "lenet_devices": _plain("lenet_devices"),
    "named": Run(
        "lenet_devices/named-cycles_to_accuracy.csv",
        ("lenet_devices/named-accuracy.csv",),
        ("rram1", "rram4", "fefet2", "fefet6"),
    ),
    "resnet18_cycles": _plain("resnet18_cycles"),
}


def read(file: str) -> pd.DataFrame:
    """A stored CSV file, relative to docs/; names and decimals are texts."""
    text = {name: str for name in _TEXT}
    head = pd.read_csv(DOCS / file, nrows=0).columns
    empty = {name: [""] for name in head if name not in text}
    return pd.read_csv(DOCS / file, dtype=text, keep_default_na=False, na_values=empty)


def accuracy(file: str) -> pd.DataFrame:
    """A stored table of accuracy, with today's columns."""
    table = read(file).reindex(columns=accuracy_tables.COLUMNS)
    table["chips"] = table["chips"].astype("Int64")
    return table


def cycles(name: str) -> pd.DataFrame:
    """Cycles to accuracy of a stored run, with today's columns.

    Crossings, ratios, intervals over seeds and reads are of today's rule. The intervals over chips
    are the stored ones; where a crossing is inside a gap they reach to its ends, and where it is
    not inside its stored interval there is none.
    """
    run = RUNS[name]
    stored = read(run.cycles).reindex(columns=cycles_to_accuracy.COLUMNS)
    tables = [accuracy(file) for file in run.accuracy]
    made = pd.DataFrame(_made(stored, tables), columns=cycles_to_accuracy.COLUMNS)
    made = made.replace(np.inf, np.nan)
    keys = ["device", "sigma", "within", "method"]
    old = stored.set_index(keys).loc[list(map(tuple, made[keys].to_numpy()))].reset_index()
    for value, low, high in (("nwc", "nwc_low", "nwc_high"),
                             ("ratio_to_swim", "ratio_low", "ratio_high")):  # fmt: skip
        made[low], made[high] = old[low].to_numpy(), old[high].to_numpy()
        apart = (made[value] < made[low]) | (made[value] > made[high])
        made.loc[apart, [low, high]] = np.nan
    return _over_gaps(made)


def _over_gaps(made: pd.DataFrame) -> pd.DataFrame:
    """Intervals that reach to the ends of gaps; ratios to swim, too, from the least to the most."""
    gap = made["between_low"].notna()
    made.loc[gap, "nwc_low"] = made.loc[gap, ["nwc_low", "between_low"]].min(axis=1)
    made.loc[gap, "nwc_high"] = made.loc[gap, ["nwc_high", "between_high"]].max(axis=1)
    for _, part in made.groupby(["device", "sigma", "within"], sort=False):
        swim = part[part["method"] == "swim"]
        if swim.empty:
            continue
        low, high = (float(swim[end].iloc[0]) for end in ("nwc_low", "nwc_high"))
        own = gap[part.index] | bool(gap[swim.index].any())
        rows = part[own & (part["method"] != "swim")]
        with np.errstate(divide="ignore"):
            made.loc[rows.index, "ratio_low"] = rows["nwc_low"] / high
            made.loc[rows.index, "ratio_high"] = rows["nwc_high"] / low
    return made


def _made(stored: pd.DataFrame, tables: list[pd.DataFrame]) -> Iterator[dict[str, object]]:
    """The rows of today's rule, in the stored order of devices, sigmas and accuracy drops."""
    places = stored[["experiment", "device", "sigma", "seeds", "chips"]].drop_duplicates()
    for place in places.to_dict("records"):
        own = [means(table, str(place["device"]), str(place["sigma"])) for table in tables]
        at = (stored["device"] == place["device"]) & (stored["sigma"] == place["sigma"])
        for within in stored.loc[at, "within"].unique():
            for row in cycles_to_accuracy.rows(own, within):
                yield {**place, "within": within, **row}  # type: ignore[dict-item]


def means(table: pd.DataFrame, device: str, sigma: str) -> Means:
    """The points of one device and sigma, from a table of accuracy; without resamples of chips."""
    rows = table[(table["device"] == device) & (table["sigma"] == sigma)]
    rows = rows[rows["method"] != "clean"].reset_index(drop=True)
    points = rows[["method", "fraction", "nwc", "reads"]].assign(column=range(len(rows)))
    variance = rows["std"].to_numpy(dtype=float) ** 2
    varies = variance > crossings.SAME**2
    least = variance[varies].min() if varies.any() else 1.0
    chips = rows["chips"].to_numpy(dtype=float)
    return Means(
        points,
        rows["mean"].to_numpy(dtype=float)[None],
        rows["nwc"].to_numpy(dtype=float)[None],
        chips / np.where(varies, variance, least),
        int(chips.max()),
    )
