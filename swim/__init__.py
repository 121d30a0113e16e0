"""Selective write-verify: which weights must be programmed exactly, and at what cost.

The four lines that most users need::

    import swim
    scores = swim.sensitivity(model, batches)
    mask = swim.select(scores, fraction=0.1)
    result = swim.evaluate(model, batches, mask, device=swim.Device(sigma=0.1), chips=100)

Importing the package loads no torch: each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from swim.curvature import sensitivity
    from swim.devices import Device
    from swim.errors import SwimError
    from swim.evaluation import Result, evaluate
    from swim.selection import select

__all__ = ["Device", "Result", "SwimError", "evaluate", "select", "sensitivity"]

_HOMES = {
    "Device": "swim.devices",
    "Result": "swim.evaluation",
    "SwimError": "swim.errors",
    "evaluate": "swim.evaluation",
    "select": "swim.selection",
    "sensitivity": "swim.curvature",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'swim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
