"""``swim plot``."""

import click

from swim import figures, tables
from swim.cli.console import FILE


@click.command()
@click.argument("table", type=FILE)
@click.option("--sigma", "sigmas", multiple=True, help="only this one; may be repeated")
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False), help="folder to write to"
)
def plot(table: str, folder: str, sigmas: tuple[str, ...]) -> None:
    """Accuracy against write cycles, a PNG and an SVG for each sigma.

    TABLE is an accuracy.csv.
    """
    for path in figures.draw_all(tables.read_accuracy(table), folder, sigmas):
        click.echo(str(path))
