"""``swim prepare``."""

import os

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.data import prepare as preparing
from swim.errors import SettingError
from swim.settings import validation
from swim.settings.registry import DATASETS


@click.command()
@click.option(
    "--dataset", required=True, help=f"one of: {', '.join(DATASETS)}; or, with --own, any"
)
@click.option(
    "--own",
    help='images of your own, as JSON, such as {"file": "images.npz"} or {"folder": "images"}',
)
@click.option("--out", required=True, type=FILE, help="file to write (.safetensors)")
@click.option("--data-root", default="data", show_default=True, help="folder of the original files")
@click.option("--download/--no-download", default=True, help="whether missing files may be fetched")
def prepare(dataset: str, own: str | None, out: str, data_root: str, download: bool) -> None:
    """Turn a data set into one file of arrays that later steps map into memory."""
    images = (
        None if own is None else validation.parse(settings.OwnDataSet, json_object(own), "--own")
    )
    if images and images.file and os.path.realpath(images.file) == os.path.realpath(out):
        raise SettingError(f"--out would write over the images, {out}; name another file to write")
    preparing.prepare(dataset, out, own=images, data_root=data_root, download=download)
