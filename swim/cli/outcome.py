"""The steps that present results: summarise and plot."""

import click

from swim import io

FILE = click.Path(dir_okay=False)


@click.command()
@click.argument("chips", nargs=-1, required=True, type=FILE)
@click.option("--experiment", required=True, help="name in the table's first column")
@click.option("--model", required=True, help="name of the network in the table")
@click.option("--dataset", required=True, help="name of the data set in the table")
@click.option("--out", required=True, type=FILE, help="tidy table to write (.csv)")
@click.option("--markdown", type=FILE, help="table in the paper's layout, to write (.md)")
def summarise(
    chips: tuple[str, ...],
    experiment: str,
    model: str,
    dataset: str,
    out: str,
    markdown: str | None,
) -> None:
    """Statistics over chips, one row a point.

    CHIPS are files of `swim evaluate`, each in DEVICE/sigma-SIGMA/METHOD/FRACTION.csv, and
    DEVICE/sigma-SIGMA/clean.csv.
    """
    from swim import tables

    constants = {"experiment": experiment, "model": model, "dataset": dataset}
    table = tables.accuracy_table(chips, constants)
    io.write_text(out, table.to_csv(index=False, lineterminator="\n"))
    if markdown:
        io.write_text(markdown, tables.markdown(table))


@click.command()
@click.argument("table", type=FILE)
@click.option("--sigma", "sigmas", multiple=True, help="only this one; may be repeated")
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False), help="folder to write to"
)
def plot(table: str, folder: str, sigmas: tuple[str, ...]) -> None:
    """Accuracy against write cycles, a PNG and an SVG for each sigma of TABLE (accuracy.csv)."""
    from swim import figures, tables

    for path in figures.draw_all(tables.read_accuracy(table), folder, sigmas):
        click.echo(str(path))
