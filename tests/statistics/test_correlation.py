"""The intervals of correlations cover what they should."""

import numpy as np
import pandas as pd
from scipy.stats import binom

from swim.reports import correlation


def test_intervals_cover_pearsons_coefficient(monkeypatch):
    """400 samples of 100 normal pairs, r = 0.6: the bootstrap's percentiles cover 93 in 100.

    A plain numpy loop over 6,000 other samples gave 0.934; false alarm about 1e-4.
    """
    monkeypatch.setattr(correlation, "RESAMPLINGS", 200)
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x, noise = generator.normal(size=(2, 100))
        table = pd.DataFrame({"layer": "a", "score": x, "increase": 0.6 * x + 0.8 * noise})
        found = correlation._values(table, ["score"], generator)
        covered += found["pearson_low"][0] <= 0.6 <= found["pearson_high"][0]
    low, high = binom.ppf([5e-5, 1 - 5e-5], 400, 0.934)
    assert low <= covered <= high
