"""Arguments and messages of the steps; nothing here changes a result."""

import click

FILE = click.Path(dir_okay=False)
# A checkpoint names the function that made its network; only the user may have it called.
trusted_network = click.option(
    "--network", help="where the checkpoint's network is of your own: its import, package:function"
)
