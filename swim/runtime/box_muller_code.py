"""Normals by Box and Muller in machine code: the bits of :mod:`.box_muller`, which explains them.

Every instruction is rounded as IEEE 754 says, in numpy's order, and no product is fused with a
sum; so the SIMD width and the processor change no bit. A weight's error is scaled and added to
the weight in the same pass, while the normal is in a register.
"""

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from swim.runtime.box_muller import (
    BITS_OF_SQRT_HALF,
    COS,
    HALF_CIRCLE,
    LOG,
    LOG_OF_2,
    MANTISSA,
    SIN,
)
from swim.runtime.vectors import F32, I64, POINTER, VectorWriter

_I8, _I32 = ir.IntType(8), ir.IntType(32)
# Normals; sums of base and normals times a factor; the same with two factors and a mask.
KINDS = ("normals", "sums", "masked_sums")
ARGUMENTS = [POINTER, POINTER, I64, I64, POINTER, _I8.as_pointer(), F32, F32]


def write_function(module: ir.Module, kind: str, lanes: int) -> None:
    """Add a function of :data:`KINDS`.

    It is called with the addresses of result and words, the number of words of 64 bits and that of
    results (twice that of words, or one less), the addresses of base and mask, and the factor
    where the mask is zero and where it is not. What a kind does not need is ignored.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), ARGUMENTS), kind)
    for argument in function.args[:2]:
        argument.add_attribute("noalias")
    writer = VectorWriter(module, lanes, function)
    _Code(writer, kind, function.args).write_all()
    writer.build.ret_void()


class _Code:
    """Writes the loops: vectors of pairs, then single pairs, the last of which may lack a sine."""

    def __init__(self, w: VectorWriter, kind: str, arguments: tuple[ir.Value, ...]):
        self._w, self._kind = w, kind
        self._result, self._words, self._half, self._count = arguments[:4]
        self._base, self._mask, *self._factors = arguments[4:]

    def write_all(self) -> None:
        w, lanes = self._w, self._w.lanes
        pairs = w.build.sub(self._count, self._half)
        whole = w.build.lshr(pairs, w.number(lanes.bit_length() - 1))
        start = w.times(whole, lanes)
        self._loop(whole, lambda i: self._pairs(w.times(i, lanes), both=None))
        self._w = w.with_lanes(1)

        def single(i: ir.Value) -> None:
            at = w.add(start, i)
            self._pairs(at, both=w.build.icmp_signed("<", at, pairs))

        self._loop(w.build.sub(self._half, start), single)

    def _loop(self, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
        with self._w.build.if_then(self._w.build.icmp_signed(">", count, self._w.number(0))):
            self._w.loop(count, body)

    def _pairs(self, at: ir.Value, both: ir.Value | None) -> None:
        """Normals from a position on; ``both``: whether there are sines, which None says too."""
        w = self._w
        ints = ir.VectorType(_I32, w.lanes)
        opposite = w.add(at, self._half)
        words = w.build.bitcast(w.load(self._words, at), ints)
        angles = w.build.bitcast(w.load(self._words, opposite), ints)
        radius = w.square_root(w.build.fmul(self._logarithm(words), w.constant(-2)))
        flip = w.build.shl(angles, self._int(31))
        radius = w.build.bitcast(w.build.xor(w.build.bitcast(radius, ints), flip), w.vector)
        cosine, sine = self._point_of_half_circle(angles)
        self._store(w.build.fmul(radius, cosine), at)
        if both is None:
            self._store(w.build.fmul(radius, sine), opposite)
            return
        with w.build.if_then(both):
            self._store(w.build.fmul(radius, sine), opposite)

    def _store(self, normal: ir.Value, at: ir.Value) -> None:
        w = self._w
        if self._kind != "normals":
            factor = w.splat(self._factors[0])
            if self._kind == "masked_sums":
                factor = w.build.select(self._masked(at), w.splat(self._factors[1]), factor)
            normal = w.build.fadd(w.load(self._base, at), w.build.fmul(normal, factor))
        w.store(normal, self._result, at)

    def _masked(self, at: ir.Value) -> ir.Value:
        build = self._w.build
        kind = ir.VectorType(_I8, self._w.lanes)
        mask = build.load(build.bitcast(build.gep(self._mask, [at]), kind.as_pointer()))
        mask.align = 1
        return build.icmp_unsigned("!=", mask, ir.Constant(kind, [0] * self._w.lanes))

    def _int(self, value: int) -> ir.Value:
        return ir.Constant(ir.VectorType(_I32, self._w.lanes), [value] * self._w.lanes)

    def _single(self, value: float) -> ir.Value:
        return self._w.constant(float(np.float32(value)))

    def _logarithm(self, words: ir.Value) -> ir.Value:
        w, build = self._w, self._w.build
        uniform = build.uitofp(build.or_(words, self._int(1)), w.vector)
        offset = self._int(BITS_OF_SQRT_HALF)
        encoded = build.sub(build.bitcast(uniform, words.type), offset)
        exponent = build.sub(build.ashr(encoded, self._int(23)), self._int(32))
        encoded = build.add(build.and_(encoded, self._int(MANTISSA)), offset)
        mantissa = build.fsub(build.bitcast(encoded, w.vector), w.constant(1))
        logarithm = build.fmul(self._polynomial(LOG, mantissa), mantissa)
        scaled = build.fmul(build.sitofp(exponent, w.vector), self._single(LOG_OF_2))
        return w.smaller(build.fadd(logarithm, scaled), w.constant(0))

    def _point_of_half_circle(self, words: ir.Value) -> tuple[ir.Value, ir.Value]:
        build = self._w.build
        angle = build.fmul(build.sitofp(words, self._w.vector), self._single(HALF_CIRCLE))
        square = build.fmul(angle, angle)
        return self._polynomial(COS, square), build.fmul(self._polynomial(SIN, square), angle)

    def _polynomial(self, coefficients: tuple[float, ...], x: ir.Value) -> ir.Value:
        build = self._w.build
        value = build.fmul(x, self._single(coefficients[-1]))
        for coefficient in coefficients[-2:0:-1]:
            value = build.fmul(build.fadd(value, self._single(coefficient)), x)
        return build.fadd(value, self._single(coefficients[0]))
