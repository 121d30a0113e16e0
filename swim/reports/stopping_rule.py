"""SWIM's stopping rule: verify group after group until the accuracy drop is within a bound.

The rule looks at each chip alone (SWIM, DAC 2022, arXiv:2202.08395): the chip's accuracy is
measured after each group, and verifying stops once it is close enough to the accuracy before
programming. Groups are the steps between the points at which chips were measured.
"""

import os
from collections.abc import Iterable

import numpy as np
import pandas as pd

from swim.errors import DataError, SettingError
from swim.reports.accuracy_tables import ENDS, read_chips
from swim.runtime import provenance
from swim.runtime.markdown import table as markdown_table
from swim.settings import policies
from swim.settings.policies import IN_SITU

COLUMNS = ["device", "sigma", "method", "chips", "stopped", "nwc", "nwc_p95", "reads"]


def stops(files: Iterable[str | os.PathLike[str]], max_drop: float) -> pd.DataFrame:
    """Where each method stops.

    Args:
        files: chips files of one experiment, clean.csv and the end points among them.
        max_drop: allowed accuracy drop from the network before programming, in [0, 1].

    Returns:
        One row per device, sigma and method with :data:`COLUMNS`: the number of chips, the fraction
        of them that stops at any point, and over these the mean NWC at which they stop, its 95th
        percentile, and reads per device.

    Raises:
        SettingError: ``max_drop`` is not in [0, 1].
        DataError: a sigma lacks its clean accuracy, or chips were measured on samples of the
            images, which do not give the accuracy of a single chip.
    """
    if not 0 <= max_drop <= 1:
        raise SettingError(f"max_drop must be between 0 and 1, not {max_drop}; 0.001 is 0.1 points")
    files = list(files)
    provenance.of_one_experiment(files)
    places: dict[tuple[str, str], dict[str, dict[str, pd.DataFrame]]] = {}
    for path in files:
        place, table = provenance.place_of(path), read_chips(path)
        if "images" in table and table["images"].nunique() > 1:
            raise DataError(f"{path}: its chips saw samples of the images; measure without")
        at = places.setdefault((place["device"], place["sigma"]), {})
        at.setdefault(place["method"], {})[place["fraction"]] = table
    rows = []
    for (device, sigma), methods in sorted(places.items()):
        if "clean" not in methods:
            raise DataError(f"{device}, sigma {sigma}: clean.csv is missing")
        enough = float(methods["clean"][""]["accuracy"].iloc[0]) - max_drop
        for method in sorted(set(methods) - {*ENDS, "clean", IN_SITU}):
            row = _stop(_points(methods, method), enough)
            rows.append({"device": device, "sigma": sigma, "method": method, **row})
    return pd.DataFrame(rows, columns=COLUMNS)


def _points(methods: dict[str, dict[str, pd.DataFrame]], method: str) -> list[pd.DataFrame]:
    """A method's points by what they spend, with its end points."""
    points = dict(methods[method])
    for end, columns in policies.shared_points(method).items():
        for fraction, table in methods.get(end, {}).items():
            points[fraction] = table.assign(**columns)
    return [points[fraction].set_index("chip") for fraction in sorted(points, key=float)]


def _stop(points: list[pd.DataFrame], enough: float) -> dict[str, float]:
    chips = sorted(set.intersection(*(set(point.index) for point in points)))
    spent = []
    for chip in chips:
        rows = [point.loc[chip] for point in points]
        close = [row for row in rows if row["accuracy"] >= enough]
        if close:
            spent.append((close[0]["nwc"], close[0]["reads"]))
    nwc, reads = np.array(spent).reshape(-1, 2).T
    known = len(spent) > 0
    return {
        "chips": len(chips),
        "stopped": len(spent) / len(chips),
        "nwc": float(nwc.mean()) if known else np.nan,
        "nwc_p95": float(np.percentile(nwc, 95)) if known else np.nan,
        "reads": float(reads.mean()) if known else np.nan,
    }


def markdown(table: pd.DataFrame, max_drop: float) -> str:
    """The table, with a sentence that explains it."""
    heads = ["device", "sigma", "method", "chips that stop", "NWC", "95 % of them by",
             "reads per device"]  # fmt: skip
    rows = [
        [
            row.device, row.sigma, row.method, f"{row.stopped:.0%} of {row.chips}",
            *([f"{row.nwc:.4f}", f"{row.nwc_p95:.4f}", f"{row.reads:.2f}"]
              if row.stopped else ["–"] * 3),
        ]
        for row in table.itertuples()
    ]  # fmt: skip
    lines = [
        f"Write cycles until a chip loses at most {100 * max_drop:g} percentage points of "
        "accuracy, group after group; NWC and reads over the chips that stop.",
        "",
        *markdown_table(heads, rows, "lllrrrr"),
    ]
    return "\n".join(lines) + "\n"
