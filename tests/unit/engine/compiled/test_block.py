"""Compiled blocks against the operations that they stand for, in float64."""

import ctypes
import dataclasses
import mmap
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swim.engine import kernels
from swim.engine.compiled import block_code
from swim.engine.compiled.block import Block, Quantiser
from swim.runtime.machine_code import simd_width

SCALE = 0.3
QUANTISER = Quantiser(*kernels.grid(SCALE, 0, -5, 15))
PLAIN = Block(
    groups=8, inputs=6, outputs=16, size=(14, 14), kernel=(3, 3), padding=(1, 1), relu=True,
    quantised=False, channels_last=True, simd_width=simd_width(),
)  # fmt: skip


def block(**changes):
    return dataclasses.replace(PLAIN, **changes)


def drawn(block, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = block.groups * block.outputs
    images = torch.randn(count, block.groups * block.inputs, *block.size, generator=generator)
    weight = torch.randn(outputs, block.inputs, *block.kernel, generator=generator) / 4
    return images, weight, torch.randn(outputs, generator=generator)


def run(block, images, weight, bias):
    return block(images, block.packed(weight), bias, QUANTISER if block.quantised else None)


def twin(block, images, weight, bias):
    """The same in float64, before the quantiser."""
    sums = F.conv2d(
        images.double(), weight.double(), bias.double(), padding=block.padding, groups=block.groups
    )
    pooled = F.max_pool2d(sums, 2)
    return pooled.relu() if block.relu else pooled


def random_block(seed):
    """Any shape that a block can have; sizes that are no multiples of a register's among them."""
    rng = np.random.default_rng(seed)
    kernel = tuple(int(k) for k in rng.choice([1, 2, 3, 3, 5], 2))
    if rng.random() < 0.5:
        kernel = (3, 3)
    return block(
        groups=int(rng.integers(1, 5)),
        inputs=int(rng.integers(1, 11)),
        outputs=int(rng.integers(4, 36)),
        size=(int(rng.integers(6, 18)), int(rng.integers(6, 18))),
        kernel=kernel,
        padding=(int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1]))),
        relu=bool(rng.random() < 0.5),
        channels_last=bool(rng.random() < 0.5),
    )


BLOCKS = [
    PLAIN,
    block(inputs=1, groups=1, outputs=48, size=(28, 28)),
    block(kernel=(5, 5), padding=(0, 0), inputs=3),
    block(channels_last=False, relu=False),
    *(random_block(seed) for seed in range(30)),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: "x".join(map(str, [*block.kernel])))
def test_sums_maxima_and_relu(block):
    images, weight, bias = drawn(block)
    found = run(block, images, weight, bias)
    expected = twin(block, images, weight, bias)
    # Both ways round in another order than PyTorch, over as many products.
    scale = F.conv2d(images.abs(), weight.abs(), padding=block.padding, groups=block.groups).max()
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-6 * scale
    order = torch.channels_last if block.channels_last else torch.contiguous_format
    assert found.is_contiguous(memory_format=order)


@pytest.mark.parametrize("block", BLOCKS[:12], ids=lambda block: "x".join(map(str, block.kernel)))
def test_levels_are_those_of_pytorch_but_for_ties(block):
    block = dataclasses.replace(block, quantised=True)
    images, weight, bias = drawn(block)
    found = run(block, images, weight, bias)
    exact = twin(block, images, weight, bias)
    expected = torch.fake_quantize_per_tensor_affine(exact.float(), SCALE, 0, -5, 15)
    to_a_tie = ((exact / SCALE) % 1 - 0.5).abs()
    assert torch.equal(found[to_a_tie > 1e-4], expected[to_a_tie > 1e-4])
    assert (to_a_tie <= 1e-4).double().mean() < 0.01


@pytest.mark.parametrize("block", BLOCKS[:10], ids=lambda block: "x".join(map(str, block.kernel)))
def test_registers_order_and_threads_change_no_bit(block):
    given = drawn(block, count=5)
    expected = run(block, *given)
    for changed in (4, 8, 16):
        assert torch.equal(run(dataclasses.replace(block, simd_width=changed), *given), expected)
    other = dataclasses.replace(block, channels_last=not block.channels_last)
    assert torch.equal(run(other, *given), expected)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(run(block, *given), expected)
    finally:
        torch.set_num_threads(threads)


def test_groups_and_images_do_not_see_each_other():
    """So that a chip's answers do not depend on the others of its pass."""
    images, weight, bias = drawn(PLAIN)
    together = run(PLAIN, images, weight, bias)
    one = block(groups=1)
    for g in range(PLAIN.groups):
        alone = run(one, images[:, 6 * g : 6 * g + 6], weight[16 * g :][:16], bias[16 * g :][:16])
        assert torch.equal(together[:, 16 * g : 16 * g + 16], alone)
    assert torch.equal(run(PLAIN, images[1:2], weight, bias), together[1:2])


def test_writes_where_it_is_told_and_nowhere_else():
    given = drawn(PLAIN)
    expected = run(PLAIN, *given)
    whole = torch.full_like(PLAIN.empty(5), 7)
    before = [tensor.clone() for tensor in given]
    result = PLAIN(given[0], PLAIN.packed(given[1]), given[2], None, whole[1:4])
    assert result.data_ptr() == whole[1:].data_ptr()
    assert torch.equal(whole[1:4], expected)
    assert (whole[[0, 4]] == 7).all()
    assert all(torch.equal(*pair) for pair in zip(before, given, strict=True))


LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def fenced(values, at_end):
    """The address of a copy of some values, beside a page that nobody may touch."""
    page, size = mmap.PAGESIZE, values.numel() * values.element_size()
    inside = -(-size // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (base, base + page + inside):
        assert LIBC.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
    address = base + page + (inside - size if at_end else 0)
    ctypes.memmove(address, values.data_ptr(), size)
    return address, memory


@pytest.mark.skipif(LIBC is None, reason="fences memory by Linux's own calls")
@pytest.mark.parametrize("width", [4, 8, 16])
def test_no_access_outside_of_the_tensors(width):
    """One would end the process."""
    for seed in range(12):
        block = dataclasses.replace(random_block(seed), simd_width=width)
        images, weight, bias = drawn(block)
        images = images.contiguous(memory_format=torch.channels_last)
        kernel, result = block_code.compiled(block), block.empty(3)
        given = [images, block.packed(weight), bias, result, torch.empty(kernel.workspace)]
        expected = block(*given[:3])
        for at_end in (False, True):
            addresses, kept = zip(*(fenced(tensor, at_end) for tensor in given), strict=True)
            kernel.function(*addresses, 3, 1, 1, 0, 0)
            ctypes.memmove(result.data_ptr(), addresses[3], result.numel() * 4)
            assert torch.equal(result, expected)
            assert len(kept) == 5


def test_images_in_any_layout():
    images, weight, bias = drawn(PLAIN)
    expected = run(PLAIN, images, weight, bias)
    strided = torch.zeros(3, 48, 14, 28)[..., ::2].copy_(images)
    for same in (images.contiguous(memory_format=torch.channels_last), strided):
        assert torch.equal(run(PLAIN, same, weight, bias), expected)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3)])
def test_unknown_numbers_stay_unknown(kernel, quantised):
    """As in PyTorch, where a maximum, a ReLU and a quantiser hand NaN on."""
    broken = block(kernel=kernel, quantised=quantised)
    images, weight, bias = drawn(broken)
    images[1, 7, 5, 5], bias[-1] = float("nan"), float("nan")
    found = run(broken, images, weight, bias).isnan()
    assert found[:, -1].all()
    assert not found[0, :-1].any()
    assert not found[1, :16].any()  # another group
    reached = F.max_pool2d(F.conv2d(images[1:2].isnan().float(), torch.ones_like(weight),
                                    padding=1, groups=8), 2) > 0  # fmt: skip
    assert (found[1:2] >= reached).all()


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_whatever_the_default_type(default):
    given = drawn(PLAIN)
    expected = run(PLAIN, *given)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        found = run(PLAIN, *given)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)


def test_whatever_the_default_device():
    given = drawn(PLAIN)
    expected = run(PLAIN, *given)
    with torch.device("meta"):
        found = PLAIN(given[0], PLAIN.packed(given[1]), given[2])
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("which", "change"),
    [
        (0, lambda x: x[:, 1:]),
        (0, lambda x: x[..., 1:]),
        (0, torch.Tensor.double),
        (1, torch.Tensor.half),
        (1, lambda x: x[:, :15]),
        (2, lambda x: x[1:]),
        (2, lambda x: x.to("meta")),
        (4, lambda x: x[1:]),
        (4, torch.Tensor.double),
    ],
)
def test_other_tensors_are_refused(which, change):
    images, weight, bias = drawn(PLAIN)
    given = [images, PLAIN.packed(weight), bias, None, PLAIN.empty(3)]
    given[which] = change(given[which])
    with pytest.raises(ValueError, match="must be float32"):
        PLAIN(*given)


@pytest.mark.parametrize(
    ("which", "change"),
    [
        (1, lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2)),
        (4, lambda x: x.contiguous()),  # not channels last
        (4, lambda x: torch.zeros(*x.shape, 2)[..., 0]),
        (4, lambda x: x[:1].expand(3, -1, -1, -1)),
    ],
)
def test_tensors_in_another_order_are_refused(which, change):
    images, weight, bias = drawn(PLAIN)
    given = [images, PLAIN.packed(weight), bias, None, PLAIN.empty(3)]
    given[which] = change(given[which])
    with pytest.raises(ValueError, match="must lie in memory"):
        PLAIN(*given)


@pytest.mark.parametrize("block", BLOCKS[:6], ids=lambda block: "x".join(map(str, block.kernel)))
def test_no_images_have_no_results(block):
    images, weight, bias = drawn(block, count=0)
    expected = twin(block, images, weight, bias)
    assert run(block, images, weight, bias).shape == expected.shape
    given = images, block.packed(weight), bias, None, block.empty(0)
    assert block(*given).shape == expected.shape


def test_what_is_left_to_pytorch():
    assert block(inputs=6).worthwhile
    assert not block(inputs=6, kernel=(5, 5)).worthwhile  # no faster
    assert not block(outputs=3).worthwhile  # fewer than any register holds
    assert not block(simd_width=0).worthwhile  # no fused multiply-add
    assert not block(size=(2, 2), padding=(0, 0)).worthwhile  # no window
