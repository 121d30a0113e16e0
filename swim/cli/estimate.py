"""``swim estimate``."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
import yaml

from swim.cli import run_estimate, stored_times
from swim.cli.planned_jobs import STEPS
from swim.cli.run_estimate import RunEstimate
from swim.cli.stored_times import Part
from swim.errors import SettingError, SwimError
from swim.reports import run_cost_text as text
from swim.reports.run_cost import Spread
from swim.runtime.text_table import aligned
from swim.settings import Config, Origins, load, merge, read_source


@click.command()
@click.argument("experiments", nargs=-1)
@click.option(
    "--config", "configs", multiple=True, default=("config.yaml",), show_default=True,
    type=click.Path(dir_okay=False), help="settings; several are merged, each over those before it",
)  # fmt: skip
@click.option("--cores", type=click.IntRange(1), help="of the run  [default: this machine's]")
@click.option(
    "--measure/--no-measure", default=None, help="measure every part again, or none: only parts "
    "that were measured before count  [default: measure what was not]",
)  # fmt: skip
@click.option(
    "--spread", type=click.FloatRange(0, 50), default=2.0, show_default=True,
    help="with a precision: assumed standard deviation of accuracy between chips, in points",
)  # fmt: skip
def estimate(
    experiments: tuple[str, ...],
    configs: tuple[str, ...],
    cores: int | None,
    measure: bool | None,
    spread: float,
) -> None:
    """What experiments will cost: core-hours, wall time, memory and disk.

    EXPERIMENTS are names in config.yaml; all if none is named. Small parts are measured on this
    machine, a few seconds each, and multiplied by what the settings ask for. No data set is needed,
    and nothing is written but the measured parts, to the user's cache folder.
    """
    config = configuration(configs)
    names = run_estimate.require_known(experiments, config)
    run = RunEstimate(config, names, Spread(spread / 100), cores=cores or 0)
    times = times_of(run, measure)
    costs = run.costs(lambda name, part: times[name][run_estimate.text_of(part)])
    click.echo("\n".join(aligned([list(text.HEADS), *text.rows(costs, STEPS)], text.NUMBERS)))
    click.echo()
    precise = any(config.experiments[name].precision is not None for name in names)
    measured = [part for own in times.values() for part in own.values()]
    for line in [
        *text.wall(costs, run.cores),
        *text.assumptions(run.spread, precise),
        *dict.fromkeys(f"Parts were measured {part['runs_on']}." for part in measured),
        *text.busy(part["cores"] for part in measured),
    ]:
        click.echo(line)


def line(config: Config, names: Sequence[str], cores: int) -> str:
    """What experiments cost by parts that were measured before, or how to measure them.

    For dry runs: nothing is measured, which takes no time.
    """
    command = f"swim estimate {' '.join(names)}"
    try:
        run = RunEstimate(config, list(names), cores=cores)
        times = times_of(run, measure=False)
        costs = run.costs(lambda name, part: times[name][run_estimate.text_of(part)])
    except SwimError:
        return f"Time, memory and disk: {command}"
    return f"From nothing: {text.summary(costs, cores)}; {command} has the steps"


def configuration(paths: Sequence[str]) -> Config:
    """The settings of files, as Snakemake merges them.

    Raises:
        SettingError: a file cannot be read, or a setting is faulty; with file and line.
    """
    sources = [read_source(path) for path in paths]
    content: dict[str, Any] = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            read = file.read()
        try:
            found = json.loads(read)
        except ValueError:
            found = yaml.safe_load(read)
        if not isinstance(found, Mapping):
            raise SettingError(f"{path}: holds no `key: value` settings at its top level")
        content = merge(content, found)
    return load(content, Origins(sources))


def times_of(run: RunEstimate, measure: bool | None = None) -> dict[str, dict[str, Any]]:
    """What each part of an estimate takes, by experiment and part.

    Args:
        run: the estimate.
        measure: whether to measure all parts again (True), none (False), or those that were not
            measured before (None).

    Raises:
        SettingError: a part was not measured, and is not to be.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, parts in run.parts().items():
        subject = run.subject(name)
        known = {} if measure else _known(subject, parts)
        missing = [key for key in parts if key not in known]
        if missing and measure is False:
            kinds = ", ".join(dict.fromkeys(parts[key]["kind"] for key in missing))
            raise SettingError(
                f"{name}: not measured yet on this machine with this code: {kinds}; leave "
                "--no-measure out"
            )
        if missing:
            made = stored_times.measure(subject, [parts[key] for key in missing], name)
            known |= dict(zip(missing, made, strict=True))
        found[name] = known
    return found


def _known(subject: stored_times.Subject, parts: Mapping[str, Part]) -> dict[str, Any]:
    stored = {key: stored_times.stored(subject, part) for key, part in parts.items()}
    return {key: found for key, found in stored.items() if found is not None}
