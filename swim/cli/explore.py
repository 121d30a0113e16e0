"""``swim explore``."""

from pathlib import Path

import click

from swim import settings
from swim.cli.console import FILE
from swim.cli.cycles import chips_files, chosen_points, drops, points_option, within_option
from swim.cli.options import figure_options
from swim.reports.explorer import data, page
from swim.reports.plots.titles import words
from swim.runtime import files
from swim.settings import layout


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@points_option
@click.option("--experiment", required=True, help="its name")
@within_option(help="accuracy drops of its cycles_to_accuracy.csv, in points; may be repeated")
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
    chosen = chosen_points(points)
    found = data.explorer_data(
        chips_files(Path(folder), chosen, layout.ALL_CHIPS_FILES),
        experiment,
        drops(within),
        words(job),
        custom=chosen.custom if chosen else (),
    )
    files.write_text(out, page.page(found))
