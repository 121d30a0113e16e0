"""A page of HTML that is one file, and tables in it; all words reach it as text."""

import html
from collections.abc import Iterable, Sequence

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; max-width: 85rem; }}
p {{ max-width: 50rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: .35rem .6rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }}
td {{ font-variant-numeric: tabular-nums; }}
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page.

    Args:
        title: words, which become text and the first heading.
        body: lines of HTML below the heading.
        style: rules of CSS beside those of every page.
    """
    lines = [f"<h1>{text(title)}</h1>", *body]
    return _PAGE.format(title=text(title), style=style.strip(), body="\n".join(lines))


def text(words: object) -> str:
    """Words in which nothing is markup."""
    return html.escape(str(words))


def table(heads: Sequence[str], rows: Iterable[Iterable[str]], kind: str = "") -> list[str]:
    """The lines of a table.

    Args:
        heads: words.
        rows: of each its cells, elements of HTML as :func:`cell` makes them.
        kind: class of the table.
    """
    opening = f'<table class="{text(kind)}">' if kind else "<table>"
    lines = [f'<div class="wide">{opening}', "<thead><tr>"]
    lines += [f"<th>{text(head)}</th>" for head in heads]
    lines.append("</tr></thead><tbody>")
    for cells in rows:
        lines += ["<tr>", *cells, "</tr>"]
    return [*lines, "</tbody></table></div>"]


def cell(words: str, mark: str = "", heat: float | None = None, small: str = "") -> str:
    """A cell.

    Args:
        words: its text.
        mark: its class.
        heat: how strong its ground's colour is, from 0 to 1.
        small: text of a second, smaller line.
    """
    kind = f' class="{text(mark)}"' if mark else ""
    ground = "" if heat is None else f' style="--heat: {100 * heat:.0f}%"'
    below = f"<small>{text(small)}</small>" if small else ""
    return f"<td{kind}{ground}>{text(words)}{below}</td>"
