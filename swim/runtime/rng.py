"""Random streams keyed by what they are for, so that results do not depend on order.

Every draw in the project comes from a generator that is made from the seed and a purpose:
``generator(seed, "chip", 7, "conv1.weight")`` gives the same numbers in every process, on
every number of cores and in any order of calls.
"""

import hashlib
import json
import math

import numpy as np

from swim.runtime.box_muller import Floats
from swim.runtime.normals import standard_normals


def key(seed: int, *purpose: str | int) -> int:
    """A 128-bit key, the same everywhere for the same seed and purpose."""
    text = json.dumps([seed, *purpose], ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A counter-based generator (Philox) for one purpose."""
    return np.random.Generator(np.random.Philox(key=key(seed, *purpose)))


def normals(generator: np.random.Generator, *shape: int) -> Floats:
    """Return standard normals of a shape, float32: the same bits on every processor."""
    return standard_normals(generator.bit_generator, math.prod(shape)).reshape(shape)
