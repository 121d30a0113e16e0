"""Quantisation of a float network from outside, with torch's own fake-quantise operators.

Weights: b bits are the *magnitude*, as in the device model (M bits sliced over devices, the sign in
a differential pair). Four bits are thus the 31 levels -15..15 in steps of ``max|W| / 15``, with one
scale per layer. Activations: the input of every linear and convolutional layer is quantised to
``2^b`` levels between fixed limits, which are calibrated once on training images; zero is always
one of the levels. Both use the straight-through estimator.
"""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from swim.data.dataset import DataSet
from swim.networks.layouts import SafeLayouts
from swim.settings import ModelSettings

LAYERS = (nn.Linear, nn.Conv2d)


class WeightQuantiser(nn.Module):
    """Parametrisation that rounds a weight to the levels -(2^bits - 1) .. 2^bits - 1."""

    zero_point: Tensor

    def __init__(self, bits: int):
        super().__init__()
        self.top = 2**bits - 1
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid; the gradient passes straight through."""
        scale = (weight.detach().abs().max() / self.top).clamp_min(torch.finfo(weight.dtype).tiny)
        return torch.fake_quantize_per_tensor_affine(
            weight, scale.view(1), self.zero_point, -self.top, self.top
        )


class ActivationQuantiser(nn.Module):
    """Rounds a layer's input to 2^bits levels between calibrated limits."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int):
        super().__init__()
        self.top = 2**bits - 1
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))
        self.observing = False
        self.low, self.high = 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on the grid, or ``x`` itself during calibration."""
        if self.observing:
            self.low = min(self.low, float(x.detach().min()))
            self.high = max(self.high, float(x.detach().max()))
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, self.top)

    def fix(self) -> None:
        """End calibration: the range is the observed limits, widened to include zero."""
        self.scale.fill_(max((self.high - self.low) / self.top, torch.finfo(torch.float32).tiny))
        self.zero_point.fill_(round(-self.low / float(self.scale)))
        self.observing = False


def _quantise_input(layer: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    quantiser = cast(ActivationQuantiser, layer.input_quantiser)
    return (quantiser(arguments[0]), *arguments[1:])


def quantise(
    model: nn.Module, settings: ModelSettings, inputs: Iterable[Tensor] | None = None
) -> None:
    """Quantise a float network as its settings say: activations, then weights.

    Args:
        model: the network; in eval mode afterwards if ``inputs`` are given.
        settings: bits of activations and of weights; None of either leaves them float.
        inputs: batches of training images, over which activation ranges are calibrated; None
            leaves the ranges to a state that is loaded afterwards.
    """
    if settings.activation_bits:
        quantise_activations(model, settings.activation_bits)
        if inputs is not None:
            calibrate(model.eval(), inputs)
    if settings.weight_bits:
        quantise_weights(model, settings.weight_bits)


def calibration_inputs(data: DataSet, images: int, place: torch.device) -> Iterator[Tensor]:
    """Batches of the first training images, without augmentation, on a torch device."""
    return (inputs.to(place) for inputs, _ in data.batches("train", 500, images))


def quantise_activations(model: nn.Module, bits: int) -> None:
    """Give every linear and convolutional layer that has none a quantiser for its input."""
    for layer in model.modules():
        if isinstance(layer, LAYERS) and not hasattr(layer, "input_quantiser"):
            layer.input_quantiser = ActivationQuantiser(bits).to(layer.weight.device)
            layer.register_forward_pre_hook(_quantise_input)


def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Fix every activation range to the limits seen over ``batches`` of training inputs."""
    quantisers = [m for m in model.modules() if isinstance(m, ActivationQuantiser)]
    for quantiser in quantisers:
        quantiser.observing, quantiser.low, quantiser.high = True, 0.0, 0.0
    with torch.no_grad(), SafeLayouts():
        for inputs in batches:
            model(inputs)
    for quantiser in quantisers:
        quantiser.fix()


def quantise_weights(model: nn.Module, bits: int) -> None:
    """Train from here on through quantised weights."""
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            parametrize.register_parametrization(
                layer, "weight", WeightQuantiser(bits).to(layer.weight.device)
            )


def deploy(model: nn.Module) -> None:
    """Replace each parametrised weight by its value, a plain parameter, for programming."""
    for layer in model.modules():
        if isinstance(layer, LAYERS) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
