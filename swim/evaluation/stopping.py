"""How many chips are enough: the confidence interval of the mean, and when to stop."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

BLOCK = 50  # chips between two checks of the precision


def half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half-width of the 95 % confidence interval of the mean (Student's t); NaN for one value."""
    array = np.asarray(values, dtype=np.float64)
    count = len(array)
    t = float(stdtrit(count - 1, 0.975)) if count > 1 else math.nan
    std = float(array.std(ddof=1)) if count > 1 else math.nan
    return t * std / math.sqrt(count)


def chips_needed(
    values: Sequence[float] | np.ndarray, *, chips: int, precision: float | None, most: int
) -> int:
    """How many chips are needed, judging by the values of the chips so far.

    Without a precision, ``chips`` are needed. With a precision, the half-width of the mean's 95 %
    confidence interval is checked after ``chips`` chips and after every :data:`BLOCK` more, until
    the half-width is at most ``precision`` or ``most`` chips are done. Only the order of the chips
    decides, so a run that was interrupted, extended or split stops at the same chip. Stopping
    early makes the interval a little too short; with at least 100 chips it contains the true mean
    in 93 to 95 of 100 runs, even for skewed distributions (tests/statistics/test_stopping.py).

    Args:
        values: a value per finished chip, in the order of the chips.
        chips: number of chips; with a precision, the least number.
        precision: half-width to reach, or None.
        most: largest number of chips.

    Returns:
        The number of chips, at most ``len(values)`` if these suffice.
    """
    if precision is None:
        return chips
    for count in range(chips, most, BLOCK):
        if count > len(values) or half_width(values[:count]) <= precision:
            return count
    return most
