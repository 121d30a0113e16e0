"""Machine code for :mod:`.normals`, compiled once in a process."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir

from swim.runtime import box_muller_code, philox_code
from swim.runtime.box_muller import Floats, Words
from swim.runtime.machine_code import machine_code, simd_width
from swim.runtime.normals import CHUNK, Errors, InNumpy, Way, words_of_chunks

# Below, numpy takes less time for the numbers than for handing out the generator's state.
_FEW_WORDS = 4096
_POINTERS: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
_FILL = [*_POINTERS, *[ctypes.c_int64] * 2, *_POINTERS, *[ctypes.c_float] * 2]
_DRAW = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_uint64] * 6]


class NormalsCode:
    """As :class:`.normals.Way`, in machine code: the same bits as :class:`.normals.InNumpy`."""

    def __init__(self, lanes: int | None = None, processor: str | None = None):
        """Compile.

        Args:
            lanes: numbers in a vector; what this processor has if None.
            processor: as in :func:`.machine_code`.
        """
        module = ir.Module()
        philox_code.write_function(module, "draw")
        for kind in box_muller_code.KINDS:
            box_muller_code.write_function(module, kind, lanes or simd_width() or 4)
        # Holds the code, and so has to live as long.
        self._engine = machine_code(module, optimised=False, processor=processor)
        self._draw = self._function("draw", _DRAW)
        self._fill = {kind: self._function(kind, _FILL) for kind in box_muller_code.KINDS}

    def _function(self, name: str, arguments: list[Any]) -> Callable[..., None]:
        return ctypes.CFUNCTYPE(None, *arguments)(self._engine.get_function_address(name))

    def words(self, bits: np.random.BitGenerator, count: int) -> Iterator[Words]:
        """The generator's next numbers, chunk by chunk; a chunk overwrites the last one.

        Those of numpy's Philox are made here. The generator is left in the state in which it
        would be had it made them itself.
        """
        lengths = words_of_chunks(count)
        total = sum(lengths)
        if type(bits) is not np.random.Philox or total < _FEW_WORDS:
            yield from InNumpy().words(bits, count)
            return
        # Four numbers come from a value of the counter. The last ones are left to the generator,
        # which keeps those of them that it has not handed out.
        blocks = (total - 1) // philox_code.BLOCK
        counter = self._advance(bits, blocks)
        if counter is None:
            yield from InNumpy().words(bits, count)
            return
        buffer = np.empty(CHUNK // 2, dtype=np.uint64)
        for length in lengths:
            made = min(length // philox_code.BLOCK, blocks)
            if made:
                self._draw(buffer.ctypes.data, made, *counter)
            counter[0] += made
            blocks -= made
            drawn = made * philox_code.BLOCK
            if drawn < length:
                buffer[drawn:length] = bits.random_raw(length - drawn)
            yield buffer[:length]

    @staticmethod
    def _advance(bits: np.random.BitGenerator, blocks: int) -> list[int] | None:
        """Counter and key before some blocks, which the generator skips; None if it cannot."""
        with bits.lock:
            state: Any = bits.state
            numbers = state["state"]
            counter = [int(number) for number in (*numbers["counter"], *numbers["key"])]
            # Numbers of the last block are left, or the counter's first part would overflow.
            if state["buffer_pos"] != philox_code.BLOCK or counter[0] + blocks >= 2**64:
                return None
            numbers["counter"][0] = counter[0] + blocks
            bits.state = state
        return counter

    def filling(self, result: Floats, errors: Errors | None) -> Callable[[Words, slice], None]:
        """Calls the function for the kind of result with addresses of its parts."""
        to, base, mask, factors = result.ctypes.data, 0, 0, (0.0, 0.0)
        kind = "normals"
        if errors is not None:
            base, factors, kind = errors.base.ctypes.data, (errors.std, errors.masked_std), "sums"
            if errors.mask is not None:
                mask, kind = errors.mask.ctypes.data, "masked_sums"
        run = self._fill[kind]

        def fill(words: Words, at: slice) -> None:
            start, length = at.start, at.stop - at.start
            run(
                to + 4 * start, words.ctypes.data, len(words), length,
                base + 4 * start, mask + start, *factors,
            )  # fmt: skip

        return fill


_lock = threading.Lock()
_compiled: list[NormalsCode | None] = []  # empty until it was tried


def compiled() -> NormalsCode | None:
    """The code of this process; None where it cannot be compiled or makes other bits than numpy."""
    with _lock:
        if not _compiled:
            code = None
            with contextlib.suppress(Exception):  # whatever LLVM lacks on this machine
                code = NormalsCode()
            _compiled.append(code if code and _is_exact(code) else None)
        return _compiled[0]


def _is_exact(code: NormalsCode) -> bool:
    """Whether the code makes the bits that numpy makes, on two chunks, the last one odd."""
    count = CHUNK + 1001
    base = np.linspace(-1, 1, count, dtype=np.float32)
    masked = Errors(base, 0.1, base > 0.5, 0.01)
    for errors in (None, Errors(base, 0.3), masked):
        ways: tuple[Way, ...] = (code, InNumpy())
        results = [np.empty(count, np.float32) for _ in ways]
        for way, result in zip(ways, results, strict=True):
            words = way.words(np.random.Philox(key=count), count)
            fill = way.filling(result, errors)
            for start, numbers in zip((0, CHUNK), words, strict=True):
                fill(numbers, slice(start, min(start + CHUNK, count)))
        if results[0].tobytes() != results[1].tobytes():
            return False
    return True


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # another thread of the parent may have held the lock
    os.register_at_fork(after_in_child=_new_lock)
