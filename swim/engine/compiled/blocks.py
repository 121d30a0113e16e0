"""A convolution with what follows it, compiled at run time.

In a small network a convolution has a few channels in each group, and its sums are many times
what pooling leaves of them. Here a window of 2 x 2 sums stays in a processor's registers until it
is pooled, rectified and quantised, so that only the result is written. The code is made for one
shape, by LLVM (llvmlite); nothing is needed at the user's but that package.

Two ways to the sums: as they are defined, and for 3 x 3 kernels the minimal filtering F(2 x 2,
3 x 3) of Lavin and Gray (arXiv:1509.09308), 16 products for four sums instead of 36.
"""

import ctypes
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from llvmlite import binding, ir
from torch import Tensor

# Input channels of a group from which on F(2 x 2, 3 x 3) is worth its transforms.
_MINIMAL_FROM = 4
# Products in a sum up to which PyTorch's convolution and pooling take longer (a 5 x 5 kernel on 6
# channels has 150 and is no faster here).
_DEFINED_UP_TO = 128
# Whatever PyTorch's defaults are: addresses are handed on.
_PLAIN: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
_F32, _I64 = ir.FloatType(), ir.IntType(64)
_POINTER = _F32.as_pointer()


@dataclass(frozen=True)
class Quantiser:
    """Rounds to multiples of ``step``: ``clamp(round(x inverse), low, high) step``."""

    inverse: float
    step: float
    low: float
    high: float


@dataclass(frozen=True)
class Block:
    """A convolution of stride 1, maxima of 2 x 2 windows, and on request ReLU and quantiser.

    Attributes:
        groups: of the convolution.
        inputs: channels of a group.
        outputs: channels of a group.
        size: height and width of the images.
        kernel: height and width.
        padding: zeros above and below, left and right.
        rectified: whether a ReLU follows.
        quantised: whether a quantiser follows.
        channels_last: whether the result is written so, or in the order of its dimensions.
        register: how many float32 numbers one holds; changes no result.
    """

    groups: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    padding: tuple[int, int]
    rectified: bool
    quantised: bool
    channels_last: bool
    register: int

    @property
    def input_channels(self) -> int:
        """Of all groups together."""
        return self.groups * self.inputs

    @property
    def output_channels(self) -> int:
        """Of all groups together."""
        return self.groups * self.outputs

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        high, wide = (
            (n + 2 * p - k + 1) // 2
            for n, p, k in zip(self.size, self.padding, self.kernel, strict=True)
        )
        return high, wide

    @property
    def minimal(self) -> bool:
        """Whether the sums are found by minimal filtering."""
        return self.kernel == (3, 3) and self.inputs >= _MINIMAL_FROM

    @property
    def lanes(self) -> int:
        """Numbers handled at once: a register's, or what the shorter of its loops leaves."""
        filtered = [self.input_channels] if self.minimal else []
        loops = [self.outputs, self.size[1] * self.input_channels, *filtered]
        return min(self.register, 1 << (min(loops).bit_length() - 1))

    def empty(self, count: int) -> Tensor:
        """A tensor to hold the results of so many images."""
        shape = (count, self.output_channels, *self.windows)
        return torch.empty(shape, **_PLAIN, memory_format=self._order)

    @property
    def _order(self) -> torch.memory_format:
        """Of the result's dimensions in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def worthwhile(self) -> bool:
        """Whether this machine can do it, and faster than an operation after the other."""
        products = self.inputs * self.kernel[0] * self.kernel[1]
        able = self.lanes >= 4 and min(self.windows) >= 1
        return able and (self.minimal or products <= _DEFINED_UP_TO)

    def packed(self, weight: Tensor) -> Tensor:
        """The weights (groups x outputs, inputs, height, width) in the order they are read in.

        Minimal filtering takes them as ``A w A^T``, (groups, 4 x 4, inputs, outputs).
        """
        grouped = weight.unflatten(0, (self.groups, self.outputs))
        if not self.minimal:
            result: Tensor = grouped.flatten(3).permute(0, 2, 3, 1).contiguous()
            return result
        along = weight.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
        points = torch.einsum("pa,gocab,qb->gpqco", along, grouped, along)
        return points.flatten(1, 2).contiguous()

    def _check(
        self, count: int, images: Tensor, packed: Tensor, bias: Tensor, result: Tensor
    ) -> None:
        """Raise ValueError unless the code can read and write these tensors."""
        taps = 16 if self.minimal else self.kernel[0] * self.kernel[1]
        inner = (taps, self.inputs) if self.minimal else (self.inputs, taps)
        for name, tensor, shape in (
            ("images", images, (count, self.input_channels, *self.size)),
            ("weights", packed, (self.groups, *inner, self.outputs)),
            ("bias", bias, (self.output_channels,)),
            ("result", result, (count, self.output_channels, *self.windows)),
        ):
            if tensor.dtype != torch.float32 or not tensor.is_cpu or tensor.shape != shape:
                found = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device.type}"
                raise ValueError(f"{name} must be float32 {shape} on the CPU, not {found}")
        for name, lies in (
            ("weights", packed.is_contiguous()),
            ("result", result.is_contiguous(memory_format=self._order)),
        ):
            if not lies:
                raise ValueError(f"{name} must lie in memory without gaps, in the block's order")

    def __call__(
        self,
        images: Tensor,
        packed: Tensor,
        bias: Tensor,
        quantiser: Quantiser | None = None,
        result: Tensor | None = None,
    ) -> Tensor:
        """The block's result.

        Args:
            images: (N, groups x inputs, height, width), float32, on the CPU.
            packed: of :meth:`packed`.
            bias: (groups x outputs,).
            quantiser: the quantiser, if there is one.
            result: where to write, of the block's layout; a new tensor if None.

        Raises:
            ValueError: a tensor is of another shape or type, or not on the CPU; the weights or
                the result do not lie in memory as the block reads and writes them.
        """
        count = len(images)
        result = self.empty(count) if result is None else result
        self._check(count, images, packed, bias, result)
        if not count:
            return result
        images = images.contiguous(memory_format=torch.channels_last)
        bias = bias.contiguous()
        q = quantiser or Quantiser(1, 1, 0, 0)
        kernel = _kernel(self)
        of, to = images[:1].numel() * 4, result[:1].numel() * 4

        def run(start: int, stop: int) -> None:
            work = torch.empty(kernel.workspace, **_PLAIN)
            kernel.function(
                images.data_ptr() + start * of, packed.data_ptr(), bias.data_ptr(),
                result.data_ptr() + start * to, work.data_ptr(), stop - start,
                q.inverse, q.step, q.low, q.high,
            )  # fmt: skip

        parts = min(torch.get_num_threads(), count)
        bounds = [count * i // parts for i in range(parts + 1)]
        if parts == 1:
            run(0, count)
        else:
            list(_threads(parts).map(run, bounds[:-1], bounds[1:]))
        return result


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a child has none of these threads
    os.register_at_fork(after_in_child=_threads.cache_clear)


@cache
def register() -> int:
    """How many float32 numbers a register of this machine holds; 0 without fused multiply-add."""
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return 4
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:
        return 0
    if not features.get("fma"):
        return 0
    return 16 if features.get("avx512f") else 8


class _Writer:
    """LLVM's instructions for vectors of float32, at addresses counted in elements."""

    def __init__(self, module: ir.Module, lanes: int, function: ir.Function):
        self._module, self._lanes = module, lanes
        self.vector = ir.VectorType(_F32, lanes)
        self.build = ir.IRBuilder(function.append_basic_block())

    def number(self, value: int | ir.Value) -> ir.Value:
        return ir.Constant(_I64, value) if isinstance(value, int) else value

    def add(self, *terms: int | ir.Value) -> ir.Value:
        known = sum(term for term in terms if isinstance(term, int))
        total = self.number(known)
        for term in terms:
            if not isinstance(term, int):
                total = self.build.add(total, term)
        return total

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        return self.build.mul(value, self.number(factor))

    def least(self, value: ir.Value, bound: int) -> ir.Value:
        high = self.number(bound)
        return self.build.select(self.build.icmp_signed("<", value, high), value, high)

    def _at(self, base: ir.Value, index: ir.Value) -> ir.Value:
        return self.build.bitcast(self.build.gep(base, [index]), self.vector.as_pointer())

    def load(self, base: ir.Value, index: ir.Value) -> ir.Value:
        value = self.build.load(self._at(base, index))
        value.align = 4
        return value

    def store(self, value: ir.Value, base: ir.Value, index: ir.Value) -> None:
        self.build.store(value, self._at(base, index)).align = 4

    def store_lane(self, value: ir.Value, lane: int, base: ir.Value, index: ir.Value) -> None:
        scalar = self.build.extract_element(value, ir.Constant(ir.IntType(32), lane))
        self.build.store(scalar, self.build.gep(base, [index]))

    def everywhere(self, scalar: ir.Value) -> ir.Value:
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.build.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self._lanes), [0] * self._lanes)
        return self.build.shuffle_vector(first, nothing, zeros)

    def one(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """One element, in all lanes."""
        return self.everywhere(self.build.load(self.build.gep(base, [index])))

    def constant(self, value: float) -> ir.Value:
        return ir.Constant(self.vector, [value] * self._lanes)

    def _intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        full = f"llvm.{name}.v{self._lanes}f32"
        if full not in self._module.globals:
            kind = ir.FunctionType(self.vector, [self.vector] * len(values))
            ir.Function(self._module, kind, full)
        return self.build.call(self._module.globals[full], values)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic("fma", a, b, c)

    def nearest(self, value: ir.Value) -> ir.Value:
        return self._intrinsic("nearbyint", value)

    def greater(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.build.select(self.build.fcmp_ordered(">", a, b), a, b)

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.build.select(self.build.fcmp_ordered("<", a, b), a, b)

    def loop(
        self,
        count: int | ir.Value,
        body: Callable[..., Sequence[ir.Value] | None],
        start: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        """``body(i, *values)`` for i below count, at least once; values go from turn to turn."""
        before, turn = self.build.block, self.build.append_basic_block()
        after = self.build.append_basic_block()
        self.build.branch(turn)
        self.build.position_at_end(turn)
        index, carried = self.build.phi(_I64), [self.build.phi(value.type) for value in start]
        index.add_incoming(self.number(0), before)
        for phi, value in zip(carried, start, strict=True):
            phi.add_incoming(value, before)
        results = list(body(index, *carried) or ())
        following = self.build.add(index, self.number(1))
        index.add_incoming(following, self.build.block)
        for phi, value in zip(carried, results, strict=True):
            phi.add_incoming(value, self.build.block)
        more = self.build.icmp_signed("<", following, self.number(count))
        self.build.cbranch(more, turn, after)
        self.build.position_at_end(after)
        return results

    def vectors(self, length: int, body: Callable[[ir.Value], None]) -> None:
        """``body(offset)`` for vectors that cover so many elements; the last two may overlap."""
        whole = -(-length // self._lanes)
        last = length - self._lanes
        self.loop(whole, lambda i: body(self.least(self.times(i, self._lanes), last)))


class _Kernel:
    """A block's code.

    Attributes:
        workspace: elements that it needs to work in.
        function: (images, packed, bias, result, workspace, N, inverse, step, low, high).
    """

    def __init__(self, block: Block):
        self._block = block
        module = ir.Module()
        module.triple = binding.get_default_triple()
        arguments = [_POINTER] * 5 + [_I64] + [_F32] * 4
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "block")
        for argument in function.args[:5]:
            argument.add_attribute("noalias")
        self._images, self._weights, self._bias, self._result, self._work = function.args[:5]
        self._w = _Writer(module, block.lanes, function)
        self._quantiser = [self._w.everywhere(value) for value in function.args[6:]]
        self._write(function.args[5])
        self._engine = _machine_code(module)
        address = self._engine.get_function_address("block")
        kinds = [ctypes.c_void_p] * 5 + [ctypes.c_int64] + [ctypes.c_float] * 4
        self.function = ctypes.CFUNCTYPE(None, *kinds)(address)

    @cached_property
    def _row(self) -> int:
        """Elements of a row of the images with its padding."""
        block = self._block
        return (block.size[1] + 2 * block.padding[1]) * block.input_channels

    @property
    def _rows(self) -> int:
        """Rows that a row of windows sees."""
        return self._block.kernel[0] + 1

    @property
    def workspace(self) -> int:
        """Elements that it needs to work in."""
        block = self._block
        points = 16 * block.windows[1] * block.input_channels if block.minimal else 0
        return self._rows * self._row + points

    def _write(self, count: ir.Value) -> None:
        w, block = self._w, self._block
        high, wide = block.windows
        channels, outputs = block.input_channels, block.output_channels
        of, to = block.size[0] * block.size[1] * channels, high * wide * outputs
        w.vectors(self._rows * self._row, lambda i: w.store(w.constant(0), self._work, i))

        def image(n: ir.Value) -> None:
            def row(r: ir.Value) -> None:
                self._fetch(w.times(n, of), r)
                if block.minimal:
                    w.loop(wide, self._transform)
                step = wide * outputs if block.channels_last else wide
                to_row = w.add(w.times(n, to), w.times(r, step))
                w.loop(block.groups, lambda g: self._group(g, to_row))

            w.loop(high, row)

        w.loop(count, image)
        w.build.ret_void()

    def _fetch(self, image: ir.Value, r: ir.Value) -> None:
        """Copies the rows that the r-th row of windows sees between the padding."""
        w, block = self._w, self._block
        channels = block.input_channels
        length, left = block.size[1] * channels, block.padding[1] * channels
        for q in range(self._rows):
            y, to = w.add(w.times(r, 2), q - block.padding[0]), q * self._row + left
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
        """A row of windows of one group, as many at once as registers hold."""
        w, block = self._w, self._block
        wide = block.windows[1]
        most = 4 if block.register == 16 else 2
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
        sums = (self._filtered if block.minimal else self._defined)(g, k, first, count)
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
        """The greatest of four sums, plus bias, rectified and quantised; NaN if one is."""
        w = self._w
        a, b, c, d = window
        unknown = w.build.or_(
            w.build.fcmp_unordered("uno", a, b), w.build.fcmp_unordered("uno", c, d)
        )
        value = w.build.fadd(w.greater(w.greater(a, b), w.greater(c, d)), bias)
        unknown = w.build.or_(unknown, w.build.fcmp_unordered("uno", value, value))
        if self._block.rectified:
            value = w.greater(value, w.constant(0))
        if self._block.quantised:
            inverse, step, low, high = self._quantiser
            level = w.nearest(w.build.fmul(value, inverse))
            value = w.build.fmul(w.smaller(w.greater(level, low), high), step)
        return w.build.select(unknown, w.constant(float("nan")), value)

    def _defined(
        self, g: ir.Value, k: ir.Value, first: ir.Value, count: int
    ) -> list[list[ir.Value]]:
        """Four sums of each window: every tap of the kernel times its pixel."""
        w, block = self._w, self._block
        high, wide = block.kernel
        channels, taps = block.input_channels, high * wide
        left = w.add(w.times(g, block.inputs), w.times(first, 2 * channels))

        def add_channel(z: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            found = list(sums)
            weights = w.add(w.times(w.add(w.times(g, block.inputs), z), taps * block.outputs), k)
            for dy in range(high):
                for dx in range(wide):
                    weight = w.load(self._weights, w.add(weights, (dy * wide + dx) * block.outputs))
                    for i in range(4 * count):
                        t, y, x = i // 4, i // 2 % 2, i % 2
                        at = (y + dy) * self._row + (2 * t + x + dx) * channels
                        pixel = w.one(self._work, w.add(left, z, at))
                        found[i] = w.multiply_add(pixel, weight, found[i])
            return found

        sums = w.loop(block.inputs, add_channel, [w.constant(0)] * (4 * count))
        return [list(sums[4 * t : 4 * t + 4]) for t in range(count)]

    def _transform(self, t: ir.Value) -> None:
        """Window t of all channels, 4 x 4 pixels d, as ``B^T d B``, into the workspace."""
        w, block = self._w, self._block
        channels = block.input_channels
        across, down = w.build.fsub, w.build.fadd

        def along(d: Sequence[ir.Value]) -> list[ir.Value]:
            return [across(d[0], d[2]), down(d[1], d[2]), across(d[2], d[1]), across(d[1], d[3])]

        def some(c: ir.Value) -> None:
            at = w.add(w.times(t, 2 * channels), c)
            pixels = [
                [w.load(self._work, w.add(at, y * self._row + x * channels)) for x in range(4)]
                for y in range(4)
            ]
            columns = [along([pixels[y][x] for y in range(4)]) for x in range(4)]
            to = w.add(self._rows * self._row, w.times(t, channels), c)
            for p in range(4):
                for q, value in enumerate(along([columns[x][p] for x in range(4)])):
                    point = (4 * p + q) * block.windows[1] * channels
                    w.store(value, self._work, w.add(to, point))

        w.vectors(channels, some)

    def _filtered(
        self, g: ir.Value, k: ir.Value, first: ir.Value, count: int
    ) -> list[list[ir.Value]]:
        """Four sums of each window, ``C^T m C`` of the 16 sums m over transformed channels.

        One column of m after the other, so that all stays in registers.
        """
        w, block = self._w, self._block
        channels = block.input_channels
        point = block.windows[1] * channels
        left = w.add(self._rows * self._row, w.times(g, block.inputs), w.times(first, channels))
        found: list[list[Any]] = [[None] * 4 for _ in range(count)]
        for q in range(4):

            def add_channel(z: ir.Value, *sums: ir.Value, q: int = q) -> list[ir.Value]:
                totals = list(sums)
                each = block.inputs * block.outputs
                weights = w.add(w.times(g, 16 * each), w.times(z, block.outputs), k)
                for p in range(4):
                    at = 4 * p + q
                    weight = w.load(self._weights, w.add(weights, at * each))
                    for t in range(count):
                        pixel = w.one(self._work, w.add(left, z, at * point + t * channels))
                        i = p * count + t
                        totals[i] = w.multiply_add(pixel, weight, totals[i])
                return totals

            sums = w.loop(block.inputs, add_channel, [w.constant(0)] * (4 * count))
            for t in range(count):
                m = sums[t::count]
                upper = w.build.fadd(w.build.fadd(m[0], m[1]), m[2])
                lower = w.build.fsub(w.build.fsub(m[1], m[2]), m[3])
                for y, value in enumerate((upper, lower)):
                    window = found[t]
                    if q == 0:
                        window[2 * y] = value
                    elif q == 1:
                        window[2 * y] = w.build.fadd(window[2 * y], value)
                        window[2 * y + 1] = value
                    elif q == 2:
                        window[2 * y] = w.build.fadd(window[2 * y], value)
                        window[2 * y + 1] = w.build.fsub(window[2 * y + 1], value)
                    else:
                        window[2 * y + 1] = w.build.fsub(window[2 * y + 1], value)
        return found


@cache
def _kernel(block: Block) -> _Kernel:
    return _Kernel(block)


def _machine_code(module: ir.Module) -> binding.ExecutionEngine:
    """The module for this processor."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    try:
        features = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        features = ""
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3
    )
    parsed = binding.parse_assembly(str(module))
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = binding.create_pass_builder(target, options)
    builder.getModulePassManager().run(parsed, builder)
    engine = binding.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    return engine
