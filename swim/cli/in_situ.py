"""``swim in-situ``."""

import math
from collections.abc import Sequence

import click
import torch

from swim.cli import chip_rows
from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.data.dataset import DataSet
from swim.evaluation import monte_carlo
from swim.networks import checkpoint as networks
from swim.programming.in_situ import InSitu
from swim.runtime import digests, files, rng
from swim.runtime.finished_rows import Progress, digest_of
from swim.settings import InSituJob


class _Steps(Sequence[tuple[torch.Tensor, torch.Tensor]]):
    """Training batches in a random order of the images, read when a step asks for them."""

    def __init__(self, data: DataSet, size: int, seed: int):
        generator = rng.generator(seed, "in-situ")
        self._order = torch.from_numpy(generator.permutation(data.size("train")))
        self._data, self._size = data, size

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._size)

    def __getitem__(self, step):  # type: ignore[no-untyped-def]
        index = self._order[step * self._size : (step + 1) * self._size]
        return self._data.inputs("train", index), self._data.labels("train")[index]


@click.command("in-situ")
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set")
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@trusted_network
@settings_options(InSituJob)
def in_situ(model: str, data: str, out: str, network: str | None, settings: InSituJob) -> None:
    """Train each chip on the device, within a budget of write cycles: the baseline.

    Every step writes every device once, with a fresh error. Finished chips are kept in a hidden
    file beside --out: after a kill the same command goes on from them.
    """
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    loaded.to(place)
    kept = networks.digital(checkpoint)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    batches = list(dataset.batches("test", settings.batch_size, settings.test_images))
    chosen = settings.in_situ
    policy = InSitu(
        loaded,
        _Steps(dataset, chosen.batch_size, settings.seed),
        float(settings.budget),
        learning_rate=chosen.learning_rate,
        momentum=chosen.momentum,
        weight_bits=checkpoint["model"]["weight_bits"],
        digital=kept,
    )
    made_from = {"model": checkpoint["digest"], "data": dataset.digest}
    digest = digest_of(
        chip_rows.content(made_from, settings, place, checkpoint, "swim.programming.in_situ")
    )
    progress, name = Progress(out, digest), f"in_situ {settings.budget}"
    rows = chip_rows.rows(loaded, batches, policy, settings, progress, kept, name)
    point = {"method": "in_situ", "fraction": settings.budget}
    files.write_rows(out, monte_carlo.COLUMNS, rows, chip_rows.record(made_from, settings, **point))
