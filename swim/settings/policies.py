"""Policies that settings choose by name: where each lies, and how its curve begins and ends.

To add a policy, write its file in :mod:`swim.programming` and add its line here. Tables and curves
depend on this module, so it is part of these steps' digests, which the names in
:mod:`swim.settings.registry` are not.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PolicyEntry:
    """A policy as settings know it.

    Attributes:
        home: a module with ``offers(cells, curvature)`` (:mod:`swim.programming.budgeted`), or
            ``module:class`` of a class that is made of a budget and scores.
        ends_verified: a growing budget ends in full write-verify, so the curve ends at the point
            of ``all``. Otherwise the curve ends at the policy's largest budget.
        reads_first: every device is read before any is rewritten, so the policy takes one read per
            device even where it rewrites nothing.
        acts_without_cycles: the policy changes a chip without write cycles, so its curve begins at
            a point of its own and not at that of ``none``.
        leaves_little: errors are left that bfloat16's rounding of a weight, 0.0011 of its value
            (rms), would change.
    """

    home: str
    ends_verified: bool
    reads_first: bool = False
    acts_without_cycles: bool = False
    leaves_little: bool = False


ENTRIES = {
    "uswim": PolicyEntry("swim.programming.uswim", ends_verified=True),
    "swim_device": PolicyEntry("swim.programming.swim_device", ends_verified=True),
    "magnitude_device": PolicyEntry("swim.programming.magnitude_device", ends_verified=True),
    "top_slice": PolicyEntry("swim.programming.top_slice", ends_verified=True),
    "read_first": PolicyEntry("swim.programming.read_first", ends_verified=True, reads_first=True),
    "compensate": PolicyEntry("swim.programming.compensate", ends_verified=False, reads_first=True),
    "marginal": PolicyEntry(
        "swim.programming.marginal:Marginal", ends_verified=False, reads_first=True
    ),
    "reslice": PolicyEntry(
        "swim.programming.reslice:Reslice",
        ends_verified=False,
        reads_first=True,
        acts_without_cycles=True,
    ),
    "reslice_pair": PolicyEntry(
        "swim.programming.reslice_pair:ReslicePair",
        ends_verified=False,
        reads_first=True,
        acts_without_cycles=True,
        leaves_little=True,
    ),
}
# On-device training: no method to choose, but a curve beside theirs, with budgets beyond 1.
IN_SITU = "in_situ"


def ends_verified(method: str) -> bool:
    """Whether a growing budget of a method, or a growing mask, ends in full write-verify."""
    return method != IN_SITU and (method not in ENTRIES or ENTRIES[method].ends_verified)


def acts_without_cycles(method: str) -> bool:
    """Whether a method changes chips without write cycles; masks and training do not."""
    return method in ENTRIES and ENTRIES[method].acts_without_cycles


def leaves_little(method: str) -> bool:
    """Whether a method leaves errors of the size of bfloat16's rounding."""
    return method in ENTRIES and ENTRIES[method].leaves_little


def check_arithmetic(arithmetic: str, methods: Iterable[str]) -> None:
    """Raise ValueError where rounding would be seen in what a policy leaves of the errors."""
    fine = [name for name in methods if leaves_little(name)]
    if arithmetic == "bfloat16" and fine:
        raise ValueError(
            f"arithmetic bfloat16 rounds weights by about as much as {fine[0]} leaves of their "
            f"errors; use float32, or an experiment of its own for {fine[0]}"
        )


def shared_points(method: str) -> dict[str, dict[str, float]]:
    """The end points that a method's curve shares with others.

    Returns:
        ``none`` and ``all``, where the curve has them, with the columns that differ from those
        measured there: a policy that reads first has read each device once where none is verified.
    """
    reads_first = method in ENTRIES and ENTRIES[method].reads_first
    points: dict[str, dict[str, float]] = {}
    if not acts_without_cycles(method):
        points["none"] = {"reads": 1.0} if reads_first else {}
    if ends_verified(method):
        points["all"] = {}
    return points


def own_points(method: str, spent: Iterable[str]) -> list[str]:
    """The points of a method's curve that it shares with no other, as decimal strings.

    Args:
        method: a selection method, or a policy.
        spent: fractions to verify, or budgets, in one spelling.
    """
    ends = {"0", "1"} if ends_verified(method) else {"0"}
    return (["0"] if acts_without_cycles(method) else []) + [p for p in spent if p not in ends]
