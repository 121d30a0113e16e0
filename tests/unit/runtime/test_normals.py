"""Normals of errors: the formula of Box and Muller, the distribution, and the same bytes."""

import hashlib

import numpy as np
import pytest
from scipy import stats

from swim.runtime import rng
from swim.runtime.normals import CHUNK, standard_normals


def philox(key: int = 1) -> np.random.Philox:
    return np.random.Philox(key=key)


def by_formula(bits: np.random.BitGenerator, count: int) -> np.ndarray:
    """The twin: library functions in float64, one pair after the other."""
    normals = np.empty(count)
    for start in range(0, count, CHUNK):
        length = min(CHUNK, count - start)
        half = (length + 1) // 2
        words = [w for word in bits.random_raw(half) for w in (int(word) % 2**32, int(word) >> 32)]
        for i in range(half):
            u = float(np.float32(words[i] | 1)) / 2**32
            v = words[half + i]
            signed = v - 2**32 if v >= 2**31 else v
            angle = signed * np.pi / 2**32 + (v % 2) * np.pi
            radius = np.sqrt(-2 * np.log(u))
            normals[start + i] = radius * np.cos(angle)
            if half + i < length:
                normals[start + half + i] = radius * np.sin(angle)
    return normals


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1001, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_normals_equal_the_formula_to_float32(count: int) -> None:
    fast, slow = standard_normals(philox(), count), by_formula(philox(), count)
    assert fast.shape == (count,)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow, rtol=2e-6, atol=2e-6)


class Words:
    """A bit generator that returns chosen 32-bit words: radii first, then angles."""

    def __init__(self, radii: list[int], angles: list[int]) -> None:
        self._words = np.array([*radii, *angles], dtype="<u4").view("<u8")

    def random_raw(self, count: int) -> np.ndarray:
        assert count == len(self._words)
        return self._words


def test_extreme_words_give_finite_normals_and_the_largest_is_below_6_7() -> None:
    extremes = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    radii = [word for word in extremes for _ in extremes]
    normals = standard_normals(Words(radii, extremes * len(extremes)), 2 * len(radii))
    assert np.isfinite(normals).all()
    assert 6.6 < np.abs(normals).max() < 6.7


def test_normals_have_the_same_bytes_on_every_processor() -> None:
    # Sums, products and roots of float32 alone: a processor that differs breaks the promise.
    normals = rng.normals(rng.generator(0, "bytes"), 3, 33_333)
    assert hashlib.sha256(normals.astype("<f4").tobytes()).hexdigest() == (
        "1b8a18e569149e001919a3c69ba6c659f3ad4cea2e8d328cd542440054a915dd"
    )


def test_normals_of_one_generator_go_on_where_the_last_ones_ended() -> None:
    generator = rng.generator(0, "twice")
    both = np.concatenate([rng.normals(generator, CHUNK), rng.normals(generator, 6)])
    np.testing.assert_array_equal(both, rng.normals(rng.generator(0, "twice"), CHUNK + 6))


# Each test below rejects a right generator with a probability of 1e-6, at a fixed key.
COUNT = 4_000_000
ONE_IN_A_MILLION = stats.norm.isf(0.5e-6)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return standard_normals(philox(2), COUNT).astype(np.float64)


@pytest.mark.parametrize(("power", "mean", "variance"), [
    (1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170),
])  # fmt: skip
def test_moments_are_those_of_a_standard_normal(many, power, mean, variance) -> None:
    error = ((many**power).mean() - mean) / np.sqrt(variance / COUNT)
    assert abs(error) < ONE_IN_A_MILLION


def test_frequencies_of_200_equally_likely_bins_are_equal(many) -> None:
    counts, _ = np.histogram(stats.norm.cdf(many), bins=200, range=(0, 1))
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("beyond", [3.0, 4.0, 4.5])
def test_tails_are_as_frequent_as_those_of_a_standard_normal(many, beyond) -> None:
    tail = 2 * stats.norm.sf(beyond)
    assert stats.binomtest(int((np.abs(many) > beyond).sum()), COUNT, tail).pvalue > 1e-6


def test_both_of_a_pair_and_their_squares_are_uncorrelated(many) -> None:
    pairs = many[: COUNT // CHUNK * CHUNK].reshape(-1, 2, CHUNK // 2)
    cosines, sines = pairs[:, 0].ravel(), pairs[:, 1].ravel()
    for first, second in ((cosines, sines), (cosines**2, sines**2), (cosines[1:], cosines[:-1])):
        correlation = np.corrcoef(first, second)[0, 1]
        assert abs(correlation) * np.sqrt(len(first)) < ONE_IN_A_MILLION
