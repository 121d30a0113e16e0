"""The sums of a convolution in 2 x 2 windows, in two ways.

:class:`DirectSums` computes them as they are defined. :class:`WinogradSums` is the Winograd
convolution F(2x2, 3x3) for 3 x 3 kernels: 16 products for four sums instead of 36 (Lavin and Gray,
arXiv:1509.09308). The numbers are those of a convolution but for rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llvmlite import ir

from swim.engine.compiled.geometry import Geometry
from swim.runtime.vectors import VectorWriter

Window = list[ir.Value]  # the vectors of sums at (0, 0), (0, 1), (1, 0) and (1, 1)


@dataclass(frozen=True)
class Workspace:
    """Where a thread keeps the pixels that one row of windows reads.

    First come ``rows`` rows of the images between their padding, channels last; behind them, for
    Winograd convolution, the 16 transformed points of each window.

    Attributes:
        block: the block.
    """

    block: Geometry

    @property
    def row(self) -> int:
        """Elements of a row of pixels with its padding."""
        return (self.block.size[1] + 2 * self.block.padding[1]) * self.block.input_channels

    @property
    def rows(self) -> int:
        """Rows of pixels that a row of windows reads."""
        return self.block.kernel[0] + 1

    @property
    def pixels(self) -> int:
        """Elements of all rows of pixels; the transformed points begin there."""
        return self.rows * self.row

    @property
    def point(self) -> int:
        """Elements of one transformed point, of all windows of a row and all channels."""
        return self.block.windows[1] * self.block.input_channels

    @property
    def elements(self) -> int:
        """Elements of the whole workspace."""
        return self.pixels + (16 * self.point if self.block.winograd else 0)


class Sums(Protocol):
    """Writes the code for the sums of a row of windows."""

    def prepare_row(self) -> None:
        """Code that runs once for a row of windows, when its pixels are in the workspace."""

    def windows(self, g: ir.Value, k: ir.Value, first: ir.Value, count: int) -> list[Window]:
        """Sums of windows ``first ... first + count - 1`` for a vector of outputs.

        Args:
            g: the group.
            k: first output channel of the vector in its group.
            first: first window.
            count: number of windows.
        """


class DirectSums:
    """Every pixel times its weight, summed over the kernel and the input channels of a group."""

    def __init__(self, w: VectorWriter, space: Workspace, weights: ir.Value, work: ir.Value):
        self._w, self._space, self._weights, self._work = w, space, weights, work

    def prepare_row(self) -> None:
        """Nothing: the sums are of the pixels themselves."""

    def windows(self, g: ir.Value, k: ir.Value, first: ir.Value, count: int) -> list[Window]:
        """See :class:`Sums`."""
        w, block, row = self._w, self._space.block, self._space.row
        high, wide = block.kernel
        channels, taps = block.input_channels, high * wide
        left = w.add(w.times(g, block.inputs), w.times(first, 2 * channels))

        def add_channel(z: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            totals = list(sums)
            weights = w.add(w.times(w.add(w.times(g, block.inputs), z), taps * block.outputs), k)
            for dy in range(high):
                for dx in range(wide):
                    weight = w.load(self._weights, w.add(weights, (dy * wide + dx) * block.outputs))
                    for i in range(4 * count):
                        t, y, x = i // 4, i // 2 % 2, i % 2
                        at = (y + dy) * row + (2 * t + x + dx) * channels
                        pixel = w.load_splat(self._work, w.add(left, z, at))
                        totals[i] = w.multiply_add(pixel, weight, totals[i])
            return totals

        sums = w.loop(block.inputs, add_channel, [w.constant(0)] * (4 * count))
        return [list(sums[4 * t : 4 * t + 4]) for t in range(count)]


class WinogradSums:
    """F(2x2, 3x3): a window's sums are ``A^T [(G w G^T) * (B^T d B)] A``.

    d are the 4 x 4 pixels that a window reads. ``G w G^T`` is in the packed weights,
    ``B^T d B`` is put into the workspace once for a row of windows.
    """

    # Rows of A^T: the four sums m of a column become two.
    OUTPUTS = ((1, 1, 1, 0), (0, 1, -1, -1))

    def __init__(self, w: VectorWriter, space: Workspace, weights: ir.Value, work: ir.Value):
        self._w, self._space, self._weights, self._work = w, space, weights, work

    def prepare_row(self) -> None:
        """Transform every window of the row."""
        self._w.loop(self._space.block.windows[1], self._transform)

    def _transform(self, t: ir.Value) -> None:
        """``B^T d B`` of window t, for all channels."""
        w, space = self._w, self._space
        channels = space.block.input_channels

        def some_channels(c: ir.Value) -> None:
            at = w.add(w.times(t, 2 * channels), c)
            pixels = [
                [w.load(self._work, w.add(at, y * space.row + x * channels)) for x in range(4)]
                for y in range(4)
            ]
            columns = [self._inputs([pixels[y][x] for y in range(4)]) for x in range(4)]
            to = w.add(space.pixels, w.times(t, channels), c)
            for p in range(4):
                for q, value in enumerate(self._inputs([columns[x][p] for x in range(4)])):
                    w.store(value, self._work, w.add(to, (4 * p + q) * space.point))

        w.vectors(channels, some_channels)

    def _inputs(self, d: Sequence[ir.Value]) -> list[ir.Value]:
        """``B^T d`` of four numbers."""
        add, subtract = self._w.build.fadd, self._w.build.fsub
        return [subtract(d[0], d[2]), add(d[1], d[2]), subtract(d[2], d[1]), subtract(d[1], d[3])]

    def windows(self, g: ir.Value, k: ir.Value, first: ir.Value, count: int) -> list[Window]:
        """See :class:`Sums`. One column of m after the other, so that all stays in registers."""
        w, space, block = self._w, self._space, self._space.block
        channels = block.input_channels
        left = w.add(space.pixels, w.times(g, block.inputs), w.times(first, channels))
        results: list[list[ir.Value | None]] = [[None] * 4 for _ in range(count)]
        for q in range(4):
            body = self._column(q, g, k, left, count)
            sums = w.loop(block.inputs, body, [w.constant(0)] * (4 * count))
            for t, window in enumerate(results):
                column = [self._total(signs, sums[t::count]) for signs in self.OUTPUTS]
                for at in range(4):
                    y, x = divmod(at, 2)
                    window[at] = self._plus(window[at], self.OUTPUTS[x][q], column[y])
        return results

    def _column(
        self, q: int, g: ir.Value, k: ir.Value, left: ir.Value, count: int
    ) -> Callable[..., list[ir.Value]]:
        """Adds an input channel to the sums m of column q: four points of each window."""
        w, space = self._w, self._space
        block, channels = space.block, space.block.input_channels

        def add_channel(z: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            totals = list(sums)
            each = block.inputs * block.outputs
            weights = w.add(w.times(g, 16 * each), w.times(z, block.outputs), k)
            for p in range(4):
                at = 4 * p + q
                weight = w.load(self._weights, w.add(weights, at * each))
                for t in range(count):
                    pixel = w.load_splat(
                        self._work, w.add(left, z, at * space.point + t * channels)
                    )
                    i = p * count + t
                    totals[i] = w.multiply_add(pixel, weight, totals[i])
            return totals

        return add_channel

    def _total(self, signs: Sequence[int], values: Sequence[ir.Value]) -> ir.Value:
        total = None
        for sign, value in zip(signs, values, strict=True):
            total = self._plus(total, sign, value)
        return total

    def _plus(self, total: ir.Value | None, sign: int, value: ir.Value) -> ir.Value | None:
        """``total + sign value``; the first term has a positive sign."""
        if not sign:
            return total
        if total is None:
            return value
        return (self._w.build.fadd if sign > 0 else self._w.build.fsub)(total, value)
