"""The faster operations give exactly the values of PyTorch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swim.engine.kernels import FastKernels, fake_quantize, max_pool2d

POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": (2, 3), "stride": (1, 2)},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": np.int64(2)},
    # Handed on to PyTorch:
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "dilation": 2},
    {"kernel_size": 2, "ceil_mode": True},
]


@pytest.mark.parametrize("geometry", POOLS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_max_pooling(geometry, layout):
    x = torch.randn(2, 3, 11, 8).contiguous(memory_format=layout)
    x[0, 0, 0, 0] = float("nan")
    x[1, 1, 3, 3] = float("-inf")
    expected = F.max_pool2d(x, **geometry)
    for found in (max_pool2d(x, **geometry), max_pool2d(x[0], **geometry)[None]):
        torch.testing.assert_close(found, expected[: len(found)], rtol=0, atol=0, equal_nan=True)
    with FastKernels():
        torch.testing.assert_close(
            torch.nn.MaxPool2d(**geometry)(x), expected, rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parametrize("stride", [1, 2])
def test_maxima_of_one_element_are_a_copy(stride):
    """A ReLU may be written over them."""
    x = torch.randn(1, 2, 4, 4)
    before = x.clone()
    max_pool2d(x, 1, stride).zero_()
    assert torch.equal(x, before)


def test_a_window_larger_than_the_image_is_pytorchs_error():
    with FastKernels(), pytest.raises(RuntimeError, match="too small"):
        F.max_pool2d(torch.randn(1, 1, 2, 2), 3)


def test_max_pooling_with_indices_is_pytorchs():
    x = torch.randn(1, 2, 6, 6)
    with FastKernels():
        values, places = F.max_pool2d(x, 2, return_indices=True)
    expected, at = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(values, expected)
    assert torch.equal(places, at)


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1.0, 7e-5, 12.7])
@pytest.mark.parametrize(("zero", "low", "high"), [(0, 0, 15), (5, 0, 15), (0, -15, 15)])
def test_fake_quantisation(scale, zero, low, high):
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(-40, 40) / 2  # the grid and the halves between, which round to even
    x = torch.cat([steps * scale, torch.randn(100_000, generator=generator) * 10 * scale])
    before = x.clone()
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
    assert torch.equal(fake_quantize(x, scale, zero, low, high), expected)
    tensors = (torch.tensor([scale]), torch.tensor([zero], dtype=torch.int32))
    expected = torch.fake_quantize_per_tensor_affine(x, *tensors, low, high)
    with FastKernels():
        found = torch.fake_quantize_per_tensor_affine(x, *tensors, low, high)
    assert torch.equal(found, expected)
    assert torch.equal(x, before)


def test_other_types_are_handed_on():
    x = torch.randn(100, dtype=torch.float64)
    assert torch.equal(
        fake_quantize(x, 0.1, 0, -8, 7), torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7)
    )
