"""Passes in bfloat16: weights and activations are rounded to it, sums stay in float32.

PyTorch's autocast computes convolutions, linear layers and matrix products so. A quantiser would
turn the rounding of its input into another level, so a network that has one is treated more
exactly: what lies between a quantised layer and the next quantiser stays in float32, and a
quantised layer is fed its input's levels, whole numbers that bfloat16 holds exactly up to 256,
with the quantiser's step as a factor of its output.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.engine.kernels import SUBSTITUTES, grid
from swim.errors import SettingError, short
from swim.networks.layouts import CONVOLUTIONS
from swim.networks.weights.interception import Watch

# Layers with a weight (out, in, ...) and a bias (out,), and where channels lie in their outputs.
_LAYERS = {F.linear: -1, F.conv1d: -2, F.conv2d: -3, F.conv3d: -4}
ARITHMETICS = ("float32", "bfloat16")
_EXACT = 256  # largest number up to which bfloat16 holds every whole number


def in_bfloat16(arithmetic: str) -> bool:
    """Whether bfloat16 is asked for.

    Raises:
        SettingError: the name is neither of :data:`ARITHMETICS`.
    """
    if arithmetic not in ARITHMETICS:
        raise SettingError(
            f"unknown arithmetic {short(arithmetic)}; known: {', '.join(ARITHMETICS)}"
        )
    return arithmetic == "bfloat16"


class Bfloat16(Watch):
    """While active, a model's forward computes in bfloat16; beside torch.autocast."""

    def __init__(self) -> None:
        super().__init__()
        # A forward may quantise a layer's weight between its input and the layer.
        self._quantised: deque[_Quantised] = deque(maxlen=2)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func is torch.fake_quantize_per_tensor_affine:
            self._quantised.append(_quantise(*args, **kwargs))
            return self._quantised[-1].tensor
        if func in _LAYERS:
            for quantised in self._quantised:
                if quantised.feeds(args):
                    return _layer(quantised, func, *args, **kwargs)
        return SUBSTITUTES.get(func, func)(*args, **kwargs)


class _Quantised:
    """A quantiser's output, and the same as levels."""

    def __init__(self, tensor: Tensor, levels: Tensor, step: float):
        self.tensor, self.levels, self.step = tensor, levels, step
        self._version = tensor._version

    def feeds(self, args: tuple[Any, ...]) -> bool:
        """Whether it is the first argument, and not written to since."""
        return bool(args) and args[0] is self.tensor and self.tensor._version == self._version


def _quantise(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> _Quantised:
    inverse, step, low, high = grid(scale, zero_point, quant_min, quant_max)
    levels = torch.mul(input.float(), inverse).round_().clamp_(low, high)
    if max(-low, high) <= _EXACT:
        exact = levels.bfloat16()
        return _Quantised(levels.mul_(step), exact, step)
    return _Quantised(levels * step, levels, step)


def _layer(
    quantised: _Quantised,
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """A layer of the levels, in float32: its step, and its bias, come in behind the sums."""
    sums: Tensor = CONVOLUTIONS.get(func, func)(
        quantised.levels, weight.to(torch.bfloat16), None, *args, **kwargs
    )
    step = torch.full((1,), quantised.step, device=sums.device)
    if bias is None:
        return sums * step
    bias = bias.float().view(-1, *[1] * (-1 - _LAYERS[func]))
    return torch.addcmul(bias, sums.float(), step)
