"""The cost of a run in words: a table by step, the wall time, and what was assumed."""

import math
from collections.abc import Iterable, Sequence

from swim.reports.run_cost import (
    DECODED_IMAGE,
    LIGHT_SECONDS,
    RANKED_WEIGHT,
    Cost,
    Spread,
    core_hours,
    critical_path,
    wall_seconds,
)

HEADS = ("experiment", "step", "jobs", "core-hours", "at least", "at most", "longest job",
         "memory a job", "disk")  # fmt: skip
NUMBERS = HEADS[2:]
BUSY = 0.7  # of a core; a process that computes alone has more


def rows(costs: Sequence[Cost], steps: Iterable[str]) -> list[list[str]]:
    """A row for each experiment and step, and the sum of each column that has one.

    Args:
        costs: of jobs.
        steps: names of steps, in their order.
    """
    found = []
    for name in dict.fromkeys(cost.job.experiment for cost in costs):
        for step in steps:
            own = [c for c in costs if (c.job.experiment, c.job.step) == (name, step)]
            if own:
                found.append([name, step, *_cells(own)])
    return [*found, ["all", "", *_cells(costs)]]


def _cells(costs: Sequence[Cost]) -> list[str]:
    least, assumed, most = (core_hours(costs, case) for case in range(3))
    memory = max((cost.memory for cost in costs if not math.isnan(cost.memory)), default=math.nan)
    return [
        f"{len(costs):,}",
        hours(assumed),
        hours(least),
        hours(most),
        duration(max(cost.seconds[1] for cost in costs)),
        size(memory),
        size(sum(cost.disk for cost in costs)),
    ]


def hours(value: float) -> str:
    """A number of hours with two or three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """A time in hours, minutes or seconds, in which it is two at least."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{hours(seconds / length)} {unit}"
    return f"{hours(seconds)} s"


def size(count: float) -> str:
    """Bytes as a user reads them; ``?`` where they are not known."""
    if math.isnan(count):
        return "?"
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{hours(count / length)} {unit}"
    return f"{hours(count / 1e3)} kB"


def summary(costs: Sequence[Cost], cores: int) -> str:
    """Core-hours and wall time in one line."""
    time = duration(wall_seconds(costs, cores))
    return f"{hours(core_hours(costs))} core-hours, at least {time} on {_cores(cores)}"


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"


def wall(costs: Sequence[Cost], cores: int) -> list[str]:
    """The wall time on some cores, and the chain of jobs that it cannot be shorter than."""
    least, assumed, most = (duration(wall_seconds(costs, cores, case)) for case in range(3))
    chain = critical_path(costs)
    length = sum(cost.seconds[1] for cost in chain)
    shown = ", ".join(
        f"{cost.job.rule} {duration(cost.seconds[1])}"
        for cost in chain
        if cost.seconds[1] > 0.02 * length
    )
    between = "" if least == most else f" ({least} to {most})"
    return [
        f"Wall time on {_cores(cores)}: at least {assumed}{between}, if nothing else runs.",
        f"Longest chain of jobs that wait for each other: {duration(length)}, "
        f"{chain[0].job.experiment}: {shown}. More cores make no chain shorter.",
    ]


def assumptions(spread: Spread, precise: bool) -> list[str]:
    """What the numbers rest on.

    Args:
        spread: assumed, of accuracies.
        precise: whether a point stops at a precision.
    """
    lines = [
        "Measured: seconds and memory of training steps, second derivatives, programming and "
        "passes, on synthetic images and an untrained network. Computed: their products with the "
        "numbers of the settings. A job's memory is without files that are mapped into it.",
        f"Assumed: {LIGHT_SECONDS:g} s for each job that runs no network, and beside it "
        f"{1e6 * RANKED_WEIGHT:g} s to rank a million weights, {1e3 * DECODED_IMAGE:g} ms to read "
        "an image file; no downloads. Results that are there already are not subtracted.",
    ]
    if precise:
        lines.append(
            "With a precision, the number of chips depends on how much chips differ. Core-hours "
            f"are for a standard deviation of {100 * spread.chip:g} points between chips at every "
            f"point of a curve (and {100 * spread.image:g} for an image within its stratum); "
            "`at least` is for `chips`, `at most` for `max_chips` at every point."
        )
    return lines


def busy(cores: Iterable[float]) -> list[str]:
    """A warning where the processor had other work while parts were measured.

    Args:
        cores: processor time over time of each part.
    """
    lowest = min(cores, default=1.0)
    if lowest >= BUSY:
        return []
    return [
        f"Warning: while parts were measured, one had {lowest:.0%} of a core, since other work ran "
        "on this machine: times are too long. On an idle machine, measure again: --measure"
    ]
