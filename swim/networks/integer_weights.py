"""Quantised weights as the integers that they are, and back, bit for bit; without torch.

A checkpoint (:mod:`.checkpoint`) holds weights as they are programmed, in float32. Weights of b
bits are products ``n s`` in float32, of integers n from -(2^b - 1) to 2^b - 1 and one step s a
layer. An *exported* checkpoint holds n, in one byte up to 7 bits and in two for 8, and beside it
s, under the name ``step:`` and the weight's. All else stays as it is: biases, norms, running
statistics, and the steps and zero points of activations.

The step is a number of the file and is never computed again. The quantiser's own formula,
``max|W| / (2^b - 1)``, gives another float32 number for weights that are on the grid already where
the product of the largest level was rounded at a tie: for about one layer in 2^b, all of whose
weights would then change in their last bits. So nothing quantises weights that were read from
integers. The latent weights of training are gone, as they are from every checkpoint of a quantised
network: it can be programmed and evaluated, but its training does not go on.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from swim.networks import effective_weights

_Array = TypeVar("_Array")
# Prefix of the names of steps.
STEP = "step:"
_SAMPLE = 4096  # weights on which a step is tried first


def pack(
    arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a checkpoint with its quantised weights as integers.

    A weight is stored as integers only if :func:`unpack` gives its bytes; else it stays float32. So
    do all weights of a network without ``weight_bits``.

    Args:
        arrays: a checkpoint's arrays by name.
        record: the checkpoint's record.

    Returns:
        The arrays to store, and the names of those that are integers: ``integers`` of the record.
    """
    bits = record["model"].get("weight_bits")
    packed, integers = dict(arrays), []
    for name in record["programmed"] if bits else ():
        marked = effective_weights.MARK + name
        key = marked if marked in arrays else name
        split = levels_and_step(arrays[key], 2**bits - 1)
        if split is not None:
            packed[key], packed[STEP + key] = split
            integers.append(key)
    return packed, integers


def unpack(arrays: Mapping[str, _Array], record: Mapping[str, Any]) -> dict[str, _Array]:
    """The arrays of a checkpoint, exported or not, with all weights in float32.

    Args:
        arrays: the file's arrays by name, of numpy or torch.
        record: the file's record.
    """
    integers = set(record.get("integers", ()))
    steps = {STEP + name for name in integers}
    # Numpy and torch both multiply in float32, and levels up to 2^24 are exact there.
    return {
        name: array * arrays[STEP + name] if name in integers else array  # type: ignore[operator]
        for name, array in arrays.items()
        if name not in steps
    }


def levels_and_step(weight: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Integers n and a step s of shape (1,), so that ``n s`` in float32 has the weight's bytes.

    Args:
        weight: float32, of any shape.
        top: the largest level, up to 255.

    Returns:
        None if no one step gives all weights.
    """
    if weight.dtype != np.float32 or not weight.size or not np.isfinite(weight).all():
        return None
    kind = np.int8 if top <= np.iinfo(np.int8).max else np.int16
    flat = np.ascontiguousarray(weight).reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    for step in _steps(np.abs(flat).max(), top):
        if _levels(sample, step, top) is None:
            continue
        levels = _levels(flat, step, top)
        if levels is not None:
            return levels.astype(kind).reshape(weight.shape), np.array([step])
    return None


def _steps(largest: np.float32, top: int) -> Iterator[np.float32]:
    """Steps to try: the largest weight is at level ``top``, or, in no quantiser of ours, below.

    The quotient's rounding hides up to one last bit of the step; two are tried.
    """
    if largest == 0:
        yield np.finfo(np.float32).tiny
        return
    for level in range(top, 0, -1):
        near = np.float32(largest / np.float32(level))
        below = np.nextafter(near, np.float32(0))
        above = np.nextafter(near, np.float32(np.inf))
        yield from (near, below, above)
        yield np.nextafter(below, np.float32(0))
        yield np.nextafter(above, np.float32(np.inf))


def _levels(weights: np.ndarray, step: np.float32, top: int) -> np.ndarray | None:
    """The levels of float32 weights; None if a product with the step has other bytes."""
    if step == 0:
        return None
    levels = np.rint(weights / step)
    # A negative zero is no product of an integer; its bytes differ.
    again = levels.astype(np.int16).astype(np.float32) * step if _fits(levels, top) else None
    if again is None or again.tobytes() != weights.tobytes():
        return None
    return levels


def _fits(levels: np.ndarray, top: int) -> bool:
    return bool(np.abs(levels).max() <= top)
