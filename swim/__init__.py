"""Selective write-verify: which weights must be programmed exactly, and at what cost.

The four lines that most users need::

    import swim
    scores = swim.sensitivity(model, batches)
    mask = swim.select(scores, fraction=0.1)
    result = swim.evaluate(model, batches, mask, device=swim.Device(sigma=0.1), chips=100)

Importing the package loads no torch: each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from swim.runtime.lazy import exports
from swim.runtime.moved import keep_old_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from swim.curvature.estimate import sensitivity
    from swim.devices.bit_sliced import Device
    from swim.devices.from_settings import variation
    from swim.devices.measured import table
    from swim.errors import SwimError
    from swim.evaluation.api import evaluate
    from swim.evaluation.result import Difference, Result
    from swim.evaluation.sweep import Sweep, sweep
    from swim.networks.programmed import programmed_weights
    from swim.programming.lookup import policy
    from swim.selection.api import select

__all__ = [
    "Device",
    "Difference",
    "Result",
    "Sweep",
    "SwimError",
    "evaluate",
    "policy",
    "programmed_weights",
    "select",
    "sensitivity",
    "sweep",
    "table",
    "variation",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Device": "swim.devices.bit_sliced",
        "Difference": "swim.evaluation.result",
        "Result": "swim.evaluation.result",
        "Sweep": "swim.evaluation.sweep",
        "SwimError": "swim.errors",
        "evaluate": "swim.evaluation.api",
        "policy": "swim.programming.lookup",
        "programmed_weights": "swim.networks.programmed",
        "select": "swim.selection.api",
        "sensitivity": "swim.curvature.estimate",
        "sweep": "swim.evaluation.sweep",
        "table": "swim.devices.measured",
        "variation": "swim.devices.from_settings",
    },
)
keep_old_names()
