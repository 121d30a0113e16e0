"""Summaries over chips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Summary:
    """Statistics over chips.

    Attributes:
        chips: how many.
        mean: their mean.
        std: standard deviation over chips (n - 1); NaN for one chip.
        ci95: half-width of the mean's 95 % interval (Student's t); NaN for one chip.
        p05: fifth percentile over chips.
        p01: first percentile; NaN below 300 chips, where it would be an anecdote.
    """

    chips: int
    mean: float
    std: float
    ci95: float
    p05: float
    p01: float


def summarise(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean, spread and low percentiles over chips.

    Raises:
        ValueError: there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("no chips to summarise")
    count = len(array)
    return Summary(
        chips=count,
        mean=float(array.mean()),
        std=_std(array),
        ci95=half_width(array),
        p05=float(np.percentile(array, 5)),
        p01=float(np.percentile(array, 1)) if count >= 300 else math.nan,
    )


def _std(array: np.ndarray) -> float:
    return float(array.std(ddof=1)) if len(array) > 1 else math.nan


def half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half-width of the mean's 95 % interval (Student's t); NaN for one value."""
    array = np.asarray(values, dtype=np.float64)
    count = len(array)
    t = float(stdtrit(count - 1, 0.975)) if count > 1 else math.nan
    return t * _std(array) / math.sqrt(count)


BLOCK = 50  # chips between two looks at the precision


def chips_needed(
    values: Sequence[float] | np.ndarray, *, chips: int, precision: float | None, most: int
) -> int:
    """How many chips the values so far call for; no more than there are values if they suffice.

    Without a precision that is ``chips``. With one, the half-width of the mean's 95 % interval is
    looked at after ``chips`` of them and after every :data:`BLOCK` more, until it is at most
    ``precision`` or ``most`` are done. Only the chips' order decides, so a run that was
    interrupted, extended or split stops at the same chip. Stopping early makes an interval a
    little too short; with at least 100 chips it covers 93 to 95 times in 100 even on skewed chips
    (tests/statistics/test_precision.py).
    """
    if precision is None:
        return chips
    for count in range(chips, most, BLOCK):
        if count > len(values) or half_width(values[:count]) <= precision:
            return count
    return most
