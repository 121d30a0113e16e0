"""The programmed weights among a checkpoint's arrays, without torch.

A weight that the forward pass computes (weight-norm, a quantiser) is not in the network's state.
Its value is stored beside the state, so all steps rank and program the same values.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

_Array = TypeVar("_Array")
# Prefix of the names of such weights.
MARK = "effective:"


def programmed(arrays: Mapping[str, _Array], record: Mapping[str, Any]) -> dict[str, _Array]:
    """The programmed weights by name, in the network's order.

    Args:
        arrays: a checkpoint's arrays by name.
        record: the checkpoint's record.
    """
    names = record["programmed"]
    return {name: arrays[MARK + name if MARK + name in arrays else name] for name in names}


def state(arrays: Mapping[str, _Array]) -> dict[str, _Array]:
    """The network's state, without weights that the forward pass computes."""
    return {name: array for name, array in arrays.items() if not name.startswith(MARK)}
