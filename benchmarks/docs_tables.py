"""The tables of the documentation, each by a name that a page's marker gives, from stored files.

:mod:`benchmarks.docs_pages` puts them into pages. A function returns the lines between two markers.
"""

import json
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import record, stored_tables
from swim.reports import accuracy_tables, claims, claims_page, cycles_to_accuracy
from swim.reports.plots.titles import chips_words, dataset_words, network_words
from swim.runtime.markdown import table as markdown_table

TABLES: dict[str, Callable[..., list[str]]] = {}
NO_DATA = "–"


def named(function: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Register a table; ``_`` in the function's name is ``-`` in markers."""
    TABLES[function.__name__.replace("_", "-")] = function
    return function


def made(marker: str) -> list[str]:
    """The lines of a table by its marker: its name, then words that say which.

    Raises:
        ValueError: there is no such table.
    """
    name, *words = marker.split()
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known: {', '.join(TABLES)}")
    return TABLES[name](*words)


# --- claims -------------------------------------------------------------------------------------

_NAMES = {"lenet_cycles": ", three seeds", "lenet_devices": ", fewer devices per weight",
          "named": ", level-dependent devices", "resnet18_cycles": ", a slice"}  # fmt: skip


@cache
def _cycles(run: str) -> pd.DataFrame:
    return stored_tables.cycles(run)


@cache
def _accuracy(file: str) -> pd.DataFrame:
    return stored_tables.accuracy(file)


@cache
def _claims(run: str) -> dict[str, Any]:
    """Every claim of a stored run, judged."""
    stored = stored_tables.RUNS[run]
    tables = [_accuracy(file) for file in stored.accuracy]
    return claims.measured(_cycles(run), tables, "recursion", stored.level_dependent)


def _network(run: str) -> str:
    first = _accuracy(stored_tables.RUNS[run].accuracy[0]).iloc[0]
    words = [network_words(first["model"]), dataset_words(first["dataset"].partition("_")[0])]
    return ", ".join(words) + _NAMES.get(run, "")


@named
def all_claims() -> list[str]:
    """Each claim that a stored run measures, with the setting that its verdict rests on."""
    rows: list[list[str]] = []
    for claim in claims.CLAIMS:
        for run in stored_tables.RUNS:
            judged = {found["name"]: found for found in _claims(run)["claims"]}[claim.name]
            if judged["best"] is None or judged["verdict"] == claims.UNMEASURED:
                continue
            best, cells = judged["best"], claims_page.cells(judged)
            within = f"{best['within']} {'point' if best['within'] == '1' else 'points'}"
            where = f"`{best['device']}`, σ {best['sigma']}, {within}"
            method = "" if len(claim.methods) == 1 else f"`{best['method']}`: "
            rows.append([claim.text, _network(run), cells[4], cells[5], method + cells[2], where,
                         *cells[6:9], judged["verdict"]])  # fmt: skip
    heads = ["claim", "network", "chips per point", "seeds", "speedup in cycles",
             "device, sigma, within", "writes per device", "reads per device",
             "settings that hold", "verdict"]  # fmt: skip
    return markdown_table(heads, rows, "llrrrlrrrl")


@named
def unmeasured_claims() -> list[str]:
    """Claims that no stored run measures."""
    found = [
        claim.text
        for claim in claims.CLAIMS
        if all(
            {c["name"]: c for c in _claims(run)["claims"]}[claim.name]["best"] is None
            for run in stored_tables.RUNS
        )
    ]
    return [f"- Not measured yet: {text}." for text in found]


# --- accuracy -----------------------------------------------------------------------------------


def _without_heading(text: str) -> list[str]:
    """The lines of a report's Markdown without its heading, which the page has of its own."""
    lines = text.strip().split("\n")
    return lines[2:] if lines[0].startswith("#") else lines


@named
def accuracy(folder: str, file: str = "accuracy.csv", *sigmas: str) -> list[str]:
    """Rows sigma x method, columns NWC: mean ± standard deviation over chips, in per cent."""
    table = _accuracy(f"{folder}/{file}")
    table = table[table["sigma"].isin(sigmas)] if sigmas else table
    return _without_heading(accuracy_tables.markdown(table))


@named
def paired(folder: str, file: str = "paired.csv", *sigmas: str) -> list[str]:
    """Rows sigma x pair of methods, columns NWC: differences over the same chips, in points."""
    table = stored_tables.read(f"{folder}/{file}")
    table = table[table["sigma"].isin(sigmas)] if sigmas else table
    return _without_heading(accuracy_tables.paired_markdown(table))


@named
def difference(folder: str, sigma: str, fraction: str) -> list[str]:
    """A sentence: how far ``swim`` is ahead of the others at one point, over the same chips."""
    table = stored_tables.read(f"{folder}/paired.csv")
    rows = table[(table["sigma"] == sigma) & (table["fraction"] == fraction)
                 & (table["method"] == "swim")]  # fmt: skip
    parts = [
        f"`swim` − `{row['other']}` is {100 * row['difference']:+.2f} ± {100 * row['ci95']:.2f}"
        for _, row in rows.iterrows()
    ]
    chips = chips_words(rows)
    return [f"At sigma {sigma} and NWC {fraction}, over the same {chips}, in percentage points "
            f"with 95 % intervals: {' and '.join(parts)}."]  # fmt: skip


@named
def ends(*files: str) -> list[str]:
    """Rows table x device x sigma: before programming, without and with full write-verify."""
    rows: list[list[object]] = []
    for file in files:
        table = _accuracy(file)
        for (device, sigma), part in table.groupby(["device", "sigma"], sort=False):
            at = part.set_index("method")
            found: list[Any] = [at.loc[name] for name in ("clean", "none", "all")]
            cells = [_mean(row) for row in found]
            experiment = str(part["experiment"].iloc[0])
            rows.append([f"`{experiment}`", f"`{device}`", sigma, chips_words(part), *cells,
                         f"{found[2]['reads']:.3g}"])  # fmt: skip
    heads = ["experiment", "device", "sigma", "chips per point", "before programming (%)",
             "no write-verify (%)", "full write-verify (%)", "its writes per device"]  # fmt: skip
    return markdown_table(heads, rows, "lllrrrrr")


def _mean(row: pd.Series) -> str:
    half = row["ci95"]
    known = "" if pd.isna(half) else f" ± {100 * half:.2f}"
    return f"{100 * row['mean']:.2f}{known}"


# --- cycles to accuracy -------------------------------------------------------------------------


@named
def cycles(run: str, device: str) -> list[str]:
    """One device's tables, one per accuracy drop: rows sigma x method."""
    table = _cycles(run)
    text = cycles_to_accuracy.markdown(table[table["device"] == device])
    lines = _without_heading(text)
    start = next(n for n, line in enumerate(lines) if line.startswith("Within "))
    return [f"**{line}**" if line.startswith("Within ") else line for line in lines[start:]]


@named
def ratios(run: str, *methods: str) -> list[str]:
    """Rows device x accuracy drop, columns methods: NWC, and in brackets over SWIM's."""
    table, rows = _cycles(run), []
    for (device, within), part in table.groupby(["device", "within"], sort=False):
        at = {str(row["method"]): row for _, row in part.iterrows()}
        rows.append([f"`{device}`", within, *(_short(at.get(name)) for name in methods)])
    heads = ["device", "within", *(f"`{name}`" for name in methods)]
    return markdown_table(heads, rows, "ll" + "r" * len(methods))


def _short(row: pd.Series | None) -> str:
    if row is None:
        return NO_DATA
    if row["reached"] < row["seeds"]:
        return f"beyond {row['last']:.3g}"
    if not np.isnan(row["between_low"]):
        return f"{row['between_low']:.3g} to {row['between_high']:.3g}, not measured between"
    below = "" if np.isnan(row["first"]) or row["nwc"] >= row["first"] else "*"
    ratio = row["ratio_to_swim"]
    over = "" if row["method"] == "swim" or np.isnan(ratio) else f" ({ratio:.2g})"
    return f"{row['nwc']:.3g}{below}{over}"


@named
def finer_grid() -> list[str]:
    """``swim`` and ``swim_device`` on a finer grid, 48 chips: the stored crossings as they are."""
    table = stored_tables.read("lenet_cycles/cycles_to_accuracy-48-chips.csv")
    rows: list[list[str]] = []
    for (device, within), part in table.groupby(["device", "within"], sort=False):
        at = part.set_index("method")
        swim, own = at.loc["swim"], at.loc["swim_device"]
        cells = [f"{swim['nwc']:.3g} [{swim['nwc_low']:.3g}, {swim['nwc_high']:.3g}]"]
        if own["nwc"] < own["first"]:
            cells += [f"below {own['first']:.2g}", f"below {own['first'] / swim['nwc']:.3g}"]
        else:
            cells += [f"{own['nwc']:.3g} [{own['nwc_low']:.3g}, {own['nwc_high']:.3g}]",
                      f"{own['ratio_to_swim']:.3g} [{own['ratio_low']:.3g}, "
                      f"{own['ratio_high']:.3g}]"]  # fmt: skip
        rows.append([f"`{device}`", str(within), *cells])
    heads = ["device", "within", "`swim`", "`swim_device`", "over swim's"]
    return markdown_table(heads, rows, "llrrr")


@named
def within(folder: str, *points: str) -> list[str]:
    """Rows methods, columns accuracy drops: NWC by today's rule, from the means of accuracy.csv."""
    table = _accuracy(f"{folder}/accuracy.csv")
    (device,), (sigma,) = set(table["device"]), set(table["sigma"])
    own = [stored_tables.means(table, device, sigma)]
    found = {part: {str(row["method"]): row for row in cycles_to_accuracy.rows(own, part)}
             for part in points}  # fmt: skip
    rows = []
    for method in found[points[0]]:
        cells = [f"{found[part][method]['nwc']:.3g}" for part in points]
        rows.append([f"`{method}`", *cells])
    heads = ["method", *(f"{p} point{'' if p == '1' else 's'}" for p in points)]
    return markdown_table(heads, rows, "l" + "r" * len(points))


@named
def headline() -> list[str]:
    """README's table: cycles, writes and reads to within half a point, of LeNet, by policy."""
    table = _cycles("lenet_cycles")
    table = table[(table["device"] == "counted") & (table["within"] == "0.5")]
    order = ["swim", "swim_device", "read_first", "compensate", "marginal", "reslice",
             "reslice_pair"]  # fmt: skip
    at = table.set_index("method").loc[order]
    files = stored_tables.RUNS["lenet_cycles"].accuracy
    counted = pd.concat([_accuracy(f) for f in files])
    counted = counted[counted["device"] == "counted"]
    full = float(counted.loc[counted["method"] == "all", "reads"].mean())
    rows = [
        ["NWC, mean over networks [over chips]",
         *(_interval(r, "nwc") for _, r in at.iterrows())],
        ["[for other networks, over seeds]",
         *(f"[{r['seeds_low']:.3g}, {r['seeds_high']:.3g}]" for _, r in at.iterrows())],
        ["over SWIM's [over chips]",
         *("1" if name == "swim" else _interval(r, "ratio_to_swim") for name, r in at.iterrows())],
        [f"writes per device, the first included (full write-verify: {full:.2f})",
         *(f"{1 + r['nwc'] * (full - 1):.3g}" for _, r in at.iterrows())],
        [f"reads per device (full write-verify: {full:.2f})",
         *(f"{r['reads']:.3g}" for _, r in at.iterrows())],
    ]  # fmt: skip
    heads = ["", *(f"`{name}`" for name in order)]
    chips = chips_words(table)
    return [
        *markdown_table(heads, rows, "l" + "r" * len(order)),
        "",
        f"*4-bit LeNet, MNIST, eight one-bit devices per weight, σ = 0.3, {chips} per point, "
        f"{int(table['seeds'].iloc[0])} training seeds. Cycles, not time: NWC counts rewrites "
        "beyond each device's first write. In brackets 95 % intervals.*",
    ]


def _interval(row: pd.Series, name: str) -> str:
    stem = name.split("_")[0]
    value, low, high = row[name], row[f"{stem}_low"], row[f"{stem}_high"]
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


# --- estimators ---------------------------------------------------------------------------------


# Files of results are sorted by name; tables have these orders.
NETWORKS = ("MLP", "MLP, squared error", "max-pool", "max-pool, 4 bits", "residual", "GELU")
WAYS = (
    "recursion", "recursion_coherent", "release", "gauss_newton_probe, signs",
    "gauss_newton_probe, labels", "gauss_newton_probe, signs, 4 passes", "gradient",
    "empirical_fisher", "monte_carlo_fisher", "monte_carlo_fisher, 1 label",
    "monte_carlo_fisher, 10 labels", "gauss_newton", "hutchinson, 1 probe",
    "hutchinson, 10 probes", "hutchinson, 100 probes", "magnitude, no estimator",
    "random, no estimator",
)  # fmt: skip


def _ordered(found: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """A mapping in this order; what the order lacks comes last."""
    last = len(order)
    places = {name: place for place, name in enumerate(order)}
    return {name: found[name] for name in sorted(found, key=lambda n: (places.get(n, last), n))}


@cache
def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((record.RESULTS / f"{name}.json").read_text())
    return found


def _way(name: str) -> str:
    """An estimator as pages write it: ``recursion, 1 label`` with its name as code."""
    first, _, rest = name.partition(", ")
    if rest == "no estimator":
        return f"`{first}` (no estimator)"
    return f"`{first}`" + (f", {rest}" if rest else "")


@named
def estimators(*words: str) -> list[str]:
    """Rows estimators, columns networks: the mean of one measure over seeds."""
    measure, networks = " ".join(words), _ordered(_result("estimators")["networks"], NETWORKS)
    first = next(iter(networks.values()))[0]["against Hessian"]
    rows = []
    for way in _ordered(first, WAYS):
        cells = [
            f"{statistics.mean(run['against Hessian'][way][measure] for run in runs):.2f}"
            for runs in networks.values()
        ]
        rows.append([_way(way), *cells])
    return markdown_table(["", *networks], rows, "l" + "r" * len(networks))


@named
def estimator_networks() -> list[str]:
    """The networks whose exact diagonals were computed."""
    rows: list[list[object]] = []
    for name, runs in _ordered(_result("estimators")["networks"], NETWORKS).items():
        mean = {key: statistics.mean(run[key] for run in runs)
                for key in ("accuracy", "zero", "negative")}  # fmt: skip
        most = max(run["largest difference of the two"] for run in runs)
        apart = "rounding" if most < 1e-12 else f"{most:.0%} of the largest score"
        rows.append([name, f"{runs[0]['weights']:,}", f"{mean['accuracy']:.1%}",
                     f"{mean['zero']:.1%}, {mean['negative']:.1%}", apart])  # fmt: skip
    heads = ["network", "weights", "test accuracy", "diagonal zero, negative",
             "the two diagonals differ by"]  # fmt: skip
    return markdown_table(heads, rows, "lrrrr")


@named
def estimator_costs() -> list[str]:
    """Gradient passes of each estimator, on LeNet with 500 images."""
    times = _result("estimators")["cost"]
    base = times["gradient"]["median"]
    rows = [
        [_way(way), f"{row['median'] / base:.1f}"] for way, row in _ordered(times, WAYS).items()
    ]
    return markdown_table(["estimator", "gradient passes"], rows, "lr")


@named
def pooling(*fractions: str) -> list[str]:
    """Overlap of masks with those of the exact diagonal on ResNet-18, by estimator."""
    ways = _result("pooling")["ways"]
    rows = [
        [_way(way), *(f"{row['fractions'][f]['overlap']:.2f} ({row['fractions'][f]['saved']:.2f})"
                      for f in fractions)]
        for way, row in _ordered(ways, WAYS).items()
    ]  # fmt: skip
    heads = ["fraction of the best weights (of their scores)", *(f"NWC {f}" for f in fractions)]
    return markdown_table(heads, rows, "l" + "r" * len(fractions))


# --- scores against measured loss ---------------------------------------------------------------


@named
def correlation(file: str, sigma: str) -> list[str]:
    """Rows methods: Pearson and Spearman over all layers with intervals, Spearman by layer."""
    table = stored_tables.read(f"correlation/{file}.csv")
    table = table[table["sigma"] == sigma]
    layers = [layer for layer in table["layer"].unique() if layer != "all"]
    rows = []
    for method, part in table.groupby("method", sort=False):
        at = part.set_index("layer")
        everywhere: Any = at.loc["all"]
        both = [_signed(everywhere, kind) for kind in ("pearson", "spearman")]
        rows.append([method, *both, *(_minus(at["spearman"][layer]) for layer in layers)])
    short = [layer.removesuffix(".weight") for layer in layers]
    heads = ["score", "Pearson, all", "Spearman, all", *short]
    return markdown_table(heads, rows, "l" + "r" * (len(heads) - 1))


def _signed(row: pd.Series, kind: str) -> str:
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    return f"{_minus(row[kind])} [{_minus(low)}, {_minus(high)}]"


def _minus(value: float) -> str:
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def markers(text: str) -> Iterator[re.Match[str]]:
    """Every table of a page."""
    yield from re.finditer(
        r"<!-- table: (?P<name>[^>]+?) -->\n(?P<body>.*?)<!-- end -->", text, re.DOTALL
    )


def filled(text: str) -> str:
    """A page with all its tables made again.

    Raises:
        ValueError: a marker has no end, or names no table.
    """
    parts: list[str] = []
    end = 0
    for match in markers(text):
        if "<!-- table:" in match["body"]:
            raise ValueError(f"the table {match['name']} has no <!-- end -->")
        lines = _joined(made(match["name"]))
        parts += [text[end : match.start("body")], "\n", lines, "\n\n"]
        end = match.end("body")
    rest = text[end:]
    if "<!-- table:" in rest:
        raise ValueError(f"{rest[rest.index('<!-- table:') :][:60]}: has no <!-- end -->")
    return "".join([*parts, rest])


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).strip()
