# Code and tables that settings name, read before any work: what is wrong with them is an error with
# the line of the setting.
from rules.environment import fault_of_import, not_searched
from snakemake.exceptions import WorkflowError
from swim import errors
from swim.data import level_table
from swim.devices import known
from swim.runtime import code_digest


def check(path, function, *arguments, **chosen):
    """Call what reads code or a file that a setting names; an error says which setting it was.

    The result is not used. ORIGINS (rules/sources.smk) knows file and line of each setting.
    """
    try:
        function(*arguments, **chosen)
    except errors.SwimError as error:
        where = ORIGINS.where(path)
        files = workflow.config_settings.configfiles
        hint = not_searched(files) if "there is no module" in str(error) else ""
        raise WorkflowError(f"{where}: {'.'.join(path)}: {error}{hint}") from None


def check_import(place):
    """Import a score of the user's own as a step does, before there is any work."""
    code_digest.require("selection method", place)
    if workflow.is_main_process and (fault := fault_of_import(place)):
        raise errors.SettingError(fault)


# Digests are made again where rules ask for them, from a cache.
for name, experiment in CONFIG.experiments.items():
    path = ("experiments", name, "model")
    check(path, code_digest.require, "network", experiment.model.network)
    for method, score in experiment.custom_scores.items():
        number = str(experiment.method_names.index(method))
        path = ("experiments", name, "methods", number)
        check(path, check_import, score.factory)
    for device in experiment.devices:
        if variation := CONFIG.devices[device].variation:
            path = ("devices", device, "variation")
            check(path, code_digest.require, "variation", variation.source)
            if variation.name:
                check(path, known.variation, variation.name, CONFIG.devices[device].K)
            if variation.table:
                check((*path, "table"), level_table.read, variation.table)
