# The files of settings as they are written, before Snakemake merges them: its loader keeps the last
# of two equal keys, and says nothing.
import os
import sys

sys.path.insert(0, workflow.basedir)

from snakemake.exceptions import WorkflowError
from swim import settings


def settings_as_written():
    """config.yaml, the files of --configfile, and --config, each over those before it."""
    given, main = workflow.config_settings, os.path.join(
        workflow.basedir, "config.yaml"
    )
    shipped = settings.Source(label_of(main))
    if os.path.exists(main) and not given.replace_workflow_config:
        shipped = settings.read_source(main, shipped.label)
    files = [
        settings.read_source(file, label_of(file))
        for file in map(str, given.configfiles)
    ]
    typed = [settings.of_command_line(given.config)] if given.config else []
    return settings.Origins([shipped, *files, *typed])


def label_of(file):
    """A file as users know it: from here, if it lies here."""
    here = os.path.realpath(".") + os.sep
    return os.path.relpath(file) if os.path.realpath(file).startswith(here) else file


try:
    ORIGINS = settings_as_written()
except settings.SettingError as error:
    raise WorkflowError(str(error)) from None
