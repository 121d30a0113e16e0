"""``swim train``."""

from dataclasses import astuple

import click

from swim import io, network, spec
from swim import train as training
from swim.cli.console import FILE, progress_bar
from swim.cli.options import settings_options
from swim.cli.running import start
from swim.data import DataSet


@click.command()
@click.option("--data", required=True, type=FILE, help="prepared data set")
@click.option("--out", required=True, type=FILE, help="checkpoint to write (.safetensors)")
@click.option("--history", type=FILE, help="one row an epoch, to write (.csv)")
@settings_options(spec.TrainJob)
def train(data: str, out: str, history: str | None, settings: spec.TrainJob) -> None:
    """Train a network; its last epoch is the checkpoint."""
    place = start(settings)
    dataset = DataSet(data)

    with progress_bar(settings.training.epochs, "epoch") as bar:

        def report(row: training.Epoch) -> None:
            bar.update()
            click.echo(
                f"epoch {row.epoch}/{settings.training.epochs}: loss {row.loss:.4f}, "
                f"training accuracy {row.accuracy:.2%}{', quantised' if row.quantised else ''}"
            )

        model, rows = training.train(
            settings.model,
            settings.training,
            dataset,
            seed=settings.seed,
            place=place,
            progress=report,
        )
    job = settings.model_dump(mode="json", exclude={"accelerator"})
    network.save(out, model, dataset, {**job, "dataset": dataset.name})
    if history:
        header = ("epoch", "quantised", "learning_rate", "loss", "accuracy")
        io.write_rows(history, header, [astuple(row) for row in rows])
