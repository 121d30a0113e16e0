"""Cycles to accuracy against a slow twin: loops over curves, resamples and chips, by the words."""

import itertools
import math

import numpy as np
import pytest

from swim.reports import cycles_to_accuracy
from swim.runtime import rng
from swim.runtime.files import write_rows

METHODS = {"swim": ["0.1", "0.3", "0.6"], "reslice": ["0", "0.05", "0.2"],
           "read_first": ["0.02", "0.2"]}  # fmt: skip


def crossing(points, level):
    """The least NWC from which on straight lines through (nwc, accuracy) stay at the level."""
    if points[-1][1] < level - 1e-12:
        return math.inf
    found = points[0][0]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 < level - 1e-12:
            found = x0 + (level - y0) / (y1 - y0) * (x1 - x0) if y1 >= level - 1e-12 else None
    return found


def twin(files, within, chips, key, resamples):
    """Method -> NWC over all chips, then over each resample."""
    generator = rng.generator(0, "resampled chips", *key)
    draws = [np.ones(chips)]
    draws += list(generator.multinomial(chips, [1 / chips] * chips, size=resamples))
    found = {method: [] for method in METHODS}
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
            curve = [(mean(point, 1), mean(point, 0)) for point in points]
            found[method].append(crossing(curve, level))
    return found


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
    for within in ("0.3", "1", "3"):
        made = cycles_to_accuracy.table([paths], "e", [within], resamples=resamples).set_index(
            "method"
        )
        expected = twin(files, float(within), chips, (0, "d", "0.1"), resamples)
        for method, (estimate, *draws) in expected.items():
            ordered = sorted(draws)
            cut = int(0.025 * resamples)
            row = made.loc[method]
            for value, name in ((estimate, "nwc"), (ordered[cut], "nwc_low"),
                                (ordered[-1 - cut], "nwc_high")):  # fmt: skip
                assert row[name] == pytest.approx(value if math.isfinite(value) else math.nan,
                                                  nan_ok=True), (within, method, name)  # fmt: skip


def test_blocks_are_one_stream():
    """More resamples than a block draw what one call would."""
    blocks = np.concatenate(list(cycles_to_accuracy._times_drawn(5, 250, "a")))
    once = rng.generator(0, "resampled chips", "a").multinomial(5, [0.2] * 5, size=250)
    np.testing.assert_array_equal(blocks, np.concatenate([np.ones((1, 5)), once]))
