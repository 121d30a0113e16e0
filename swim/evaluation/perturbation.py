"""The loss increase that one weight's error causes, measured by changing one weight at a time.

A score should predict this increase. For a weight that is off by +d or -d,

    [L(w + d) + L(w - d)] / 2 - L(w) = 1/2 H d^2 + O(d^4),

so the mean over both signs is free of the gradient, as the expected loss increase of SWIM is
(DAC 2022, arXiv:2202.08395), whose errors have mean zero.

On top of the errors of programmed chips, the same is averaged over chips: with each chip's weights
w + e in the place of w, it is 1/2 E[H(w + e)] d^2. A quantised network's loss is a staircase in one
weight; the other weights' errors average it out.

Everything is computed in float64: one weight of many changes the loss by less than float32 resolves
(docs/correlation.md has figures). The unchanged network is run at the same position of the same
pass as the changed ones, so that a weight without effect has an increase of exactly zero.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swim.data.batches import each_tensor, read
from swim.devices.bit_sliced import Device
from swim.engine.evaluator import Network
from swim.errors import SettingError
from swim.networks.isolation import copy_of, left_alone
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask
from swim.runtime import rng

Weights = Mapping[str, Tensor]

COLUMNS = ("layer", "index", "weight", "delta", "increase", "plus", "minus", "increase_error")
Row = tuple[str, int, float, float, float, float, float, float]
# Weights that share a programmed chip and its unchanged pass.
TOGETHER = 16


def sample(sizes: Mapping[str, int], weights: int, seed: int) -> dict[str, np.ndarray]:
    """Weights to change: equally many of each layer, or all of a layer that has fewer.

    What a small layer lacks, the others share. A layer's weights are drawn without replacement; a
    larger sample contains the smaller ones.

    Args:
        sizes: layer -> number of its weights, in the network's order.
        weights: number of weights in all.
        seed: the experiment's seed.

    Returns:
        layer -> row-major positions in its weight, ascending; layers in the order of ``sizes``.

    Raises:
        SettingError: ``weights`` is not positive.
    """
    if weights < 1:
        raise SettingError(f"weights must be at least 1, not {weights}")
    counts: dict[str, int] = {}
    left = weights
    for done, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        counts[name] = min(sizes[name], left // (len(sizes) - done))
        left -= counts[name]
    return {
        name: np.sort(rng.generator(seed, "perturb", name).permutation(size)[: counts[name]])
        for name, size in sizes.items()
    }


def stream(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    std: float | Callable[[Tensor], Tensor],
    weights: int = 500,
    seed: int = 0,
    first_weight: int = 0,
    loss: str = "cross_entropy",
    inputs: str | Sequence[str] | None = None,
    digital: Iterable[str] = (),
    device: Device | None = None,
    chips: int = 0,
) -> Iterator[Row]:
    """Weight after weight of a sample, each as the entries of :data:`COLUMNS`.

    Between two weights the model is as it was; it runs as a copy in float64.

    Args:
        model: any ``nn.Module``.
        batches: iterable of (inputs, labels), best those that the scores were computed on.
        std: the change d of a weight in units of its layer's ``max|W|``: the standard deviation
            of the device, :meth:`swim.Device.weight_std`, or a function of
            ``|W| / max|W_layer|`` that returns it, :meth:`swim.Device.weight_std_at`.
        weights: number of weights over all layers (:func:`sample`).
        seed: seed of the sample.
        first_weight: position in the sample to begin with, for a run that was interrupted.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        digital: names or patterns of weights that no device holds.
        device: what the chips are programmed to.
        chips: number of programmed chips, without write-verify and keyed by ``seed``, on top of
            whose errors weights are changed; 0: around the weights as they are.

    Yields:
        ``layer``; ``index``, row-major position in the layer's weight; ``weight``, its value;
        ``delta``, its change d; ``increase``, the increase of the mean loss per image (per label
        that counts, if images have several), averaged over both signs; ``plus`` and ``minus``,
        the increases of w + d and w - d; ``increase_error``, the standard error of ``increase``
        over chips, 0 where there are not two.

    Raises:
        SettingError: ``std`` is not positive, ``weights`` is not, the loss is unknown, or there
            are chips but no device.
        DataError: as :func:`swim.evaluate`.
        UnsupportedOperationError: as :func:`swim.evaluate`.
    """
    if isinstance(std, float | int) and not std > 0:
        raise SettingError(
            f"a weight's change must be positive, not {std!r} of its full scale: it is the "
            "device's standard deviation, so choose a sigma above 0"
        )
    if chips and device is None:
        raise SettingError("chips are given but no device that they are programmed to")
    with left_alone(model), torch.no_grad():
        exact = copy_of(model).double()
        network = Network(exact, _in_double(read(exact, batches, inputs)), loss, digital=digital)
    sizes = {name: target.numel() for name, target in network.targets.items()}
    backgrounds: list[Callable[[], Weights]] = [lambda: network.targets]
    if device is not None and chips:
        backgrounds = [
            functools.partial(_programmed, network.targets, device, seed, c) for c in range(chips)
        ]
    done = 0
    for name, indices in sample(sizes, weights, seed).items():
        skipped = min(max(first_weight - done, 0), len(indices))
        done += len(indices)
        if skipped < len(indices):
            yield from _of_layer(exact, network, name, indices, std, skipped, backgrounds)


def _programmed(targets: Weights, device: Device, seed: int, index: int) -> Weights:
    """The weights of a chip without write-verify."""
    return VerifyMask({}).program(Chip(dict(targets), device, seed, index)).weights


def _in_double(batches: Iterable[tuple[Any, Any]]) -> Iterator[Any]:
    for batch in batches:
        yield tuple(part if part is None else each_tensor(part, _double) for part in batch)


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _of_layer(
    exact: nn.Module,
    network: Network,
    name: str,
    indices: np.ndarray,
    std: float | Callable[[Tensor], Tensor],
    skipped: int,
    backgrounds: Sequence[Callable[[], Weights]],
) -> Iterator[Row]:
    """Rows of the weights of one layer, without the first ``skipped``."""
    target = network.targets[name]
    deltas = _deltas(target, indices, std)
    # Both signs of a weight share a pass if the network runs several chips at once.
    pairs = max(1, network.group // 2)
    together = pairs * max(1, TOGETHER // pairs)
    for start in range(skipped - skipped % together, len(indices), together):
        chosen = [int(index) for index in indices[start : start + together]]
        with left_alone(exact), torch.no_grad():
            measured = [
                _increases(network, name, around(), [(i, deltas[i]) for i in chosen], pairs)
                for around in backgrounds
            ]
        for n, (index, both) in enumerate(zip(chosen, np.stack(measured, 1), strict=True)):
            if start + n < skipped:
                continue
            plus, minus = (float(part) for part in both.mean(0))
            value = float(target.flatten()[index])
            error = float(both.mean(1).std(ddof=1) / len(both) ** 0.5) if len(both) > 1 else 0.0
            yield name, index, value, deltas[index], (plus + minus) / 2, plus, minus, error


def _increases(
    network: Network, name: str, around: Weights, changes: Sequence[tuple[int, float]], pairs: int
) -> np.ndarray:
    """Increase of the mean loss, up and down, of each changed weight: (weights, 2)."""
    layer = around[name]
    clean = _losses(network, name, around, [layer] * (2 * pairs))
    found: list[float] = []
    for start in range(0, len(changes), pairs):
        part = changes[start : start + pairs]
        changed = [_changed(layer, i, sign * delta) for i, delta in part for sign in (1, -1)]
        # A pass that is not full would sum in another order.
        spare = [layer] * (2 * pairs - len(changed))
        increases = (_losses(network, name, around, [*changed, *spare]) - clean).mean(1)
        found += increases.tolist()[: len(changed)]
    return np.array(found).reshape(-1, 2)


def _deltas(
    target: Tensor, indices: np.ndarray, std: float | Callable[[Tensor], Tensor]
) -> dict[int, float]:
    """Position -> change of each of these weights of a layer."""
    positions = [int(index) for index in indices]
    scale = float(target.abs().max())
    if not callable(std):
        return dict.fromkeys(positions, std * scale)
    magnitudes = target.flatten()[positions].abs() / (scale or 1.0)
    return dict(zip(positions, (std(magnitudes).double() * scale).tolist(), strict=True))


def _changed(target: Tensor, index: int, delta: float) -> Tensor:
    changed = target.clone(memory_format=torch.contiguous_format)
    changed.view(-1)[index] += delta
    return changed


def _losses(network: Network, name: str, around: Weights, layer: Sequence[Tensor]) -> Tensor:
    """Loss of each image, (len(layer), images), with each of these weights of one layer.

    The changed layer is another tensor on each chip, so it runs for each chip; the layers before
    it are the same tensors on all chips and run once for a group.
    """
    chips = [{**around, name: weight.clone()} for weight in layer]
    if network.group == 1:
        return torch.cat([network.measure([chip])[1] for chip in chips])
    return network.measure(chips)[1]
