"""Cycles to accuracy: the NWC from which on a method is nearly as accurate as full write-verify.

A method's curve is its mean accuracy over chips against its mean NWC, with points joined by
straight lines. It is *within* w points from the NWC at which its accuracy is, and at every larger
budget stays, at most w percentage points below full write-verify. A point that is good by chance,
with a worse point at a larger budget, does not count. Where accuracy rises ever more slowly, a
straight line lies below the curve: NWC is then overestimated, the more the wider points are apart.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from swim.errors import DataError
from swim.evaluation import stopping
from swim.reports import accuracy_tables
from swim.runtime import provenance, rng
from swim.runtime.csv_files import read_table
from swim.runtime.markdown import table as markdown_table
from swim.settings import layout

COLUMNS = [
    "experiment", "sigma", "within", "method", "nwc", "nwc_low", "nwc_high", "reads",
    "ratio_to_swim", "ratio_low", "ratio_high", "device", "seeds", "chips", "reached",
    "seeds_low", "seeds_high", "first", "last",
]  # fmt: skip
RESAMPLES = 2000
SAME = 1e-12  # accuracies that differ by rounding are equal
_BLOCK = 100  # resamples at once
Files = Iterable[str | os.PathLike[str]]
Chips = Mapping[tuple[str, str], pd.DataFrame]  # (method, fraction) -> one row per chip


@dataclass(frozen=True)
class Means:
    """Means over chips at the points of one network, device and sigma.

    Attributes:
        points: of each point: method, fraction, nwc, reads per device, its column in the arrays.
        accuracy: (1 + resamples, points): row 0 over the chips, the others over resamples of them.
        nwc: shaped like ``accuracy``.
        chips: number of chips.
    """

    points: pd.DataFrame
    accuracy: np.ndarray
    nwc: np.ndarray
    chips: int


def means(chips: Chips, *purpose: str | int, resamples: int = RESAMPLES) -> Means:
    """Means of each point over its chips, and over chips resampled with replacement.

    Every point has the same resampled chips, since a chip has the same noise realisation at every
    point. A chip that only some points have counts for these points.

    Args:
        chips: the points.
        purpose: key of the random generator.
        resamples: number of resamples.
    """
    numbers = sorted(set().union(*(table["chip"] for table in chips.values())))
    aligned = [table.set_index("chip").reindex(numbers) for table in chips.values()]
    columns = ("accuracy", "nwc", "reads")
    values = [np.stack([t[c].to_numpy(dtype=float) for t in aligned], axis=1) for c in columns]
    there = (~np.isnan(values[0])).astype(float)  # (chips, points)
    found = []
    for times in _times_drawn(len(numbers), resamples, *purpose):
        with np.errstate(invalid="ignore"):  # without any chip of a point: NaN, as not reached
            found.append([times @ np.nan_to_num(own) / (times @ there) for own in values])
    accuracy, nwc, reads = (np.concatenate(parts) for parts in zip(*found, strict=True))
    points = pd.DataFrame(list(chips), columns=["method", "fraction"])
    points = points.assign(nwc=nwc[0], reads=reads[0], column=range(len(points)))
    return Means(points, accuracy, nwc, len(numbers))


def _times_drawn(chips: int, resamples: int, *purpose: str | int) -> Iterator[np.ndarray]:
    """Multiplicity of each chip: once each, then blocks of resamples, (block, chips)."""
    yield np.ones((1, chips))
    generator = rng.generator(0, "resampled chips", *purpose)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        yield generator.multinomial(chips, np.full(chips, 1 / chips), size=size).astype(float)


def crossing(above: np.ndarray) -> np.ndarray:
    """The position on each curve from which on it stays at or above zero.

    Args:
        above: heights of the points: (curves, points).

    Returns:
        (curves,): 1.25 is a quarter of the way from point 1 to point 2, 0 is the first point, and
        inf means that the curve ends below zero.
    """
    below = ~(above >= -SAME)
    most = above.shape[1] - 1
    last = np.where(below.any(axis=1), most - np.argmax(below[:, ::-1], axis=1), -1)
    rows, start = np.arange(len(above)), np.clip(last, 0, max(most - 1, 0))
    low, high = above[rows, start], above[rows, np.minimum(start + 1, most)]
    rise = np.where(high > low, high - low, 1.0)
    between = start + np.clip(-low / rise, 0.0, 1.0)
    return np.where(last < 0, 0.0, np.where(last == most, np.inf, between))


def interpolate(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (curves, points) interpolated at one position (curves,) of each curve; inf at inf."""
    most = values.shape[1] - 1
    ended = np.isinf(places)
    start = np.minimum(np.where(ended, 0, places), most).astype(int)
    part, rows = np.where(ended, 0.0, places - start), np.arange(len(values))
    low, high = values[rows, start], values[rows, np.minimum(start + 1, most)]
    return np.where(ended, np.inf, low + part * (high - low))


def _reached(own: Means, method: str, within: float) -> tuple[np.ndarray, float, pd.DataFrame]:
    """NWC (1 + resamples,), reads per device, and the points of the curve."""
    curve = accuracy_tables.curve(own.points, method)
    columns = curve["column"].to_numpy()
    (best,) = own.points.loc[own.points["method"] == "all", "column"]
    above = own.accuracy[:, columns] - own.accuracy[:, [best]] + within / 100
    places = crossing(above)
    reads = interpolate(places[:1], curve["reads"].to_numpy(dtype=float)[None])
    return interpolate(places, own.nwc[:, columns]), float(reads[0]), curve


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of resamples; NaN where any resample is undefined."""
    if np.isnan(draws).any():
        return np.nan, np.nan
    ordered, cut = np.sort(draws), int(0.025 * len(draws))
    return float(ordered[cut]), float(ordered[-1 - cut])


def table(
    seeds: Sequence[Files],
    experiment: str,
    within: Sequence[str],
    resamples: int = RESAMPLES,
    custom: Collection[str] = (),
) -> pd.DataFrame:
    """Cycles to accuracy of every device, sigma and method.

    With several seeds (networks trained and programmed from each), NWC, its resamples and reads are
    averages over the seeds. ``nwc_low`` to ``nwc_high`` is the interval over chips for these
    networks. ``seeds_low`` to ``seeds_high`` is the interval for other networks: Student's t over
    the seeds' own NWC. (Resampling three seeds would make it too short: by a factor of 0.8 in
    width, and with quantiles of the normal instead of t's.)

    Args:
        seeds: the chips files of each seed, in ``swim summarise``'s folders.
        experiment: name in the first column.
        within: accuracy drops from full write-verify, in percentage points, as decimals.
        resamples: number of resamples of the chips, for the 95 % percentile intervals.
        custom: names of methods of the user's own.

    Returns:
        Columns :data:`COLUMNS`, one row per device, sigma, within and method. ``nwc`` is empty
        where not all seeds reach it (``reached`` is the number that do), an interval's end where a
        resample does not reach it, a ratio where ``swim`` is within at NWC 0 or never. ``reads``
        are per device; ``first`` is the smallest NWC above zero of the curves, ``last`` the
        largest.

    Raises:
        DataError: a file is incomplete, seeds differ in their points, or ``all/1`` is missing.
    """
    networks = [_places(files, custom) for files in seeds]
    shape = {where: list(chips) for where, chips in networks[0].items()}
    for other in networks[1:]:
        if {where: list(chips) for where, chips in other.items()} != shape:
            raise DataError(f"{experiment}: its seeds' chips files are not of the same points")
    records = []
    for (device, sigma), points in shape.items():
        if ("all", "1") not in points:
            file = layout.POINT.format(device=device, sigma=sigma, point=layout.ALL_VERIFIED)
            raise DataError(f"{experiment}: {file} is missing")
        own = [
            means(chips[device, sigma], seed, device, sigma, resamples=resamples)
            for seed, chips in enumerate(networks)
        ]
        fixed = {"experiment": experiment, "device": device, "sigma": sigma, "seeds": len(own)}
        fixed["chips"] = min(network.chips for network in own)
        for part in within:
            records += [{**fixed, **row} for row in _rows(own, part)]
    return pd.DataFrame(records, columns=COLUMNS).replace(np.inf, np.nan)


def _places(
    files: Files, custom: Collection[str]
) -> dict[tuple[str, str], dict[tuple[str, str], pd.DataFrame]]:
    """Chips files by device and sigma, then by method and fraction, in order."""
    files = list(files)
    provenance.of_one_experiment(files, custom=custom)
    found: dict[tuple[str, str], dict[tuple[str, str], pd.DataFrame]] = {}
    for path in files:
        where = provenance.place_of(path)
        if where["method"] != "clean":
            points = found.setdefault((where["device"], where["sigma"]), {})
            points[where["method"], where["fraction"]] = accuracy_tables.read_chips(path)
    order = sorted(found, key=lambda key: (key[0], float(key[1])))
    return {key: dict(sorted(found[key].items())) for key in order}


def _rows(own: Sequence[Means], within: str) -> Iterator[dict[str, Any]]:
    methods = accuracy_tables.method_names(own[0].points)
    reached = {
        method: [_reached(network, method, float(within)) for network in own]
        for method in sorted(methods, key=lambda name: (name != "swim", name))
    }
    nwc = {name: np.mean([draws for draws, *_ in each], axis=0) for name, each in reached.items()}
    for method, each in reached.items():
        seeds = np.array([draws[0] for draws, *_ in each])
        curves = pd.concat([curve for *_, curve in each])
        row: dict[str, Any] = {"within": within, "method": method, "nwc": nwc[method][0]}
        row["nwc_low"], row["nwc_high"] = interval(nwc[method][1:])
        row["reads"] = np.mean([reads for _, reads, _ in each])
        if "swim" in nwc:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = nwc[method] / nwc["swim"]
            row["ratio_to_swim"] = ratio[0]
            row["ratio_low"], row["ratio_high"] = interval(ratio[1:])
        row["reached"] = int(np.isfinite(seeds).sum())
        if len(seeds) > 1 and np.isfinite(seeds).all():
            half = stopping.half_width(seeds)
            row["seeds_low"], row["seeds_high"] = max(seeds.mean() - half, 0.0), seeds.mean() + half
        row["first"] = curves.loc[curves["nwc"] > 0, "nwc"].min()
        row["last"] = min(curve["nwc"].max() for *_, curve in each)
        yield row


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``cycles_to_accuracy.csv``, with sigma and within as decimal strings.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    text = dict.fromkeys(["experiment", "sigma", "within", "method", "device"], str)
    return read_table(path, COLUMNS, dtype=text)


def markdown(found: pd.DataFrame) -> str:
    """One table per experiment, device and within: rows sigma x method."""
    lines = []
    for (experiment, device), part in found.groupby(["experiment", "device"], sort=False):
        seeds, chips = part["seeds"].iloc[0], part["chips"].iloc[0]
        lines += [f"### {experiment}: cycles to accuracy, device `{device}`", ""]
        text = (
            "Normalised write cycles (NWC) from which on the mean accuracy stays within an "
            "accuracy drop of so many percentage points from full write-verify, by straight lines "
            "between a method's points; reads per device there; and NWC over that of swim. In "
            f"brackets 95 % intervals over {chips} chips, with the same resampled chips for all "
            "methods; … is an end that some resamples do not reach."
        )
        if seeds > 1:
            text += (
                f" All are averages over {seeds} training seeds, whose networks are fixed in these "
                "intervals; *over seeds* is Student's t interval for other networks."
            )
        lines += [text, ""]
        for within, rows in part.groupby("within", sort=False):
            lines += [
                f"Within {within} {'point' if within == '1' else 'points'}:",
                "",
                *_grid(rows, seeds > 1),
                "",
            ]
    return "\n".join(lines)


def _grid(rows: pd.DataFrame, seeds: bool) -> list[str]:
    heads = ["sigma", "method", "NWC", *(["over seeds"] if seeds else []),
             "reads per device", "NWC / swim's", "note"]  # fmt: skip
    lines: list[list[str]] = []
    for _, row in rows.iterrows():
        cells = [row["sigma"], row["method"], _cell(row["nwc"], row["nwc_low"], row["nwc_high"])]
        if seeds:
            cells.append(_brackets(row["seeds_low"], row["seeds_high"]) or "–")
        reads = "–" if np.isnan(row["reads"]) else f"{row['reads']:.3g}"
        ratio = _cell(row["ratio_to_swim"], row["ratio_low"], row["ratio_high"])
        if row["method"] == "swim":
            ratio = "–" if np.isnan(row["ratio_to_swim"]) else "1"
        lines.append([*cells, reads, ratio, note(row)])
    return markdown_table(heads, lines, "ll" + "r" * (len(heads) - 3) + "l")


def note(row: pd.Series) -> str:
    """A remark on the NWC: not reached, reached at no rewrite, or below the first point."""
    if row["reached"] < row["seeds"]:
        some = f" by {row['seeds'] - row['reached']} of {row['seeds']} seeds"
        return f"not reached by NWC {row['last']:.3g}" + (some if row["seeds"] > 1 else "")
    if row["nwc"] == 0:
        return "within at no rewrite"
    if row["nwc"] < row["first"]:
        return f"below the first point, {row['first']:.3g}"
    return ""


def _cell(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g} {_brackets(low, high)}".rstrip()


def _brackets(low: float, high: float) -> str:
    """An interval in brackets; empty if both ends are undefined."""
    if np.isnan(low) and np.isnan(high):
        return ""
    return f"[{low:.3g}, {'…' if np.isnan(high) else f'{high:.3g}'}]"
