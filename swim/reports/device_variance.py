"""Variance of devices at the levels that a network's weights give them."""

import os
from collections.abc import Iterable

from swim.reports.accuracy_tables import read_chips
from swim.runtime.markdown import table as markdown_table
from swim.runtime.provenance import place_of

COLUMNS = ("variance", "sigma_factor")


def markdown(files: Iterable[str | os.PathLike[str]]) -> list[str]:
    """A table of the devices whose error depends on their level; an empty list if there are none.

    Args:
        files: clean.csv files of one experiment, which have the columns :data:`COLUMNS`; others
            are ignored.
    """
    rows = []
    for path in files:
        place = place_of(path)
        if place["method"] != "clean":
            continue
        table = read_chips(path)
        if not set(COLUMNS) <= set(table):
            continue
        variance, factor = (float(table[name].iloc[0]) for name in COLUMNS)
        if (variance, factor) != (1.0, 1.0):
            rows.append([place["device"], place["sigma"], f"{variance:.4g}", f"{factor:.4g}"])
    if not rows:
        return []
    heading = [
        "### Devices whose error depends on their level",
        "",
        "Mean variance of unverified weights, relative to devices of one sigma, and the factor of",
        "all sigmas that makes both equal (`equal_variance`).",
        "",
    ]
    heads = ["device", "sigma", "mean variance", "sigmas times"]
    return ["\n".join([*heading, *markdown_table(heads, rows, "llrr"), ""])]
