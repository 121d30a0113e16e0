"""One chip: which devices are written, read and rewritten, and what that costs.

A policy sees one chip at a time (:class:`Chip`), may read its devices as they came out, and decides
which to write again. A mask fixed beforehand is the simplest policy (:mod:`.mask`). A new policy is
one file, and one line in :mod:`swim.settings.registry` and in :mod:`swim.settings.traits`; an edit
of it reruns that policy alone.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__,
    {
        "Budgeted": "swim.programming.budgeted",
        "Chip": "swim.programming.chip",
        "Policy": "swim.programming.chip",
        "Programmed": "swim.programming.chip",
        "VerifyMask": "swim.programming.mask",
        "of_name": "swim.programming.lookup",
    },
)
