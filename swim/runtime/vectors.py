"""LLVM instructions for vectors of float32."""

import copy
from collections.abc import Callable, Sequence

from llvmlite import ir

F32, I64 = ir.FloatType(), ir.IntType(64)
POINTER = F32.as_pointer()


class VectorWriter:
    """Appends LLVM instructions to a function: vectors of float32, addresses counted in elements.

    Attributes:
        lanes: how many numbers a vector has.
        vector: the type of a vector.
        build: llvmlite's builder, for instructions on single numbers.
    """

    def __init__(self, module: ir.Module, lanes: int, function: ir.Function):
        self._module, self.lanes = module, lanes
        self.vector = ir.VectorType(F32, lanes)
        self.build = ir.IRBuilder(function.append_basic_block())

    def with_lanes(self, lanes: int) -> "VectorWriter":
        """A writer of vectors of another length, which appends at the same place."""
        other = copy.copy(self)
        other.lanes, other.vector = lanes, ir.VectorType(F32, lanes)
        return other

    def number(self, value: int | ir.Value) -> ir.Value:
        """An integer constant, or the value itself."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, *terms: int | ir.Value) -> ir.Value:
        """The sum of integers."""
        known = sum(term for term in terms if isinstance(term, int))
        total = self.number(known)
        for term in terms:
            if not isinstance(term, int):
                total = self.build.add(total, term)
        return total

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        """The product of two integers."""
        return self.build.mul(value, self.number(factor))

    def least(self, value: ir.Value, bound: int) -> ir.Value:
        """The smaller of two integers."""
        high = self.number(bound)
        return self.build.select(self.build.icmp_signed("<", value, high), value, high)

    def _at(self, base: ir.Value, index: ir.Value) -> ir.Value:
        return self.build.bitcast(self.build.gep(base, [index]), self.vector.as_pointer())

    def load(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """A vector from ``base[index]`` on."""
        value = self.build.load(self._at(base, index))
        value.align = 4
        return value

    def store(self, value: ir.Value, base: ir.Value, index: ir.Value) -> None:
        """Write a vector to ``base[index]`` and the elements after it."""
        self.build.store(value, self._at(base, index)).align = 4

    def store_lane(self, value: ir.Value, lane: int, base: ir.Value, index: ir.Value) -> None:
        """Write one number of a vector to ``base[index]``."""
        scalar = self.build.extract_element(value, ir.Constant(ir.IntType(32), lane))
        self.build.store(scalar, self.build.gep(base, [index]))

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A vector with the same number in all lanes."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.build.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.build.shuffle_vector(first, nothing, zeros)

    def load_splat(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """A vector with ``base[index]`` in all lanes."""
        return self.splat(self.build.load(self.build.gep(base, [index])))

    def constant(self, value: float) -> ir.Value:
        """A vector with the same constant in all lanes."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def _intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        full = f"llvm.{name}.v{self.lanes}f32"
        if full not in self._module.globals:
            kind = ir.FunctionType(self.vector, [self.vector] * len(values))
            ir.Function(self._module, kind, full)
        return self.build.call(self._module.globals[full], values)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a b + c``, rounded once."""
        return self._intrinsic("fma", a, b, c)

    def square_root(self, value: ir.Value) -> ir.Value:
        """The square roots."""
        return self._intrinsic("sqrt", value)

    def nearest(self, value: ir.Value) -> ir.Value:
        """The nearest integers; halves go to the even one."""
        return self._intrinsic("nearbyint", value)

    def greater(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The greater numbers of two vectors; those of ``b`` where one is NaN."""
        return self.build.select(self.build.fcmp_ordered(">", a, b), a, b)

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller numbers of two vectors; those of ``b`` where one is NaN."""
        return self.build.select(self.build.fcmp_ordered("<", a, b), a, b)

    def loop(
        self,
        count: int | ir.Value,
        body: Callable[..., Sequence[ir.Value] | None],
        start: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        """A loop over i = 0 ... count - 1, with at least one turn.

        Args:
            count: number of turns.
            body: writes one turn, ``body(i, *values)``; its results are the next turn's values.
            start: the first turn's values.

        Returns:
            The last turn's results.
        """
        before, turn = self.build.block, self.build.append_basic_block()
        after = self.build.append_basic_block()
        self.build.branch(turn)
        self.build.position_at_end(turn)
        index, carried = self.build.phi(I64), [self.build.phi(value.type) for value in start]
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
        """``body(offset)`` for vectors that cover ``length`` elements; the last two may overlap."""
        whole = -(-length // self.lanes)
        last = length - self.lanes
        self.loop(whole, lambda i: body(self.least(self.times(i, self.lanes), last)))
