"""``swim schema``."""

import click

from swim.cli.console import FILE
from swim.cli.settings_page import page
from swim.runtime import files
from swim.settings import reference


@click.command()
@click.option("--out", type=FILE, help="JSON schema to write")
@click.option("--markdown", type=FILE, help="reference page to write")
def schema(out: str | None, markdown: str | None) -> None:
    """Write the JSON schema of config.yaml and its reference page."""
    if out:
        files.write_json(out, reference.schema())
    if markdown:
        files.write_text(markdown, page())
    if not out and not markdown:
        click.echo(page())
