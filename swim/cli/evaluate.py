"""``swim evaluate``."""

import click
import torch

from swim import chips, io, spec
from swim import network as networks
from swim.cli.options import settings_options
from swim.cli.running import FILE, progress_bar, start
from swim.data import DataSet
from swim.devices import Device
from swim.errors import SettingError


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--mask", type=FILE, help="weights to write-verify (.npz)")
@click.option(
    "--verify", type=click.Choice(["none", "all"]), help="an end point, instead of --mask"
)
@click.option("--out", required=True, type=FILE, help="one row a chip, to write (.csv)")
@click.option("--clean", type=FILE, help="also write the unprogrammed network's accuracy (.csv)")
@settings_options(spec.EvaluateJob)
def evaluate(
    model: str,
    data: str,
    mask: str | None,
    verify: str | None,
    out: str,
    clean: str | None,
    settings: spec.EvaluateJob,
) -> None:
    """Program chips by Monte Carlo and measure the accuracy of each."""
    if (mask is None) == (verify is None):
        raise SettingError("give either --mask or --verify")
    place = start(settings)
    network, checkpoint = networks.load(model)
    network.to(place)
    dataset = DataSet(data)
    batches = list(dataset.batches("test", settings.batch_size, settings.test_images))
    if mask is not None:
        chosen = {name: torch.from_numpy(layer) for name, layer in io.load_mask(mask)[0].items()}
    else:
        parameters = dict(network.named_parameters())
        chosen = {
            name: torch.full(parameters[name].shape, verify == "all")
            for name in checkpoint["programmed"]
        }
    with progress_bar(settings.chips, "chip") as bar:
        result = chips.evaluate(
            network,
            batches,
            chosen,
            device=Device(sigma=float(settings.sigma), **settings.device.model_dump()),
            chips=settings.chips,
            seed=settings.seed,
            progress=lambda done: bar.update(),
        )
    io.write_rows(out, chips.COLUMNS, chips.rows(result))
    if clean:
        io.write_rows(clean, ("accuracy", "loss"), [chips.clean(network, batches)])
