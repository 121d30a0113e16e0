"""Normals in machine code: the bits of numpy's version, and the generator left as numpy leaves it.

All bits are compared, on vectors of several lengths and with the instructions of older processors.
"""

import os
import platform
import subprocess
import sys
import threading
from functools import cache

import numpy as np
import pytest

from swim.runtime import normals, normals_code
from swim.runtime.normals import CHUNK, Errors, InNumpy, standard_normals, write_with_errors
from swim.runtime.normals_code import NormalsCode

# Vectors of so many numbers, with the instructions of this processor or of an older one.
CODES = [(1, None), (4, None), (8, None), (16, None)]
if platform.machine().lower() in {"x86_64", "amd64"}:
    CODES += [(4, "x86-64"), (16, "x86-64"), (8, "haswell")]
COUNTS = [0, 1, 2, 3, 31, 32, 33, 34, 150, 1001, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 2051]


@cache
def code(lanes: int, processor: str | None) -> NormalsCode:
    return NormalsCode(lanes, processor)


def made(way, bits, count: int, errors: Errors | None = None) -> np.ndarray:
    """Results, between guards that must stay as they are."""
    room = np.full(count + 64, np.float32(12345))
    result = room[32 : 32 + count]
    fill = way.filling(result, errors)
    for start, words in zip(range(0, count, CHUNK), way.words(bits, count), strict=True):
        fill(words, slice(start, min(start + CHUNK, count)))
    assert (room[:32] == 12345).all()
    assert (room[32 + count :] == 12345).all()
    return result


def errors_on(count: int, masked: bool) -> Errors:
    generator = np.random.default_rng(count)
    base = generator.standard_normal(count, dtype=np.float32)
    mask = generator.random(count) < 0.3
    return Errors(base, 0.123456789, mask if masked else None, 0.0123456789)


def same_bits(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize(("lanes", "processor"), CODES)
@pytest.mark.parametrize("count", COUNTS)
def test_normals_have_the_bits_of_numpys_version(lanes, processor, count):
    fast, slow = (
        made(way, np.random.Philox(key=count), count) for way in (code(lanes, processor), InNumpy())
    )
    same_bits(fast, slow)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("lanes", "processor"), CODES)
@pytest.mark.parametrize("count", COUNTS)
def test_weights_with_errors_have_the_bits_of_numpys_version(lanes, processor, count, masked):
    errors = errors_on(count, masked)
    fast, slow = (
        made(way, np.random.Philox(key=count), count, errors)
        for way in (code(lanes, processor), InNumpy())
    )
    same_bits(fast, slow)


@pytest.mark.parametrize("count", [1, 1001, CHUNK + 3])
def test_weights_with_errors_are_rounded_sums_of_rounded_products(count):
    """The twin, from the formula: masked or not, on the normals alone."""
    z = standard_normals(np.random.Philox(key=5), count)
    for masked in (False, True):
        errors = errors_on(count, masked)
        std = np.full(count, np.float32(errors.std))
        if masked:
            std[errors.mask] = np.float32(errors.masked_std)
        expected = (errors.base + (z * std).astype(np.float32)).astype(np.float32)
        for way in (code(16, None), InNumpy()):
            same_bits(made(way, np.random.Philox(key=5), count, errors), expected)


class Words:
    """A bit generator that returns chosen 32-bit words: radii first, then angles."""

    def __init__(self, radii, angles) -> None:
        self._words = np.array([*radii, *angles], dtype="<u4").view("<u8")

    def random_raw(self, count: int) -> np.ndarray:
        assert count == len(self._words)
        return self._words


def words_of_every_class() -> np.ndarray:
    """Zero, the ends, and about each power of two, where floats and their rounding change."""
    about = [2**n + d for n in range(33) for d in (-2, -1, 0, 1, 2)]
    # Halfway between two floats of the uppermost powers of two, and the bounds of the mantissa.
    about += [2**n + 2 ** (n - 24) + d for n in range(25, 32) for d in (-1, 0, 1)]
    about += [(0x3504F3 | 1 << 23) * 2**n + d for n in range(9) for d in (-1, 0, 1)]
    about += [2**32 - n for n in range(1, 400)]
    return np.array(sorted({n for n in about if 0 <= n < 2**32}), dtype=np.uint32)


@pytest.mark.parametrize(("lanes", "processor"), CODES)
def test_words_of_every_class_give_the_bits_of_numpys_version(lanes, processor):
    words = words_of_every_class()
    if len(words) % 2:
        words = np.append(words, np.uint32(77))
    for shift in range(0, len(words), 37):  # each radius with several angles
        bits = Words(words, np.roll(words, shift))
        count = 2 * len(words)
        fast = made(code(lanes, processor), bits, count)
        same_bits(fast, made(InNumpy(), bits, count))
        assert np.isfinite(fast).all()


@pytest.mark.long
def test_the_uppermost_words_and_a_sample_of_all_give_the_bits_of_numpys_version():
    ways = code(16, None), InNumpy()
    for first, step in ((2**32 - 2**21, 1), (0, 1021)):
        words = np.arange(first, 2**32, step, dtype=np.uint64).astype(np.uint32)
        for part in np.array_split(words, max(1, len(words) // 8192)):
            part = part[: len(part) // 2 * 2]
            bits = Words(part, part[::-1])
            same_bits(*(made(way, bits, 2 * len(part)) for way in ways))


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("count", [8191, 40_000, 40_001, 40_003, 40_005, 40_007, 3 * CHUNK + 2])
def test_the_generator_goes_on_as_if_numpy_had_drawn(before, count):
    drawn = []
    for way in (code(16, None), InNumpy()):
        bits = np.random.Philox(key=9)
        bits.random_raw(before)  # numbers of a block that are left come first
        result = made(way, bits, count)
        state = bits.state
        drawn.append((result, state["buffer_pos"], *state["state"].values(), state["buffer"],
                      np.random.Generator(bits).standard_normal(7)))  # fmt: skip
    for fast, slow in zip(*drawn, strict=True):
        np.testing.assert_array_equal(fast, slow)


def test_a_counter_that_overflows_is_left_to_numpy():
    results = []
    for way in (code(16, None), InNumpy()):
        bits = np.random.Philox(key=9, counter=2**64 - 3)
        results.append(made(way, bits, 40_000))
    same_bits(*results)


def test_a_counter_with_all_parts_and_a_key_of_two_gives_numpys_numbers():
    def bits():
        return np.random.Philox(key=2**127 + 12345, counter=(7 << 192) + (5 << 128) + (3 << 64) + 1)

    same_bits(*(made(way, bits(), 40_000) for way in (code(16, None), InNumpy())))


def test_another_generator_draws_its_own_numbers():
    results = (made(way, np.random.SFC64(1), 40_000) for way in (code(16, None), InNumpy()))
    same_bits(*results)


@pytest.fixture
def worth_it(monkeypatch):
    """Machine code from the first normal on."""
    monkeypatch.delenv("SWIM_COMPILED", raising=False)
    monkeypatch.setattr(normals, "WORTH_COMPILING", 0)


def test_both_functions_take_machine_code_unless_it_is_turned_off(worth_it, monkeypatch):
    assert normals_code.compiled() is not None  # which tries it, too
    used = []
    filling = NormalsCode.filling
    monkeypatch.setattr(NormalsCode, "filling", lambda *args: used.append(1) or filling(*args))
    results = {}
    for value in "10":
        monkeypatch.setenv("SWIM_COMPILED", value)
        errors = errors_on(5000, True)
        sums = np.empty(5000, np.float32)
        write_with_errors(np.random.Philox(key=1), errors, sums)
        results[value] = np.concatenate([sums, standard_normals(np.random.Philox(key=1), 5001)])
        assert len(used) == 2
    same_bits(results["1"], results["0"])


def test_code_is_compiled_once_and_by_threads_at_once_too(worth_it, monkeypatch):
    compilations = []
    real = NormalsCode.__init__
    monkeypatch.setattr(normals_code, "_compiled", [])
    monkeypatch.setattr(
        NormalsCode, "__init__", lambda *args: compilations.append(1) or real(*args)
    )
    expected = made(InNumpy(), np.random.Philox(key=1), 70_001)
    results = [None] * 4

    def draw(number):
        results[number] = standard_normals(np.random.Philox(key=1), 70_001)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compilations) == 1
    for result in results:
        same_bits(result, expected)


@pytest.mark.parametrize("fault", ["cannot compile", "other bits"])
def test_numpy_draws_where_code_cannot_be_compiled_or_makes_other_bits(
    worth_it, monkeypatch, fault
):
    monkeypatch.setattr(normals_code, "_compiled", [])
    if fault == "cannot compile":
        monkeypatch.setattr(normals_code, "machine_code", lambda *_, **__: 1 / 0)
    else:
        # One coefficient in its last bit.
        first, *others = normals_code.box_muller_code.LOG
        wrong = (float(np.nextafter(np.float32(first), np.float32(0))), *others)
        monkeypatch.setattr(normals_code.box_muller_code, "LOG", wrong)
    count = CHUNK + 5
    normal = standard_normals(np.random.Philox(key=1), count)
    assert normals_code.compiled() is None
    same_bits(normal, made(InNumpy(), np.random.Philox(key=1), count))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_after_compiling_draws_the_same(worth_it):
    script = (
        "import os, hashlib\nimport numpy as np\nfrom swim.runtime import normals\n"
        "normals.WORTH_COMPILING = 0\n"
        "draw = lambda: hashlib.sha256(normals.standard_normals(np.random.Philox(key=1), 70001))\n"
        "before = draw().hexdigest()\n"
        "child = os.fork()\n"
        "if not child:\n    os._exit(draw().hexdigest() != before)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_llvm_is_not_loaded_for_few_normals():
    script = (
        "import sys\nimport numpy as np\nfrom swim.runtime.normals import standard_normals\n"
        "standard_normals(np.random.Philox(key=1), 100_000)\n"
        "assert not any(name.startswith('llvmlite') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("wrong", ["base", "mask", "result", "gaps", "shape"])
def test_arrays_of_other_types_lengths_and_with_gaps_are_refused(wrong):
    count = 10
    base, mask = np.zeros(count, np.float32), np.zeros(count, bool)
    result = np.zeros(count, np.float32)
    if wrong == "base":
        base = base.astype(np.float64)
    if wrong == "mask":
        mask = mask.astype(np.uint8)
    if wrong == "result":
        result = result[:-1]
    if wrong == "gaps":
        base = np.zeros(2 * count, np.float32)[::2]
    if wrong == "shape":
        mask = mask.reshape(1, -1)
    with pytest.raises(ValueError, match="without gaps"):
        write_with_errors(np.random.Philox(key=1), Errors(base, 0.1, mask, 0.2), result)
