"""The programmed weights of a checkpoint; numpy only."""

from dataclasses import dataclass

import numpy as np

from swim.errors import DataError
from swim.networks.effective_weights import programmed
from swim.networks.integer_weights import unpack
from swim.runtime import files
from swim.runtime.digests import Record


@dataclass(frozen=True)
class Weights:
    """The programmed weights of a checkpoint.

    Attributes:
        path: its file.
        record: what it carries.
        layers: name -> array, in the network's order.
    """

    path: str
    record: Record
    layers: dict[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each layer."""
        return {name: layer.shape for name, layer in self.layers.items()}


def weights_of(model: str) -> Weights:
    """The programmed weights of a checkpoint.

    Raises:
        DataError: the file is missing, damaged, or no checkpoint.
    """
    arrays, checkpoint = files.load_arrays(model)
    if "programmed" not in checkpoint:
        raise DataError(f"{model}: not a checkpoint of ours")
    return Weights(model, checkpoint, programmed(unpack(arrays, checkpoint), checkpoint))
