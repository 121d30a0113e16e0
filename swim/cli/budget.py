"""``swim budget``."""

from pathlib import Path

import click

from swim.cli.options import Finite
from swim.errors import DataError
from swim.reports import stopping_rule as rule
from swim.runtime.files import write_table
from swim.settings import layout


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--max-drop", default=0.001, show_default=True, type=Finite(0, 1),
    help="accuracy that may be lost against the network before programming; 0.001 is 0.1 points",
)  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False), help="also write the table (.csv)")
def budget(folder: str, max_drop: float, out: str | None) -> None:
    """Print the write cycles at which each method has verified enough.

    FOLDER holds an experiment's chips: results/EXPERIMENT/chips. Each chip is verified group after
    group, from one measured point to the next, until its accuracy is close enough: the paper's
    rule. More fractions (or budgets) in the experiment are finer groups.
    """
    files = sorted(Path(folder).glob(layout.ALL_CHIPS_FILES))
    if not files:
        raise DataError(f"{folder}: no chips files (DEVICE/sigma-SIGMA/METHOD/FRACTION.csv)")
    table = rule.stops(files, max_drop)
    click.echo(rule.markdown(table, max_drop))
    if out:
        write_table(out, table.to_csv(index=False))
