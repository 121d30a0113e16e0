"""Second derivatives where the weights will be: at programmed chips, not at the ideal weights.

Programming moves all weights at once, so what counts is the curvature around the ideal weights,
not at them: ``E_dw H_ii(w + dw)``. Where a network is sure of its training images, that at the
ideal weights is next to nothing. Every batch is passed through a chip of its own, so the average
costs no more than the plain pass.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from swim import streams
from swim.batches import counts, first
from swim.errors import UnsupportedOperationError
from swim.tracing import Call, device_of, left_alone, trace

Estimate = Callable[[nn.Module, list[tuple[Any, Any]], int], dict[str, Tensor]]


def averaged(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    noise: float,
    seed: int,
    estimate: Estimate,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """The sum over batches of an estimate, each at weights with fresh Gaussian errors.

    Args:
        model: any module whose weights are parameters as they are; left exactly as it was.
        batches: (inputs, labels) pairs; more of them average over more chips.
        noise: standard deviation of a weight's error, in units of ``max|W_layer|``.
        seed: of the errors, which are keyed by batch and layer.
        estimate: from a model, a batch in a list and its number to name -> float64 tensor.
        progress: called with the number of batches done.

    Raises:
        UnsupportedOperationError: the model computes a weight in its forward pass, such as one
            that is quantised there.
        DataError: ``batches`` is empty.
    """
    with left_alone(model):
        (inputs, _), stream = first(model, batches)
        calls = trace(model, inputs[:1].to(device_of(model)))
        noisy = copy.deepcopy(model)
    targets = dict(_direct(calls))
    parameters = dict(noisy.named_parameters())
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(stream):
        if not counts(batch[1]):
            continue
        with torch.no_grad():
            for parameter, (name, target) in targets.items():
                draws = streams.generator(seed, "curvature", number, name)
                error = torch.from_numpy(draws.standard_normal(tuple(target.shape), "float32"))
                error = error.to(target) * (noise * target.abs().max())
                parameters[parameter].copy_(target + error)
        for name, value in estimate(noisy, [batch], number).items():
            totals[name] = totals[name].add_(value) if name in totals else value
        if progress is not None:
            progress(number + 1)
    return totals


def _direct(calls: list[Call]) -> Iterable[tuple[str, tuple[str, Tensor]]]:
    """Parameter -> name and value of each weight."""
    for call in calls:
        if call.name is None:
            continue
        if not call.direct or call.parameter is None:
            raise UnsupportedOperationError(
                f"{call.name!r} is computed in the forward pass, so it cannot be given errors; "
                "fix quantised weights first (swim.models.quantisation.deploy), or take noise=0"
            )
        yield call.parameter, (call.name, call.weight.detach().clone())
