"""``swim program``."""

import click
import torch

from swim.cli import chip_rows
from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.inputs import scores_of
from swim.cli.options import settings_options
from swim.cli.weights_file import weights_of
from swim.data.dataset import DataSet
from swim.evaluation import monte_carlo
from swim.networks import checkpoint as networks
from swim.programming.lookup import of_name
from swim.runtime import digests, files
from swim.runtime.finished_rows import Progress, digest_of
from swim.settings import ProgramJob


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--sensitivity", required=True, type=FILE, help="an estimator's file to rank by")
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@trusted_network
@settings_options(ProgramJob)
def program(
    model: str,
    data: str,
    sensitivity: str,
    out: str,
    network: str | None,
    settings: ProgramJob,
) -> None:
    """Program chips by a policy that reads their devices, within a budget of cycles.

    Finished chips are kept in a hidden file beside --out: after a kill, or with more chips or a
    finer precision, the same command goes on from them.
    """
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    loaded.to(place)
    kept = networks.digital(checkpoint)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    batches = list(dataset.batches("test", settings.batch_size, settings.test_images))
    ranked, made = scores_of(sensitivity, weights_of(model))
    scores = {name: torch.from_numpy(h) for name, h in ranked.items()}
    policy = of_name(settings.policy, float(settings.budget), scores)
    made_from = {
        "model": checkpoint["digest"],
        "data": dataset.digest,
        "sensitivity": made["digest"],
    }
    parts = chip_rows.content(made_from, settings, place, checkpoint, policy=settings.policy)
    progress, name = Progress(out, digest_of(parts)), f"{settings.policy} {settings.budget}"
    rows = chip_rows.rows(loaded, batches, policy, settings, progress, kept, name)
    point = {"method": settings.policy, "fraction": settings.budget}
    files.write_rows(out, monte_carlo.COLUMNS, rows, chip_rows.record(made_from, settings, **point))
