"""Standard normals from a bit generator, and weights with normal errors, in one pass over memory.

The normals are those of :mod:`.box_muller`, chunk after chunk, in numpy or in machine code
(:mod:`.normals_code`): the same bits, so that either may be taken. A chunk stays in the processor's
cache while it is scaled and added.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swim.runtime.box_muller import Floats, Words, write_normals
from swim.runtime.compilation import is_on

# Normals at a time, so that what is between stays in the processor's cache. Part of the scheme.
CHUNK = 1 << 15
# LLVM is loaded once a process has drawn so many normals: numpy takes as long for them as loading
# LLVM and compiling take.
WORTH_COMPILING = 1 << 22
_drawn = 0


@dataclass(frozen=True)
class Errors:
    """What becomes of normals z: ``base + z std``. All arrays are flat, of one length.

    Attributes:
        base: what the errors are added to, float32.
        std: the factor.
        mask: where another factor is taken, if anywhere.
        masked_std: that factor.
    """

    base: Floats
    std: float
    mask: NDArray[np.bool_] | None = None
    masked_std: float = 0.0


class Way(Protocol):
    """How normals are made: in numpy (:class:`InNumpy`) or in machine code."""

    def words(self, bits: np.random.BitGenerator, count: int) -> Iterator[Words]:
        """The 64-bit numbers of ``count`` normals, chunk by chunk; each is used at once."""

    def filling(self, result: Floats, errors: Errors | None) -> Callable[[Words, slice], None]:
        """A function that makes a chunk of results, ``result[at]``, of its words."""


class InNumpy:
    """As :class:`Way`: the version that needs no compiler."""

    def words(self, bits: np.random.BitGenerator, count: int) -> Iterator[Words]:
        """The generator's next numbers."""
        return (bits.random_raw(words) for words in words_of_chunks(count))

    def filling(self, result: Floats, errors: Errors | None) -> Callable[[Words, slice], None]:
        """Chunk by chunk in numpy."""

        def fill(words: Words, at: slice) -> None:
            if errors is None:
                write_normals(words, result[at])
                return
            chunk = np.empty(len(result[at]), dtype=np.float32)
            write_normals(words, chunk)
            std, masked_std = np.float32(errors.std), np.float32(errors.masked_std)
            chunk *= std if errors.mask is None else np.where(errors.mask[at], masked_std, std)
            np.add(errors.base[at], chunk, out=result[at])

        return fill


def words_of_chunks(count: int) -> list[int]:
    """How many 64-bit numbers each chunk of ``count`` normals is made of."""
    return [(min(CHUNK, count - start) + 1) // 2 for start in range(0, count, CHUNK)]


def standard_normals(bits: np.random.BitGenerator, count: int) -> Floats:
    """Return ``count`` standard normals, made of the next ``ceil(count / 2)`` 64-bit numbers.

    Of each chunk, the first half are the cosines, the second half the sines of the same angles
    (:func:`.write_normals`).
    """
    normals = np.empty(count, dtype=np.float32)
    _write(bits, normals, None)
    return normals


def write_with_errors(bits: np.random.BitGenerator, errors: Errors, result: Floats) -> None:
    """Write ``base + z std``, z the normals that :func:`standard_normals` returns.

    The numbers are float32, and each product and each sum is rounded.

    Args:
        bits: makes the normals.
        errors: base and factors.
        result: float32, without gaps in memory, of the length of the base; not the base itself.

    Raises:
        ValueError: the arrays are not of one length, of other types, or have gaps.
    """
    _check(errors.base, np.float32, len(result))
    _check(result, np.float32, len(result))
    if errors.mask is not None:
        _check(errors.mask, np.bool_, len(result))
    _write(bits, result, errors)


def _check(array: NDArray[Any], kind: type, length: int) -> None:
    """Raise ValueError unless machine code may get the array's address."""
    if array.dtype != kind or array.shape != (length,) or not array.flags.c_contiguous:
        raise ValueError(
            f"{length} numbers of {np.dtype(kind)} without gaps in memory are needed, not "
            f"{array.dtype} {array.shape} with strides of {array.strides}"
        )


def _write(bits: np.random.BitGenerator, result: Floats, errors: Errors | None) -> None:
    way = _way(len(result))
    fill, starts = way.filling(result, errors), range(0, len(result), CHUNK)
    for start, words in zip(starts, way.words(bits, len(result)), strict=True):
        fill(words, slice(start, min(start + CHUNK, len(result))))


def _way(count: int) -> Way:
    """Machine code if it may and can be used and there is enough to do."""
    global _drawn
    if is_on():
        _drawn += count
        if _drawn >= WORTH_COMPILING:
            from swim.runtime.normals_code import compiled  # loads LLVM

            return compiled() or InNumpy()
    return InNumpy()
