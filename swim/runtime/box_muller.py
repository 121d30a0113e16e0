"""Standard normals by Box and Muller, the same bits on every processor.

Two independent uniform numbers, u in (0, 1] and an angle, make two independent normals:
``sqrt(-2 ln u) cos(angle)`` and ``sqrt(-2 ln u) sin(angle)`` (Box and Muller, Annals of
Mathematical Statistics 29, 1958). The logarithm, cosine and sine are polynomials in float32,
made of sums and products alone: IEEE 754 rounds those in one way, while library functions
differ between processors and versions. The polynomials err by less than 1e-7.

This is the version in numpy. :mod:`.box_muller_code` is the same in machine code, with the same
order of sums and products: what is changed here is changed there.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Words = NDArray[np.uint64]

# Minimax polynomials, lowest power first: ln(1 + x) / x on [sqrt(1/2) - 1, sqrt(2) - 1], and of
# the angle's square sin(x) / x and cos(x) on [-pi/2, pi/2].
LOG = (0.999999821, -0.500006676, 0.333361775, -0.249594092,
       0.198731601, -0.173329487, 0.164191365, -0.101026334)  # fmt: skip
SIN = (1.0, -0.166666478, 0.00833289884, -0.000198008594, 2.59042349e-06)
COS = (0.99999994, -0.499999046, 0.0416635834, -0.0013853705, 2.31539416e-05)
LOG_OF_2, HALF_CIRCLE = math.log(2), math.pi / 2**32
BITS_OF_SQRT_HALF, MANTISSA = 0x3F3504F3, 0x7FFFFF


def write_normals(words: Words, normals: Floats) -> None:
    """Write standard normals made of ``ceil(len(normals) / 2)`` 64-bit numbers.

    The first half of the normals are the cosines, the second half the sines of the same angles. No
    normal is beyond 6.7 in magnitude; of exact ones, 2 in 10^11 are.
    """
    half = len(words)
    bits = words.astype("<u8", copy=False).view("<i4")
    radius = _logarithm(bits[:half])
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    cosine, sine = _point_of_half_circle(bits[half:])
    # The last bit of the angle chooses the half of the circle.
    radius.view(np.int32)[:] ^= bits[half:] << 31
    rest = len(normals) - half
    np.multiply(radius, cosine, out=normals[:half])
    np.multiply(radius[:rest], sine[:rest], out=normals[half:])


def _logarithm(words: NDArray[np.int32]) -> Floats:
    """Return ``ln u`` with ``u = (w | 1) / 2^32`` for unsigned 32-bit numbers w; at most 0."""
    # u = m 2^e with m in [sqrt(1/2), sqrt(2)), read off the bits of the float.
    encoded = (words | 1).view(np.uint32).astype(np.float32).view(np.int32)
    encoded -= np.int32(BITS_OF_SQRT_HALF)
    exponent = ((encoded >> 23) - 32).astype(np.float32)
    encoded &= np.int32(MANTISSA)
    encoded += np.int32(BITS_OF_SQRT_HALF)
    mantissa = encoded.view(np.float32)
    mantissa -= 1
    logarithm = _polynomial(LOG, mantissa)
    logarithm *= mantissa
    exponent *= np.float32(LOG_OF_2)
    logarithm += exponent
    return np.minimum(logarithm, 0, out=logarithm)


def _point_of_half_circle(words: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return cosine and sine of the angle ``w pi / 2^32``, between -pi/2 and pi/2."""
    angle = words.astype(np.float32)
    angle *= np.float32(HALF_CIRCLE)
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
