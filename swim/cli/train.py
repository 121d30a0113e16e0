"""``swim train``."""

import json
from collections.abc import Iterator
from dataclasses import astuple

import click
import torch

from swim.cli.accelerator import say_bfloat16, start
from swim.cli.console import FILE
from swim.cli.options import settings_options
from swim.data.dataset import DataSet
from swim.networks import checkpoint, training
from swim.runtime import code_digest, files, machine
from swim.runtime.finished_rows import digest_of
from swim.runtime.progress_bar import progress_bar
from swim.runtime.unfinished import Unfinished
from swim.settings import TrainJob, section_json


@click.command()
@click.option("--data", required=True, type=FILE, help="prepared data set")
@click.option("--out", required=True, type=FILE, help="checkpoint to write (.safetensors)")
@click.option("--history", type=FILE, help="one row an epoch, to write (.csv)")
@settings_options(TrainJob)
def train(data: str, out: str, history: str | None, settings: TrainJob) -> None:
    """Train a network; its last epoch is the checkpoint.

    The state is kept in a hidden file beside --out, once a minute: after a kill, the same command
    goes on from it.
    """
    place = start(settings)
    if settings.training.arithmetic == "bfloat16":
        say_bfloat16(place)
    dataset = DataSet(data)
    unfinished = Unfinished(out, digest_of(_content(dataset, settings, place)))

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
            unfinished=unfinished,
        )
    job = settings.model_dump(mode="json", exclude={"accelerator"})
    click.echo(str(checkpoint.save(out, model, dataset, {**job, "dataset": dataset.name})))
    if history:
        header = ("epoch", "quantised", "learning_rate", "loss", "accuracy")
        record = {"made_from": {"data": dataset.digest}}
        files.write_rows(history, header, [astuple(row) for row in rows], record)
    unfinished.remove()


def _content(data: DataSet, settings: TrainJob, place: torch.device) -> Iterator[bytes]:
    """Everything that a state of training depends on."""
    yield data.digest.encode()
    yield section_json(settings, exclude={"accelerator"}).encode()
    code = code_digest.digest_of("swim.networks.training", network=settings.model.network)
    yield json.dumps([machine.runs_on(place), torch.__version__, code]).encode()
