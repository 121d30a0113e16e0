"""The claims that :mod:`.claims` judged, as Markdown, as a page of HTML, and as lines of text.

All are made from the stored JSON, so that showing them needs no tables.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swim.errors import DataError
from swim.reports import html_page
from swim.runtime.markdown import table as markdown_table

HEADS = ("claim", "verdict", "measured here", "where", "chips", "seeds", "writes per device",
         "reads per device", "settings that hold", "claimed by")  # fmt: skip
ROW_HEADS = ("network", "device", "σ", "within", "method", "speedup in cycles", "chips", "seeds",
             "writes per device", "reads per device", "verdict", "remark")  # fmt: skip
MEANING = (
    "The abstracts speak of programming speedup, which is time. Time is not modelled yet: a "
    "speedup here is of write cycles, those of the reference over those of the method, counted "
    "beyond each device's first write, where each is within so many percentage points of full "
    "write-verify. Writes per device count the first write too, and like reads are given beside "
    "those of full write-verify.",
    "In brackets are 95 % intervals over chips, of the networks that were trained here. A setting "
    "holds where the whole interval reaches the claim, does not hold where the whole interval is "
    "below, and is undecided where the interval contains it or there are fewer than 10 chips. "
    "Settings where chips may be accurate enough without any write-verify test nothing. A "
    'claim of "up to" holds if one setting does; a comparison of two methods holds if all settings '
    "do. Intervals are not widened for the number of settings.",
)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Claims as ``swim claims`` stores them.

    Raises:
        DataError: the file is missing, or is something else.
    """
    try:
        found = json.loads(Path(path).read_bytes())
        for claim in found["claims"]:
            _ = claim["claim"], claim["verdict"], claim["best"], claim["rows"]
        return dict(found, name=str(found["name"]))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a file of `swim claims`; make it again") from error


def read_text(path: str | os.PathLike[str]) -> str:
    """:func:`text` of a stored file.

    Raises:
        DataError: as :func:`read`.
    """
    return text(read(path))


def text(found: Mapping[str, Any]) -> str:
    """A line per claim, for terminals and logs: verdict, claim, and what was measured."""
    lines = [f"Claims, {found['name']} (speedup of write cycles, not of time):"]
    for claim in found["claims"]:
        best = claim["best"]
        several = f" (in {_share(claim)} settings)" if len(claim["rows"]) > 1 else ""
        lines.append(f"  {claim['verdict']:<14} {claim['claim']}{several}")
        if best:
            where = [_where(best), f"{best['chips']} chips" if best["chips"] else ""]
            detail = ", ".join(part for part in where if part)
            lines.append(f"  {'':<14} measured {best['measured']} ({detail})")
    return "\n".join(lines)


def markdown(found: Mapping[str, Any]) -> str:
    """The table of claims, then each claim's settings."""
    lines = [f"# Claims: {found['name']}", ""]
    lines += markdown_table(HEADS, [cells(claim) for claim in found["claims"]], "llllrrrrrl")
    for paragraph in MEANING:
        lines += ["", paragraph]
    for claim in found["claims"]:
        if len(claim["rows"]) > 1:
            lines += ["", f"## {claim['claim']}", "", _counted(claim), ""]
            rows = [row_cells(row) for row in claim["rows"]]
            lines += markdown_table(ROW_HEADS, rows, "lllllrrrrrll")
    return "\n".join(lines) + "\n"


def page(found: Mapping[str, Any]) -> str:
    """The same as one file of HTML, which needs nothing else."""
    rows = _cells_of(HEADS, map(cells, found["claims"]))
    body = html_page.table(HEADS, rows)
    body += [f"<p>{html_page.text(paragraph)}</p>" for paragraph in MEANING]
    for claim in found["claims"]:
        if len(claim["rows"]) > 1:
            body.append(f"<h2>{html_page.text(claim['claim'])}</h2>")
            body.append(f"<p>{html_page.text(_counted(claim))}</p>")
            rows = _cells_of(ROW_HEADS, map(row_cells, claim["rows"]))
            body += html_page.table(ROW_HEADS, rows)
    return html_page.document(f"Claims: {found['name']}", body, _STYLE)


def cells(claim: Mapping[str, Any]) -> list[str]:
    """A claim's row, below :data:`HEADS`."""
    best = claim["best"]
    if best is None:
        return [claim["claim"], claim["verdict"], *["–"] * 7, claim["claimed_by"]]
    measured = best["measured"] + (f" ({best['note']})" if best["note"] else "")
    counts = [str(best[key]) if best[key] is not None else "–" for key in ("chips", "seeds")]
    costs = [_cost(best, kind) for kind in ("writes", "reads")]
    return [claim["claim"], claim["verdict"], measured, _where(best), *counts, *costs,
            _share(claim), claim["claimed_by"]]  # fmt: skip


def row_cells(row: Mapping[str, Any]) -> list[str]:
    """A setting's row below :data:`ROW_HEADS`."""
    method = row["method"] if row["over"] == "all" else f"{row['method']} over {row['over']}"
    within = f"{row['within']} {_points(row['within'])}"
    return [row["network"], row["device"], row["sigma"], within, method, row["measured"],
            str(row["chips"]), str(row["seeds"]), _cost(row, "writes"), _cost(row, "reads"),
            row["verdict"], row["note"]]  # fmt: skip


def _where(row: Mapping[str, Any]) -> str:
    """Network, data set, method, device, sigma and accuracy drop of a row."""
    parts = [f"{row['network']} on {row['dataset']}", row["method"]]
    if row["device"] is not None:
        parts += [row["device"], f"σ = {row['sigma']}"]
        parts.append(f"within {row['within']} {_points(row['within'])}")
    return ", ".join(parts)


def _points(within: str) -> str:
    return "point" if within == "1" else "points"


def _cost(row: Mapping[str, Any], kind: str) -> str:
    own, full = row.get(f"{kind}_per_device"), row.get(f"{kind}_per_device_full")
    return "–" if own is None or full is None else f"{own:.3g} of {full:.3g}"


def _share(claim: Mapping[str, Any]) -> str:
    """How many of the settings that test a claim hold."""
    counts = claim["counts"]
    return f"{counts['holds']} of {sum(counts.values()) - counts['not measured']}"


def _counted(claim: Mapping[str, Any]) -> str:
    """How many settings hold and do not, in words."""
    counts = claim["counts"]
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{len(claim['rows'])} settings: {words}."


def _cells_of(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """Cells of HTML; the verdict's column has a class for its colour."""
    for row in rows:
        yield [
            html_page.cell(words, words.replace(" ", "-") if head == "verdict" else "")
            for head, words in zip(heads, row, strict=True)
        ]


_STYLE = """
.holds, .does-not-hold, .undecided, .not-measured { font-weight: 600; white-space: nowrap; }
.holds::before { content: "\\2713\\00a0"; }
.does-not-hold::before { content: "\\2717\\00a0"; }
.undecided::before { content: "?\\00a0"; }
.not-measured { font-weight: 400; opacity: .7; }
.holds { color: light-dark(#00614a, #4fd1ab); }
.does-not-hold { color: light-dark(#a33c00, #ff9d5c); }
"""
