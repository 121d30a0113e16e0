"""``swim sensitivity``."""

import json

import click

from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.curvature.estimate import second_derivative
from swim.data.dataset import DataSet
from swim.networks import checkpoint as networks
from swim.runtime import digests, files
from swim.runtime.progress_bar import progress_bar
from swim.settings import SensitivityJob, section_json


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its training images")
@click.option("--out", required=True, type=FILE, help="second derivatives to write (.safetensors)")
@trusted_network
@settings_options(SensitivityJob)
def sensitivity(
    model: str, data: str, out: str, network: str | None, settings: SensitivityJob
) -> None:
    """Second derivative of the loss per weight, summed over the training images."""
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    batches = -(-dataset.size("train") // settings.batch_size)
    with progress_bar(batches, "batch") as bar:
        raw = second_derivative(
            loaded.to(place),
            dataset.batches("train", settings.batch_size),
            estimator=settings.estimator,
            seed=settings.seed,
            samples=settings.estimator_samples,
            probe=settings.probe,
            noise=settings.curvature_noise,
            digital=networks.digital(checkpoint),
            progress=lambda done: bar.update(),
        )
    arrays = {name: value.cpu().numpy() for name, value in raw.items()}
    job = json.loads(section_json(settings, exclude={"accelerator"}))
    made_from = {"model": checkpoint["digest"], "data": dataset.digest}
    content = {**job, "dataset": dataset.name, "made_from": made_from}
    if raw.relative_error is not None:
        content["relative_error"] = raw.relative_error
        click.echo(
            f"{settings.estimator}: relative error {raw.relative_error:.2g}, an aggregate over all "
            "weights from the spread over batches",
            err=True,
        )
    files.save_arrays(out, arrays, content)
