"""A mask that says what it is; apart from :mod:`.masks`, so that its edits rerun no evaluation."""

import math
from collections.abc import Mapping
from typing import Any


class Mask(dict[str, Any]):
    """Which weights to write-verify: weight name -> bool tensor, True = write-verify.

    Attributes:
        by: what ranked the weights, in words; empty where that is unknown.
    """

    by: str = ""

    @property
    def words(self) -> str:
        """How many weights it has, and of how many."""
        return described(self) + (f", by {self.by}" if self.by else "")

    def __repr__(self) -> str:
        return f"Mask({self.words})"


def described(mask: Mapping[str, Any]) -> str:
    """How many weights a mask verifies, of all in its layers: ``106 of 1,060 weights (10 %)``."""
    total = sum(math.prod(layer.shape) for layer in mask.values())
    chosen = sum(int(layer.sum()) for layer in mask.values())
    part = f" ({100 * chosen / total:.3g} %)" if total else ""
    return f"{chosen:,} of {total:,} weights{part}"
