"""Which test images a chip is measured on, if not on all of them.

Most images are far from a decision boundary on every chip; the predictions that differ from chip
to chip are those of the few images near one. So images are sorted by difficulty into strata, a
chip is measured on a fresh random sample of each stratum, and the predictions are weighted: the
estimate of a chip's accuracy is unbiased for any strata, and as precise as that of many more images
drawn alike (stratified sampling with Neyman's allocation; Cochran, Sampling Techniques, chapter 5).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from swim.runtime import rng

PILOT = 16  # chips whose samples are spread over all strata, to learn where predictions differ
PILOT_IMAGES = 500  # about so many images a pilot chip
FEWEST = 8  # images a chip where their number is chosen
# Chips that differ less are shown as many images as chips that differ so. Without it, those near
# full write-verify would be shown most of the images, though few give a mean to 0.1 points.
LEAST_DEVIATION = 0.005
# Upper ends of the strata, as fractions of the images from the hardest to the easiest.
_ENDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0)


@dataclass(frozen=True)
class Sampling:
    """Strata of images, and how many of each a chip is measured on.

    Attributes:
        strata: positions of the images of each stratum, none empty.
        counts: number of images drawn from each stratum, at least one.
    """

    strata: tuple[np.ndarray, ...]
    counts: tuple[int, ...]

    @property
    def sizes(self) -> np.ndarray:
        """Images of each stratum."""
        return np.array([len(stratum) for stratum in self.strata])

    @property
    def images(self) -> int:
        """Number of images that a chip is measured on."""
        return sum(self.counts)

    def draw(self, seed: int, chip: int) -> tuple[np.ndarray, np.ndarray]:
        """A chip's images, and the weight of each prediction in the chip's mean.

        Returns:
            Positions (images,), without repeats, and weights (images,), which add up to one.
        """
        generator = rng.generator(seed, "images", chip)
        total = sum(len(stratum) for stratum in self.strata)
        positions, weights = [], []
        for stratum, count in zip(self.strata, self.counts, strict=True):
            positions.append(generator.choice(stratum, count, replace=False))
            weights.append(np.full(count, len(stratum) / total / count))
        return np.concatenate(positions), np.concatenate(weights)


def pilot_sampling(losses: np.ndarray, images: int = PILOT_IMAGES) -> Sampling:
    """Strata by difficulty, and the images of a chip while nothing is known about chips.

    Difficulty is an image's loss before programming, which tells how near a decision boundary it
    is, and is the same for every device and method. Images of a stratum are in proportion to the
    root of its size: the best where the rate of errors falls as one over the rank.

    Args:
        losses: cross-entropy of an image before programming: (N,).
        images: about so many a chip.
    """
    total = len(losses)
    ends = sorted({max(1, round(part * total)) for part in _ENDS})
    strata = np.split(np.argsort(-losses, kind="stable"), ends[:-1])
    sizes = np.array([len(stratum) for stratum in strata])
    return Sampling(tuple(strata), _shares(sizes, np.sqrt(sizes), min(images, total)))


def plan(
    pilot: Sampling, wrong: np.ndarray, images: int | Literal["auto"], cost: float = 0.0
) -> Sampling:
    """How many images are drawn from each stratum, by the errors of the pilot chips.

    The number of images of a stratum is proportional to its size times the standard deviation of a
    chip's predictions in it (Neyman). Its variance is the pilot's, plus that of one error in all
    draws, so that a stratum without errors is drawn from, too.

    Args:
        pilot: strata, and what the pilot chips were measured on.
        wrong: the part of the labels of each image that each pilot chip gets wrong: (chips, images
            of a pilot chip), in the order of :meth:`Sampling.draw`.
        images: number of images that a chip is to be measured on, at least one a stratum;
            ``auto``: :func:`_best`.
        cost: of programming a chip, in passes of one image, for ``auto``.
    """
    sizes = pilot.sizes
    variances, between = spread(pilot, wrong)
    draws = len(wrong) * np.array(pilot.counts)
    need = sizes * np.sqrt(variances + 1 / (draws + 2))
    if images == "auto":
        images = _best(max(between, LEAST_DEVIATION**2), sizes, need, cost)
    return Sampling(pilot.strata, _shares(sizes, need, images))


def spread(pilot: Sampling, wrong: np.ndarray) -> tuple[np.ndarray, float]:
    """How much predictions of a chip vary within each stratum, and how much chips differ.

    Args:
        pilot: strata, and what the pilot chips were measured on.
        wrong: as in :func:`plan`.

    Returns:
        S_h^2 of each stratum, the mean over chips: (strata,). V_b, the variance between chips'
        accuracies: of their estimates, less what the samples add to it. Both are unbiased, so V_b
        may be negative.
    """
    sizes = pilot.sizes
    parts = np.split(wrong, np.cumsum(pilot.counts)[:-1], axis=1)
    variances = np.array([_within(part) for part in parts])
    estimates = np.stack([part.mean(1) for part in parts], axis=1) @ sizes / sizes.sum()
    sampled = _variance(sizes, variances, np.array(pilot.counts))
    return variances, float(estimates.var(ddof=1)) - sampled


def _within(wrong: np.ndarray) -> float:
    """Variance of a chip's predictions of one stratum, the mean over chips: (chips, images)."""
    if wrong.shape[1] == 1:  # a chip has no variance of its own: a little too large, then
        return float(wrong.var(ddof=1))
    return float(wrong.var(axis=1, ddof=1).mean())


def _variance(sizes: np.ndarray, variances: np.ndarray, counts: np.ndarray) -> float:
    """Of a stratified mean around a chip's accuracy on all images (Cochran, chapter 5).

    Args:
        sizes: images of each stratum, N_h.
        variances: of a prediction in each, S_h^2.
        counts: images drawn from each, n_h.
    """
    return float(((sizes / sizes.sum()) ** 2 * variances * (1 / counts - 1 / sizes)).sum())


def _best(between: float, sizes: np.ndarray, need: np.ndarray, cost: float) -> int:
    """The number of images a chip at which the mean over chips becomes precise at least cost.

    Shown n images, a chip's estimate has the variance V_b + V_w(n): between chips, and of the
    sample, ``sum_h W_h^2 S_h^2 (1 / n_h - 1 / N_h)`` over strata (Cochran, chapter 5) with the
    counts as they are really allocated. Programming it and showing it n images costs c0 + n. The
    best n has the least product of both, as for two-stage samples (Cochran, section 10.6); were
    ``n V_w(n)`` a constant, it would be ``sqrt(c0 n V_w / V_b)``.

    Args:
        between: V_b.
        sizes: images of each stratum, N_h.
        need: N_h S_h.
        cost: c0, in passes of one image.
    """
    total = int(sizes.sum())
    # In steps of 10 %, since 5 % more or fewer images cost less than a thousandth more.
    least = min(FEWEST, total)
    steps = 2 + round(math.log(total / least) / math.log(1.1))
    grid = np.unique(np.geomspace(least, total, steps).round().astype(int))
    products = []
    for images in grid:
        counts = np.array(_shares(sizes, need, int(images)))
        sampled = _variance(sizes, (need / sizes) ** 2, counts)
        products.append((cost + counts.sum()) * (between + sampled))
    return int(grid[int(np.argmin(products))])


def _shares(sizes: np.ndarray, need: np.ndarray, images: int) -> tuple[int, ...]:
    """``images`` in proportion to ``need``; what exceeds a stratum's size goes to the others."""
    full = np.zeros(len(sizes), dtype=bool)
    while True:
        left = images - sizes[full].sum()
        wanted = np.where(full, sizes, left * need / max(need[~full].sum(), 1e-300))
        over = ~full & (wanted > sizes)
        if not over.any():
            return tuple(int(max(1, round(count))) for count in wanted)
        full |= over
