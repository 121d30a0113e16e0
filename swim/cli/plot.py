"""``swim plot``."""

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import figure_options
from swim.errors import SettingError
from swim.reports import accuracy_tables, cycles_to_accuracy
from swim.reports.plots import accuracy_figure, cycles_figure, learning_figure, spending_figure

CYCLES, WHERE, LEARNING = "cycles", "where", "learning"  # of tables of their own


@click.command()
@click.argument("table", type=FILE)
@click.option("--sigma", "sigmas", multiple=True, help="only this one; may be repeated")
@click.option(
    "--figure",
    "names",
    multiple=True,
    type=click.Choice([*accuracy_figure.FIGURES, CYCLES, WHERE, LEARNING]),
    help="only this one; may be repeated; cycles, where and learning are of tables of their own",
)
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False), help="folder to write to"
)
@figure_options
def plot(
    table: str,
    folder: str,
    sigmas: tuple[str, ...],
    names: tuple[str, ...],
    job: settings.PlotJob,
) -> None:
    """Accuracy against write cycles: a PNG, an SVG and a PDF for each sigma.

    TABLE is an accuracy.csv, which is drawn against NWC, against NWC on a logarithmic axis and,
    with policies, against reads; or, with `--figure cycles`, a cycles_to_accuracy.csv, whose
    methods become points with intervals, or, with `--figure where`, a table of `swim where`, in
    DEVICE/sigma-SIGMA/BUDGET.csv, or, with `--figure learning`, a train.csv.
    """
    if set(names) == {CYCLES}:
        made = cycles_figure.draw_all(cycles_to_accuracy.read(table), folder, sigmas, job)
    elif set(names) == {WHERE}:
        made = spending_figure.draw(table, folder, job)
    elif set(names) == {LEARNING}:
        made = learning_figure.draw(table, folder, job)
    elif {CYCLES, WHERE, LEARNING} & set(names):
        raise SettingError(
            "cycles, where and learning are of tables of their own: ask for them alone"
        )
    else:
        read = accuracy_tables.read_accuracy(table)
        made = accuracy_figure.draw_all(read, folder, sigmas, names, job)
    for path in made:
        click.echo(str(path))
