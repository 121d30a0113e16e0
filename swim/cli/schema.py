"""``swim schema``."""

import click

from swim.cli.console import FILE
from swim.runtime import files
from swim.settings import reference as made


@click.command()
@click.option("--out", type=FILE, help="JSON schema to write")
@click.option("--markdown", type=FILE, help="reference page to write")
def schema(out: str | None, markdown: str | None) -> None:
    """Write the JSON schema of config.yaml and its reference page."""
    if out:
        files.write_json(out, made.schema())
    if markdown:
        files.write_text(markdown, made.reference())
    if not out and not markdown:
        click.echo(made.reference())
