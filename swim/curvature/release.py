"""The curvature of the paper's first release, faults included."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from swim.curvature.control import Control
from swim.curvature.gradient import gradients
from swim.curvature.recursion import Rules, second_derivatives
from swim.curvature.recursion_coherent import PLAIN
from swim.curvature.rules import LAYERS, RULES
from swim.curvature.rules.elementwise import Scaling
from swim.curvature.shared import Leaves, Term, summed
from swim.data.labels import Loss, counted
from swim.networks.subject import Subject
from swim.networks.weights.interception import Watch

_QUANTISERS = {torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine}


class _Quantises(Watch):
    """Sees whether a forward pass quantises weights or activations."""

    found = False

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self.found = self.found or func in _QUANTISERS
        return func(*args, **kwargs)


def _unscaled(func: Any, input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A weighted call that hands on h divided by ``max|W|``, as if W were in units of it."""
    slope = (float(weight.detach().abs().max()) or 1.0) ** -0.5
    return RULES[func](func, Scaling.apply(input, Tensor.clone, slope), weight, *args, **kwargs)


_UNSCALED = dict.fromkeys(LAYERS, _unscaled)


def release(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
) -> dict[str, Tensor]:
    """What the first release calls a second derivative, to show what its faults do.

    The recursion, but (1) averages multiply by the plain coefficient; (2) if the network quantises
    weights or activations as it runs, a layer's h is multiplied by the product of all later
    layers' ``1 / max|W|`` (48, 26, 11, 3 and 1 over the release's 4-bit LeNet); (3) twice the
    gradient of the loss is added, as a sum over batches of the batch's mean. Because of (3) the
    split into batches matters, and numbers may be negative.

    Args:
        model: as in :func:`swim.curvature.recursion.recursion`.
        batches: (inputs, labels) pairs.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.

    Returns:
        name -> float64 tensor shaped like the weight.

    Raises:
        UnsupportedOperationError: the model holds an operation without a rule.
        DataError: batches or labels are missing or do not fit, or a derivative is not finite.
        SettingError: the loss is unknown.
    """

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        mode = _Quantises()
        with mode:
            subject.run(Leaves(subject), inputs[:1])
        rules: Rules = {**PLAIN, **_UNSCALED} if mode.found else PLAIN
        yield from second_derivatives(subject, inputs, labels, loss, rules)
        for name, value, unit in gradients(subject, inputs, labels, loss):
            yield name, value, unit * 2 / max(1, int(counted(loss, labels).sum()))

    return summed(model, batches, progress, terms, control)
