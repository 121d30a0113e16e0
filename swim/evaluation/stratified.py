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

PILOT = 16  # chips that are measured on all images, to learn which images are hard
FEWEST = 8  # images a chip where their number is chosen
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


def plan(
    wrong: np.ndarray, losses: np.ndarray, images: int | Literal["auto"], cost: float = 0.0
) -> Sampling:
    """Strata, and how many images are drawn from each, by the errors of the pilot chips.

    Images are ordered by the number of pilot chips that misclassify them, then by their loss
    before programming, which tells how near a decision boundary is. The number of images of a
    stratum is proportional to its size times the standard deviation of a prediction in it
    (Neyman), estimated from the pilot's errors with one error and one correct prediction added, so
    that a stratum without errors is drawn from, too.

    Args:
        wrong: the part of the labels of each image that each pilot chip gets wrong: (pilot, N).
        losses: cross-entropy of an image before programming: (N,).
        images: number of images that a chip is to be measured on, at least one a stratum;
            ``auto``: :func:`_best`.
        cost: of programming a chip, in passes of one image, for ``auto``.
    """
    pilot, total = wrong.shape
    order = np.lexsort((-losses, -wrong.sum(0)))
    ends = sorted({max(1, round(part * total)) for part in _ENDS})
    strata = np.split(order, ends[:-1])
    sizes = np.array([len(stratum) for stratum in strata])
    errors = np.array([wrong[:, stratum].sum() for stratum in strata])
    rate = (errors + 1) / (pilot * sizes + 2)
    need = sizes * np.sqrt(rate * (1 - rate))
    if images == "auto":
        images = _best(wrong.mean(1), sizes, need, cost)
    return Sampling(tuple(strata), _shares(sizes, need, images))


def _best(errors: np.ndarray, sizes: np.ndarray, need: np.ndarray, cost: float) -> int:
    """The number of images a chip at which the mean over chips becomes precise at least cost.

    Shown n images, a chip's estimate has the variance V_b + V_w(n): between chips, and of the
    sample, ``sum_h W_h^2 S_h^2 (1 / n_h - 1 / N_h)`` over strata (Cochran, chapter 5) with the
    counts as they are really allocated. Programming it and showing it n images costs c0 + n. The
    best n has the least product of both, as for two-stage samples (Cochran, section 10.6); were
    ``n V_w(n)`` a constant, it would be ``sqrt(c0 n V_w / V_b)``. Where chips hardly differ, all
    images are best.

    Args:
        errors: the part of all images that each pilot chip gets wrong: (pilot,).
        sizes: images of each stratum, N_h.
        need: N_h S_h.
        cost: c0, in passes of one image.
    """
    total = int(sizes.sum())
    between = float(errors.var(ddof=1))
    # In steps of 10 %, since 5 % more or fewer images cost less than a thousandth more.
    least = min(FEWEST, total)
    steps = 2 + round(math.log(total / least) / math.log(1.1))
    grid = np.unique(np.geomspace(least, total, steps).round().astype(int))
    products = []
    for images in grid:
        counts = np.array(_shares(sizes, need, int(images)))
        within = float(((need / total) ** 2 * (1 / counts - 1 / sizes)).sum())
        products.append((cost + counts.sum()) * (between + within))
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
