"""Statistics over chips: mean, spread, confidence interval, low percentiles."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from swim.evaluation.stopping import half_width

CONFIDENCE = 0.95
# Percent -> chips. Below 59 and 299 there is no interval: with a probability of more than 5 % all
# chips lie above the percentile (0.95^58 = 0.051, 0.99^298 = 0.0500).
FEWEST = {5: 60, 1: 300}


# What a table has of each point, over its chips.
POINT = (
    "nwc", "reads", "chips", "mean", "std", "ci95", "p05", "p05_low", "p05_high", "p01", "p01_low",
    "p01_high",
)  # fmt: skip


@dataclass(frozen=True)
class Percentile:
    """A percentile over chips, with its 95 % interval; NaN where there are too few chips.

    Attributes:
        value: of the chips, between the nearest two by a straight line.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Statistics over chips.

    Attributes:
        chips: number of chips.
        mean: mean over chips.
        std: standard deviation over chips (n - 1); NaN for one chip.
        ci95: half-width of the 95 % confidence interval of the mean (Student's t); NaN for one
            chip.
        p05: fifth percentile over chips, from 60 chips on.
        p01: first percentile over chips, from 300 chips on.
    """

    chips: int
    mean: float
    std: float
    ci95: float
    p05: Percentile
    p01: Percentile


def summarise(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean, spread and low percentiles over chips.

    Args:
        values: a value per chip, such as its accuracy.

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
        std=float(array.std(ddof=1)) if count > 1 else math.nan,
        ci95=half_width(array),
        p05=percentile(array, 5),
        p01=percentile(array, 1),
    )


def point(
    accuracy: np.ndarray, nwc: np.ndarray, reads: np.ndarray, sampled: bool = False
) -> dict[str, float]:
    """What a table has of a point's chips: an entry for each of :data:`POINT` that is known.

    Args:
        accuracy: of each chip, as the other arrays: (chips,).
        nwc: normalised write cycles.
        reads: reads per device.
        sampled: whether chips were measured on samples of the images, whose variation would be in
            the spread and in percentiles: these are left out.
    """
    summary = summarise(accuracy)
    row: dict[str, float] = {"nwc": float(np.mean(nwc)), "reads": float(np.mean(reads)),
                             "chips": summary.chips, "mean": summary.mean,
                             "ci95": summary.ci95}  # fmt: skip
    if sampled:
        return row
    row["std"] = summary.std
    for name, found in (("p05", summary.p05), ("p01", summary.p01)):
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def percentile(values: np.ndarray, percent: int) -> Percentile:
    """A low percentile over chips, with its interval, from :data:`FEWEST` chips on.

    The interval's ends are two of the sorted values. It holds the true percentile with a
    probability of at least 95 %, whatever the values' distribution.

    Args:
        values: a value per chip: (chips,).
        percent: 5 or 1.
    """
    if len(values) < FEWEST[percent]:
        return Percentile(math.nan, math.nan, math.nan)
    array = np.sort(values)
    low, high = _ranks(len(array), percent / 100)
    value = float(np.percentile(array, percent))
    return Percentile(value, float(array[low - 1]), float(array[high - 1]))


@functools.cache
def _ranks(count: int, part: float) -> tuple[int, int]:
    """Ranks, from 1, of the two sorted values that are the interval of a quantile.

    The number of values below the true quantile is binomial, so that the probability that it lies
    between the values of ranks l < u is P(l <= B <= u - 1) (David and Nagaraja, *Order
    Statistics*, 2003, section 7.1). Of all pairs with at least 95 % the closest is taken, of
    equally close ones the most probable.
    """
    below = bdtr(np.arange(count), count, part)  # P(B <= k)
    low = np.arange(1, count)
    high = np.searchsorted(below, CONFIDENCE + below[low - 1]) + 1
    there = high <= count
    low, high = low[there], high[there]
    covered = below[high - 1] - below[low - 1]
    best = np.lexsort((-covered, high - low))[0]
    return int(low[best]), int(high[best])
