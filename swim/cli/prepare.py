"""``swim prepare``."""

import click

from swim import prepare as preparing
from swim.cli.console import FILE
from swim.registry import DATASETS


@click.command()
@click.option("--dataset", required=True, help=f"one of: {', '.join(DATASETS)}")
@click.option("--out", required=True, type=FILE, help="file to write (.safetensors)")
@click.option("--data-root", default="data", show_default=True, help="folder of the original files")
@click.option("--download/--no-download", default=True, help="whether missing files may be fetched")
def prepare(dataset: str, out: str, data_root: str, download: bool) -> None:
    """Turn a data set into one file of arrays that later steps map into memory."""
    preparing.prepare(dataset, out, data_root=data_root, download=download)
