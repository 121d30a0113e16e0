"""Many programmed chips become rows: accuracy, normalised write cycles and reads of each.

:func:`swim.evaluate` is :mod:`.api`, what it returns :mod:`.result`; :func:`swim.sweep`, for many
points at once, is :mod:`.sweep`. :mod:`.monte_carlo` programs and measures the chips.
:mod:`.statistics` summarises finished chips. :mod:`.stopping` says how many chips are enough; it is
a module of its own so that an edit of a summary reruns no evaluation. :mod:`.perturbation` changes
single weights, and :mod:`.spending` counts cycles by layer and slice.

To add a measurement: write a module here that programs chips and yields rows, and a subcommand in
:mod:`swim.cli` that writes the rows to a file. docs/house.md lists the rest under "a rule".
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__,
    {
        "Difference": "swim.evaluation.result",
        "Result": "swim.evaluation.result",
        "Sweep": "swim.evaluation.sweep",
        "evaluate": "swim.evaluation.api",
    },
)
