"""The points of an experiment while it runs: finished chips files, and chips of unfinished ones.

Everything is read for a look only: a file that is not there yet, is half written or damaged is left
out, and the steps that need it check it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swim.errors import SwimError
from swim.evaluation import stopping
from swim.reports.accuracy_tables import read_chips
from swim.runtime import finished_rows
from swim.runtime.progress_bar import duration
from swim.runtime.provenance import place_of
from swim.runtime.text_table import aligned
from swim.settings import SummariseJob, layout

FINISHED, RUNNING, WAITING, DAMAGED = "finished", "running", "to come", "damaged"
HEADS = ("device", "sigma", "method", "fraction", "chips", "accuracy (%)", "NWC", "chips per s",
         "left", "state")  # fmt: skip
_NUMBERS = ("chips", "accuracy (%)", "NWC", "chips per s", "left")
# A glob, relative to the experiment.
_SENSITIVITIES = layout.SENSITIVITY.removeprefix(f"{layout.EXPERIMENT}/").format(estimator="*")
_ACCURACY, _NWC = 1, 3  # places in a row of chips
# A file of unfinished chips that is older than this many times its own interval has stopped.
_PATIENCE, _LEAST = 5, 60.0


@dataclass(frozen=True)
class State:
    """How far a point is.

    Attributes:
        place: device, sigma, method and fraction, as paths have them.
        state: :data:`FINISHED`, :data:`RUNNING`, :data:`WAITING`, :data:`DAMAGED`, or since when
            nothing was added, in words.
        chips: finished chips.
        goal: how many there will be, if that is known.
        accuracy: of these chips, in [0, 1]: (chips,).
        nwc: their mean normalised write cycles; NaN without chips.
        rate: chips per second of the job that runs; None if that is not known.
    """

    place: dict[str, str]
    state: str
    chips: int = 0
    goal: int | None = None
    accuracy: tuple[float, ...] = ()
    nwc: float = math.nan
    rate: float | None = None


def states(folder: Path) -> list[State]:
    """Every point of an experiment: planned by its settings, unfinished or finished.

    Args:
        folder: ``results/{experiment}``; it may be missing, or empty.

    Returns:
        In the order of devices, sigmas, methods and fractions.
    """
    chips = folder / Path(layout.CHIPS_FOLDER).name
    settings = _settings(folder)
    planned = {chips / file for file in _planned(settings)}
    finished = {path for path in chips.glob(layout.ALL_POINTS) if not path.name.startswith(".")}
    begun = {
        path.with_name(f"{path.name.removeprefix('.').removesuffix(finished_rows.SUFFIX)}.csv")
        for path in chips.glob(layout.ALL_POINTS.replace("*.csv", f".*{finished_rows.SUFFIX}"))
    }
    found = [_state(path, settings) for path in planned | finished | begun]
    return sorted(
        (state for state in found if state and state.place["method"] != layout.CLEAN), key=_order
    )


def stage(folder: Path) -> list[str]:
    """What there is of an experiment before its first chip, in a line."""
    model = folder / layout.MODEL_FILE
    estimators = sorted(path.stem for path in folder.glob(_SENSITIVITIES) if path.name[0] != ".")
    made = (["the network is there"] if model.exists() else ["no network yet"]) + (
        [f"second derivatives by {', '.join(estimators)}"] if estimators else []
    )
    where = f"no folder {folder} yet" if not folder.is_dir() else "; ".join(made)
    return [f"{folder.resolve().name}: nothing has been programmed yet ({where})"]


def complete(folder: Path, found: list[State]) -> bool:
    """Whether all points are finished that the experiment's stored settings ask for."""
    return bool(list(_planned(_settings(folder)))) and all(
        state.state == FINISHED for state in found
    )


def _state(path: Path, settings: dict[str, Any]) -> State | None:
    """How far a chips file is; None for a path that is no point's."""
    try:
        place = place_of(path)
    except SwimError:
        return None
    try:
        if path.exists():
            table = read_chips(path)
            accuracy = tuple(table["accuracy"])
            return State(place, FINISHED, len(table), None, accuracy, float(table["nwc"].mean()))
    except (SwimError, KeyError):
        return State(place, DAMAGED)
    watched = finished_rows.watch(finished_rows.progress_file(path))
    goal = settings.get("chips")
    goal = goal if isinstance(goal, int) else None
    if watched is None:
        return State(place, WAITING, goal=goal)
    try:
        values = np.array([[row[_ACCURACY], row[_NWC]] for row in watched.rows], dtype=float)
    except (TypeError, ValueError, IndexError):
        return State(place, DAMAGED)
    if not len(values):
        return State(place, RUNNING, goal=watched.goal or goal)
    wait = max(_LEAST, _PATIENCE / watched.rate if watched.rate else _LEAST)
    said = RUNNING if watched.age < wait else f"no chip for {duration(watched.age)}"
    accuracy, nwc = values.T
    return State(place, said, len(values), watched.goal or goal, tuple(accuracy), float(nwc.mean()),
                 watched.rate if said == RUNNING else None)  # fmt: skip


def _settings(folder: Path) -> dict[str, Any]:
    """The experiment's stored settings, or nothing."""
    try:
        found = json.loads((folder / Path(layout.SETTINGS).name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _planned(settings: dict[str, Any]) -> Iterator[str]:
    """Chips files that stored settings ask for, relative to the chips folder."""
    try:
        custom = [method["name"] for method in settings["methods"] if isinstance(method, dict)]
        job = SummariseJob(
            devices=list(settings["devices"]),
            sigmas=settings["sigmas"],
            custom=custom,
            methods=[m["name"] if isinstance(m, dict) else m for m in settings["methods"]],
            fractions=settings["fractions"],
            budgets=settings["budgets"],
            in_situ=settings["in_situ"]["budgets"] if settings["in_situ"] else [],
        )
    except (KeyError, TypeError, ValueError):
        return  # of another version, or not whole: what is there is shown
    yield from job.files()


def _order(state: State) -> tuple[Any, ...]:
    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.inf

    place = state.place
    return place["device"], number(place["sigma"]), place["method"], number(place["fraction"])


def lines(name: str, found: list[State], most: int | None = None) -> list[str]:
    """A table of the points, below a line that says how many there are of each state.

    Args:
        name: the experiment's.
        found: its points.
        most: lines to write at most: finished points and those to come are left out first.
    """
    counts = {word: sum(state.state == word for state in found)
              for word in (FINISHED, RUNNING, WAITING, DAMAGED)}  # fmt: skip
    counts["stopped"] = len(found) - sum(counts.values())
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    shown = found
    if most is not None and len(found) + 3 > most:
        rest = {FINISHED: 1, WAITING: 2}
        kept = sorted(range(len(found)), key=lambda n: rest.get(found[n].state, 0))
        shown = [found[n] for n in sorted(kept[: max(1, most - 4)])]
    table = aligned([list(HEADS), *map(_cells, shown)], _NUMBERS)
    hidden = len(found) - len(shown)
    more = [f"... and {hidden} more points; --once prints all"] if hidden else []
    return [f"{name}: {len(found)} point{'s' * (len(found) > 1)}: {said}", *table, *more]


def _cells(state: State) -> list[str]:
    chips = f"{state.chips:,}" if state.state == FINISHED else f"{state.chips:,} of " + (
        f"{state.goal:,}" if state.goal else "?"
    )  # fmt: skip
    mean = nwc = rate = left = ""
    if state.accuracy:
        half = 100 * stopping.half_width(state.accuracy)
        mean = f"{100 * np.mean(state.accuracy):.2f}" + ("" if np.isnan(half) else f" ± {half:.2f}")
        nwc = f"{state.nwc:.3g}"
    if state.rate:
        rate = f"{state.rate:.3g}"
        if state.goal:
            left = duration(max(0, state.goal - state.chips) / state.rate)
    return [*state.place.values(), chips, mean, nwc, rate, left, state.state]
