"""Numbers of numpy's Philox generator in machine code.

Philox 4 x 64 in ten rounds (Salmon et al., SC 2011, doi:10.1145/2063384.2063405): each value of a
counter becomes four 64-bit numbers. They are those of ``numpy.random.Philox.random_raw``, in less
than half of its time, which goes into a call for each number.
"""

from collections.abc import Sequence

from llvmlite import ir

from swim.runtime.vectors import I64, VectorWriter

ROUNDS, BLOCK = 10, 4
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_I128 = ir.IntType(128)


def write_function(module: ir.Module, name: str) -> None:
    """Add ``name(numbers, blocks, counter 0 ... 3, key 0, key 1)``, which writes four numbers each.

    The first block is that of the counter plus one, as numpy counts; ``counter 0`` must not
    overflow, and there must be a block.
    """
    kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), *[I64] * 7])
    function = ir.Function(module, kind, name)
    numbers, blocks, first, *others = function.args
    w = VectorWriter(module, 1, function)
    keys = [
        [w.build.add(key, ir.Constant(I64, step * turn % 2**64)) for turn in range(ROUNDS)]
        for key, step in zip(others[3:], KEY_STEPS, strict=True)
    ]

    def block(index: ir.Value) -> None:
        counter = [w.add(first, index, 1), *others[:3]]
        for pair in zip(*keys, strict=True):
            counter = _round(w.build, counter, pair)
        for lane, number in enumerate(counter):
            at = w.add(w.times(index, BLOCK), lane)
            w.build.store(number, w.build.gep(numbers, [at])).align = 8

    w.loop(blocks, block)
    w.build.ret_void()


def _round(
    build: ir.IRBuilder, counter: Sequence[ir.Value], keys: Sequence[ir.Value]
) -> list[ir.Value]:
    (high_0, low_0), (high_1, low_1) = (
        _product(build, factor, value)
        for factor, value in zip(MULTIPLIERS, counter[::2], strict=True)
    )
    return [
        build.xor(build.xor(high_1, counter[1]), keys[0]),
        low_1,
        build.xor(build.xor(high_0, counter[3]), keys[1]),
        low_0,
    ]


def _product(build: ir.IRBuilder, factor: int, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The upper and the lower 64 bits of a product."""
    product = build.mul(build.zext(value, _I128), ir.Constant(_I128, factor))
    upper = build.lshr(product, ir.Constant(_I128, 64))
    return build.trunc(upper, I64), build.trunc(product, I64)
