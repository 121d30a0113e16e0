"""Files and folders of the user's: none may be what the run itself makes."""

import os
from collections.abc import Collection, Iterable

from swim.settings.experiments import Config
from swim.settings.layout import MODEL, RESULTS, SHARED_FOLDERS
from swim.settings.validation import Fault

Steps = tuple[str, ...]


def faulty_paths(config: Config) -> Iterable[Fault]:
    """Paths that lead to the run's own output, and files taken for folders or folders for files.

    A checkpoint may be the network that another experiment trains: Snakemake then makes that one
    first, if it is spelt as Snakemake knows it, and no chain of experiments closes.
    """
    for path, given, is_folder in _user_paths(config):
        made = made_by_run(given, config.experiments)
        own = path[1] if path[-1] == "checkpoint" else None
        if made is not None and not (own and given in _models(config, own)):
            yield Fault(path, f"leads to {made}, {_way_out(made, own, config)}", given)
        elif not is_folder and os.path.isdir(given):
            yield Fault(path, "is a folder; name a file in it", given)
        elif is_folder and os.path.exists(given) and not os.path.isdir(given):
            yield Fault(path, "is a file; name the folder", given)
    yield from _circles(config)


def made_by_run(given: str, experiments: Collection[str]) -> str | None:
    """What a path leads to in the folders that the run fills, as Snakemake spells it.

    Links and spellings such as ``./results`` or an absolute path are followed. Other files under
    ``results/``, of an experiment that is no longer there, are nobody's output.
    """
    found = os.path.realpath(given)
    for name in (*SHARED_FOLDERS, *experiments, ""):
        folder = os.path.join(RESULTS, name).rstrip(os.sep)
        real = os.path.realpath(folder)
        if found == real:
            return folder
        if name and found.startswith(real + os.sep):
            return os.path.join(folder, os.path.relpath(found, real))
    return None


def _models(config: Config, own: str) -> dict[str, str]:
    """Trained network, as Snakemake spells it -> the other experiment that trains it."""
    return {MODEL.format(experiment=name): name for name in config.experiments if name != own}


def _way_out(made: str, own: str | None, config: Config) -> str:
    if own and made == MODEL.format(experiment=own):
        return "which this experiment itself makes from it; name the file that was trained before"
    if own and made in _models(config, own):
        return f"which another experiment makes; write {made}, so that it is made first"
    return f"which the run itself makes; keep your own files outside {RESULTS}/"


def _circles(config: Config) -> Iterable[Fault]:
    """Experiments that take their networks from one another."""
    taken = {
        name: _models(config, name).get(own.checkpoint or "")
        for name, own in config.experiments.items()
    }
    for name in config.experiments:
        chain = [name]
        while (other := taken[chain[-1]]) is not None and other not in chain:
            chain.append(other)
        if other == name:
            circle = " <- ".join([*chain, name])
            yield Fault(
                ("experiments", name, "checkpoint"),
                f"closes a circle of experiments that wait for each other's network: {circle}; "
                "train one of them, or name a file",
            )


def _user_paths(config: Config) -> Iterable[tuple[Steps, str, bool]]:
    """Path of the setting, what it names, and whether that is a folder."""
    yield ("data_root",), config.data_root, True
    for name, own in config.data_sets.items():
        if own.file is not None:
            yield ("data_sets", name, "file"), own.file, False
        if own.folder is not None:
            yield ("data_sets", name, "folder"), own.folder, True
    for name, device in config.devices.items():
        if device.variation and device.variation.table is not None:
            yield ("devices", name, "variation", "table"), device.variation.table, False
    for name, experiment in config.experiments.items():
        if experiment.checkpoint is not None:
            yield ("experiments", name, "checkpoint"), experiment.checkpoint, False
