"""``swim sensitivity``."""

import json
import time
from typing import Any

import click
import numpy as np
import torch

from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.curvature.control import Control
from swim.curvature.estimate import second_derivative
from swim.curvature.spread import Estimate
from swim.data import random_images
from swim.data.dataset import DataSet
from swim.errors import SettingError
from swim.networks import checkpoint as networks
from swim.runtime import code_digest, digests, files, machine
from swim.runtime.progress_bar import meter
from swim.runtime.unfinished import Unfinished
from swim.settings import ModelSettings, SensitivityJob, section_json

SECONDS = 30.0  # between two writes of the state


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its training images")
@click.option("--out", required=True, type=FILE, help="second derivatives to write (.safetensors)")
@trusted_network
@settings_options(SensitivityJob)
def sensitivity(
    model: str, data: str, out: str, network: str | None, settings: SensitivityJob
) -> None:
    """Second derivative of the loss per weight, summed over the training images.

    The sums so far are kept in a hidden file beside --out, every half minute: after a kill, the
    same command goes on from them.
    """
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    index = _chosen(dataset, settings)
    made_from = {"model": checkpoint["digest"], "data": dataset.digest}
    content = _content(made_from, settings, place, checkpoint)
    unfinished = Unfinished(out, content, seconds=SECONDS)
    control = Control(unfinished, place)
    raw = _estimate(
        loaded.to(place), dataset, index, settings, networks.digital(checkpoint), control
    )
    job = json.loads(section_json(settings, exclude={"accelerator"}))
    record = {**job, "dataset": dataset.name, "images": len(index), "made_from": made_from}
    if raw.relative_error is not None:
        record["relative_error"] = raw.relative_error
    files.save_arrays(out, {name: value.cpu().numpy() for name, value in raw.items()}, record)
    unfinished.remove()


def _chosen(dataset: DataSet, settings: SensitivityJob) -> torch.Tensor:
    """Positions of the training images to take, ascending.

    Raises:
        SettingError: there are fewer than the settings ask for.
    """
    size, images = dataset.size("train"), settings.sensitivity_images
    if images is None:
        return torch.arange(size)
    try:
        return random_images.positions(size, images, settings.seed)
    except SettingError as error:
        raise SettingError(f"sensitivity_images: {error} for training in {dataset.path}") from None


def _estimate(
    model: torch.nn.Module,
    dataset: DataSet,
    index: torch.Tensor,
    settings: SensitivityJob,
    digital: tuple[str, ...],
    control: Control,
) -> Estimate:
    """The pass itself; the log says how far it is, and at its end what it was."""
    earlier, images, name = control.samples, len(index), settings.estimator
    if earlier:
        click.echo(f"going on after {earlier:,} images of an earlier run", err=True)
    began = time.monotonic()
    with meter(name, images, "images", done=earlier, closing=False) as count:
        control.tell = count
        raw = second_derivative(
            model,
            dataset.batches("train", settings.batch_size, index=index),
            estimator=name,
            seed=settings.seed,
            samples=settings.estimator_samples,
            probe=settings.probe,
            noise=settings.curvature_noise,
            digital=digital,
            control=control,
        )
    part = "" if images == dataset.size("train") else f" of {dataset.size('train'):,}"
    before = f", {earlier:,} of them in an earlier run" if earlier else ""
    line = f"{name}: {images:,}{part} images{before}, {time.monotonic() - began:.1f} s"
    if raw.relative_error is not None:
        line += (
            f"; relative error {raw.relative_error:.2g}, an aggregate over all weights from the "
            "spread over batches"
        )
    click.echo(line, err=True)
    return raw


def _content(
    made_from: dict[str, str],
    settings: SensitivityJob,
    place: torch.device,
    checkpoint: dict[str, Any],
) -> str:
    """A digest of everything that the sums depend on."""
    network = ModelSettings.model_validate(checkpoint["model"]).network
    code = code_digest.digest_of(
        "swim.cli.sensitivity", estimator=settings.estimator, network=network
    )
    job = section_json(settings, exclude={"accelerator"})
    versions = [torch.__version__, np.__version__]
    return digests.of_json([made_from, job, machine.runs_on(place), *versions, code])
