"""``swim explore``."""

from pathlib import Path

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.cycles import chips_files, drops
from swim.cli.options import figure_options, json_object
from swim.reports.explorer import data, page
from swim.reports.plots.titles import words
from swim.runtime import files
from swim.settings import layout, validation


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--points", help="devices, sigmas, methods, fractions, as JSON; without: all there")
@click.option("--experiment", required=True, help="its name")
@click.option(
    "--within",
    multiple=True,
    default=("0.1", "0.5", "1"),
    show_default=True,
    help="accuracy drops of its cycles_to_accuracy.csv, in points; may be repeated",
)
@click.option("--out", required=True, type=FILE, help="page to write (.html)")
@figure_options
def explore(
    folder: str,
    points: str | None,
    experiment: str,
    within: tuple[str, ...],
    out: str,
    job: settings.PlotJob,
) -> None:
    """Curves of an experiment to explore in a browser: one file, which needs no network.

    FOLDER is its chips folder, with the files of `swim evaluate` in
    DEVICE/sigma-SIGMA/METHOD/FRACTION.csv.
    """
    chosen = None
    if points:
        chosen = validation.parse(settings.SummariseJob, json_object(points), "points")
    found = data.explorer_data(
        chips_files(Path(folder), chosen, layout.ALL_CHIPS_FILES),
        experiment,
        drops(within),
        words(job),
        custom=chosen.custom if chosen else (),
    )
    files.write_text(out, page.page(found))
