"""A convolution with what follows it, as one compiled loop.

In a small network a convolution has few channels in each group, and most of its sums are dropped
by the pooling behind it. Here the four sums of a 2 x 2 window stay in SIMD registers until they
are pooled, passed through the ReLU and quantised; only the result is written to memory. The code
is made at run time for one shape (:mod:`.block_code`).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from swim.engine.compiled.block_code import compiled
from swim.engine.compiled.geometry import Geometry

# Whatever PyTorch's defaults are: the code gets addresses of float32 numbers on the CPU.
FLOAT32: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}


@dataclass(frozen=True)
class Quantiser:
    """Rounds to multiples of ``step``: ``clamp(round(x inverse), low, high) step``."""

    inverse: float
    step: float
    low: float
    high: float


_NO_QUANTISER = Quantiser(1, 1, 0, 0)


class Block(Geometry):
    """A convolution with what follows it (:class:`.Geometry`), which can be called."""

    def empty(self, count: int) -> Tensor:
        """A tensor to hold the results of ``count`` images."""
        shape = (count, self.output_channels, *self.windows)
        return torch.empty(shape, **FLOAT32, memory_format=self._order)

    @property
    def _order(self) -> torch.memory_format:
        """Order of the result's dimensions in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def packed(self, weight: Tensor) -> Tensor:
        """The weights in the order in which the code reads them.

        Args:
            weight: (groups x outputs, inputs, height, width).

        Returns:
            (groups, inputs, height x width, outputs); for Winograd convolution ``G w G^T``,
            (groups, 4 x 4, inputs, outputs).
        """
        grouped = weight.unflatten(0, (self.groups, self.outputs))
        if not self.winograd:
            direct: Tensor = grouped.flatten(3).permute(0, 2, 3, 1).contiguous()
            return direct
        g = weight.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
        points = torch.einsum("pa,gocab,qb->gpqco", g, grouped, g)
        return points.flatten(1, 2).contiguous()

    def __call__(
        self,
        images: Tensor,
        packed: Tensor,
        bias: Tensor,
        quantiser: Quantiser | None = None,
        result: Tensor | None = None,
    ) -> Tensor:
        """The block's result: (N, groups x outputs, rows, columns of windows).

        Args:
            images: (N, groups x inputs, height, width), float32, on the CPU.
            packed: what :meth:`packed` returns.
            bias: (groups x outputs,).
            quantiser: the quantiser, if there is one.
            result: tensor to write to, in the block's layout; a new one if None.

        Raises:
            ValueError: a tensor is of another shape or type, or not on the CPU; the weights or
                the result do not lie in memory as the block reads and writes them.
        """
        result = self.empty(len(images)) if result is None else result
        self._check(len(images), images, packed, bias, result)
        if len(images):
            images = images.contiguous(memory_format=torch.channels_last)
            self._run(images, packed, bias.contiguous(), quantiser or _NO_QUANTISER, result)
        return result

    def _run(
        self, images: Tensor, packed: Tensor, bias: Tensor, q: Quantiser, result: Tensor
    ) -> None:
        """Share the images among torch's threads; each image is computed by itself."""
        code, count = compiled(self), len(images)
        image_bytes, result_bytes = images[:1].numel() * 4, result[:1].numel() * 4

        def run(start: int, stop: int) -> None:
            work = torch.empty(code.workspace, **FLOAT32)
            code.function(
                images.data_ptr() + start * image_bytes, packed.data_ptr(), bias.data_ptr(),
                result.data_ptr() + start * result_bytes, work.data_ptr(), stop - start,
                q.inverse, q.step, q.low, q.high,
            )  # fmt: skip

        parts = min(torch.get_num_threads(), count)
        if parts == 1:
            run(0, count)
            return
        bounds = [count * i // parts for i in range(parts + 1)]
        list(_threads(parts).map(run, bounds[:-1], bounds[1:]))

    def _check(
        self, count: int, images: Tensor, packed: Tensor, bias: Tensor, result: Tensor
    ) -> None:
        """Raise ValueError unless the code can read and write these tensors."""
        taps = 16 if self.winograd else self.kernel[0] * self.kernel[1]
        inner = (taps, self.inputs) if self.winograd else (self.inputs, taps)
        for name, tensor, shape in (
            ("images", images, (count, self.input_channels, *self.size)),
            ("weights", packed, (self.groups, *inner, self.outputs)),
            ("bias", bias, (self.output_channels,)),
            ("result", result, (count, self.output_channels, *self.windows)),
        ):
            if tensor.dtype != torch.float32 or not tensor.is_cpu or tensor.shape != shape:
                actual = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device.type}"
                raise ValueError(f"{name} must be float32 {shape} on the CPU, not {actual}")
        for name, dense in (
            ("weights", packed.is_contiguous()),
            ("result", result.is_contiguous(memory_format=self._order)),
        ):
            if not dense:
                raise ValueError(f"{name} must lie in memory without gaps, in the block's order")


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a forked child has none of these threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
