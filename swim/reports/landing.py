"""The first page of a report: claims, what was run, on which machine, and for how long.

It is made when the report is, from files that the experiments left; what is not there is left out.
The text is reStructuredText, in which Snakemake takes the page.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from swim.errors import DataError
from swim.reports import claims_page
from swim.reports.plots.style import display_name
from swim.reports.plots.titles import dataset_words, device_words, network_words
from swim.settings import DeviceSettings, ModelSettings, layout

_MARKUP = re.compile(r"([^\w\s]|_)")
_HEADS = ("verdict", "claim", "measured here")  # Snakemake shows the page in a narrow column

# Snakemake centres a page in the window, and nobody can scroll to the top of a taller one.
_FROM_THE_TOP = (
    ".. raw:: html",
    "",
    "   <style>.items-center.overflow-auto { align-items: safe center; }</style>",
    "",
)


def text(experiments: Sequence[str], places: Sequence[str], commit: str = "") -> str:
    """The page.

    Args:
        experiments: those that the report is of.
        places: files of claims, of experiments and comparisons.
        commit: of the code that makes the report, in words.
    """
    judged = [claims_page.read(file) for file in places if Path(file).exists()]
    stored = {name: _settings(name) for name in experiments}
    known = {name: own for name, own in stored.items() if own}
    lines = [*_FROM_THE_TOP, "Selective write-verify: what holds here", "=" * 42, ""]
    for found in judged:
        lines += _heading(f"Claims: {found['name']}") + table(_HEADS, _verdicts(found))
    if judged:
        lines += [
            escaped(
                "A speedup is of write cycles, since time is not modelled yet; in brackets are "
                "95 % intervals over chips. The pages of claims have all settings."
            ),
            "",
        ]
    if known:
        lines += _heading("What was run")
        for name, own in known.items():
            lines += [f"* **{escaped(name)}**: {escaped(_run(name, own))}"]
        lines.append("")
        lines += _heading("Machine and versions") + _machines(known.values(), commit)
    return "\n".join(lines)


def _verdicts(found: Mapping[str, Any]) -> Iterator[list[str]]:
    for claim in found["claims"]:
        cells = dict(zip(claims_page.HEADS, claims_page.cells(claim), strict=True))
        measured = [cells["measured here"], cells["where"], f"{cells['chips']} chips"]
        known = [part for part in measured if not part.startswith("–")]
        yield [cells["verdict"], cells["claim"], "; ".join(known) or "–"]


def _settings(name: str) -> dict[str, Any]:
    """``settings.json`` of an experiment; empty if it has none."""
    path = Path(layout.SETTINGS.format(experiment=name))
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again") from error


def _run(name: str, own: Mapping[str, Any]) -> str:
    model = ModelSettings.model_validate(own["model"])
    devices = [
        f"{key} ({device_words(DeviceSettings.model_validate(device))})"
        for key, device in own["devices"].items()
    ]
    methods = [display_name(m["name"] if isinstance(m, dict) else m) for m in own["methods"]]
    chips = f"{own['chips']} or more" if own["precision"] else str(own["chips"])
    parts = {
        "": f"{network_words(model.label)}, {dataset_words(own['dataset'])}",
        "devices ": ", ".join(devices),
        "σ = ": ", ".join(own["sigmas"]),
        "methods ": ", ".join(methods),
        "chips per point: ": chips,
        "seed ": str(own["seed"]),
        "computing time ": computing_time(name),
    }
    return "; ".join(before + words for before, words in parts.items())


def computing_time(experiment: str) -> str:
    """Times of an experiment's jobs added up, from their benchmark files, and how many these are.

    Jobs may have run side by side: a run takes less time than this.
    """
    folder = Path(layout.benchmark("", experiment)).parent
    seconds = [
        float(pd.read_csv(path, sep="\t")["s"].sum()) for path in sorted(folder.rglob("*.tsv"))
    ]
    if not seconds:
        return "–"
    return f"{clock(sum(seconds))} in {len(seconds)} job{'s' * (len(seconds) > 1)}"


def clock(seconds: float) -> str:
    """A time as a reader takes it in: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _machines(stored: Iterable[Mapping[str, Any]], commit: str) -> list[str]:
    """Machines and versions; experiments that agree have one line."""
    lines = dict.fromkeys(
        f"{own['hardware']['processor']}, {own['hardware']['cores']} cores, "
        f"{own['hardware']['system']}; "
        + ", ".join(f"{name} {version}" for name, version in own["versions"].items())
        for own in stored
    )
    found = [f"* {escaped(line)}" for line in lines]
    return [*found, *([f"* {escaped(f'report made by {commit}')}"] if commit else []), ""]


def escaped(words: str) -> str:
    """Words in which nothing is markup."""
    return _MARKUP.sub(r"\\\1", " ".join(words.split()))


def _heading(words: str) -> list[str]:
    safe = escaped(words)
    return [safe, "-" * (2 * len(safe)), ""]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table of three columns, whose first row are the heads."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 2 5 6", ""]
    for row in [heads, *rows]:
        for place, cell in enumerate(row):
            lines.append(f"   {'*' if place == 0 else ' '} - {escaped(cell)}".rstrip())
    return [*lines, ""]
