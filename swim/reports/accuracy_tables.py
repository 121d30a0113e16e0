"""Tables: the tidy ``accuracy.csv`` and a Markdown table in the paper's layout."""

import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from swim.errors import DataError
from swim.evaluation import statistics
from swim.runtime.csv_files import read_table
from swim.runtime.markdown import table as markdown_table
from swim.runtime.provenance import place_of
from swim.settings import policies, registry
from swim.settings.policies import IN_SITU

PLACE = ["experiment", "model", "dataset", "device", "sigma", "method", "fraction"]
COLUMNS = [*PLACE, *statistics.POINT]
ADDED = ("p05_low", "p05_high", "p01", "p01_low", "p01_high")  # columns that older tables lack
PAIRED = [
    "experiment", "model", "dataset", "device", "sigma", "fraction", "method", "other", "chips",
    "difference", "std", "ci95",
]  # fmt: skip
WHERE = ["method", "layer", "slice", "devices", "rewritten", "cycles"]
KEYS = ["device", "sigma", "method", "fraction"]
ENDS = {"none": "nothing verified", "all": "everything verified"}


def read_chips(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A chips file, one row per chip.

    Raises:
        DataError: it is missing, empty, damaged, or has values that no chips file has.
    """
    table = read_table(path)
    check_chips(path, table)
    return table


def check_chips(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Check the values of a chips file.

    Raises:
        DataError: a value is missing or out of range, or a chip is there twice.
    """
    fault = _fault(table) if len(table) and "accuracy" in table else "it has no accuracy"
    if fault:
        raise DataError(f"{path}: not a complete chips file ({fault}); delete it and make it again")


# What may be in each column of a chips file.
_RANGES = {"accuracy": (0.0, 1.0), "nwc": (0.0, np.inf), "reads": (0.0, np.inf),
           "images": (1.0, np.inf), "chip": (0.0, np.inf)}  # fmt: skip


def _fault(table: pd.DataFrame) -> str:
    """The fault of the rows of a chips file, or an empty text."""
    for name, (low, high) in _RANGES.items():
        if name not in table:
            continue
        values = pd.to_numeric(table[name], errors="coerce")
        if not (np.isfinite(values) & (values >= low) & (values <= high)).all():
            return f"{name} has a value that is none, or out of range"
    if "chip" in table and table["chip"].duplicated().any():
        return "a chip is there twice"
    return ""


def accuracy_table(
    files: Iterable[str | os.PathLike[str]], constants: Mapping[str, str]
) -> pd.DataFrame:
    """The tidy table: one row per point, with statistics over chips.

    Args:
        files: chips files and clean.csv files, in any order.
        constants: experiment, model and dataset.

    Returns:
        Columns :data:`COLUMNS`, sorted. Methods ``none`` and ``all`` are the end points, ``clean``
        the network before programming, without spread, chips or cycles. Where chips were measured
        on samples of the images, there is no spread and there are no percentiles. Percentiles
        need :data:`swim.evaluation.statistics.FEWEST` chips and are empty below.
    """
    records: list[dict[str, Any]] = []
    for path in files:
        table, place = read_chips(path), place_of(path)
        accuracy = table["accuracy"].to_numpy()
        if place["method"] == "clean":
            record = {**constants, **place, "mean": float(accuracy.mean())}
        else:
            # On samples of the images, chips may differ in how many they were measured on.
            sampled = table["images"].nunique() != 1
            nwc, reads = (table[name].to_numpy() for name in ("nwc", "reads"))
            record = {**constants, **place, **statistics.point(accuracy, nwc, reads, sampled)}
        records.append(record)
    return tidy(records)


def tidy(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of :func:`accuracy_table` in its columns and its order."""
    table = pd.DataFrame(list(records), columns=COLUMNS)
    table["chips"] = table["chips"].astype("Int64")
    return table.sort_values(KEYS, key=_sortable, ignore_index=True)


def paired_table(
    files: Iterable[str | os.PathLike[str]], constants: Mapping[str, str]
) -> pd.DataFrame:
    """Differences between methods, chip by chip: one row per point and pair of methods.

    A chip has the same noise realisation for every method, so much of it cancels in the
    difference, whose interval is narrower than the intervals of the two means.

    Args:
        files: chips files, in any order; end points and clean.csv files are ignored.
        constants: experiment, model and dataset.

    Returns:
        Columns :data:`PAIRED`, sorted; ``difference`` is the mean of method minus other over the
        chips that both have. ``method`` is before ``other`` in the alphabet, ``swim`` before all.
    """
    points: dict[tuple[str, str, str], dict[str, pd.DataFrame]] = {}
    for path in files:
        place = place_of(path)
        if place["method"] in (*ENDS, IN_SITU, "clean"):
            continue
        at = points.setdefault((place["device"], place["sigma"], place["fraction"]), {})
        at[place["method"]] = read_chips(path).set_index("chip")
    records = []
    for (device, sigma, fraction), chips in points.items():
        names = sorted(chips, key=lambda name: (name != "swim", name))
        for method, other in itertools.combinations(names, 2):
            one, two = chips[method], chips[other]
            difference = (one["accuracy"] - two["accuracy"]).dropna()
            if difference.empty:
                continue
            summary = statistics.summarise(difference.to_numpy())
            place = {"device": device, "sigma": sigma, "fraction": fraction}
            pair = {"method": method, "other": other, "chips": summary.chips}
            values = {"difference": summary.mean, "ci95": summary.ci95}
            if one["images"].nunique() == two["images"].nunique() == 1:
                values["std"] = summary.std
            records.append({**constants, **place, **pair, **values})
    keys = ["device", "sigma", "fraction", "method", "other"]
    table = pd.DataFrame(records, columns=PAIRED)
    return table.sort_values(keys, key=_sortable, ignore_index=True)


def _sortable(column: pd.Series) -> pd.Series:
    if column.name in ("sigma", "fraction"):
        return pd.to_numeric(column).fillna(-1.0)
    return column


def read_accuracy(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``accuracy.csv``, with sigma and fraction as decimal strings.

    Tables of earlier versions lack :data:`ADDED` columns and have percentiles of fewer chips than
    these need: both are empty.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    text = dict.fromkeys(["experiment", "model", "dataset", *KEYS], str)
    empty = {name: [""] for name in COLUMNS if name not in text}
    needed = [name for name in COLUMNS if name not in ADDED]
    table = read_table(path, needed, dtype=text, keep_default_na=False, na_values=empty)
    table = table.reindex(columns=COLUMNS)
    for percent, fewest in statistics.FEWEST.items():
        columns = [f"p0{percent}", f"p0{percent}_low", f"p0{percent}_high"]
        table.loc[table["chips"].fillna(0) < fewest, columns] = np.nan
    return table


def read_paired(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``paired.csv``, with sigma and fraction as decimal strings.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    names = ("experiment", "model", "dataset", "device", "sigma", "fraction", "method", "other")
    return read_table(path, PAIRED, dtype=dict.fromkeys(names, str))


def read_where(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the table of ``swim where``.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    return read_table(path, WHERE)


def curve(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """One method's points at one device and sigma by rising NWC, with its end points.

    :func:`swim.settings.policies.shared_points` says which end points these are.
    """
    shared = policies.shared_points(method)
    points = table[table["method"].isin([method, *shared])]
    for end, columns in shared.items():
        at = points["method"] == end
        points = points.assign(**{c: points[c].mask(at, value) for c, value in columns.items()})
    return points.sort_values("nwc", ignore_index=True)


def writes_per_device(nwc: Any, full: float) -> Any:
    """Writes per device, the first one included, at some NWC.

    Args:
        nwc: one value or several.
        full: reads per device of full write-verify. Each device is read after its first write and
            after each rewrite, so these are its writes too.
    """
    return 1 + nwc * (full - 1)


def method_names(table: pd.DataFrame) -> list[str]:
    """The selection methods of a table, alphabetically."""
    return sorted(set(table["method"]) - {*ENDS, "clean"})


def markdown(table: pd.DataFrame) -> str:
    """Rows sigma x method, columns NWC, entries mean ± std in per cent."""
    lines = []
    for (experiment, device), part in table.groupby(["experiment", "device"], sort=False):
        clean = part.loc[part["method"] == "clean", "mean"]
        first = part.iloc[0]
        chips = sorted({int(n) for n in part["chips"].dropna()})
        sampled = part["ci95"].notna() & part["std"].isna()
        lines += [
            f"### {experiment}: {first['model']} on {first['dataset']}, device `{device}`",
            "",
            f"Accuracy in per cent, mean ± standard deviation over {_list(chips)} chips"
            + (" (none for chips measured on samples of images); " if sampled.any() else "; ")
            + (f"before programming {clean.iloc[0]:.2%}. " if len(clean) else "")
            + _meaning(part)
            + ("; in_situ spends the whole steps that fit into it." if _trains(part) else "."),
            "",
            *_grid(part),
            "",
        ]
    return "\n".join(lines)


def _meaning(part: pd.DataFrame) -> str:
    """The meaning of NWC at the head of a column."""
    verified = "NWC is the verified fraction of the weights"
    if set(part["method"]) & set(registry.POLICIES):
        verified += ", or a policy's budget of write cycles; accuracy.csv has the counted NWC"
    return verified


def _trains(part: pd.DataFrame) -> bool:
    return IN_SITU in set(part["method"])


def paired_markdown(table: pd.DataFrame) -> str:
    """Rows sigma x pair of methods, columns NWC, entries difference ± half-width in points."""
    lines = []
    for (experiment, device), part in table.groupby(["experiment", "device"], sort=False):
        fractions = sorted(set(part["fraction"]), key=float)
        lines += [
            f"### {experiment}: differences, paired by chip, device `{device}`",
            "",
            "Accuracy in percentage points, mean ± half-width of its 95 % interval over "
            f"{_list(sorted(set(part['chips'])))} chips.",
            "",
        ]
        cells: list[list[object]] = []
        for (sigma, method, other), rows in part.groupby(["sigma", "method", "other"], sort=False):
            at = rows.set_index("fraction")
            differences = [
                f"{100 * at['difference'][f]:+.2f} ± {100 * at['ci95'][f]:.2f}"
                if f in at.index else "–"
                for f in fractions
            ]  # fmt: skip
            cells.append([sigma, f"{method} − {other}", *differences])
        heads = ["sigma", "difference", *(f"NWC {f}" for f in fractions)]
        lines += [*markdown_table(heads, cells, "ll" + "r" * len(fractions)), ""]
    return "\n".join(lines)


def _list(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _grid(part: pd.DataFrame) -> list[str]:
    points = part[part["method"] != "clean"]
    fractions = sorted(set(points["fraction"]), key=float)
    lines: list[list[object]] = []
    for sigma, rows in points.groupby("sigma", sort=False):
        for method in method_names(rows):
            cells = curve(rows, method).set_index("fraction")
            lines.append([sigma, method, *(_cell(cells, fraction) for fraction in fractions)])
    heads = ["sigma", "method", *(f"NWC {fraction}" for fraction in fractions)]
    return markdown_table(heads, lines, "ll" + "r" * len(fractions))


def _cell(cells: pd.DataFrame, fraction: str) -> str:
    if fraction not in cells.index:
        return "–"
    mean, std = 100 * cells[["mean", "std"]].loc[fraction].to_numpy(dtype=float)
    return f"{mean:.2f}" if np.isnan(std) else f"{mean:.2f} ± {std:.2f}"
