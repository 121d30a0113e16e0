"""Where a noisy curve that rises in truth crosses a height.

More cycles give no worse accuracy in truth, while means over chips rise and fall by chance. Curves
are therefore first made to rise by isotonic regression: the rising values nearest to the means, by
least squares weighted with each mean's precision (pool adjacent violators; Barlow, Bartholomew,
Bremner and Brunk, *Statistical Inference under Order Restrictions*, 1972). The rule "from which on
the curve stays above", without that regression, takes the last of many chance crossings: it is too
large, the more so the denser the points are.
"""

import numpy as np
from scipy.optimize import isotonic_regression

SAME = 1e-12  # heights that differ by rounding are equal
Ends = tuple[np.ndarray, np.ndarray]  # the least and the largest value that may be, of each curve


def rising(heights: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rising curves nearest to given ones.

    Args:
        heights: (curves, points); curves with a NaN come back as they are.
        weights: the points' weights, above zero: (points,).

    Returns:
        (curves, points): of all curves that do not fall, those of least weighted square distance.
    """
    fitted = heights.copy()
    for row in np.flatnonzero((np.diff(heights, axis=1) < 0).any(axis=1)):
        if not np.isnan(heights[row]).any():
            fitted[row] = isotonic_regression(heights[row], weights=weights).x
    return fitted


def precision(values: np.ndarray) -> np.ndarray:
    """The precision of each point's mean over chips: n / variance.

    Points whose chips agree exactly, or that have one chip, take the smallest variance that there
    is; if there is none, all points weigh as many as their chips.

    Args:
        values: (chips, points), NaN where a point lacks a chip.

    Returns:
        (points,), above zero.
    """
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    squares = np.where(there, (values - mean) ** 2, 0.0).sum(axis=0)
    variance = squares / np.maximum(count - 1, 1)
    varies = variance > SAME**2
    least = variance[varies].min() if varies.any() else 1.0
    return np.asarray(count / np.where(varies, variance, least))


def crossing(above: np.ndarray) -> np.ndarray:
    """The position on each rising curve from which on it is at or above zero.

    Args:
        above: heights of the points, rising: (curves, points).

    Returns:
        (curves,): 1.25 is a quarter of the way from point 1 to point 2, 0 is the first point, inf
        means that the curve ends below zero, and NaN that a height is NaN.
    """
    enough = above >= -SAME
    first = np.argmax(enough, axis=1)
    rows, start = np.arange(len(above)), np.maximum(first - 1, 0)
    low, high = above[rows, start], above[rows, first]
    rise = np.where(high > low, high - low, 1.0)
    between = start + np.clip(-low / rise, 0.0, 1.0)
    places = np.where((first == 0) | (high <= SAME), first, between)  # at a point, not before it
    places = np.where(enough.any(axis=1), places, np.inf)
    return np.where(np.isnan(above).any(axis=1), np.nan, places)


def interpolate(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (curves, points) at one position (curves,) of each curve; inf at inf, NaN at NaN."""
    most = values.shape[1] - 1
    inside = np.isfinite(places)
    start = np.minimum(np.where(inside, places, 0), most).astype(int)
    part, rows = np.where(inside, places - start, 0.0), np.arange(len(values))
    low, high = values[rows, start], values[rows, np.minimum(start + 1, most)]
    return np.where(inside, low + part * (high - low), places)


def around_gaps(places: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest position that a crossing may have.

    Args:
        places: positions (curves,), as :func:`crossing` returns them.
        gaps: whether the step from each point to the next was left unmeasured: (points - 1,).

    Returns:
        Two arrays (curves,): both ends of the gap that a crossing is inside, else the crossing.
    """
    inside = np.isfinite(places) & (places != np.floor(places))
    step = np.where(inside, np.floor(places), 0).astype(int)
    unknown = inside & gaps[step] if len(gaps) else np.zeros_like(inside)
    return np.where(unknown, step, places), np.where(unknown, step + 1, places)


def interval(ends: Ends) -> tuple[float, float]:
    """The 95 % percentile interval of resamples; NaN where any is undefined, or there are none.

    Its lower end is of the least values, its upper end of the largest: inside a gap the interval
    covers whatever the crossing may be.
    """
    low, high = (np.sort(values) for values in ends)
    if not len(low) or np.isnan(low).any() or np.isnan(high).any():
        return np.nan, np.nan
    cut = int(0.025 * len(low))
    return float(low[cut]), float(high[-1 - cut])
