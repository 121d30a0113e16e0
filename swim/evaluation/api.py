"""``swim.evaluate``: the accuracy of programmed chips, with its statistics."""

import itertools
import warnings
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
from swim.programming.mask import VerifyMask
from swim.settings.arguments import whole


@dataclass(frozen=True)
class Result:
    """Accuracy and costs, one entry per chip.

    Attributes:
        accuracy: fraction of the labels that count (most often: of the images) that are predicted
            correctly, in [0, 1]: float64 (chips,).
        loss: mean loss over these labels; over the images for mse: float64 (chips,).
        nwc_per_chip: normalised write cycles (NWC) of each chip: float64 (chips,).
        reads: reads per device, averaged over the devices of a chip: float64 (chips,).
        programmed: the programmed weights, name -> number of them; ``programmed.total`` is their
            number in all, ``programmed.digital`` what stays exact, name -> reason.
    """

    accuracy: Tensor
    loss: Tensor
    nwc_per_chip: Tensor
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
        """Fifth percentile of the accuracy over chips; NaN below 60 chips, which are too few."""
        return self._summary.p05.value

    @property
    def nwc(self) -> float:
        """Mean normalised write cycles over chips."""
        return float(self.nwc_per_chip.mean())

    @property
    def cycles(self) -> Tensor:
        """The former name of :attr:`nwc_per_chip`; it goes in version 0.3."""
        warnings.warn(
            "Result.cycles is now Result.nwc_per_chip (their mean is Result.nwc)",
            FutureWarning,
            stacklevel=2,
        )
        return self.nwc_per_chip


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    mask: Mapping[str, Tensor] | None = None,
    *,
    device: Device,
    policy: Policy | None = None,
    chips: int = 100,
    seed: int = 0,
    first_chip: int = 0,
    loss: str = "cross_entropy",
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    arithmetic: str = "float32",
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Accuracy of a model whose weights are programmed into memory devices, chip by chip.

    Chip r has the same noise realisation for every mask, policy, sigma and number of chips, so
    results of two masks are compared in pairs.

    Args:
        model: any ``nn.Module``; left exactly as it was. Every weight that meets an activation in
            a contraction (linear, convolution and recurrent layers, matrix products) is
            programmed, or the model is refused. Biases, norms and tables stay exact (digital).
        batches: (inputs, labels) pairs, of tensors or numpy arrays, several inputs as a tuple
            (:func:`swim.data.batches.read`); kept in memory for all chips. Labels of cross-entropy
            have the shape of the outputs without the classes, which are dimension 1 or the last;
            labels of -100 do not count.
        mask: which weights to write-verify, name -> bool tensor, as :func:`swim.select` returns
            it. Without mask and policy no weight is verified.
        device: the memory device.
        policy: a programming policy (:mod:`swim.programming`), instead of a mask.
        chips: number of chips.
        seed: seed of all random draws.
        first_chip: number of the first chip, to extend an earlier result.
        loss: ``cross_entropy`` or ``mse``, which has no accuracy (NaN).
        digital: names or patterns (``"head.*"``) of weights that no device holds.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        arithmetic: ``float32``, or ``bfloat16``: weights with their errors, and activations, are
            rounded to bfloat16 and sums stay in float32, which is faster for large networks on
            processors and GPUs with units for it (docs/monte-carlo.md).
        progress: called with the number of finished chips.

    Raises:
        SettingError: a number is out of range, device, mask or policy is something else, both
            mask and policy are given, or the loss is unknown.
        DataError: ``batches`` or the mask do not fit the model, labels its outputs, or outputs are
            not finite; a chip is named.
        UnsupportedOperationError: a weight cannot be programmed, or predictions depend on the
            batch, on chance or on earlier calls; the message names it.
    """
    chips, seed = whole("chips", chips, 1), whole("seed", seed)
    first_chip = whole("first_chip", first_chip)
    if not isinstance(device, Device):
        raise SettingError(
            f"device must be the memory device, a swim.Device, not {short(device)}; to use a GPU, "
            "move the model there: model.to('cuda')"
        )
    rows: list[list[float]] = []
    programmed: list[Inventory] = []
    made = stream(
        model,
        batches,
        policy_for(mask, policy),
        device=device,
        seed=seed,
        first_chip=first_chip,
        loss=loss,
        digital=digital,
        inputs=inputs,
        arithmetic=arithmetic,
        report=programmed.append,
    )
    for _, *row, _ in itertools.islice(made, chips):
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    accuracy, losses, nwc, reads = torch.tensor(rows, dtype=torch.float64).T
    return Result(accuracy, losses, nwc, reads, programmed[0])


def policy_for(mask: Any, policy: Any) -> Policy:
    """The policy that the arguments ``mask`` and ``policy`` of :func:`evaluate` ask for.

    Raises:
        SettingError: both are given, or one is neither None nor what it should be.
    """
    if mask is not None and not isinstance(mask, Mapping):
        if not hasattr(mask, "program"):
            raise SettingError(
                "mask must be a mapping name -> bool tensor, as swim.select returns it, or None, "
                f"not {short(mask)}"
            )
        if policy is None:
            warnings.warn(
                "a policy is given as `mask`; give it by name, policy=...",
                FutureWarning,
                stacklevel=3,
            )
            mask, policy = None, mask
    if mask is not None and policy is not None:
        raise SettingError("give a mask or a policy, not both")
    if policy is not None and not hasattr(policy, "program"):
        raise SettingError(
            "policy must have a method program(chip), as what swim.policy(name, budget, scores) "
            f"returns, not {short(policy)}"
        )
    chosen: Policy = VerifyMask(mask or {}) if policy is None else policy
    return chosen
