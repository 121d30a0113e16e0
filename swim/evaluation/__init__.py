"""Many programmed chips become rows: accuracy, normalised write cycles and reads of each.

:func:`swim.evaluate` is :mod:`.api`; :mod:`.monte_carlo` programs and measures the chips.
:mod:`.statistics` summarises finished chips. :mod:`.stopping` says how many chips are enough; it is
a module of its own so that an edit of a summary reruns no evaluation. A new measurement on chips
is a module here, and one of :mod:`swim.cli`.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__, {"Result": "swim.evaluation.api", "evaluate": "swim.evaluation.api"}
)
