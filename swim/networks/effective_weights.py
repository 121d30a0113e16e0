"""The programmed weights among a checkpoint's arrays; numpy only.

A weight that the forward pass computes (weight-norm, a quantiser) is not in the network's state:
its value is stored beside it, so that all steps rank and change what is programmed.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

_Array = TypeVar("_Array")
# Before the name of such a weight.
MARK = "effective:"


def programmed(arrays: Mapping[str, _Array], record: Mapping[str, Any]) -> dict[str, _Array]:
    """The programmed weights by name, in the network's order.

    Args:
        arrays: of a checkpoint.
        record: what is stored beside them.
    """
    names = record["programmed"]
    return {name: arrays[MARK + name if MARK + name in arrays else name] for name in names}


def state(arrays: Mapping[str, _Array]) -> dict[str, _Array]:
    """The network's own state."""
    return {name: array for name, array in arrays.items() if not name.startswith(MARK)}
