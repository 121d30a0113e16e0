"""One chip: which devices are written, read and rewritten, and what that costs.

A policy programs one chip at a time (:class:`Chip`). It may read the devices after their first
write, and decides which to rewrite. The simplest policy verifies a mask that was fixed beforehand
(:mod:`.mask`).

To add a policy:

1. Write ``swim/programming/<name>.py`` with ``offers(cells, curvature)``. The function returns what
   rewriting could do to one layer, with an expected benefit per cycle
   (:class:`swim.programming.budgeted.Offers`); the budget is then spent on the best offers of all
   layers. :mod:`.swim_device` is an example of two lines. A policy that decides again after each
   cycle is a class made of a budget and scores (:class:`Budgeted`; see :mod:`.marginal`).
2. Add its line to ``ENTRIES`` in :mod:`swim.settings.policies`: where it lies, and how its curve
   begins and ends.
3. Run ``make schema``.

The name is then a ``methods:`` entry of ``config.yaml``, a ``policy`` of ``swim program`` and an
argument of :func:`of_name`. An edit of the file reruns that policy alone; the new line reruns
tables and figures. ``tests/reference/test_policies.py`` compares every policy with a slow twin.
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
