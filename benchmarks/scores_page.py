"""The page of :mod:`benchmarks.scores`: one table and one figure, from the stored numbers."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from benchmarks import record
from benchmarks.score_cases import SCORES
from swim.reports import crossings as curves
from swim.reports.plots import canvas
from swim.reports.plots.style import method_style
from swim.runtime import files, markdown, rng

PAGE = Path(__file__).parents[1] / "docs" / "scores.md"
FIGURES = PAGE.parent / "scores"
BEGIN, END = "<!-- made by python -m benchmarks.scores -->", "<!-- until here -->"
WITHIN = (0.1, 0.5, 1.0)
RESAMPLES = 2000
# Drawn in the figure: what a user would choose between. The table has all.
DRAWN = (
    "swim", "fisher", "gauss_newton", "gauss_newton_probe, signs", "gradient", "magnitude",
    "random",
)  # fmt: skip


def accuracies(content: Mapping[str, Any]) -> list[str]:
    """Accuracy by fraction, and the difference to ``swim`` paired by chip."""
    fractions, base = content["fractions"], content["scores"]["swim"]["accuracy"]
    rows: list[list[object]] = []
    for score in [*SCORES, *(f"{score}, at chips" for score in SCORES)]:
        row = content["scores"].get(score)
        if row is None:
            continue
        if "fails" in row:
            rows.append([score, "cannot", *[""] * len(fractions)])
            continue
        cells = []
        for fraction in fractions:
            own = np.array(row["accuracy"][fraction])
            change = own - np.array(base[fraction])
            half = 1.96 * change.std(ddof=1) / len(change) ** 0.5
            beside = "" if score == "swim" else f" ({change.mean():+.2f} ± {half:.2f})"
            cells.append(f"{own.mean():.2f}{beside}")
        rows.append([score, f"{row['passes']:.2f}", *cells])
    heads = ["score", "gradient passes", *(f"NWC {f}" for f in fractions)]
    none, full = (np.mean(content[end]) for end in ("none", "all"))
    head = (
        f"**{content['title']}**: no write-verify {none:.2f} %, full write-verify {full:.2f} %; "
        f"{content['chips']} chips, {content['test']} images a chip, sensitivities of "
        f"{content['train']} images. In brackets the difference to `swim` on the same chips."
    )
    return [head, "", *markdown.table(heads, rows, "l" + "r" * (len(heads) - 1)), ""]


def crossings(content: Mapping[str, Any], score: str) -> list[str]:
    """NWC to within each accuracy drop, with 95 % intervals over resampled chips."""
    row = content["scores"].get(score)
    if row is None or "fails" in row:
        return ["" if row is None else "cannot"] * len(WITHIN)
    full = np.array(content["all"])
    points = [content["none"], *(row["accuracy"][f] for f in content["fractions"]), content["all"]]
    nwc = np.array([0.0, *map(float, content["fractions"]), 1.0])
    below = np.array(points).T - full[:, None]  # (chips, points)
    draws = rng.generator(0, "resampled chips", "scores")
    times = draws.multinomial(len(full), np.full(len(full), 1 / len(full)), size=RESAMPLES)
    times = np.concatenate([np.ones((1, len(full))), times])
    means = times @ below / times.sum(1, keepdims=True)
    means = curves.rising(means, curves.precision(below))
    cells = []
    for within in WITHIN:
        places = curves.crossing(means + within)
        values = curves.interpolate(places, np.broadcast_to(nwc, means.shape))
        low, high = np.percentile(values[1:], (2.5, 97.5))
        cells.append(f"{values[0]:.2g} [{low:.2g}, {high:.2g}]")
    return cells


def table(contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every score of every network: its cost, and NWC to within each accuracy drop."""
    heads = ["network", "score", "gradient passes",
             *(f"{drop} points" for drop in WITHIN),
             *(f"{drop}, at chips" for drop in WITHIN)]  # fmt: skip
    rows: list[list[object]] = []
    for name, content in contents.items():
        for score in SCORES:
            if score not in content["scores"]:
                continue
            cost = content["scores"][score].get("passes", "")
            at_chips = crossings(content, f"{score}, at chips")
            rows.append([name, score, cost, *crossings(content, score), *at_chips])
    return markdown.table(heads, rows, "ll" + "r" * (len(heads) - 2))


def draw(contents: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Accuracy against NWC, a panel a network."""
    columns = min(3, len(contents))
    lines = -(-len(contents) // columns)
    figure = canvas.new_figure(max(3.2 * columns, 6.4), 2.6 * lines + 0.6)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for place, content in zip(axes, contents.values(), strict=False):
        _panel(place, content)
    for spare in axes[len(contents) :]:
        spare.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return list(canvas.save(figure, FIGURES, "scores"))


def _panel(place: Any, content: Mapping[str, Any]) -> None:
    nwc = [float(f) for f in content["fractions"]]
    full, none = (float(np.mean(content[end])) for end in ("all", "none"))
    for score in DRAWN:
        row = content["scores"].get(score, {})
        if "accuracy" not in row:
            continue
        means = [float(np.mean(row["accuracy"][f])) for f in content["fractions"]]
        look = method_style(score.partition(",")[0])
        place.plot(nwc, means, ms=4, lw=1.2, label=look.name, **look.line)
    place.axhline(full, color="0.4", lw=0.8, ls=":")
    place.axhline(none, color="0.4", lw=0.8, ls=":")
    place.set_xscale("log")
    place.set_xlim(0.0025, 1.1)
    place.xaxis.set_minor_formatter(NullFormatter())
    network, _, chips = content["title"].partition(", ")
    lines = textwrap.wrap(chips, 64)
    place.set_title("\n".join([network, *lines]), fontsize=7)
    place.set_xlabel("NWC", fontsize=8)
    place.set_ylabel("accuracy (%)", fontsize=8)
    place.tick_params(labelsize=7)


def write(names: Iterable[str]) -> None:
    """Put table and figure of all networks that are measured into the page."""
    paths = {name: record.RESULTS / f"scores-{name}.json" for name in names}
    contents = {name: json.loads(p.read_text()) for name, p in paths.items() if p.exists()}
    if not contents:
        return
    draw(contents)
    setups = [
        [f"`{name}`: {c['title']}", c["chips"], c["test"], c["train"],
         f"{np.mean(c['none']):.2f}", f"{np.mean(c['all']):.2f}", f"`{c['command']}`"]
        for name, c in contents.items()
    ]  # fmt: skip
    heads = ["network", "chips", "images a chip", "images of the sensitivities",
             "no write-verify (%)", "full write-verify (%)", "command"]  # fmt: skip
    made = [
        BEGIN, "", "![Accuracy against NWC by score](scores/scores.png)", "",
        *table(contents), "", *markdown.table(heads, setups, "lrrrrrl"), "", END,
    ]  # fmt: skip
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    files.write_text(PAGE, before + "\n".join(made) + after)
    print(f"Written: {PAGE}")
