"""Cycles to accuracy against a slow twin: loops over curves, resamples and chips, by the words."""

import itertools
import math
import statistics

import numpy as np
import pytest

from swim.reports import crossings, cycles_to_accuracy
from swim.runtime import rng
from swim.runtime.files import write_rows

METHODS = {"swim": ["0.1", "0.3", "0.6"], "reslice": ["0", "0.05", "0.2"],
           "read_first": ["0.02", "0.2"]}  # fmt: skip


def least_squares(heights, weights):
    """The rising values nearest to some: the max-min formula (Barlow et al., 1972, eq. 1.9)."""

    def average(low, high):
        block = range(low, high + 1)
        return sum(weights[i] * heights[i] for i in block) / sum(weights[i] for i in block)

    count = len(heights)
    return [
        max(min(average(low, high) for high in range(i, count)) for low in range(i + 1))
        for i in range(count)
    ]


def crossing(points, level, grid):
    """The least and the largest NWC at which straight lines through (nwc, accuracy) may cross."""
    if points[0][1] >= level - 1e-12:
        return points[0][0], points[0][0]
    for (x0, y0, part0), (x1, y1, part1) in itertools.pairwise(points):
        if y1 >= level - 1e-12:
            if any(part0 < part < part1 for part in grid):
                return x0, x1
            return (x0 + (level - y0) / (y1 - y0) * (x1 - x0),) * 2
    return math.inf, math.inf


def twin(files, within, chips, key, resamples):
    """Method -> least and largest NWC over all chips, then over each resample."""
    generator = rng.generator(0, "resampled chips", *key)
    draws = [np.ones(chips)]
    draws += list(generator.multinomial(chips, [1 / chips] * chips, size=resamples))
    found = {method: [] for method in METHODS}
    weights = {
        point: len(own) / statistics.variance([accuracy for accuracy, _ in own.values()])
        for point, own in files.items()
    }
    grid = {float(point.split("/")[1]) for point in files}
    for counts in draws:
        drawn = [r for r, times in enumerate(counts) for _ in range(int(times))]

        def mean(point, column, drawn=drawn):
            rows = [files[point][r][column] for r in drawn if r in files[point]]
            return sum(rows) / len(rows)

        level = mean("all/1", 0) - within / 100
        for method, fractions in METHODS.items():
            points = [f"{method}/{part}" for part in fractions]
            points = ([] if method == "reslice" else ["none/0"]) + points
            points += [] if method == "reslice" else ["all/1"]
            risen = least_squares([mean(p, 0) for p in points], [weights[p] for p in points])
            parts = [float(point.split("/")[1]) for point in points]
            nwc = [mean(point, 1) for point in points]
            curve = list(zip(nwc, risen, parts, strict=True))
            found[method].append(crossing(curve, level, grid))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_isotonic_regression_is_the_max_min_formula(seed):
    generator = np.random.default_rng(seed)
    heights = generator.normal(0, 1, (40, 9)) + np.linspace(0, seed, 9)
    weights = generator.uniform(0.1, 10, 9)
    made = crossings.rising(heights, weights)
    expected = [least_squares(row, weights) for row in heights]
    np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_table_is_its_twin(tmp_path, seed):
    """Noisy curves that rise and fall, and chips that some points lack."""
    generator = np.random.default_rng(seed)
    chips, resamples = 9, 60  # in blocks of 100: one block
    points = ["none/0", "all/1", *(f"{m}/{f}" for m, fs in METHODS.items() for f in fs)]
    files, paths = {}, []
    for point in points:
        part = float(point.split("/")[1])
        height = 0.95 - 0.1 * (1 - part) ** 6
        own = {
            r: (height + generator.normal(0, 0.01), part * generator.uniform(0.9, 1.1))
            for r in range(chips)
            if point != "swim/0.3" or r < 6
        }
        files[point] = own
        rows = [(r, a, 1.0, n, 0.0, 10) for r, (a, n) in own.items()]
        path = tmp_path / "d" / "sigma-0.1" / f"{point}.csv"
        write_rows(path, ("chip", "accuracy", "loss", "nwc", "reads", "images"), rows)
        paths.append(path)
    gaps = 0
    for within in ("0.3", "1", "3"):
        made = cycles_to_accuracy.table([paths], "e", [within], resamples=resamples).set_index(
            "method"
        )
        expected = twin(files, float(within), chips, (0, "d", "0.1"), resamples)
        for method, (estimate, *draws) in expected.items():
            low, high = (sorted(ends) for ends in zip(*draws, strict=True))
            cut = int(0.025 * resamples)
            inside = estimate[0] < estimate[1]
            gaps += inside
            values = {
                "nwc": math.nan if inside else estimate[0],
                "nwc_low": low[cut],
                "nwc_high": high[-1 - cut],
                "between_low": estimate[0] if inside else math.nan,
                "between_high": estimate[1] if inside else math.nan,
            }
            for name, value in values.items():
                assert made.loc[method, name] == pytest.approx(
                    value if math.isfinite(value) else math.nan, nan_ok=True
                ), (within, method, name)
    assert gaps


def test_blocks_are_one_stream():
    """More resamples than a block draw what one call would."""
    blocks = np.concatenate(list(cycles_to_accuracy._times_drawn(5, 250, "a")))
    once = rng.generator(0, "resampled chips", "a").multinomial(5, [0.2] * 5, size=250)
    np.testing.assert_array_equal(blocks, np.concatenate([np.ones((1, 5)), once]))
