"""Our Markdown tables as LaTeX tables of the package booktabs, ready to be put into a paper."""

import re
from collections.abc import Iterator, Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "σ": r"$\sigma$", "∞": r"$\infty$", "−": "$-$", "–": "--", "…": r"\ldots{}", "×": r"$\times$",
}  # fmt: skip
_WIDE = 30  # letters from which on a column has lines of its own
_CELL = re.compile(r"(?<!\\)\|")  # a bar that ends a cell, not one of a text
_ALIGN = {"---": "l", "---:": "r"}


def escaped(text: str) -> str:
    """A text as LaTeX prints it, with `code` in a typewriter face."""
    parts = text.split("`")
    words = ["".join(_SPECIAL.get(letter, letter) for letter in part) for part in parts]
    if len(parts) % 2 == 0:  # a backtick without its partner
        return r"\textasciigrave{}".join(words)
    return "".join(rf"\texttt{{{word}}}" if i % 2 else word for i, word in enumerate(words))


def from_markdown(text: str) -> str:
    """A page of headings, paragraphs and tables, as :mod:`.markdown` writes them, in LaTeX.

    A table's caption is the heading above, and the line right before the table if that ends with
    a colon. A heading without a table is a comment.
    """
    lines = [r"% Needs \usepackage{booktabs} and a document in UTF-8."]
    heading, waiting = "", ""
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("#"):
            lines += _paragraph(waiting)
            heading, waiting = block.lstrip("# "), ""
            lines += ["", f"% {heading}"]
        elif block.startswith("|"):
            within = waiting if waiting.endswith(":") else ""
            lines += [] if within else _paragraph(waiting)
            caption = ". ".join(part for part in (heading, within.rstrip(":")) if part)
            lines += ["", *_table(block.splitlines(), caption)]
            waiting = ""
        else:
            lines += _paragraph(waiting)
            waiting = block
    return "\n".join([*lines, *_paragraph(waiting)]) + "\n"


def _paragraph(text: str) -> list[str]:
    return ["", escaped(text)] if text else []


def _cells(line: str) -> list[str]:
    cells = _CELL.split(line.strip()[1:-1])
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _table(lines: Sequence[str], caption: str) -> Iterator[str]:
    heads, rule, *rows = (_cells(line) for line in lines)
    longest = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    columns = [r"p{0.2\linewidth}" if width > _WIDE else _ALIGN[mark]
               for mark, width in zip(rule, longest, strict=True)]  # fmt: skip
    yield from (r"\begin{table}", r"\centering", rf"\caption{{{escaped(caption)}}}")
    yield rf"\begin{{tabular}}{{{''.join(columns)}}}"
    yield from (r"\toprule", _row(heads), r"\midrule", *map(_row, rows), r"\bottomrule")
    yield from (r"\end{tabular}", r"\end{table}")


def _row(cells: Sequence[str]) -> str:
    words = [escaped(cell) for cell in cells]
    # A bracket at the beginning of a row would be an option of the line break before it.
    first = f"{{{words[0]}}}" if words[0].startswith("[") else words[0]
    return " & ".join([first, *words[1:]]) + r" \\"
