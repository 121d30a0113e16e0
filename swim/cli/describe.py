"""``swim describe``."""

import click

from swim import io
from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.machine import hardware, versions


@click.command()
@click.option("--settings", default="{}", help="resolved settings to store, as JSON")
@click.option("--out", required=True, type=FILE, help="file to write (.json)")
def describe(settings: str, out: str) -> None:
    """Store resolved settings, versions and hardware beside the results."""
    content = json_object(settings)
    io.write_json(out, {**content, "versions": versions(), "hardware": hardware()})
