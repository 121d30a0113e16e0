"""Whether tables belong together: one checkpoint, one data set, and each where it says it is."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from swim.errors import DataError
from swim.runtime.digests import NAMES
from swim.runtime.files import read_record
from swim.settings import layout, registry

_NAMES = {kind: NAMES[kind] for kind in ("model", "data")}
# Settings that may differ between the files of an experiment: what a point is, and how many chips.
_OWN = {"sigma", "budget", "policy", "in_situ", "chips", "precision", "max_chips", "device"}


def place_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """Device, sigma, method and fraction from ``{device}/sigma-{sigma}/{method}/{fraction}.csv``.

    ``.../{device}/sigma-{sigma}/clean.csv`` is method ``clean`` without a fraction.
    """
    path = Path(path)
    method, fraction, folder = path.parent.name, path.stem, path.parent.parent
    if path.stem == layout.CLEAN:
        method, fraction, folder = layout.CLEAN, "", path.parent
    if (sigma := sigma_of(folder.name)) is None:
        raise DataError(f"{path}: expected .../DEVICE/sigma-SIGMA/METHOD/FRACTION.csv")
    return {"device": folder.parent.name, "sigma": sigma, "method": method, "fraction": fraction}


def sigma_of(name: str) -> str | None:
    """The sigma that the name of a folder, or of a file without its suffix, says; None if none."""
    prefix = layout.SIGMA_PREFIX
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def of_one_experiment(
    files: Iterable[str | os.PathLike[str]],
    model: str | None = None,
    custom: Collection[str] = (),
) -> dict[str, str]:
    """Digests of the checkpoint and the data set that chips files, or others of points, share.

    Args:
        files: tables in ``{device}/sigma-{sigma}``; what a record does not say is not compared.
        model: digest of the checkpoint that they must be of, if one is given.
        custom: names of methods of the user's own, whose folders hold no other method's.

    Raises:
        DataError: two are of different checkpoints, data sets or settings, or a table is not in
            the place of its own sigma, method and fraction; the message names the files.
    """
    first: dict[str, tuple[Path, Any]] = {}
    for path in map(Path, files):
        record = read_record(path)
        _require_place(path, record.get("point", {}), custom)
        for key, value in _shared(path, record).items():
            other, known = first.setdefault(key, (path, value))
            if known != value:
                raise DataError(
                    f"{path} and {other}: are of different experiments: their {key} differs"
                    f"{_values(value, known)}; make again the one that is not of this experiment"
                )
        if model is not None and record.get("made_from", {}).get("model", model) != model:
            raise DataError(
                f"{path}: was measured on another checkpoint than the one given; delete it and "
                "make it again, or give its own"
            )
    return {kind: first[name][1] for kind, name in _NAMES.items() if name in first}


def _shared(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a table must have in common with others, by the name that a message gives it."""
    made_from, settings = record.get("made_from", {}), record.get("settings", {})
    shared = {name: made_from[kind] for kind, name in _NAMES.items() if kind in made_from}
    shared |= {key: value for key, value in settings.items() if key not in _OWN}
    if "device" in settings:
        name = point_of(path)["device"]
        shared[f"device {name}"] = settings["device"]
        shared[f"table of levels of {name}"] = made_from.get("levels", "")
    return shared


def point_of(path: Path) -> dict[str, str]:
    """Device and sigma, of chips files also method and fraction, by the names of folders."""
    if (sigma := sigma_of(path.stem)) is not None:
        folder = path.parent.parent if on_chips(path) else path.parent
        return {"device": folder.name, "sigma": sigma}
    return place_of(path)


def on_chips(path: Path) -> bool:
    """Whether a file of single weights was measured on top of programmed chips, by its folder.

    A device may have the name of the folder within a device's.
    """
    folder = path.parent
    return folder.name == layout.ON_CHIPS and folder.parent.name != layout.PERTURBATIONS


def _values(one: Any, other: Any) -> str:
    """Two settings as a message shows them; digests say nothing to a reader."""
    if isinstance(one, str) and len(one) == 32:
        return ""
    return f" ({one!r} and {other!r})"


def _require_place(path: Path, point: Mapping[str, str], custom: Collection[str]) -> None:
    """Refuse a table that lies where another point's belongs."""
    for key, value in point_of(path).items():
        # A folder may have a name of its own, but none that another method has.
        free = key == "method" and value not in (
            "none",
            "all",
            "in_situ",
            *registry.KINDS["method"],
            *custom,
        )
        if key in point and point[key] != value and not free:
            raise DataError(
                f"{path}: its place says {key} {value}, but it was made for {key} {point[key]}; "
                "move it to its own place, or delete it and make it again"
            )
