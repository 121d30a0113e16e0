"""Tables of plain text, for a terminal."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], numbers: Collection[str]) -> list[str]:
    """Lines with columns of equal width.

    Args:
        rows: cells; the first row holds the heads.
        numbers: heads of the columns whose cells are aligned to the right.

    >>> aligned([["name", "jobs"], ["quick", "12"], ["lenet_mnist", "7"]], ["jobs"])
    ['name         jobs', 'quick          12', 'lenet_mnist     7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if head in numbers else cell.ljust(width)
            for cell, width, head in zip(row, widths, rows[0], strict=True)
        ).rstrip()
        for row in rows
    ]
