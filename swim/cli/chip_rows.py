"""The rows of a chips file: one a programmed accelerator, gone on with after a kill."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import torch

from swim.cli.accelerator import say_bfloat16
from swim.cli.result_digest import circumstances, compiled_off, levels_of
from swim.devices.from_settings import of_settings
from swim.evaluation import monte_carlo, stopping
from swim.networks.isolation import device_of
from swim.programming.chip import Policy
from swim.runtime.finished_rows import Progress
from swim.runtime.progress_bar import meter
from swim.settings import EvaluateJob, section_json

Batches = list[tuple[torch.Tensor, torch.Tensor]]
# What decides how many chips there are, not what each is; and where it runs, which is recorded
# as what was found there.
_ELSEWHERE = {"chips", "precision", "max_chips", "accelerator"}
_HOME = ("swim.evaluation.monte_carlo", "swim.networks.checkpoint", "swim.data.dataset")


def content(
    made_from: Mapping[str, str],
    settings: EvaluateJob,
    place: torch.device,
    checkpoint: dict[str, Any],
    *home: str,
    **chosen: str,
) -> Iterator[bytes]:
    """What any chip's row depends on.

    ``made_from`` has the digests of the files that are read. ``home`` and ``chosen`` are what
    evaluation runs beside: modules, and what is chosen of the registry, kind -> name.
    """
    yield json.dumps(made_from, sort_keys=True).encode()
    yield section_json(settings, exclude=_ELSEWHERE).encode()
    yield from circumstances(settings.device, place, checkpoint, *_HOME, *home, **chosen)


def record(made_from: Mapping[str, str], settings: EvaluateJob, **point: str) -> dict[str, Any]:
    """What a chips file carries beside it; also that compiled passes are off, if they are.

    Args:
        made_from: digests of the files that are read.
        settings: the job's.
        point: ``method`` and ``fraction``, where they are known.
    """
    job = json.loads(section_json(settings, exclude={"accelerator"}))
    place = {"sigma": settings.sigma, **point}
    return {
        "made_from": {**made_from, **levels_of(settings.device)},
        "settings": job,
        "point": place,
        **compiled_off(),
    }


def _say_how(network: torch.nn.Module, settings: EvaluateJob, progress: Progress) -> None:
    if progress.rows:
        click.echo(f"going on after {len(progress.rows)} chips of an earlier run")
    if compiled_off():
        click.echo("compiled passes are off (SWIM_COMPILED=0)")
    if settings.arithmetic == "bfloat16":
        say_bfloat16(device_of(network))


def rows(
    network: torch.nn.Module,
    batches: Batches,
    policy: Policy,
    settings: EvaluateJob,
    progress: Progress,
    digital: Sequence[str] = (),
    name: str = "chips",
) -> list[Any]:
    """The rows of as many chips as the settings call for.

    A terminal has a bar, a log a line every ten seconds: chips done, the mean accuracy with its
    interval, rate and time left. The last line is the result; a warning follows where the
    precision that was asked for was not reached.

    Args:
        network: the checkpoint's.
        batches: test images.
        policy: the programming policy.
        settings: of the job.
        progress: finished rows.
        digital: names and patterns of weights that no device holds.
        name: of the point, for these lines.
    """

    def needed() -> int:
        return stopping.chips_needed(
            [row[1] for row in progress.rows],
            chips=settings.chips,
            precision=settings.precision,
            most=settings.max_chips,
        )

    _say_how(network, settings, progress)
    device = of_settings(settings.device, settings.sigma)
    done, goal = len(progress.rows), needed()
    made = monte_carlo.stream(
        network,
        batches,
        policy,
        device=device,
        seed=settings.seed,
        first_chip=done,
        images=settings.images_per_chip,
        arithmetic=settings.arithmetic,
        digital=digital,
        report=lambda found: click.echo(found.line),
    )
    began, name = time.monotonic(), f"{name}, sigma {settings.sigma}"
    with meter(
        name, goal, "chips", min(done, goal), closing=False, beside=lambda: _mean(progress.rows)
    ) as count:
        while len(progress.rows) < goal:
            progress.goal = goal
            progress.add(next(made))
            count(1)
            if len(progress.rows) == goal:
                goal = count.total = needed()
    progress.goal = goal
    progress.save()
    found = progress.rows[:goal]
    _tell(name, settings, found, min(done, goal), time.monotonic() - began)
    return found


def _mean(rows: Sequence[Sequence[Any]]) -> str:
    """Mean accuracy over chips with its 95 % interval, in per cent."""
    values = [100 * row[1] for row in rows]
    half = stopping.half_width(values)
    known = "" if math.isnan(half) else f" ± {half:.2g}"
    return f"accuracy {sum(values) / len(values):.2f}{known} %"


def _tell(
    name: str, settings: EvaluateJob, rows: Sequence[Sequence[Any]], earlier: int, seconds: float
) -> None:
    """The result in a line, and a warning where the precision was not reached."""
    part = f", {earlier:,} of them of an earlier run" if earlier else ""
    click.echo(f"{name}: {_mean(rows)}, {len(rows):,} chips{part}, {seconds:.1f} s", err=True)
    half = stopping.half_width([row[1] for row in rows])
    if settings.precision is not None and half > settings.precision:
        click.echo(
            f"Warning: the precision of {settings.precision:g} was not reached: the 95 % interval "
            f"of the mean is ± {half:.2g} after max_chips = {settings.max_chips:,} chips. Raise "
            "max_chips or precision, and run again: the chips that are there are kept",
            err=True,
        )
