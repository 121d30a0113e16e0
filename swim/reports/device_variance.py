"""How much devices vary at what a network's weights make them hold."""

import os
from collections.abc import Iterable

from swim.reports.accuracy_tables import read_chips
from swim.runtime.markdown import table as markdown_table
from swim.runtime.provenance import place_of

COLUMNS = ("variance", "sigma_factor")


def markdown(files: Iterable[str | os.PathLike[str]]) -> list[str]:
    """A table of the devices whose error depends on what they hold; nothing if there are none.

    Args:
        files: clean.csv files of one experiment, which have the columns :data:`COLUMNS`; others
            are passed over.
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
        "### Devices whose error depends on what they hold",
        "",
        "Mean variance of unverified weights, over that of devices of one sigma, and what all",
        "sigmas were multiplied by to bring it there (`equal_variance`).",
        "",
    ]
    heads = ["device", "sigma", "mean variance", "sigmas times"]
    return ["\n".join([*heading, *markdown_table(heads, rows, "llrr"), ""])]
