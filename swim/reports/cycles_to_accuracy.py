"""Cycles to accuracy: the NWC from which on a method is nearly as accurate as full write-verify.

A method's curve is its mean accuracy over chips against its mean NWC, made to rise by isotonic
regression (:mod:`.crossings`), with points joined by straight lines. It is *within* w points from
the NWC at which it is w percentage points below full write-verify. Where accuracy rises ever more
slowly, a straight line lies below the curve: NWC is then overestimated, the more the wider the
points are apart.

An experiment's *grid* are the fractions of its masks and the budgets of its policies together. A
*gap* is a step of a curve from one point to the next between which the grid has a value: others
were measured there, this method was not. A crossing inside a gap is known to lie between its ends
only, so it has no NWC but these two.
"""

import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from swim.errors import DataError
from swim.evaluation import stopping
from swim.reports import accuracy_tables, crossings
from swim.reports.crossings import Ends
from swim.runtime import provenance, rng
from swim.runtime.csv_files import read_table
from swim.runtime.markdown import table as markdown_table
from swim.settings import layout, policies

COLUMNS = [
    "experiment", "sigma", "within", "method", "nwc", "nwc_low", "nwc_high", "reads",
    "ratio_to_swim", "ratio_low", "ratio_high", "device", "seeds", "chips", "reached",
    "seeds_low", "seeds_high", "first", "last", "between_low", "between_high",
]  # fmt: skip
ADDED = ("between_low", "between_high")  # columns that tables of earlier versions lack
RESAMPLES = 2000
_BLOCK = 100  # resamples at once
Files = Iterable[str | os.PathLike[str]]
Chips = Mapping[tuple[str, str], pd.DataFrame]  # (method, fraction) -> one row per chip
Points = Mapping[tuple[str, str], Chips]  # (device, sigma) -> its points


@dataclass(frozen=True)
class Means:
    """Means over chips at the points of one network, device and sigma.

    Attributes:
        points: of each point: method, fraction, nwc, reads per device, its column in the arrays.
        accuracy: (1 + resamples, points): row 0 over the chips, the others over resamples of them.
        nwc: shaped like ``accuracy``.
        precision: of each point's mean accuracy over the chips: (points,).
        chips: number of chips.
    """

    points: pd.DataFrame
    accuracy: np.ndarray
    nwc: np.ndarray
    precision: np.ndarray
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
        with np.errstate(invalid="ignore"):  # without any chip of a point: NaN
            found.append([times @ np.nan_to_num(own) / (times @ there) for own in values])
    accuracy, nwc, reads = (np.concatenate(parts) for parts in zip(*found, strict=True))
    points = pd.DataFrame(list(chips), columns=["method", "fraction"])
    points = points.assign(nwc=nwc[0], reads=reads[0], column=range(len(points)))
    return Means(points, accuracy, nwc, crossings.precision(values[0]), len(numbers))


def _times_drawn(chips: int, resamples: int, *purpose: str | int) -> Iterator[np.ndarray]:
    """Multiplicity of each chip: once each, then blocks of resamples, (block, chips)."""
    yield np.ones((1, chips))
    generator = rng.generator(0, "resampled chips", *purpose)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        yield generator.multinomial(chips, np.full(chips, 1 / chips), size=size).astype(float)


@dataclass(frozen=True)
class Reached:
    """Where one network's curve of one method is within w points.

    Attributes:
        nwc: over the chips, then over each resample: two arrays (1 + resamples,), which differ
            where the crossing is inside a gap.
        reads: per device, at the crossing; NaN inside a gap.
        curve: the points of the curve.
    """

    nwc: Ends
    reads: float
    curve: pd.DataFrame


@dataclass(frozen=True)
class Curve:
    """One method's curve, over all chips and over the resamples of them.

    Attributes:
        points: as :func:`swim.reports.accuracy_tables.curve` orders them.
        above: accuracy, made to rise, less that of full write-verify: (1 + resamples, points).
        nwc: shaped like ``above``.
        gaps: whether the step from each point to the next is one: (points - 1,).
    """

    points: pd.DataFrame
    above: np.ndarray
    nwc: np.ndarray
    gaps: np.ndarray


def curve(network: Means, method: str) -> Curve:
    """One method's curve among the points of a network."""
    points = accuracy_tables.curve(network.points, method)
    columns = points["column"].to_numpy()
    (best,) = network.points.loc[network.points["method"] == "all", "column"]
    risen = crossings.rising(network.accuracy[:, columns], network.precision[columns])
    above = risen - network.accuracy[:, [best]]
    unmeasured = gaps(points["fraction"], grid(network.points))
    return Curve(points, above, network.nwc[:, columns], unmeasured)


def cross(of: Curve, within: float) -> Reached:
    """Where a curve is within so many points."""
    places = crossings.crossing(of.above + within / 100)
    low, high = crossings.around_gaps(places, of.gaps)
    (reads,) = crossings.interpolate(places[:1], of.points["reads"].to_numpy(dtype=float)[None])
    ends = crossings.interpolate(low, of.nwc), crossings.interpolate(high, of.nwc)
    return Reached(ends, float(reads) if low[0] == high[0] else np.nan, of.points)


def reached(network: Means, method: str, within: float) -> Reached:
    """The crossing of one method's curve, over all chips and over the resamples of them."""
    return cross(curve(network, method), within)


def grid(points: pd.DataFrame) -> list[float]:
    """The fractions of masks and the budgets of policies that were measured, rising.

    On-device training is not among them: its budgets are of whole steps.
    """
    chosen = points["method"] != policies.IN_SITU
    return sorted({float(fraction) for fraction in points.loc[chosen, "fraction"]})


def gaps(fractions: Iterable[str], measured: Sequence[float]) -> np.ndarray:
    """Whether the grid has a value between each point of a curve and the next: (points - 1,)."""
    ends = [sorted(pair) for pair in itertools.pairwise(float(part) for part in fractions)]
    return np.array([any(low < part < high for part in measured) for low, high in ends], bool)


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
        largest. Inside a gap ``nwc``, ``reads`` and ``ratio_to_swim`` are empty, and
        ``between_low`` and ``between_high`` are the ends of the gap; intervals reach to its ends.

    Raises:
        DataError: a file is incomplete, seeds differ in their points, or ``all/1`` is missing.
    """
    networks = [read_points(files, custom) for files in seeds]
    require_equal_points(experiment, networks)
    records = []
    for device, sigma in networks[0]:
        own = [
            means(chips[device, sigma], seed, device, sigma, resamples=resamples)
            for seed, chips in enumerate(networks)
        ]
        fixed = {"experiment": experiment, "device": device, "sigma": sigma, "seeds": len(own)}
        fixed["chips"] = min(network.chips for network in own)
        for part in within:
            records += [{**fixed, **row} for row in rows(own, part)]
    return pd.DataFrame(records, columns=COLUMNS).replace(np.inf, np.nan)


def require_equal_points(name: str, networks: Iterable[Points]) -> None:
    """Refuse networks whose points, of :func:`read_points`, differ; ``name`` is for the error.

    Raises:
        DataError: they do, or ``all/1`` is missing.
    """
    first, *others = ({where: list(c) for where, c in own.items()} for own in networks)
    if any(other != first for other in others):
        raise DataError(f"{name}: its seeds' chips files are not of the same points")
    for (device, sigma), points in first.items():
        if ("all", "1") not in points:
            file = layout.POINT.format(device=device, sigma=sigma, point=layout.ALL_VERIFIED)
            raise DataError(f"{name}: {file} is missing")


def read_points(
    files: Files, custom: Collection[str] = ()
) -> dict[tuple[str, str], dict[tuple[str, str], pd.DataFrame]]:
    """Chips files of one experiment by device and sigma, then by method and fraction, in order.

    Raises:
        DataError: a file is incomplete, or they are not of one experiment.
    """
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


def rows(networks: Sequence[Means], within: str) -> Iterator[dict[str, Any]]:
    """The rows of one device, sigma and accuracy drop: a method each, without names of the place.

    Of means without resamples the intervals over chips are empty.
    """
    names = accuracy_tables.method_names(networks[0].points)
    found = {
        method: [reached(network, method, float(within)) for network in networks]
        for method in sorted(names, key=lambda name: (name != "swim", name))
    }
    nwc = {name: _averaged(each) for name, each in found.items()}
    for method, each in found.items():
        row: dict[str, Any] = {"within": within, "method": method}
        row |= _estimate("nwc", nwc[method], between=True)
        row["reads"] = np.mean([network.reads for network in each])
        if "swim" in nwc:
            row |= _estimate("ratio_to_swim", _ratio(nwc[method], nwc["swim"], method == "swim"))
        yield row | _over_seeds(each)


def _averaged(each: Sequence[Reached]) -> Ends:
    low, high = (np.mean([network.nwc[end] for network in each], axis=0) for end in (0, 1))
    return low, high


def _ratio(nwc: Ends, swim: Ends, same: bool) -> Ends:
    """NWC over swim's: the least over the largest, and the other way round; swim's own is 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return nwc[0] / swim[0 if same else 1], nwc[1] / swim[1 if same else 0]


def _estimate(name: str, ends: Ends, between: bool = False) -> dict[str, float]:
    """A column's value, if it is one, its interval, and the ends of the gap that it is in."""
    low, high = float(ends[0][0]), float(ends[1][0])
    stem = name.split("_")[0]
    row = {name: low if low == high else np.nan}
    row[f"{stem}_low"], row[f"{stem}_high"] = crossings.interval((ends[0][1:], ends[1][1:]))
    if between and low < high:
        row |= {"between_low": low, "between_high": high}
    return row


def _over_seeds(each: Sequence[Reached]) -> dict[str, float]:
    """Number of networks that reach it; Student's t over their values; the curves' first points."""
    low, high = (np.array([network.nwc[end][0] for network in each]) for end in (0, 1))
    curves = pd.concat([network.curve for network in each])
    row: dict[str, float] = {"reached": int(np.isfinite(high).sum())}
    if len(low) > 1 and np.isfinite(low).all() and (low == high).all():
        half = stopping.half_width(low)
        row |= {"seeds_low": max(low.mean() - half, 0.0), "seeds_high": low.mean() + half}
    row["first"] = curves.loc[curves["nwc"] > 0, "nwc"].min()
    row["last"] = min(network.curve["nwc"].max() for network in each)
    return row


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``cycles_to_accuracy.csv``, with sigma and within as decimal strings.

    Tables of earlier versions have no :data:`ADDED` columns, which are then empty.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    text = dict.fromkeys(["experiment", "sigma", "within", "method", "device"], str)
    needed = [column for column in COLUMNS if column not in ADDED]
    return read_table(path, needed, dtype=text).reindex(columns=COLUMNS)


def markdown(found: pd.DataFrame) -> str:
    """One table per experiment, device and within: rows sigma x method."""
    lines = []
    for (experiment, device), part in found.groupby(["experiment", "device"], sort=False):
        seeds, chips = part["seeds"].iloc[0], part["chips"].iloc[0]
        lines += [f"### {experiment}: cycles to accuracy, device `{device}`", ""]
        text = (
            "Normalised write cycles (NWC) from which on the mean accuracy is within an accuracy "
            "drop of so many percentage points from full write-verify, by isotonic regression and "
            "straight lines between a method's points; reads per device there; and NWC over that "
            f"of swim. In brackets 95 % intervals over {chips} chips, with the same resampled "
            "chips for all methods; … is an end that some resamples do not reach. Where other "
            "methods were measured between two points of a method, a crossing there has no number."
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
        value, remark = _cell(row["nwc"], row["nwc_low"], row["nwc_high"]), note(row)
        if not np.isnan(row["between_low"]):
            value = _between(row)
            remark = "not measured there"
        cells = [row["sigma"], row["method"], value]
        if seeds:
            cells.append(_brackets(row["seeds_low"], row["seeds_high"]) or "–")
        reads = "–" if np.isnan(row["reads"]) else f"{row['reads']:.3g}"
        ratio = _cell(row["ratio_to_swim"], row["ratio_low"], row["ratio_high"])
        if row["method"] == "swim":
            ratio = "–" if np.isnan(row["ratio_to_swim"]) else "1"
        lines.append([*cells, reads, ratio, remark])
    return markdown_table(heads, lines, "ll" + "r" * (len(heads) - 3) + "l")


def note(row: pd.Series) -> str:
    """A remark on the NWC: not reached, in a gap, reached at no rewrite, below the first point."""
    if row["reached"] < row["seeds"]:
        some = f" by {row['seeds'] - row['reached']} of {row['seeds']} seeds"
        return f"not reached by NWC {row['last']:.3g}" + (some if row["seeds"] > 1 else "")
    if not np.isnan(row["between_low"]):
        return f"{_between(row)}: not measured there"
    if row["nwc"] == 0:
        return "within at no rewrite"
    if row["nwc"] < row["first"]:
        return f"below the first point, {row['first']:.3g}"
    return ""


def _between(row: pd.Series) -> str:
    return f"between {row['between_low']:.3g} and {row['between_high']:.3g}"


def _cell(value: float, low: float, high: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g} {_brackets(low, high)}".rstrip()


def _brackets(low: float, high: float) -> str:
    """An interval in brackets; empty if both ends are undefined."""
    if np.isnan(low) and np.isnan(high):
        return ""
    return f"[{low:.3g}, {'…' if np.isnan(high) else f'{high:.3g}'}]"
