"""Print which part of each room of swim/ the tests ran: ``python -m tests.coverage_by_room``.

Of what unit and reference tests ran in the processes of pytest: programs that tests start, such as
the jobs of the workflow tests, are not measured.
"""

from collections import Counter

from coverage import Coverage

from tests import ROOT


def rooms(coverage):
    """Room -> (statements, those that ran), in the order of names."""
    statements, ran = Counter(), Counter()
    for path in sorted((ROOT / "swim").rglob("*.py")):
        first, *rest = path.relative_to(ROOT / "swim").parts
        room = first if rest else "swim"
        _, found, _, missing, _ = coverage.analysis2(str(path))
        statements[room] += len(found)
        ran[room] += len(found) - len(missing)
    return {room: (statements[room], ran[room]) for room in sorted(statements) if statements[room]}


def main():
    coverage = Coverage()
    coverage.load()
    found = rooms(coverage)
    found["total"] = tuple(map(sum, zip(*found.values(), strict=True)))
    print(f"{'room':<14}{'statements':>12}{'run by tests':>14}")
    for room, (statements, ran) in found.items():
        print(f"{room:<14}{statements:>12}{ran / statements:>13.1%}")


if __name__ == "__main__":
    main()
