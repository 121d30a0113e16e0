"""``swim plot``."""

import click

from swim import cycles, cycles_figure, figures, tables
from swim.cli.console import FILE

CYCLES = "cycles"


@click.command()
@click.argument("table", type=FILE)
@click.option("--sigma", "sigmas", multiple=True, help="only this one; may be repeated")
@click.option(
    "--figure",
    "names",
    multiple=True,
    type=click.Choice([*figures.FIGURES, CYCLES]),
    help="only this one; may be repeated; `cycles` alone is of a cycles_to_accuracy.csv",
)
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False), help="folder to write to"
)
def plot(table: str, folder: str, sigmas: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Accuracy against write cycles, a PNG and an SVG for each sigma.

    TABLE is an accuracy.csv, which is drawn against NWC, against NWC on a logarithmic axis and,
    with policies, against reads; or a cycles_to_accuracy.csv, whose methods become bars.
    """
    if set(names) == {CYCLES}:
        made = cycles_figure.draw_all(cycles.read(table), folder, sigmas)
    else:
        names = tuple(name for name in names if name != CYCLES)
        made = figures.draw_all(tables.read_accuracy(table), folder, sigmas, names)
    for path in made:
        click.echo(str(path))
