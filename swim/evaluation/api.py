"""``swim.evaluate``: the accuracy of programmed chips, with its statistics."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swim.devices.bit_sliced import Device
from swim.errors import SettingError, short
from swim.evaluation import statistics
from swim.evaluation.monte_carlo import stream
from swim.networks.weights.inventory import Inventory
from swim.programming.chip import Policy
from swim.settings.arguments import whole


@dataclass(frozen=True)
class Result:
    """One entry a chip.

    Attributes:
        accuracy: fraction of the labels that count (images, most often) whose class is found, in
            [0, 1]: float64 (chips,).
        loss: mean loss over these labels; over the images for mse: float64 (chips,).
        cycles: normalised write cycles of each chip: float64 (chips,).
        reads: reads a device, on average: float64 (chips,).
        programmed: the programmed weights, name -> how many; ``programmed.total`` of them in all,
            and in ``programmed.digital`` what stays exact, and why.
    """

    accuracy: Tensor
    loss: Tensor
    cycles: Tensor
    reads: Tensor
    programmed: Inventory

    @property
    def _summary(self) -> statistics.Summary:
        return statistics.summarise(self.accuracy.numpy())

    @property
    def mean(self) -> float:
        """Mean accuracy over chips."""
        return self._summary.mean

    @property
    def std(self) -> float:
        """Standard deviation of the accuracy over chips."""
        return self._summary.std

    @property
    def ci95(self) -> float:
        """Half-width of the mean accuracy's 95 % interval."""
        return self._summary.ci95

    @property
    def p05(self) -> float:
        """Fifth percentile of the accuracy over chips."""
        return self._summary.p05

    @property
    def nwc(self) -> float:
        """Mean normalised write cycles."""
        return float(self.cycles.mean())


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    mask: Mapping[str, Tensor] | Policy | None = None,
    *,
    device: Device,
    chips: int = 100,
    seed: int = 0,
    first_chip: int = 0,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Accuracy of a model whose weights are programmed into memory devices, chip by chip.

    Chip r has the same draws whatever the mask, sigma or number of chips, so results of two
    masks are compared in pairs.

    Args:
        model: any ``nn.Module``; left exactly as it was. Every weight that meets an activation in
            a contraction (linear, convolution and recurrent layers, matrix products) is
            programmed, or the model is refused. Biases, norms and tables stay exact (digital).
        batches: (inputs, labels) pairs, of tensors or numpy arrays, several inputs as a tuple
            (:func:`swim.data.batches.read`); kept in memory for all chips. Labels of cross-entropy
            have the shape of the outputs without the classes, which are dimension 1 or the last;
            those of -100 count nowhere.
        mask: which weights to write-verify (name -> bool tensor), or a programming policy;
            None verifies nothing.
        device: the memory device.
        chips: how many accelerators to program.
        seed: of all draws.
        first_chip: number of the first chip, to extend an earlier result.
        loss: ``cross_entropy`` or ``mse``, which has no accuracy (NaN).
        digital: names or patterns (``"head.*"``) of weights that no device holds.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        progress: called with the number of chips done.

    Raises:
        SettingError: a number is out of range, the device or the mask is something else, or the
            loss is unknown.
        DataError: ``batches`` or the mask do not fit the model, labels its outputs, or outputs are
            not finite; a chip is named.
        UnsupportedOperationError: a weight cannot be programmed, or predictions depend on the
            batch, on chance or on earlier calls; the message names it.
    """
    chips, seed = whole("chips", chips, 1), whole("seed", seed)
    first_chip = whole("first_chip", first_chip)
    if not isinstance(device, Device):
        raise SettingError(
            f"device must be the memory device, a swim.Device, not {short(device)}; networks run "
            "where the model is"
        )
    if mask is not None and not isinstance(mask, Mapping) and not hasattr(mask, "program"):
        raise SettingError(
            f"mask must be a mapping name -> bool tensor, as swim.select gives it, a policy or "
            f"None, not {short(mask)}"
        )
    rows: list[list[float]] = []
    programmed: list[Inventory] = []
    made = stream(
        model,
        batches,
        mask,
        device=device,
        seed=seed,
        first_chip=first_chip,
        loss=loss,
        digital=digital,
        inputs=inputs,
        report=programmed.append,
    )
    for _, *row, _ in itertools.islice(made, chips):
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    accuracy, losses, cycles, reads = torch.tensor(rows, dtype=torch.float64).T
    return Result(accuracy, losses, cycles, reads, programmed[0])
