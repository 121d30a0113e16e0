"""Tables in Markdown: one writer for reports, commands and benchmarks."""

from collections.abc import Iterable, Sequence

_RULES = {"l": "---", "r": "---:"}


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], align: str) -> list[str]:
    """The lines of a table.

    Args:
        heads: text above each column.
        rows: the cells of each row; a ``|`` in a cell is escaped.
        align: one letter per column, ``l`` (left, texts) or ``r`` (right, numbers).

    Raises:
        ValueError: a row has another number of cells than ``align`` has letters.

    >>> table(["sigma", "accuracy"], [["0.1", "98.8 %"]], "lr")
    ['| sigma | accuracy |', '|---|---:|', '| 0.1 | 98.8 % |']
    """
    lines = [[str(cell) for cell in row] for row in [heads, *rows]]
    for row in lines:
        if len(row) != len(align):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(align)} columns: {row}")
    rule = "|" + "|".join(_RULES[letter] for letter in align) + "|"
    head, *body = (_line(row) for row in lines)
    return [head, rule, *body]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
