"""Standard normals by Box and Muller, the same bits on every processor.

Two independent uniform numbers, u in (0, 1] and an angle, make two independent normals:
``sqrt(-2 ln u) cos(angle)`` and ``sqrt(-2 ln u) sin(angle)`` (Box and Muller, Annals of
Mathematical Statistics 29, 1958). The logarithm, cosine and sine are polynomials in float32,
made of sums and products alone: IEEE 754 rounds those in one way, while library functions
differ between processors and versions. The polynomials err by less than 1e-7.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Minimax polynomials, lowest power first: ln(1 + x) / x on [sqrt(1/2) - 1, sqrt(2) - 1], and of
# the angle's square sin(x) / x and cos(x) on [-pi/2, pi/2].
LOG = (0.999999821, -0.500006676, 0.333361775, -0.249594092,
       0.198731601, -0.173329487, 0.164191365, -0.101026334)  # fmt: skip
SIN = (1.0, -0.166666478, 0.00833289884, -0.000198008594, 2.59042349e-06)
COS = (0.99999994, -0.499999046, 0.0416635834, -0.0013853705, 2.31539416e-05)
BITS_OF_SQRT_HALF = np.int32(0x3F3504F3)
MANTISSA = np.int32(0x7FFFFF)
# Normals at a time, so that what is between stays in the processor's cache. Part of the scheme.
CHUNK = 1 << 15


def standard_normals(bits: np.random.BitGenerator, count: int) -> Floats:
    """Return ``count`` standard normals, made of the next ``ceil(count / 2)`` 64-bit numbers.

    Of each chunk, the first half are the cosines, the second half the sines of the same angles.
    No normal is beyond 6.7 in magnitude; of exact ones, 2 in 10^11 are.
    """
    normals = np.empty(count, dtype=np.float32)
    for start in range(0, count, CHUNK):
        chunk = normals[start : start + CHUNK]
        half = (len(chunk) + 1) // 2
        words = bits.random_raw(half).astype("<u8", copy=False).view("<i4")
        radius = _logarithm(words[:half])
        radius *= np.float32(-2)
        np.sqrt(radius, out=radius)
        cosine, sine = _point_of_half_circle(words[half:])
        # The last bit of the angle chooses the half of the circle.
        radius.view(np.int32)[:] ^= words[half:] << 31
        np.multiply(radius, cosine, out=chunk[:half])
        np.multiply(radius[: len(chunk) - half], sine[: len(chunk) - half], out=chunk[half:])
    return normals


def _logarithm(words: NDArray[np.int32]) -> Floats:
    """Return ``ln u`` with ``u = (w | 1) / 2^32`` for unsigned 32-bit numbers w; at most 0."""
    # u = m 2^e with m in [sqrt(1/2), sqrt(2)), read off the bits of the float.
    encoded = (words | 1).view(np.uint32).astype(np.float32).view(np.int32)
    encoded -= BITS_OF_SQRT_HALF
    exponent = ((encoded >> 23) - 32).astype(np.float32)
    encoded &= MANTISSA
    encoded += BITS_OF_SQRT_HALF
    mantissa = encoded.view(np.float32)
    mantissa -= 1
    logarithm = _polynomial(LOG, mantissa)
    logarithm *= mantissa
    exponent *= np.float32(math.log(2))
    logarithm += exponent
    return np.minimum(logarithm, 0, out=logarithm)


def _point_of_half_circle(words: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return cosine and sine of the angle ``w pi / 2^32``, between -pi/2 and pi/2."""
    angle = words.astype(np.float32)
    angle *= np.float32(math.pi / 2**32)
    square = angle * angle
    sine = _polynomial(SIN, square)
    sine *= angle
    return _polynomial(COS, square), sine


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    value = x * np.float32(coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        value += np.float32(coefficient)
        value *= x
    value += np.float32(coefficients[0])
    return value
