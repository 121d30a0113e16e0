"""``swim export``."""

from pathlib import Path

import click

from swim.cli.accelerator import start
from swim.cli.console import FILE, trusted_network
from swim.cli.options import settings_options
from swim.data.dataset import DataSet
from swim.evaluation import monte_carlo
from swim.networks import checkpoint as networks
from swim.networks.effective_weights import MARK
from swim.networks.integer_weights import pack, unpack
from swim.runtime import digests, files
from swim.settings import Compute

_IMAGES = 500  # at once


@click.command()
@click.option("--model", required=True, type=FILE, help="checkpoint")
@click.option("--data", required=True, type=FILE, help="prepared data set; its test images")
@click.option("--out", required=True, type=FILE, help="file to write (.safetensors)")
@trusted_network
@settings_options(Compute)
def export(model: str, data: str, out: str, network: str | None, settings: Compute) -> None:
    """Store a checkpoint with its quantised weights as integers, to keep or to hand on.

    The file is read wherever a checkpoint is, and by `checkpoint:` of an experiment, with the same
    weights bit for bit. It also says how the network was trained, and its accuracy on the test
    images without programming errors, which is measured here. A network whose weights are float is
    stored whole.
    """
    place = start(settings)
    loaded, record = networks.load(model, network)
    dataset = DataSet(data)
    digests.require_origin(model, record, data=(data, dataset.digest))
    batches = list(dataset.batches("test", _IMAGES, None))
    kept = networks.digital(record)
    accuracy, _ = monte_carlo.clean(loaded.to(place), batches, digital=kept)
    arrays, _ = files.load_arrays(model)
    packed, integers = pack(unpack(arrays, record), record)
    stored = {
        **record,
        "integers": integers,
        "clean": {"accuracy": accuracy, "images": dataset.size("test")},
        "normalisation": {"mean": list(dataset.mean), "std": list(dataset.std)},
        "made_from": {**record["made_from"], "model": record["digest"]},
    }
    files.save_arrays(out, packed, stored)
    stay = [name for name in record["programmed"] if not {name, MARK + name} & set(integers)]
    click.echo(
        f"{out}: {Path(out).stat().st_size:,} bytes of {Path(model).stat().st_size:,}; "
        f"{len(integers)} of {len(record['programmed'])} weights as integers"
        + (f", float32: {', '.join(stay)}" if stay else "")
    )
    click.echo(f"accuracy on {dataset.size('test')} test images: {accuracy:.2%}")
