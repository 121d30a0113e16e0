"""``swim perturb``."""

import json
from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import torch

from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.cli.result_digest import circumstances, compiled_off, levels_of
from swim.cli.weights_file import weights_of
from swim.data.dataset import DataSet
from swim.devices.equal_variance import at_equal_variance
from swim.devices.from_settings import of_settings
from swim.evaluation import perturbation
from swim.networks import checkpoint as networks
from swim.runtime import digests, files, rng
from swim.runtime.finished_rows import Progress, digest_of
from swim.runtime.progress_bar import meter
from swim.settings import PerturbJob, section_json


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its training images")
@click.option("--out", required=True, type=FILE, help="one row a weight, to write (.csv)")
@trusted_network
@settings_options(PerturbJob)
def perturb(model: str, data: str, out: str, network: str | None, settings: PerturbJob) -> None:
    """Change one weight at a time and measure what it costs in loss.

    Around ideal weights, or with --chips on top of the errors of programmed chips.

    Weights are drawn, as many of each layer; each goes up and down by the standard deviation that
    an unverified device leaves. What is finished is kept in a hidden file beside --out: after a
    kill the same command goes on from it.
    """
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    loaded.to(place)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    made_from = {"model": checkpoint["digest"], "data": dataset.digest}
    progress = Progress(out, digest_of(_content(made_from, settings, place, checkpoint)))
    layers = weights_of(model).layers
    held = {name: torch.from_numpy(weight).to(place) for name, weight in layers.items()}
    device = of_settings(settings.device, settings.sigma)
    device = at_equal_variance(device, held)
    sizes = {name: weight.numel() for name, weight in held.items()}
    total = sum(map(len, perturbation.sample(sizes, settings.weights, settings.seed).values()))
    done = len(progress.rows)
    if compiled_off():
        click.echo("compiled passes are off (SWIM_COMPILED=0)")
    if done:
        click.echo(f"going on after {done} weights of an earlier run")
    rows = perturbation.stream(
        loaded,
        _batches(dataset, settings),
        std=device.weight_std_at if device.variation else device.weight_std(False),
        weights=settings.weights,
        seed=settings.seed,
        first_weight=done,
        digital=networks.digital(checkpoint),
        device=device,
        chips=settings.chips,
    )
    with meter("perturb", total, "weights", done=done) as count:
        for row in rows if done < total else ():
            progress.add(row)
            count(1)
    progress.save()
    job = json.loads(section_json(settings, exclude={"accelerator"}))
    origin = {**made_from, **levels_of(settings.device)}
    point = {"sigma": settings.sigma}
    record = {"made_from": origin, "settings": job, "point": point, **compiled_off()}
    files.write_rows(out, perturbation.COLUMNS, progress.rows, record)


def _batches(data: DataSet, settings: PerturbJob) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Training images drawn once, in the order of the file, and their labels."""
    order = rng.generator(settings.seed, "perturb images").permutation(data.size("train"))
    chosen = torch.from_numpy(np.sort(order[: settings.images]))
    return data.batches("train", settings.batch_size, index=chosen)


def _content(
    made_from: dict[str, str],
    settings: PerturbJob,
    place: torch.device,
    checkpoint: dict[str, Any],
) -> Iterator[bytes]:
    """What any weight's row depends on."""
    yield json.dumps(made_from, sort_keys=True).encode()
    yield section_json(settings, exclude={"accelerator"}).encode()
    home = ("swim.evaluation.perturbation", "swim.networks.checkpoint", "swim.data.dataset")
    yield from circumstances(settings.device, place, checkpoint, *home)
