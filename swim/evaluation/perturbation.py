"""The loss increase that one weight's error causes, measured by changing one weight at a time.

A score should predict this increase. For a weight that is off by +d or -d,

    [L(w + d) + L(w - d)] / 2 - L(w) = 1/2 H d^2 + O(d^4),

so the mean over both signs is free of the gradient, as the expected loss increase of SWIM is
(DAC 2022, arXiv:2202.08395), whose errors have mean zero.

Everything is computed in float64: one weight of many changes the loss by less than float32 resolves
(docs/correlation.md has figures). The unchanged network is run at the same position of the same
pass as the changed ones, so that a weight without effect has an increase of exactly zero.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swim.data.batches import each_tensor, read
from swim.engine.evaluator import Network
from swim.errors import SettingError
from swim.networks.isolation import copy_of, left_alone
from swim.runtime import rng

COLUMNS = ("layer", "index", "weight", "delta", "increase", "plus", "minus")
Row = tuple[str, int, float, float, float, float, float]


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

    Yields:
        ``layer``; ``index``, row-major position in the layer's weight; ``weight``, its value;
        ``delta``, its change d; ``increase``, the increase of the mean loss per image (per label
        that counts, if images have several), averaged over both signs; ``plus`` and ``minus``,
        the increases of w + d and w - d.

    Raises:
        SettingError: ``std`` is not positive, ``weights`` is not, or the loss is unknown.
        DataError: as :func:`swim.evaluate`.
        UnsupportedOperationError: as :func:`swim.evaluate`.
    """
    if isinstance(std, float | int) and not std > 0:
        raise SettingError(
            f"a weight's change must be positive, not {std!r} of its full scale: it is the "
            "device's standard deviation, so choose a sigma above 0"
        )
    with left_alone(model), torch.no_grad():
        exact = copy_of(model).double()
        network = Network(exact, _in_double(read(exact, batches, inputs)), loss, digital=digital)
    sizes = {name: target.numel() for name, target in network.targets.items()}
    done = 0
    for name, indices in sample(sizes, weights, seed).items():
        skipped = min(max(first_weight - done, 0), len(indices))
        done += len(indices)
        if skipped < len(indices):
            yield from _of_layer(exact, network, name, indices, std, skipped)


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
) -> Iterator[Row]:
    """Rows of the weights of one layer, without the first ``skipped``."""
    target = network.targets[name]
    deltas = _deltas(target, indices, std)
    # Both signs of a weight share a pass if the network runs several chips at once.
    pairs = max(1, network.group // 2)
    clean: Tensor | None = None
    for start in range(skipped - skipped % pairs, len(indices), pairs):
        chosen = [int(index) for index in indices[start : start + pairs]]
        with left_alone(exact), torch.no_grad():
            if clean is None:
                clean = _losses(network, name, [target] * (2 * pairs))
            changed = [_changed(target, i, sign * deltas[i]) for i in chosen for sign in (1, -1)]
            # A pass that is not full would sum in another order.
            spare = [target] * (2 * pairs - len(changed))
            increases = (_losses(network, name, [*changed, *spare]) - clean).mean(1).tolist()
        for n, index in enumerate(chosen):
            if start + n < skipped:
                continue
            plus, minus = increases[2 * n : 2 * n + 2]
            value = float(target.flatten()[index])
            yield name, index, value, deltas[index], (plus + minus) / 2, plus, minus


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


def _losses(network: Network, name: str, layer: Sequence[Tensor]) -> Tensor:
    """Loss of each image, (len(layer), images), with each of these weights of one layer.

    The changed layer is another tensor on each chip, so it runs for each chip; the layers before
    it are the same tensors on all chips and run once for a group.
    """
    chips = [{**network.targets, name: weight.clone()} for weight in layer]
    if network.group == 1:
        return torch.cat([network.measure([chip])[1] for chip in chips])
    return network.measure(chips)[1]
