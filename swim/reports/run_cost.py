"""What a run costs in core-hours, wall time, memory and disk: arithmetic, from measured parts.

A part's seconds are measured (:mod:`swim.evaluation.part_times`), counts are those of the settings,
and their product is computed here. The number of chips under a precision depends on how much chips
differ, which is not known before a run: it is between ``chips`` and ``max_chips``, and computed for
an assumed spread.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swim.evaluation.stopping import BLOCK
from swim.evaluation.stratified import FEWEST, LEAST_DEVIATION, PILOT, PILOT_IMAGES
from swim.settings import EvaluateJob, TrainingSettings

Times = Mapping[str, float]
_Z = 1.959964  # 97.5 % of a standard normal
# Assumed, since they hardly matter: seconds of a job that runs no network, beside those of reading
# image files (an image) and of ranking weights (a weight).
LIGHT_SECONDS, DECODED_IMAGE, RANKED_WEIGHT = 3.0, 1e-3, 3e-7
# How much faster a step of training is assumed to be on twice the threads, where a machine has
# too few to measure it. ResNet-18 was 1.9 times as fast on two as on one.
DOUBLING = 1.8


@dataclass(frozen=True)
class Spread:
    """How much accuracies are assumed to vary.

    Attributes:
        chip: standard deviation of accuracy between chips, in [0, 1].
        image: standard deviation of one sampled image's outcome within its stratum. LeNet has 0.077
            at sigma 0.1 and 0.2 (from benchmarks/results/precision-lenet.md); 0.2 is cautious.
    """

    chip: float = 0.02
    image: float = 0.2

    def variance(self, images: float, total: int) -> float:
        """Of a chip's estimate from a sample of so many of all images."""
        return self.chip**2 + self.image**2 * max(1 / images - 1 / total, 0.0)


@dataclass(frozen=True)
class Sample:
    """How many chips a point takes, and on how many images each is measured behind the pilot."""

    chips: int
    images: int


def best_images(cost: float, total: int, spread: Spread) -> int:
    """Images a chip with the least ``(cost + n)(V_b + V_w(n))``, as ``images_per_chip: auto``.

    Args:
        cost: of programming a chip, in passes of one image.
        total: number of test images.
        spread: gives both variances; strata are not known before a run.
    """
    spread = Spread(max(spread.chip, LEAST_DEVIATION), spread.image)
    grid = np.unique(np.geomspace(min(FEWEST, total), total, 200).round().astype(int))
    products = [(cost + n) * spread.variance(n, total) for n in grid.tolist()]
    return int(grid[int(np.argmin(products))])


def sample(
    job: EvaluateJob, total: int, cost: float, spread: Spread, reference: int | None = None
) -> Sample:
    """How many chips and images a point takes at an assumed spread.

    Args:
        job: chips, precision, largest number of chips and images a chip.
        total: number of test images.
        cost: of programming a chip, in passes of one image.
        spread: of accuracies.
        reference: where given, the half-width of so many chips on all images is enough, if it is
            wider than the precision.
    """
    asked = total if job.images_per_chip is None else job.images_per_chip
    images = best_images(cost, total, spread) if asked == "auto" else min(asked, total)
    if job.precision is None:
        return Sample(job.chips, images)
    half = job.precision
    if reference:
        half = max(half, _Z * spread.chip / math.sqrt(reference))
    needed = _Z**2 * spread.variance(images, total) / half**2
    blocks = max(0, math.ceil((needed - job.chips) / BLOCK))
    return Sample(min(job.chips + blocks * BLOCK, job.max_chips), images)


def training_seconds(
    settings: TrainingSettings, quantised: bool, images: int, times: Times, threads: int
) -> float:
    """Seconds of training: steps of each kind, times what one takes.

    Args:
        settings: of training.
        quantised: whether the network has bits.
        images: training images.
        times: ``start``, ``step``, ``quantised_step``, and ``threads``, with which these were
            measured.
        threads: of the run; where it has more, each doubling is assumed to make a step
            :data:`DOUBLING` times as fast.
    """
    steps = math.ceil(images / settings.batch_size)
    last = settings.quantised_epochs if quantised else 0
    first = settings.epochs - last
    faster: float = DOUBLING ** math.log2(threads / times["threads"])
    each = first * times["step"] + last * times["quantised_step"]
    return times["start"] + steps * each / faster


def derivatives_seconds(images: int, times: Times) -> float:
    """Seconds of second derivatives: ``start``, ``offset``, and ``image`` for each image."""
    return times["start"] + times["offset"] + images * times["image"]


def chips_seconds(sampled: Sample, total: int, times: Times, clean: bool = False) -> float:
    """Seconds of one point.

    Chips run in groups, a last group as long as a full one. With a sample of images, the network
    before programming is measured on all, and the pilot's chips on samples of their own size.

    Args:
        sampled: chips and images.
        total: number of test images.
        times: ``start``, ``setup``, ``group``, ``chip``, ``whole``, ``offset`` and ``sampled``.
        clean: whether the network before programming is measured, too.
    """
    group = int(times["group"])
    chips = group * math.ceil(sampled.chips / group)
    on_all = int(clean)
    if sampled.images < total:
        on_all += 1
        pilot = min(PILOT, chips)
        shown = pilot * min(PILOT_IMAGES, total) + (chips - pilot) * sampled.images
        passes = chips * times["offset"] + shown * times["sampled"]
    else:
        on_all += chips
        passes = 0.0
    passes += on_all * total * times["whole"]
    return times["start"] + times["setup"] + chips * times["chip"] + passes


def on_device_chip(budget: float, times: Times) -> float:
    """Seconds of programming a chip that is trained in place within a budget of NWC."""
    return times["write"] + int(budget * times["steps"]) * times["step"]


def perturbation_seconds(weights: int, images: int, chips: int, times: Times) -> float:
    """Seconds of the loss that changing single weights costs, around so many chips."""
    return times["start"] + weights * images * max(chips, 1) * times["weight_image"]


@dataclass(frozen=True)
class Cost:
    """What a job costs.

    Attributes:
        job: has ``experiment``, ``step``, ``rule``, ``output``, ``needs`` and ``threads``.
        seconds: at least, as assumed, and at most.
        memory: peak in bytes; NaN where it is not known.
        disk: bytes of what it makes.
    """

    job: Any
    seconds: tuple[float, float, float]
    memory: float = math.nan
    disk: float = 0.0


def core_hours(costs: Sequence[Cost], case: int = 1) -> float:
    """Seconds times threads, of all jobs.

    Args:
        costs: of jobs.
        case: 0 at least, 1 as assumed, 2 at most.
    """
    return sum((cost.seconds[case] * cost.job.threads for cost in costs), 0.0) / 3600


def critical_path(costs: Sequence[Cost], case: int = 1) -> list[Cost]:
    """The longest chain of jobs that wait for each other, from the first on.

    Args:
        costs: of jobs, each after those that it needs.
        case: as for :func:`core_hours`.
    """
    ends: dict[str, tuple[float, Cost, str | None]] = {}
    for cost in costs:
        before = max(
            (need for need in cost.job.needs if need in ends),
            key=lambda n: ends[n][0],
            default=None,
        )
        began = ends[before][0] if before is not None else 0.0
        ends[cost.job.output] = (began + cost.seconds[case], cost, before)
    last = max(ends, key=lambda output: ends[output][0], default=None)
    chain = []
    while last is not None:
        _, cost, last = ends[last]
        chain.append(cost)
    return chain[::-1]


def wall_seconds(costs: Sequence[Cost], cores: int, case: int = 1) -> float:
    """Seconds from start to end on so many cores, without Snakemake's own time.

    Of the jobs whose inputs are there, the one with the longest chain behind it starts first, as
    soon as its threads are free (Graham's list scheduling, 10.1137/0117039). A job with more
    threads than there are cores has all of them.

    Args:
        costs: of jobs, each after those that it needs.
        cores: at least 1.
        case: as for :func:`core_hours`.
    """
    by_output = {cost.job.output: cost for cost in costs}
    waits = {out: {n for n in c.job.needs if n in by_output} for out, c in by_output.items()}
    threads = {out: min(c.job.threads, cores) for out, c in by_output.items()}
    behind = _behind(costs, waits, case)
    # Sorted by the chain behind each job, then by its place in the list.
    rank = {out: (-behind[out], n) for n, out in enumerate(waits)}
    waiting: dict[str, list[str]] = {}
    for output, needs in waits.items():
        for need in needs:
            waiting.setdefault(need, []).append(output)
    ready = sorted((*rank[output], output) for output in waits if not waits[output])
    running: list[tuple[float, int, str]] = []
    now, free = 0.0, cores
    while ready or running:
        held = []
        while ready:
            first, place, output = heapq.heappop(ready)
            if threads[output] > free:
                held.append((first, place, output))
                continue
            free -= threads[output]
            heapq.heappush(running, (now + by_output[output].seconds[case], place, output))
        ready = held  # in order, which is a heap
        now, _, done = heapq.heappop(running)
        free += threads[done]
        for output in waiting.get(done, ()):
            waits[output].discard(done)
            if not waits[output]:
                heapq.heappush(ready, (*rank[output], output))
    return now


def _behind(costs: Sequence[Cost], waits: Mapping[str, set[str]], case: int) -> dict[str, float]:
    """Seconds of the longest chain that begins with each job, the job included."""
    after: dict[str, float] = {}
    lengths = {}
    for cost in reversed(costs):
        output = cost.job.output
        lengths[output] = after.get(output, 0.0) + cost.seconds[case]
        for need in waits[output]:
            after[need] = max(after.get(need, 0.0), lengths[output])
    return lengths
