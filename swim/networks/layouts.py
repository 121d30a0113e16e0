"""Convolutions that are safe in every memory layout, and fast on small images; the same values.

In channels last, oneDNN's kernels for dilated convolutions read outside of narrow images, and the
process ends by a segmentation fault (torch 2.14: dilation above 1 in any direction, few columns,
wide padding). PyTorch chooses them where either tensor is channels last, so a dilated convolution
is given both in the order of their dimensions.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from swim.networks import small_images
from swim.networks.weights.interception import Watch


def in_order(tensor: Tensor) -> Tensor:
    """The same values in the order of the dimensions, with the strides of a new tensor.

    Strides of dimensions of size 1 may say channels last of a tensor that lies in either order.
    """
    return tensor.contiguous().view(-1).view(tensor.shape)


def _convolution(own: Callable[..., Tensor], at: int) -> Callable[..., Tensor]:
    """A convolution of PyTorch's whose ``at``-th argument is its dilation."""

    @functools.wraps(own)
    def convolve(input: Tensor, weight: Tensor, *rest: Any, **kwargs: Any) -> Tensor:
        dilation = rest[at - 2] if len(rest) > at - 2 else kwargs.get("dilation", 1)
        if dilation != 1 and input.device.type == "cpu" and max(_numbers(dilation)) > 1:
            input, weight = in_order(input), in_order(weight)
        return own(input, weight, *rest, **kwargs)

    return convolve


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)


CONVOLUTIONS: dict[Any, Callable[..., Tensor]] = {
    **{own: _convolution(own, 5) for own in (F.conv1d, F.conv3d)},
    F.conv2d: _convolution(small_images.conv2d, 5),
    **{
        own: _convolution(own, 7)
        for own in (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
    },
}


class SafeLayouts(Watch):
    """While active, a model may be in channels last whatever convolutions it has."""

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return CONVOLUTIONS.get(func, func)(*args, **kwargs)
