"""``swim program``."""

import click
import torch

from swim import chips, digests, io, policies, spec
from swim import network as networks
from swim.cli import chips_file
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.cli.running import start
from swim.cli.second_file import scores_of
from swim.cli.weights_file import weights_of
from swim.data import DataSet
from swim.progress import Progress, digest_of


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--sensitivity", required=True, type=FILE, help="an estimator's file to rank by")
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@trusted_network
@settings_options(spec.ProgramJob)
def program(
    model: str,
    data: str,
    sensitivity: str,
    out: str,
    network: str | None,
    settings: spec.ProgramJob,
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
    policy = policies.of_name(settings.policy, float(settings.budget), scores)
    made_from = {
        "model": checkpoint["digest"],
        "data": dataset.digest,
        "sensitivity": made["digest"],
    }
    parts = chips_file.content(made_from, settings, place, checkpoint, policy=settings.policy)
    rows = chips_file.rows(loaded, batches, policy, settings, Progress(out, digest_of(parts)), kept)
    point = {"method": settings.policy, "fraction": settings.budget}
    io.write_rows(out, chips.COLUMNS, rows, chips_file.record(made_from, settings, **point))
