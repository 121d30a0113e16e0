"""Pages of the documentation: their tables, from stored files.

``python -m benchmarks.docs_pages`` writes the tables of README.md and of docs/results.md,
docs/cycles.md, docs/estimators.md and docs/correlation.md. In a page a table is between
``<!-- table: NAME WORDS -->`` and ``<!-- end -->``, and everything else is prose, edited in place.
:mod:`benchmarks.docs_tables` has the tables. ``--check`` writes nothing and fails where a page is
not what its files give.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import docs_tables
from swim.runtime import files

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/results.md", "docs/cycles.md", "docs/estimators.md",
         "docs/correlation.md")  # fmt: skip


def stale() -> dict[str, str]:
    """Pages whose tables are not those of the stored files, with what they should be."""
    found = {}
    for page in PAGES:
        text = (ROOT / page).read_text()
        if (right := docs_tables.filled(text)) != text:
            found[page] = right
    return found


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    check = parser.parse_args().check
    found = stale()
    for page, right in found.items():
        if not check:
            files.write_text(ROOT / page, right)
        print(f"{'Stale' if check else 'Written'}: {page}")
    sys.exit(1 if check and found else 0)


if __name__ == "__main__":
    main()
