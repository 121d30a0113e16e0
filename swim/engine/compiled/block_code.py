"""The code of a block: for each image and row of windows, its sums and what becomes of them."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from swim.engine.compiled.geometry import Geometry
from swim.engine.compiled.sums import DirectSums, Sums, WinogradSums, Workspace
from swim.runtime.machine_code import machine_code
from swim.runtime.vectors import F32, I64, POINTER, VectorWriter


class CompiledBlock:
    """A block as a function.

    Attributes:
        workspace: elements of float32 that a call needs to work in.
        function: called with the addresses of images, packed weights, bias, result and workspace,
            the number of images, and the quantiser's inverse, step, low and high.
    """

    def __init__(self, block: Geometry):
        module = ir.Module()
        self.workspace = _Code(block, module).space.elements
        self._engine = machine_code(module)  # holds the code, and so has to live as long
        kinds: list[Any] = [ctypes.c_void_p] * 5 + [ctypes.c_int64] + [ctypes.c_float] * 4
        address = self._engine.get_function_address("block")
        self.function: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(address)


@cache
def compiled(block: Geometry) -> CompiledBlock:
    """A block's function, compiled once in a process."""
    return CompiledBlock(block)


class _Code:
    """Writes a block's function into a module."""

    def __init__(self, block: Geometry, module: ir.Module):
        self._block, self.space = block, Workspace(block)
        arguments = [POINTER] * 5 + [I64] + [F32] * 4
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "block")
        for argument in function.args[:5]:
            argument.add_attribute("noalias")
        self._images, weights, self._bias, self._result, self._work = function.args[:5]
        self._w = VectorWriter(module, block.lanes, function)
        self._quantiser = [self._w.splat(value) for value in function.args[6:]]
        way = WinogradSums if block.winograd else DirectSums
        self._sums: Sums = way(self._w, self.space, weights, self._work)
        self._write(function.args[5])

    def _write(self, count: ir.Value) -> None:
        """All images, row after row of windows."""
        w, block = self._w, self._block
        high, wide = block.windows
        image_size = block.size[0] * block.size[1] * block.input_channels
        result_size = high * wide * block.output_channels
        w.vectors(self.space.pixels, lambda i: w.store(w.constant(0), self._work, i))

        def image(n: ir.Value) -> None:
            def row(r: ir.Value) -> None:
                self._copy_rows(w.times(n, image_size), r)
                self._sums.prepare_row()
                step = wide * block.output_channels if block.channels_last else wide
                to_row = w.add(w.times(n, result_size), w.times(r, step))
                w.loop(block.groups, lambda g: self._group(g, to_row))

            w.loop(high, row)

        w.loop(count, image)
        w.build.ret_void()

    def _copy_rows(self, image: ir.Value, r: ir.Value) -> None:
        """Copy the rows of pixels that the r-th row of windows reads into the workspace."""
        w, block = self._w, self._block
        channels = block.input_channels
        length, left = block.size[1] * channels, block.padding[1] * channels
        for q in range(self.space.rows):
            y, to = w.add(w.times(r, 2), q - block.padding[0]), q * self.space.row + left
            source = w.add(image, w.times(y, length))

            def copy(i: ir.Value, source: ir.Value = source, to: int = to) -> None:
                w.store(w.load(self._images, w.add(source, i)), self._work, w.add(i, to))

            def clear(i: ir.Value, to: int = to) -> None:
                w.store(w.constant(0), self._work, w.add(i, to))

            inside = w.build.icmp_unsigned("<", y, w.number(block.size[0]))
            with w.build.if_else(inside) as (then, otherwise):
                with then:
                    w.vectors(length, copy)
                with otherwise:
                    w.vectors(length, clear)

    def _group(self, g: ir.Value, to_row: ir.Value) -> None:
        """A row of windows of one group, as many windows at once as registers hold."""
        w, block = self._w, self._block
        wide = block.windows[1]
        most = 4 if block.simd_width == 16 else 2
        whole = wide // most

        def outputs(k: ir.Value) -> None:
            if whole:
                w.loop(whole, lambda i: self._windows(g, k, w.times(i, most), most, to_row))
            if wide % most:
                self._windows(g, k, w.number(whole * most), wide % most, to_row)

        w.vectors(block.outputs, outputs)

    def _windows(
        self, g: ir.Value, k: ir.Value, first: ir.Value, count: int, to_row: ir.Value
    ) -> None:
        """Windows ``first ... first + count - 1`` of a row, for one vector of a group's outputs."""
        w, block = self._w, self._block
        channel = w.add(w.times(g, block.outputs), k)
        bias = w.load(self._bias, channel)
        sums = self._sums.windows(g, k, first, count)
        values = [self._finished(window, bias) for window in sums]
        if block.channels_last:
            step = block.output_channels
            at = w.add(to_row, channel, w.times(first, step))
            for t, value in enumerate(values):
                w.store(value, self._result, w.add(at, t * step))
        else:
            step = block.windows[0] * block.windows[1]
            at = w.add(to_row, first, w.times(channel, step))
            for lane in range(block.lanes):
                for t, value in enumerate(values):
                    w.store_lane(value, lane, self._result, w.add(at, lane * step + t))

    def _finished(self, window: Sequence[ir.Value], bias: ir.Value) -> ir.Value:
        """The greatest of four sums, plus bias, with ReLU and quantiser; NaN if a sum is NaN."""
        w = self._w
        a, b, c, d = window
        unknown = w.build.or_(
            w.build.fcmp_unordered("uno", a, b), w.build.fcmp_unordered("uno", c, d)
        )
        value = w.build.fadd(w.greater(w.greater(a, b), w.greater(c, d)), bias)
        unknown = w.build.or_(unknown, w.build.fcmp_unordered("uno", value, value))
        if self._block.relu:
            value = w.greater(value, w.constant(0))
        if self._block.quantised:
            inverse, step, low, high = self._quantiser
            level = w.nearest(w.build.fmul(value, inverse))
            value = w.build.fmul(w.smaller(w.greater(level, low), high), step)
        return w.build.select(unknown, w.constant(float("nan")), value)
