"""The tables of an experiment as one page to read: rounded, with intervals and colours.

The stronger the colour of a cell, the fewer the cycles to accuracy, or the better the accuracy at
its sigma. Paired differences are coloured where their interval lies on one side of zero.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from swim.reports import accuracy_tables, html_page
from swim.reports.cycles_to_accuracy import note
from swim.reports.html_page import cell
from swim.reports.plots.style import display_name, order
from swim.reports.plots.titles import Words, chips_words, points_words

_STYLE = """
td { white-space: nowrap; }
td small { display: block; opacity: .75; }
th:nth-child(2), td:nth-child(2) { position: sticky; left: 0; background: Canvas; }
table.numbers th:nth-child(n+3), table.numbers td:nth-child(n+3) { text-align: right; }
.good { --ink: light-dark(#0072b2, #56b4e9);
  background: color-mix(in srgb, var(--ink) calc(var(--heat) * .45), transparent); }
.more { background: light-dark(#cfe8f7, #12405c); }
.less { background: light-dark(#fde2cf, #5c2f0c); }
"""


def page(
    experiment: str,
    accuracy: pd.DataFrame,
    paired: pd.DataFrame,
    cycles: pd.DataFrame,
    said: Words,
) -> str:
    """The page.

    Args:
        experiment: its name.
        accuracy: the result of :func:`swim.reports.accuracy_tables.read_accuracy`.
        paired: the result of :func:`swim.reports.accuracy_tables.read_paired`.
        cycles: the result of :func:`swim.reports.cycles_to_accuracy.read`.
        said: network, data and devices in words.
    """
    devices = list(dict.fromkeys(accuracy["device"]))
    body = [f"<p>{html_page.text(said.title(chips_words(accuracy)))}</p>"]
    for device in devices:
        parts = (table[table["device"] == device] for table in (cycles, accuracy, paired))
        if len(devices) > 1:
            body.append(f"<h2>{html_page.text(said.device(device, devices))}</h2>")
        for section, part in zip((_cycles, _accuracy, _paired), parts, strict=True):
            if len(part):
                body += section(part)
    return html_page.document(f"Tables: {experiment}", body, _STYLE)


def _section(title: str, words: str) -> list[str]:
    return [f"<h3>{html_page.text(title)}</h3>", f"<p>{html_page.text(words)}</p>"]


def _cycles(part: pd.DataFrame) -> list[str]:
    """Rows sigma x method, columns accuracy drop."""
    drops = list(dict.fromkeys(part["within"]))
    positive = part.loc[part["nwc"] > 0, "nwc"]
    low, high = (positive.min(), max(positive.max(), 1.0)) if len(positive) else (0.1, 1.0)

    def cells() -> Iterator[list[str]]:
        for sigma, rows in part.groupby("sigma", sort=False):
            for name in order(set(rows["method"])):
                at = rows[rows["method"] == name].set_index("within")
                yield [
                    cell(str(sigma)),
                    cell(display_name(name)),
                    *(_cost(at.loc[drop], low, high) for drop in drops),
                ]

    heads = ["σ", "method", *(points_words(drop) for drop in drops)]
    words = (
        "Normalised write cycles (NWC) from which on a method is within so many percentage points "
        "of full write-verify, with its 95 % interval over chips. The stronger the colour, the "
        "fewer the cycles."
    )
    return [*_section("Cycles to accuracy", words), *html_page.table(heads, cells(), "numbers")]


def _cost(row: pd.Series, low: float, high: float) -> str:
    remark, nwc = note(row), row["nwc"]
    ends = [row["nwc_low"], row["nwc_high"]]
    interval = "" if np.isnan(ends).all() else "[{}, {}]".format(
        *("…" if np.isnan(end) else f"{end:.3g}" for end in ends)
    )  # fmt: skip
    small = "; ".join(part for part in (interval, remark) if part)
    if np.isnan(nwc):
        return cell("–", small=small)
    # On a logarithmic scale from the fewest cycles of the table to full write-verify.
    span = np.log(high / low)
    heat = 1.0 if nwc <= low else 1 - np.log(nwc / low) / span if span else 1.0
    return cell(f"{nwc:.3g}", "good", float(np.clip(heat, 0, 1)), small)


def _accuracy(part: pd.DataFrame) -> list[str]:
    """Rows sigma x method, columns fraction or budget."""
    points = part[part["method"] != "clean"]
    fractions = sorted(set(points["fraction"]), key=float)

    def cells() -> Iterator[list[str]]:
        for sigma, rows in points.groupby("sigma", sort=False):
            least, most = rows["mean"].min(), rows["mean"].max()
            for name in order(accuracy_tables.method_names(rows)):
                at = accuracy_tables.curve(rows, name).set_index("fraction")
                means = (
                    _mean(at.loc[fraction], least, most) if fraction in at.index else cell("–")
                    for fraction in fractions
                )  # fmt: skip
                yield [cell(str(sigma)), cell(display_name(name)), *means]

    clean = part.loc[part["method"] == "clean", "mean"]
    before = f" Before programming {100 * clean.iloc[0]:.2f} %." if len(clean) else ""
    words = (
        "Mean accuracy in per cent ± half-width of its 95 % interval over chips, by NWC (verified "
        f"fraction, or a policy's budget). The stronger the colour, the better at this σ.{before}"
    )
    heads = ["σ", "method", *(f"NWC {fraction}" for fraction in fractions)]
    return [*_section("Accuracy", words), *html_page.table(heads, cells(), "numbers")]


def _mean(row: pd.Series, least: float, most: float) -> str:
    heat = (row["mean"] - least) / (most - least) if most > least else 1.0
    return cell(_plus_minus(row["mean"], row["ci95"]), "good", float(heat))


def _plus_minus(value: float, half: float, sign: str = "") -> str:
    text = f"{100 * value:{sign}.2f}"
    return text if np.isnan(half) else f"{text} ± {100 * half:.2f}"


def _paired(part: pd.DataFrame) -> list[str]:
    """Rows sigma x pair of methods, columns fraction."""
    fractions = sorted(set(part["fraction"]), key=float)

    def cells() -> Iterator[list[str]]:
        for key, rows in part.groupby(["sigma", "method", "other"], sort=False):
            sigma, method, other = map(str, key)
            at = rows.set_index("fraction")
            yield [
                cell(sigma),
                cell(f"{display_name(method)} − {display_name(other)}"),
                *(_difference(at.loc[f]) if f in at.index else cell("–") for f in fractions),
            ]

    heads = ["σ", "difference", *(f"NWC {fraction}" for fraction in fractions)]
    words = (
        "Difference in accuracy, chip by chip, in percentage points ± half-width of its 95 % "
        "interval. Coloured where the interval lies on one side of zero."
    )
    return [*_section("Paired differences", words), *html_page.table(heads, cells(), "numbers")]


def _difference(row: pd.Series) -> str:
    value, half = row["difference"], row["ci95"]
    mark = "" if np.isnan(half) or abs(value) <= half else "more" if value > 0 else "less"
    return cell(_plus_minus(value, half, "+"), mark)
