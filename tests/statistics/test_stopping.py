"""Stopping at a precision: an interval that still covers, on chips as skewed as real ones.

The chips are real: a LeNet with every weight unverified at sigma 0.3, whose accuracies are skewed
to the left. Runs are drawn from them with replacement, so the true mean is known.
"""

import numpy as np
import pytest
import torch
from scipy.stats import binom, skew

import swim
from swim.data import prepare
from swim.data.dataset import DataSet
from swim.evaluation import stopping
from swim.networks import training
from swim.settings import ModelSettings, TrainingSettings


@pytest.fixture(scope="module")
def accuracies(tmp_path_factory):
    """1,000 chips on 200 images."""
    path = tmp_path_factory.mktemp("data") / "mnist5k"
    prepare.prepare("mnist5k", path)
    data = DataSet(path)
    model, _ = training.train(
        ModelSettings(),
        TrainingSettings(epochs=2, quantised_epochs=0),
        data,
        seed=0,
        place=torch.device("cpu"),
    )
    device = swim.Device(sigma=0.3, M=8, K=1, convention="release")
    result = swim.evaluate(model, data.batches("test", 200, 200), device=device, chips=1000)
    return result.accuracy.numpy()


def test_coverage_of_the_stopped_interval(accuracies):
    """At least 93 % of 10,000 runs; for a coverage of 94.5 % a false alarm is below 1e-6."""
    runs = 10_000
    assert binom.cdf(0.93 * runs, runs, 0.945) < 1e-6
    assert skew(accuracies) < -0.4
    generator = np.random.default_rng(0)
    # Fine enough that most runs go on for some blocks, coarse enough that they stop.
    precision = 1.96 * accuracies.std() / np.sqrt(260)
    counts, covered = np.empty(runs), 0
    for run in range(runs):
        values = generator.choice(accuracies, 1000)
        counts[run] = count = stopping.chips_needed(
            values, chips=100, precision=precision, most=1000
        )
        found = values[:count]
        covered += abs(found.mean() - accuracies.mean()) <= stopping.half_width(found)
    assert 150 < np.median(counts) < 400
    assert (counts < 1000).mean() > 0.99
    assert covered >= 0.93 * runs


def test_only_the_order_of_the_chips_decides(accuracies):
    """However many are there already, the answer is the same once they suffice."""
    needs = dict(chips=100, precision=1.96 * accuracies.std() / np.sqrt(200), most=1000)
    final = stopping.chips_needed(accuracies, **needs)
    assert 100 < final < 1000
    have = 0
    while have < stopping.chips_needed(accuracies[:have], **needs):
        have = stopping.chips_needed(accuracies[:have], **needs)
    assert have == final
    for extra in (final, final + 1, 1000):
        assert stopping.chips_needed(accuracies[:extra], **needs) == final


def test_without_a_precision_the_number_is_fixed():
    assert stopping.chips_needed([], chips=30, precision=None, most=10_000) == 30
    assert stopping.chips_needed(np.zeros(500), chips=30, precision=None, most=10_000) == 30


def test_most_chips_end_a_run_that_misses_its_precision():
    values = np.random.default_rng(1).random(1000)
    assert stopping.chips_needed(values, chips=100, precision=1e-9, most=430) == 430
    assert stopping.chips_needed(values, chips=100, precision=1e-9, most=100) == 100
