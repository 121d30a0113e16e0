"""``swim describe``."""

import click

from swim.cli.console import FILE
from swim.cli.options import json_object
from swim.runtime import files
from swim.runtime.machine import hardware, versions


@click.command()
@click.option("--settings", default="{}", help="resolved settings to store, as JSON")
@click.option("--model", type=FILE, help="checkpoint: what of it devices hold, and what not")
@click.option("--out", required=True, type=FILE, help="file to write (.json)")
def describe(settings: str, model: str | None, out: str) -> None:
    """Store resolved settings, what is programmed, versions and hardware."""
    content = json_object(settings)
    if model is not None:
        content = {**content, "weights": files.read_settings(model)["inventory"]}
    files.write_json(out, {**content, "versions": versions(), "hardware": hardware()})
