"""``swim stamp``."""

import click

from swim.cli import stamping


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
def stamp(paths: tuple[str, ...]) -> None:
    """Add digests to files of an earlier version, which later steps refuse without.

    PATHS are files or folders: prepared data sets, checkpoints, second derivatives, masks and
    tables. Their content stays as it is; what a file was made from is taken from the checkpoint
    and the data set that it lies beside. A file that has a digest is checked.
    """
    for line in stamping.stamp(paths):
        click.echo(line)
