"""Many programmed chips become rows: accuracy, cycles and reads of each.

:func:`swim.evaluate` is :mod:`.api`; :mod:`.monte_carlo` makes the chips, :mod:`.statistics` says
how many are enough. A new measurement on chips is a module here, and one of :mod:`swim.cli`.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__, {"Result": "swim.evaluation.api", "evaluate": "swim.evaluation.api"}
)
