"""How well each method's score predicts the measured cost of a weight's error.

Pearson's coefficient measures proportionality and is dominated by the most sensitive weights.
Spearman's measures the order alone, which is what a mask is made of.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from swim.errors import DataError
from swim.runtime import provenance, rng
from swim.runtime.csv_files import read_table
from swim.runtime.markdown import table as markdown_table

KEYS = ["device", "around", "sigma"]
AROUND = {"ideal": "around ideal weights", "programmed": "on top of programmed chips"}
MEASURED = ["layer", "index", "weight", "delta", "increase", "plus", "minus", "increase_error"]
COEFFICIENTS = ("pearson", "spearman")
COLUMNS = [
    "experiment", "model", "dataset", "device", "around", "sigma", "method", "layer", "weights",
    *(f"{name}{end}" for name in COEFFICIENTS for end in ("", "_low", "_high")),
]  # fmt: skip
ALL = "all"  # instead of a layer's name
RESAMPLINGS = 1000
# With fewer weights a bootstrap interval is not reliable.
FEWEST = 20

Layers = Mapping[str, np.ndarray]


def measured(
    files: Iterable[str | os.PathLike[str]],
    weights: Layers,
    scores: Mapping[str, Layers],
    model: str | None = None,
) -> pd.DataFrame:
    """Measured increases in loss, with each method's score of the same weight.

    Args:
        files: files of ``swim perturb``, ``.../{device}/sigma-{sigma}.csv`` around ideal weights
            and ``.../{device}/programmed/sigma-{sigma}.csv``, in any order.
        weights: the checkpoint's weights, layer -> array.
        scores: method -> layer -> array shaped like the weight.
        model: digest of the weights' checkpoint, compared with the digest in the files.

    Returns:
        One row per weight: ``device``, ``around`` (a key of :data:`AROUND`), ``sigma`` (as a
        decimal string), :data:`MEASURED`, and one column per method.

    Raises:
        DataError: a file is missing, incomplete, in another folder, or of another network.
    """
    paths = [Path(path) for path in files]
    if not paths:
        raise DataError("no files of `swim perturb` are given")
    for path in paths:
        if provenance.sigma_of(path.stem) is None:
            raise DataError(f"{path}: expected .../DEVICE/sigma-SIGMA.csv")
    provenance.of_one_experiment(paths, model)
    table = pd.concat([_read(path, weights) for path in paths], ignore_index=True)
    table = table.sort_values(
        KEYS, key=lambda c: c.astype(float) if c.name == "sigma" else c, kind="stable",
        ignore_index=True,
    )  # fmt: skip
    for method, layers in scores.items():
        table[method] = _at(layers, table).astype(float)
    return table


def _read(path: Path, weights: Layers) -> pd.DataFrame:
    table = read_table(path)
    if list(table) != MEASURED or not len(table) or table.isna().any(axis=None):
        raise DataError(f"{path}: not a complete file of `swim perturb`; make it again")
    try:
        same = np.allclose(_at(weights, table), table["weight"], rtol=1e-6, atol=0)
    except (KeyError, IndexError):
        same = False
    if not same:
        raise DataError(f"{path}: was measured on another network than the checkpoint's")
    point = provenance.point_of(path)
    around = "programmed" if provenance.on_chips(path) else "ideal"
    for at, (key, value) in enumerate({**point, "around": around}.items()):
        table.insert(at, key, value)
    return table[[*KEYS, *MEASURED]]


def _at(layers: Layers, table: pd.DataFrame) -> np.ndarray:
    """The entries of ``layers`` at the layers and indices in the rows of a table: (rows,)."""
    found = np.empty(len(table))
    for layer, rows in table.groupby("layer", sort=False).indices.items():
        found[rows] = np.ravel(layers[str(layer)])[table["index"].to_numpy()[rows]]
    return found


def coefficients(scores: np.ndarray, increase: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson's and Spearman's coefficients of each score.

    Tied values share their mean rank, so all weights of score zero have one rank.

    Args:
        scores: (weights, methods).
        increase: (weights,).

    Returns:
        ``pearson`` and ``spearman``, (methods,) each; NaN where all scores, or all
        increases, are equal.
    """
    from scipy.stats import rankdata

    values = np.column_stack([scores, increase])
    return {"pearson": _with_last(values), "spearman": _with_last(rankdata(values, axis=0))}


def _with_last(columns: np.ndarray) -> np.ndarray:
    """Pearson's coefficient of each column but the last with the last."""
    ranges = np.ptp(columns, axis=0)
    centred = columns / np.abs(columns).max(axis=0, initial=np.finfo(float).tiny)
    centred = centred - centred.mean(axis=0)
    norms = np.where(ranges > 0, np.linalg.norm(centred, axis=0), np.nan)
    found: np.ndarray = (centred / norms)[:, :-1].T @ (centred[:, -1] / norms[-1])
    return found


def correlation_table(
    table: pd.DataFrame,
    methods: Sequence[str],
    constants: Mapping[str, str],
    seed: int,
    progress: Callable[[int], object] = lambda more: None,
) -> pd.DataFrame:
    """Correlation of each method's score with the increase in loss, over all layers and by layer.

    Args:
        table: the result of :func:`measured`.
        methods: columns of scores in ``table``.
        constants: experiment, model and dataset.
        seed: seed of the resampling.
        progress: called with how many more of :func:`groups` are done.

    Returns:
        Columns :data:`COLUMNS`, one row for each device, what weights were changed on top of,
        sigma, method and layer, and
        :data:`ALL` layers together. ``_low`` and ``_high`` are the ends of a 95 % interval: the
        percentiles over :data:`RESAMPLINGS` resamplings of the weights within each layer
        (bootstrap; Efron, 1979); NaN from fewer than :data:`FEWEST` weights. A
        coefficient is NaN where all scores, or all increases, are the same.
    """
    records: list[dict[str, Any]] = []
    for (device, around, sigma), part in table.groupby(KEYS, sort=False):
        place = {**constants, "device": device, "around": around, "sigma": sigma}
        parts = {ALL: part, **dict(list(part.groupby("layer", sort=False)))}
        found = {}
        for layer, rows in parts.items():
            drawn = rng.generator(seed, "correlation", str(layer))
            found[layer] = _values(rows, methods, drawn)
            progress(1)
        records += [
            {**place, "method": method, "layer": layer, "weights": len(parts[layer])}
            | {name: column[i] for name, column in values.items()}
            for i, method in enumerate(methods)
            for layer, values in found.items()
        ]
    return pd.DataFrame(records, columns=COLUMNS)


def groups(table: pd.DataFrame) -> int:
    """How many groups of weights are correlated: each layer, and all, at each device and sigma."""
    return sum(1 + part["layer"].nunique() for _, part in table.groupby(KEYS, sort=False))


def _values(
    rows: pd.DataFrame, methods: Sequence[str], generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Coefficients and the ends of their intervals: (methods,) each."""
    scores, increase = rows[list(methods)].to_numpy(), rows["increase"].to_numpy()
    found = coefficients(scores, increase)
    strata = list(rows.reset_index(drop=True).groupby("layer", sort=False).indices.values())
    drawn: list[dict[str, np.ndarray]] = []
    for _ in range(RESAMPLINGS if len(rows) >= FEWEST else 0):
        again = np.concatenate([generator.choice(stratum, len(stratum)) for stratum in strata])
        drawn.append(coefficients(scores[again], increase[again]))
    for name in COEFFICIENTS:
        low, high = np.full((2, len(methods)), np.nan)
        if drawn:
            low, high = np.percentile([each[name] for each in drawn], (2.5, 97.5), axis=0)
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def markdown(correlations: pd.DataFrame, table: pd.DataFrame) -> str:
    """Rows sigma x method x coefficient, columns layers, with notes on what was measured.

    Args:
        correlations: the result of :func:`correlation_table`.
        table: the result of :func:`measured`.
    """
    lines = []
    keys = ["experiment", "device", "around"]
    for (experiment, device, around), part in correlations.groupby(keys, sort=False):
        first = part.iloc[0]
        layers = list(dict.fromkeys(part["layer"]))
        lines += [
            f"### {experiment}: scores against measured loss, {first['model']} on "
            f"{first['dataset']}, device `{device}`, {AROUND[str(around)]}",
            "",
            *_notes(table[(table["device"] == device) & (table["around"] == around)]),
            "",
        ]
        cells_of_rows: list[list[object]] = []
        for (sigma, method), rows in part.groupby(["sigma", "method"], sort=False):
            at = rows.set_index("layer")
            for name in COEFFICIENTS:
                cells = [_cell(at.loc[layer], name) for layer in layers]
                cells_of_rows.append([sigma, method, name, *cells])
        heads = ["sigma", "method", "coefficient", *map(str, layers)]
        lines += [*markdown_table(heads, cells_of_rows, "lll" + "r" * len(layers)), ""]
    return "\n".join(lines)


def _notes(table: pd.DataFrame) -> list[str]:
    """What was measured, and the signs of the increases, one line per sigma."""
    lines = [
        "One weight at a time is changed up and down by the standard deviation that an unverified "
        "device leaves; the increase in mean loss is averaged over both signs. In brackets the "
        f"bootstrap's 95 % interval. `{ALL}` weights layers by their samples, not by their size.",
        "",
    ]
    for sigma, part in table.groupby("sigma", sort=False):
        increase = part["increase"]
        lines.append(
            f"- sigma {sigma}: {len(part)} weights; the increase is positive for "
            f"{(increase > 0).sum()}, exactly zero for {(increase == 0).sum()} and negative for "
            f"{(increase < 0).sum()}."
        )
    return lines


def _cell(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    text = two_digits(row[name])
    return text if np.isnan(low) else f"{text} [{two_digits(low)}, {two_digits(high)}]"


def two_digits(coefficient: float) -> str:
    """A coefficient with two digits; a dash where it is undefined."""
    return "–" if np.isnan(coefficient) else f"{coefficient:z.2f}".replace("-", "−")
