"""One chip: which devices are written, read and rewritten, and what that costs.

A policy programs one chip at a time (:class:`Chip`). It may read the devices after their first
write, and decides which to rewrite. The simplest policy verifies a mask that was fixed beforehand
(:mod:`.mask`).

To add a policy:

1. Write ``swim/programming/<name>.py``, in one of two ways:

   * A function ``offers(cells, curvature)``, for a policy that decides once per chip. The function
     returns what rewriting could do to one layer, with an expected benefit per cycle
     (:class:`swim.programming.budgeted.Offers`). The budget is then spent on the best offers of all
     layers. :mod:`.swim_device` is an example of two lines.
   * A class, for a policy that decides again after each cycle: a subclass of :class:`Budgeted`,
     made of ``(budget, scores)``, with two methods. ``program(chip)`` returns a
     :class:`Programmed`. ``spent(chip)`` returns the cycles of each device beyond its first write,
     name -> tensor (slices, weights), which ``swim where`` reports. :mod:`.marginal` is an example.
2. Add its line to ``ENTRIES`` in :mod:`swim.settings.policies`: the module of ``offers``, or
   ``module:Class``, and how the policy's curve begins and ends. The registry takes the name from
   there.
3. Run ``make schema``.
4. Write its slow twin in ``tests/reference/write_twin.py``: a line of ``POLICIES`` there, or of
   ``SEARCHES`` for a policy that goes cycle by cycle. ``tests/reference/test_policies.py`` compares
   every policy with its twin, and ``tests/unit/evaluation/test_spending.py`` its ``spent`` with its
   NWC. A policy that refuses the closed form (``cells.must_simulate``) is named in ``SIMULATED`` of
   ``test_policies.py``.
5. Describe it in docs/policies.md.

The name is then a ``methods:`` entry of ``config.yaml``, a ``policy`` of ``swim program`` and an
argument of :func:`swim.policy`. An edit of the file reruns that policy alone; the new line reruns
tables and figures. In Python a policy needs no name: :func:`swim.evaluate` takes any object with
``program(chip)``.
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
        "policy": "swim.programming.lookup",
    },
)
