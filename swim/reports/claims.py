"""Claims of the papers' abstracts, and of this project, against what was measured.

Each claim is about a *speedup in write cycles*: the cycles of a reference over those of a method,
at the NWC from which on each is within some points of full write-verify
(:mod:`.cycles_to_accuracy`). The abstracts' speedup is of time, which is not modelled yet.

A claim has one row per device, sigma and accuracy drop. A row *holds* where the whole interval is
at or above the claimed speedup, *does not hold* where the whole interval is below, and is
*undecided* where the interval contains it. It is *not measured* where chips may be accurate enough
without any write-verify (the interval of NWC begins at 0), so that there is nothing to select. A
claim of "up to" so many times holds if one of its
rows does; a claim that one method is better than another holds if all rows do.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from swim.errors import DataError
from swim.reports import accuracy_tables
from swim.settings import policies

HOLDS, FAILS, UNDECIDED, UNMEASURED = "holds", "does not hold", "undecided", "not measured"
COMPARABLE = 1.0  # largest accuracy drop, in percentage points, that counts as comparable
FEWEST = 10  # chips; percentile intervals from fewer are too short to decide by
ONE_PASS = ("recursion",)  # estimators that need one forward and one backward pass
UP_TO, EVERYWHERE = "up to", "everywhere"
SWIM = "SWIM's abstract (DAC 2022, arXiv:2202.08395)"
USWIM = "U-SWIM's abstract (TCAD 2024, arXiv:2401.05357)"
OURS = "this project"
Row = Mapping[str, Any]  # of cycles to accuracy


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: key in the JSON file.
        text: the claim in a sentence.
        source: who claims it.
        speedup: cycles of ``over`` over those of the method: at least this.
        extent: :data:`UP_TO` or :data:`EVERYWHERE`.
        methods: those whose speedup it is; of several, each has rows.
        over: the reference, ``all`` for full write-verify.
        level_dependent: whether it is about devices whose error depends on their level alone.
    """

    name: str
    text: str
    source: str
    speedup: float
    extent: str
    methods: tuple[str, ...]
    over: str = "all"
    level_dependent: bool = False


CLAIMS = (
    Claim("swim_speedup", "SWIM: up to 10x programming speedup over full write-verify at "
          "comparable accuracy", SWIM, 10, UP_TO, ("swim",)),
    Claim("uswim_speedup", "U-SWIM: up to 10x programming acceleration over full write-verify at "
          "similar accuracy", USWIM, 10, UP_TO, ("uswim",)),
    Claim("uswim_over_swim", "U-SWIM: 7x speedup over SWIM on devices with non-uniform variations",
          USWIM, 7, UP_TO, ("uswim",), "swim", level_dependent=True),
    Claim("swim_over_magnitude", "SWIM needs fewer cycles than selection by magnitude",
          f"{OURS}, for a comparison of the papers", 1, EVERYWHERE, ("swim",), "magnitude"),
    Claim("swim_over_random", "SWIM needs fewer cycles than random selection",
          f"{OURS}, for a comparison of the papers", 1, EVERYWHERE, ("swim",), "random"),
    Claim("policy_over_swim", "A policy that decides device by device needs a third of SWIM's "
          "cycles or less", OURS, 3, UP_TO,
          tuple(name for name in policies.ENTRIES if name != "uswim"), "swim"),
)  # fmt: skip


def measured(
    cycles: pd.DataFrame,
    accuracy: Sequence[pd.DataFrame],
    estimator: str,
    level_dependent: Iterable[str] = (),
) -> dict[str, Any]:
    """All claims of one experiment or comparison, ready for JSON.

    Args:
        cycles: the result of :func:`swim.reports.cycles_to_accuracy.read`.
        accuracy: of its experiment, or of each experiment that is compared, the result of
            :func:`swim.reports.accuracy_tables.read_accuracy`.
        estimator: of the second derivatives that methods rank by.
        level_dependent: devices whose error depends on their level.

    Returns:
        ``name`` of the experiment or comparison, and ``claims``: of each its ``claim``,
        ``claimed_by``, ``verdict``, ``rows``, and ``best``, the row that the verdict rests on.

    Raises:
        DataError: a table is empty, or they are not of the same devices and sigmas.
    """
    if cycles.empty or cycles["experiment"].nunique() != 1:
        raise DataError("cycles to accuracy must be of one experiment or comparison")
    costs = _Costs(accuracy)
    dependent = set(level_dependent)
    found = [_judged(claim, list(_rows(claim, cycles, costs, dependent))) for claim in CLAIMS]
    found.insert(1, _one_pass(estimator, costs))
    return {"name": str(cycles["experiment"].iloc[0]), "claims": found}


class _Costs:
    """Names, writes and reads of an experiment's accuracy tables."""

    def __init__(self, accuracy: Sequence[pd.DataFrame]):
        joined = pd.concat(accuracy)
        names = {"network": "model", "dataset": "dataset"}
        self.names = {key: ", ".join(dict.fromkeys(joined[name])) for key, name in names.items()}
        full = joined[joined["method"] == "all"]
        self._reads = full.groupby(["device", "sigma"])["reads"].mean()

    def reads(self, device: str, sigma: str) -> float:
        """Reads per device of full write-verify; NaN if the table has none.

        Each device is read after its first write and after each rewrite, so these are its writes
        too, the first included.
        """
        if (device, sigma) not in self._reads:
            raise DataError(f"accuracy tables lack full write-verify of {device}, sigma {sigma}")
        return float(self._reads[device, sigma])


def _rows(
    claim: Claim, cycles: pd.DataFrame, costs: _Costs, dependent: set[str]
) -> Iterator[dict[str, Any]]:
    for key, part in cycles.groupby(["device", "sigma", "within"], sort=False):
        device, sigma, within = map(str, key)
        if float(within) > COMPARABLE or (claim.level_dependent and device not in dependent):
            continue
        at: dict[str, Row] = {str(row["method"]): row for row in _records(part)}
        place = {"device": device, "sigma": sigma, "within": within}
        for method in claim.methods:
            if method in at and (claim.over == "all" or claim.over in at):
                yield {
                    **costs.names,
                    **place,
                    **_row(claim, at, method, costs.reads(device, sigma)),
                }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _row(claim: Claim, at: Mapping[str, Row], method: str, full: float) -> dict[str, Any]:
    """A method's row; ``full`` are the reads per device of full write-verify."""
    own, (speedup, note) = at[method], _speedup(at, method, claim.over)
    enough = int(own["chips"]) >= FEWEST
    few = [] if enough else [f"fewer than {FEWEST} chips"]
    return {
        "method": method,
        "over": claim.over,
        "chips": int(own["chips"]),
        "seeds": int(own["seeds"]),
        **{f"speedup{end}": _number(x) for end, x in zip(_ENDS, speedup, strict=True)},
        "measured": _text(*speedup),
        "writes_per_device": _number(accuracy_tables.writes_per_device(own["nwc"], full)),
        "writes_per_device_full": _number(full),
        "reads_per_device": _number(own["reads"]),
        "reads_per_device_full": _number(full),
        "note": "; ".join([*([note] if note else []), *few]),
        "verdict": _verdict(claim, speedup, enough),
    }


_ENDS = ("", "_low", "_high")
_NOTHING_TO_SELECT = "chips may be accurate enough without write-verify"
_Speedup = tuple[float, float, float]  # value, lower and upper end of its interval


def _speedup(at: Mapping[str, Row], method: str, over: str) -> tuple[_Speedup, str]:
    """Speedup and the ends of its interval, and a remark; NaN where it is not known."""
    own, reference = at[method], None if over == "all" else at[over]
    rows = [own] if reference is None else [own, reference]
    if any(row["nwc_low"] == 0 and not policies.acts_without_cycles(row["method"]) for row in rows):
        return (np.nan, np.nan, np.nan), _NOTHING_TO_SELECT
    if reference is None:
        return _inverse(_spent(own, "nwc", own["last"])), _remark(rows)
    if method == "swim":  # what the other method's cycles are over swim's
        return _spent(reference, "ratio_to_swim", 0.0), _remark(rows)
    least = own["last"] / reference["nwc_high"] if reference["nwc_high"] > 0 else 0.0
    return _inverse(_spent(own, "ratio_to_swim", least)), _remark(rows)


def _spent(row: Row, name: str, unreached: float) -> _Speedup:
    """Cycles with their interval; an end that the table leaves open is the least or the most.

    A curve that ends too low spends more than ``unreached``.
    """
    stem = name.split("_")[0]
    value, low, high = row[name], row[f"{stem}_low"], row[f"{stem}_high"]
    if not np.isfinite(low):
        low = unreached if _unreached(row) else 0.0
    return float(value), float(low), float(high) if np.isfinite(high) else np.inf


def _inverse(spent: _Speedup) -> _Speedup:
    value, low, high = spent
    with np.errstate(divide="ignore"):
        one, least, most = (float(np.divide(1.0, x)) for x in (value, high, low))
    return one, least, most


def _unreached(row: Row) -> bool:
    return bool(row["reached"] < row["seeds"])


def _remark(rows: Sequence[Row]) -> str:
    """A word on a curve that does not get there, or crosses where nothing was measured."""
    for row in rows:
        if _unreached(row):
            return f"{row['method']} does not get there by NWC {row['last']:.3g}"
        if np.isfinite(row["between_low"]):
            low, high = row["between_low"], row["between_high"]
            words = f"between NWC {low:.3g} and {high:.3g}, not measured there"
            return f"{row['method']} crosses {words}"
        if 0 < row["nwc"] < row["first"]:
            return f"{row['method']} crosses below its first point, NWC {row['first']:.3g}"
    return ""


def _verdict(claim: Claim, speedup: _Speedup, enough: bool) -> str:
    _, low, high = speedup
    if np.isnan(low):
        return UNMEASURED
    if not enough:
        return UNDECIDED
    if low > claim.speedup or (low == claim.speedup and claim.extent == UP_TO):
        return HOLDS
    return FAILS if high < claim.speedup else UNDECIDED


def _judged(claim: Claim, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A claim with its rows, its verdict and the row that the verdict rests on."""
    verdicts = {row["verdict"] for row in rows} - {UNMEASURED}
    first, second = (HOLDS, FAILS) if claim.extent == UP_TO else (FAILS, HOLDS)
    if first in verdicts:
        verdict = first
    elif verdicts == {second}:
        verdict = second
    else:
        verdict = UNDECIDED if verdicts else UNMEASURED
    deciding = [row for row in rows if row["verdict"] == verdict]
    # "Up to" rests on the largest speedup, "everywhere" on the smallest.
    sign = 1 if claim.extent == UP_TO else -1
    best = max(deciding, key=lambda row: sign * _rank(row), default=None)
    return {
        "name": claim.name,
        "claim": claim.text,
        "claimed_by": claim.source,
        "speedup": claim.speedup,
        "extent": claim.extent,
        "verdict": verdict,
        "counts": {word: sum(row["verdict"] == word for row in rows)
                   for word in (HOLDS, FAILS, UNDECIDED, UNMEASURED)},
        "best": best,
        "rows": rows,
    }  # fmt: skip


def _rank(row: Mapping[str, Any]) -> float:
    """What rows are ordered by: the speedup, or the lower end where only the interval is known."""
    for key in ("speedup", "speedup_low"):
        if row[key] is not None:
            return float(row[key])
    return np.inf if row["measured"].startswith("∞") else 0.0


def _one_pass(estimator: str, costs: _Costs) -> dict[str, Any]:
    """The claim that selection needs one pass: by the construction of the chosen estimator."""
    holds = estimator in ONE_PASS
    verdict = HOLDS if holds else FAILS
    passes = "one forward and one backward pass" if holds else "more than one pass"
    row = {
        **dict.fromkeys(("device", "sigma", "within", "chips", "seeds")),
        **costs.names,
        "method": "swim",
        "measured": passes,
        "note": f"by the construction of the estimator {estimator}",
        "verdict": verdict,
    }
    return {
        "name": "one_pass",
        "claim": "SWIM and U-SWIM need a single pass of forward and backpropagation",
        "claimed_by": f"{SWIM}; {USWIM}",
        "extent": EVERYWHERE,
        "verdict": verdict,
        "counts": {word: int(word == verdict) for word in (HOLDS, FAILS, UNDECIDED, UNMEASURED)},
        "best": row,
        "rows": [row],
    }


def _number(value: float) -> float | None:
    """A number for JSON, which has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _text(value: float, low: float, high: float) -> str:
    """A speedup with its interval."""
    if np.isnan([low, high]).any():
        return "–"
    if np.isinf(low):
        return "∞"
    ends = f"[{_times(low)}, {_times(high)}]"
    return ends if np.isnan(value) else f"{_times(value)} {ends}"


def _times(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:.3g}"


def to_json(found: Mapping[str, Any]) -> str:
    """The claims as they are stored."""
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
