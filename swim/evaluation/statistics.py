"""Statistics over chips: mean, spread, confidence interval, low percentiles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swim.evaluation.stopping import half_width


@dataclass(frozen=True)
class Summary:
    """Statistics over chips.

    Attributes:
        chips: number of chips.
        mean: mean over chips.
        std: standard deviation over chips (n - 1); NaN for one chip.
        ci95: half-width of the 95 % confidence interval of the mean (Student's t); NaN for one
            chip.
        p05: fifth percentile over chips.
        p01: first percentile over chips; NaN below 300 chips, which would be too few.
    """

    chips: int
    mean: float
    std: float
    ci95: float
    p05: float
    p01: float


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
        p05=float(np.percentile(array, 5)),
        p01=float(np.percentile(array, 1)) if count >= 300 else math.nan,
    )
