"""``swim tables``."""

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.options import figure_options
from swim.reports import accuracy_tables, cycles_to_accuracy, tables_page
from swim.reports.plots.titles import words
from swim.runtime import files


@click.command()
@click.option("--experiment", required=True, help="its name")
@click.option("--accuracy", required=True, type=FILE, help="its accuracy.csv")
@click.option("--paired", "differences", required=True, type=FILE, help="its paired.csv")
@click.option("--cycles", required=True, type=FILE, help="its cycles_to_accuracy.csv")
@click.option("--out", required=True, type=FILE, help="page to write (.html)")
@figure_options
def tables(
    experiment: str,
    accuracy: str,
    differences: str,
    cycles: str,
    out: str,
    job: settings.PlotJob,
) -> None:
    """The tables of an experiment as one page to read, with intervals and colours."""
    read = accuracy_tables.read_accuracy(accuracy)
    page = tables_page.page(
        experiment,
        read,
        accuracy_tables.read_paired(differences),
        cycles_to_accuracy.read(cycles),
        words(job, read),
    )
    files.write_text(out, page)
