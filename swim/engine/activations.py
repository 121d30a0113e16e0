"""Activations that hold all chips of a pass, and what is known of each."""

import enum
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class NotBatchableError(Exception):
    """The model runs something that has no rule for a batch of chips; never seen by a user."""


def require(holds: bool, otherwise: str) -> None:
    """Raise NotBatchableError, with the reason, unless a condition holds."""
    if not holds:
        raise NotBatchableError(otherwise)


class Memory(enum.Enum):
    """Who may use an activation's memory."""

    FREE = "no other tensor shares it, no call has used it: the first that does may write there"
    SHARED = "another tensor or call uses it, or may: it must keep its values"
    OVERWRITTEN = "a later result lies there: the activation must not be used again"


@dataclass
class Mark:
    """What is known of an activation that holds all chips, (N, R x C, ...).

    Attributes:
        memory: who may use its memory.
        relu_pending: a ReLU is still to be applied, in place, before any use but two: maxima,
            which leave fewer elements to apply it to, and a quantiser whose lowest level is zero,
            which does the same as a ReLU.
    """

    memory: Memory
    relu_pending: bool = False


def mark_of(tensor: Any) -> Mark | None:
    """A tensor's mark; None for one that all chips share."""
    return getattr(tensor, "_swim_mark", None)


def marked(tensor: Tensor, mark: Mark) -> Tensor:
    """The tensor, with a mark."""
    tensor._swim_mark = mark  # type: ignore[attr-defined]
    return tensor


def address(tensor: Tensor) -> int:
    """Where the memory begins that a tensor and its views share."""
    return tensor.untyped_storage().data_ptr()


def apply_pending_relu(tensor: Tensor) -> None:
    """Apply a ReLU that an activation still waits for."""
    mark = mark_of(tensor)
    if mark and mark.relu_pending:
        tensor.relu_()
        mark.relu_pending = False
