"""Command line: one subcommand a step, each usable without Snakemake."""

import sys
from collections.abc import Sequence

import click

from swim import __version__
from swim.cli.outcome import plot, summarise
from swim.cli.reference import schema
from swim.cli.steps import evaluate, prepare, select, sensitivity, train
from swim.errors import SwimError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="swim")
def cli() -> None:
    """Which of a network's weights must be programmed exactly, and at how many write cycles?

    The steps, in order: prepare, train, sensitivity, select, evaluate, summarise, plot. Each
    reads files and writes files; `snakemake` runs them all.
    """


for command in (prepare, train, sensitivity, select, evaluate, summarise, plot, schema):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a bad input is one message and exit status 1, without a traceback."""
    try:
        cli.main(args=arguments, prog_name="swim")
    except SwimError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
