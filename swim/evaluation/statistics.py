"""Summaries over chips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swim.evaluation.stopping import half_width


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
        std=float(array.std(ddof=1)) if count > 1 else math.nan,
        ci95=half_width(array),
        p05=float(np.percentile(array, 5)),
        p01=float(np.percentile(array, 1)) if count >= 300 else math.nan,
    )
