"""``swim evaluate``."""

from collections.abc import Iterator

import click
import numpy as np
import torch

from swim.cli import chip_rows
from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.mask_file import mask_of
from swim.cli.options import settings_options
from swim.cli.weights_file import weights_of
from swim.data.dataset import DataSet
from swim.devices.equal_variance import relative_variance
from swim.devices.from_settings import of_settings
from swim.errors import SettingError
from swim.evaluation import monte_carlo
from swim.networks import checkpoint as networks
from swim.programming.mask import VerifyMask
from swim.runtime import digests, files
from swim.runtime.finished_rows import Progress, digest_of
from swim.settings import EvaluateJob

# variance: mean over weights, of devices of one sigma; sigma_factor: what brought it there.
CLEAN = ("accuracy", "loss", "variance", "sigma_factor")


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--mask", type=FILE, help="weights to write-verify (.npz)")
@click.option(
    "--verify", type=click.Choice(["none", "all"]), help="an end point, instead of --mask"
)
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@click.option("--clean", type=FILE, help="also write the unprogrammed network's accuracy (.csv)")
@trusted_network
@settings_options(EvaluateJob)
def evaluate(
    model: str,
    data: str,
    mask: str | None,
    verify: str | None,
    out: str,
    clean: str | None,
    network: str | None,
    settings: EvaluateJob,
) -> None:
    """Program chips by Monte Carlo and measure the accuracy of each.

    Finished chips are kept in a hidden file beside --out: after a kill, or with more chips or a
    finer precision, the same command goes on from them.

    SWIM_COMPILED=0 turns compiled passes off (`swim --help` has more).
    """
    if (mask is None) == (verify is None):
        raise SettingError("give either --mask or --verify")
    place = start(settings)
    loaded, checkpoint = networks.load(model, network)
    loaded.to(place)
    dataset = DataSet(data)
    digests.require_origin(model, checkpoint, data=(data, dataset.digest))
    batches = list(dataset.batches("test", settings.batch_size, settings.test_images))
    made_from = {"model": checkpoint["digest"], "data": dataset.digest}
    weights = weights_of(model)
    if mask is not None:
        layers, made = mask_of(mask, model, checkpoint["digest"], weights.shapes)
        made_from["mask"] = made["digest"]
        point = {key: made[key] for key in ("method", "fraction") if key in made}
        chosen = {name: torch.from_numpy(layer) for name, layer in layers.items()}
    else:
        point = {"method": str(verify), "fraction": "1" if verify == "all" else "0"}
        chosen = {n: torch.full(shape, verify == "all") for n, shape in weights.shapes.items()}
    parts = chip_rows.content(made_from, settings, place, checkpoint)
    digest = digest_of([*parts, *_bytes(chosen)])
    kept, policy = networks.digital(checkpoint), VerifyMask(chosen)
    name = " ".join([point.get("method", "mask"), point.get("fraction", "")]).strip()
    rows = chip_rows.rows(loaded, batches, policy, settings, Progress(out, digest), kept, name)
    files.write_rows(out, monte_carlo.COLUMNS, rows, chip_rows.record(made_from, settings, **point))
    if clean:
        found = monte_carlo.clean(loaded, batches, digital=kept, arithmetic=settings.arithmetic)
        row = (*found, *_variance(weights.layers, settings))
        record = chip_rows.record(made_from, settings, method="clean", fraction="")
        files.write_rows(clean, CLEAN, [row], record)


def _variance(weights: dict[str, np.ndarray], settings: EvaluateJob) -> tuple[float, float]:
    """The last two entries of :data:`CLEAN`."""
    device = of_settings(settings.device, settings.sigma)
    targets = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    variance = relative_variance(device, targets)
    if device.equal_variance:
        return 1.0, variance**-0.5
    return variance, 1.0


def _bytes(mask: dict[str, torch.Tensor]) -> Iterator[bytes]:
    for name, layer in mask.items():
        yield name.encode()
        yield layer.numpy().tobytes()
