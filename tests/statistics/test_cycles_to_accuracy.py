"""Intervals of cycles to accuracy cover the true crossing about as often as they say."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from swim.reports import crossings, cycles_to_accuracy

PARTS = {"0.05": 0.93, "0.1": 0.955, "0.2": 0.966, "0.4": 0.9705, "0.7": 0.973}
ENDS = {("none", "0"): 0.90, ("all", "1"): 0.975}
POINTS = {**ENDS, **{("swim", part): mean for part, mean in PARTS.items()},
          **{("random", part): 0.9 + 0.075 * float(part) for part in PARTS}}  # fmt: skip
CHIPS, RUNS = 50, 1200


def one_run(generator):
    """A chip's luck is shared by all points, the more is verified the less of it is left."""
    luck = generator.gamma(2.0, 0.5, CHIPS) - 1  # as skewed as chips are
    made = {}
    for (method, part), mean in POINTS.items():
        spread = 0.03 * (1 - float(part)) + 0.002
        accuracy = mean - spread * luck + generator.normal(0, 0.002, CHIPS)
        nwc = float(part) * generator.normal(1, 0.02, CHIPS)
        made[method, part] = pd.DataFrame(
            {"chip": range(CHIPS), "accuracy": accuracy, "nwc": nwc, "reads": 0.0}
        )
    return made


def covers(draws, truth):
    low, high = crossings.interval((draws, draws))
    return low <= truth <= high


@pytest.mark.slow
def test_intervals_cover_the_true_crossing():
    """1,200 runs of 50 chips: between 92 and 97 of 100 intervals cover; false alarm below 1e-6.

    Percentile intervals of skewed means are a little short: hence 92, not 95.
    """
    true = {"swim": 0.1 + 0.1 * 10 / 11, "random": 13 / 15}
    covered, ratios = dict.fromkeys(true, 0), 0
    generator = np.random.default_rng(3)
    for run in range(RUNS):
        means = cycles_to_accuracy.means(one_run(generator), "coverage", run, resamples=400)
        draws = {name: cycles_to_accuracy.reached(means, name, 1.0).nwc[0][1:] for name in true}
        for method, truth in true.items():
            covered[method] += covers(draws[method], truth)
        ratios += covers(draws["random"] / draws["swim"], true["random"] / true["swim"])
    least, most = binom.ppf(2e-7, RUNS, 0.92), binom.ppf(1 - 2e-7, RUNS, 0.97)
    for count in (*covered.values(), ratios):
        assert least <= count <= most, (covered, ratios, least, most)


# 200 points of a curve that rises ever more slowly, with noise of the single points.
DENSE = np.append(np.linspace(0, 0.4, 200), 1.0)
RISE = 0.06
TRUTH = RISE * np.log(8)  # where 0.08 exp(-x / RISE) is the 0.01 of one point


def dense_run(generator):
    """Accuracies (chips, points) of a dense grid; chips share their luck between points."""
    luck = generator.gamma(2.0, 0.5, (CHIPS, 1)) - 1
    spread = 0.03 * np.exp(-DENSE / 0.1) + 0.002
    noise = 0.02 * np.exp(-DENSE / 0.15) + 0.001
    mean = 0.975 - 0.08 * np.exp(-DENSE / RISE)
    return mean - spread * luck + noise * generator.standard_normal((CHIPS, len(DENSE)))


def stays(mean, level):
    """The former rule: the NWC behind the last point below the level, on straight lines."""
    last = np.flatnonzero(mean < level)[-1]
    part = (level - mean[last]) / (mean[last + 1] - mean[last])
    return DENSE[last] + part * (DENSE[last + 1] - DENSE[last])


@pytest.mark.slow
def test_crossing_on_a_dense_grid_is_nearly_unbiased_where_the_former_rule_is_not():
    """2,000 runs of 50 chips at 200 points; false alarm below 1e-6 (5 standard errors).

    The bias of isotonic regression is at most 0.001, of a standard deviation of 0.007; the
    former rule's is above 0.005 of a true crossing at 0.125.
    """
    generator = np.random.default_rng(4)
    former, isotonic = [], []
    for _ in range(2000):
        chips = dense_run(generator)
        mean = chips.mean(axis=0)
        level = mean[-1] - 0.01
        former.append(stays(mean, level) - TRUTH)
        risen = crossings.rising(mean[None], crossings.precision(chips))
        place = crossings.crossing(risen - level)
        isotonic.append(crossings.interpolate(place, DENSE[None])[0] - TRUTH)
    errors = [5 * np.std(bias) / np.sqrt(len(bias)) for bias in (isotonic, former)]
    assert abs(np.mean(isotonic)) + errors[0] < 0.002
    assert np.mean(former) - errors[1] > 0.005
    assert np.std(isotonic) < np.std(former)


@pytest.mark.slow
def test_intervals_cover_the_true_crossing_on_a_dense_grid():
    """400 runs of 50 chips: between 92 and 98 of 100 intervals cover; false alarm below 1e-6."""
    generator = np.random.default_rng(5)
    covered, runs = 0, 400
    for run in range(runs):
        chips = dense_run(generator)
        points = {
            ("swim" if 0 < x < 1 else "none" if x == 0 else "all", f"{x:g}"): pd.DataFrame(
                {"chip": range(CHIPS), "accuracy": chips[:, i], "nwc": x, "reads": 0.0}
            )
            for i, x in enumerate(DENSE)
        }
        means = cycles_to_accuracy.means(points, "dense", run, resamples=200)
        covered += covers(cycles_to_accuracy.reached(means, "swim", 1.0).nwc[0][1:], TRUTH)
    least, most = binom.ppf(5e-7, runs, 0.92), binom.ppf(1 - 5e-7, runs, 0.98)
    assert least <= covered <= most, (covered, least, most)
