"""``swim.evaluate``: the accuracy of programmed chips, with its statistics."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from swim.devices.bit_sliced import Device
from swim.engine.evaluator import Network
from swim.errors import SettingError, short
from swim.evaluation.monte_carlo import prepare, rows_of
from swim.evaluation.result import Result, Setup, described, of_rows
from swim.programming.chip import Policy
from swim.programming.mask import VerifyMask
from swim.settings.arguments import whole

__all__ = ["Result", "evaluate"]


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

    Returns:
        One entry per chip, with statistics, ``to_frame()``, ``plot()``, and ``one - other`` where
        two results are of the same chips (:class:`Result`).

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
    require_device(device)
    chosen = policy_for(mask, policy)
    network = prepare(
        model, batches, loss=loss, digital=digital, inputs=inputs, arithmetic=arithmetic
    )
    images, weights = network.digests()
    setup = Setup(device, seed, first_chip, loss, network.images, images, weights, arithmetic)
    return measured(model, network, chosen, setup, chips, progress)


def require_device(device: Any) -> None:
    """Refuse what is no memory device.

    Raises:
        SettingError: it is something else, such as the name of a torch device.
    """
    if not isinstance(device, Device):
        raise SettingError(
            f"device must be the memory device, a swim.Device, not {short(device)}; to use a GPU, "
            "move the model there: model.to('cuda')"
        )


def measured(
    model: nn.Module,
    network: Network,
    policy: Policy,
    setup: Setup,
    chips: int,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """:func:`evaluate` of a model that is prepared (:func:`swim.evaluation.monte_carlo.prepare`).

    Args:
        model: the module.
        network: what is prepared of it.
        policy: what programs its chips.
        setup: device, seed and first chip, and what the result says of itself.
        chips: number of chips.
        progress: called with the number of finished chips.
    """
    rows: list[list[float]] = []
    made = rows_of(
        model, network, policy, device=setup.device, seed=setup.seed, first_chip=setup.first_chip
    )
    for _, *row, _ in itertools.islice(made, chips):
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    return of_rows(rows, programmed=network.inventory, setup=setup, by=described(policy))


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
