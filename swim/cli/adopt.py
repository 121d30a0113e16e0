"""``swim adopt``."""

from pathlib import Path

import click

from swim.cli.console import FILE
from swim.cli.options import settings_options
from swim.data.dataset import DataSet
from swim.networks import import_weights as adopting
from swim.networks.checkpoint import save
from swim.runtime import digests
from swim.settings import AdoptJob


@click.command()
@click.option("--checkpoint", required=True, type=FILE, help="a state dict, or safetensors")
@click.option("--data", required=True, type=FILE, help="prepared data set")
@click.option("--out", required=True, type=FILE, help="checkpoint to write (.safetensors)")
@settings_options(AdoptJob)
def adopt(checkpoint: str, data: str, out: str, settings: AdoptJob) -> None:
    """Take a trained network of your own as the checkpoint, instead of training one."""
    digests.require_intact(checkpoint)
    dataset = DataSet(data)
    model = adopting.adopt(
        Path(checkpoint),
        settings.model,
        dataset,
        calibration_images=settings.calibration_images,
        report=click.echo,
    )
    job = settings.model_dump(mode="json")
    made_from = {"checkpoint": digests.of_file(checkpoint)}
    record = {**job, "dataset": dataset.name, "made_from": made_from}
    click.echo(str(save(out, model, dataset, record)))
