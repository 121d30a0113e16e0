"""Command line: one subcommand per step, each usable without Snakemake.

A subcommand reads files and flags, calls the rooms above, and writes files: no formula is here. A
step's module is imported when the step is called, so a step depends on its own code alone.

Four modules serve the pipeline: :mod:`.targets` lists the files that steps read and make,
:mod:`.planned_jobs` the jobs, :mod:`.step_digests` digests the code that a step's settings choose,
and :mod:`.copied_results` compares files that Snakemake has no record of with the settings.

To add a subcommand:

1. Write ``swim/cli/<name>.py`` with a click command that is named like its module. Its settings are
   a section in :mod:`swim.settings.jobs`, by the decorator :func:`.options.settings_options`.
2. Add its line to :data:`STEPS`; ``-`` in the subcommand is ``_`` in the module. The line is the
   first sentence of the command's docstring, too.
3. If an option other than those in :data:`.options.WRITTEN` names a file to write, add it there.
   Then no step writes over what it reads.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from swim import __version__
from swim.errors import SwimError

STEPS = {
    "prepare": "Turn a data set into one file of arrays that later steps map into memory.",
    "train": "Train a network; its last epoch is the checkpoint.",
    "adopt": "Take a trained network of your own as the checkpoint, instead of training one.",
    "sensitivity": "Second derivative of the loss per weight, summed over the training images.",
    "select": "Choose which weights to write-verify.",
    "evaluate": "Program chips by Monte Carlo and measure the accuracy of each.",
    "program": "Program chips by a policy that reads their devices, within a budget of cycles.",
    "in-situ": "Train each chip on the device, within a budget of write cycles: the baseline.",
    "perturb": "Change one weight at a time and measure what it costs in loss.",
    "correlate": "Each method's score against what weights cost: correlations and scatter plots.",
    "summarise": "Statistics over chips, one row a point.",
    "cycles": "Write cycles from which on a method is nearly as accurate as everything verified.",
    "claims": "Claims of the papers' abstracts, and ours, against what was measured.",
    "tables": "The tables of an experiment as one page to read, with intervals and colours.",
    "explore": "Curves of an experiment to explore in a browser: one file, which needs no network.",
    "where": "Where methods spend their write cycles: devices rewritten in each layer and slice.",
    "plot": "Accuracy against write cycles: a PNG, an SVG and a PDF for each sigma.",
    "estimate": "What experiments will cost: core-hours, wall time, memory and disk.",
    "watch": "Show how far an experiment is: every point's chips, mean accuracy and time left.",
    "budget": "Print the write cycles at which each method has verified enough.",
    "selective-write": "The paper's experiment in one command, flags as in its first release.",
    "export": "Store a checkpoint with its quantised weights as integers, to keep or to hand on.",
    "stamp": "Add digests to files of an earlier version, which later steps refuse without.",
    "describe": "Store resolved settings, what is programmed, versions and hardware.",
    "schema": "Write the JSON schema of config.yaml and its reference page.",
}


class _Steps(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(STEPS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in STEPS:
            return None
        module = name.replace("-", "_")
        command: click.Command = getattr(import_module(f"swim.cli.{module}"), module)
        from swim.cli.options import with_paths_checked

        return with_paths_checked(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Steps"):
            formatter.write_dl(list(STEPS.items()))


@click.group(
    cls=_Steps,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="swim")
def cli() -> None:
    """Which of a network's weights must be programmed exactly, and at how many write cycles?

    Each step reads files and writes files; `snakemake` runs them all, in this order.

    SWIM_COMPILED=0 in the environment lets networks run by PyTorch's operations alone, without
    compiled passes: slower, and with other rounding (docs/monte-carlo.md). Random errors are then
    drawn by numpy's operations alone: slower, with the same bits.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a bad input is one message and exit status 1, without a traceback."""
    try:
        cli.main(args=arguments, prog_name="swim")
    except SwimError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
