import pytest
import torch
import torch.nn.functional as F

from swim.networks import small_images
from swim.networks.layouts import SafeLayouts

# Of the results in bfloat16: half of the distance of its numbers, and of sums in float32.
ROUNDING, SUMS = 2**-8, 1e-4


def case(channels, outputs, size, kernel, seed=0, batch=3):
    """Images and weight in float32 that bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, channels, *size), (outputs, channels, *kernel)
    return [
        torch.randn(shape, generator=generator).bfloat16().float().requires_grad_()
        for shape in shapes
    ]


def gradients(convolve, images, weight, *arguments):
    output = convolve(images, weight, *arguments)
    generator = torch.Generator().manual_seed(1)
    of = torch.randn(output.shape, generator=generator).bfloat16().to(output.dtype)
    return output, *torch.autograd.grad(output, (images, weight), of)


def in_bfloat16(images, weight, *arguments):
    with torch.autocast("cpu", torch.bfloat16):
        return small_images.conv2d(images, weight, *arguments)


def is_unfolded(output):
    return "_ConvolutionBackward" in type(output.grad_fn).__name__


GEOMETRIES = [
    # channels, outputs, size, kernel, stride, padding
    (128, 128, (8, 8), (3, 3), 1, 1),
    (128, 160, (5, 7), (3, 3), (1, 2), (0, 1)),
    (128, 256, (16, 16), (3, 3), 2, 1),
    (384, 352, (4, 4), (3, 3), 1, 1),
    (384, 352, (8, 8), (3, 3), 2, 1),
    (512, 260, (5, 4), (2, 4), 1, (1, 2)),
    (512, 260, (3, 6), (4, 2), (2, 1), (3, 1)),
    (384, 352, (2, 2), (3, 3), 1, (2, 1)),
    (300, 400, (3, 3), (3, 3), 1, 0),
    (128, 128, (8, 8), (3, 3), (2,), [1]),  # one number for both, as PyTorch takes it
    (128, 128, (2, 2), (3, 3), 1, (3, 1)),  # more zeros than the kernel is high
]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("channels", "outputs", "size", "kernel", "stride", "padding"), GEOMETRIES)
def test_values_and_gradients_are_those_of_the_convolution(
    channels, outputs, size, kernel, stride, padding, channels_last
):
    images, weight = case(channels, outputs, size, kernel)
    if channels_last:
        layout = torch.channels_last
        images, weight = (
            tensor.detach().contiguous(memory_format=layout).requires_grad_()
            for tensor in (images, weight)
        )
    arguments = None, stride, padding
    results = gradients(in_bfloat16, images, weight, *arguments)
    exact = gradients(F.conv2d, images.double(), weight.double(), *arguments)
    assert is_unfolded(results[0])
    for result, right in zip(results, exact, strict=True):
        torch.testing.assert_close(
            result.double(), right, rtol=ROUNDING, atol=SUMS * float(right.detach().abs().max())
        )


def test_a_bias_is_added_and_has_its_gradient():
    images, weight = case(128, 128, (4, 4), (3, 3))
    bias = torch.arange(128.0, requires_grad=True)
    output = in_bfloat16(images, weight, bias, 1, 1)
    exact = F.conv2d(images.double(), weight.double(), bias.double(), 1, 1).detach()
    close = {"rtol": ROUNDING, "atol": ROUNDING * float(exact.abs().max())}  # rounded twice
    torch.testing.assert_close(output.detach().double(), exact, **close)
    assert is_unfolded(in_bfloat16(images, weight, None, 1, 1))
    output.float().sum().backward()
    assert bias.grad.tolist() == [3 * 16.0] * 128


def test_images_that_need_no_gradient():
    images, weight = case(128, 128, (4, 4), (3, 3))
    with torch.no_grad():
        output = in_bfloat16(images, weight, None, 1, 1)
    results = gradients(in_bfloat16, images, weight, None, 1, 1)
    assert torch.equal(output, results[0])
    half = in_bfloat16(images.detach(), weight, None, 1, 1)
    of = torch.randn(half.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert torch.equal(torch.autograd.grad(half, weight, of)[0], results[2])


@pytest.mark.parametrize(
    ("images", "weight", "settings"),
    [
        ((2, 128, 32, 32), (128, 128, 3, 3), {"padding": 1}),  # many positions
        ((2, 16, 4, 4), (16, 16, 3, 3), {"padding": 1}),  # small weight
        ((2, 512, 4, 4), (512, 512, 1, 1), {}),  # nothing to unfold
        ((2, 256, 4, 4), (256, 128, 3, 3), {"padding": 1, "groups": 2}),
        ((2, 128, 8, 8), (128, 128, 3, 3), {"padding": 2, "dilation": 2}),
        ((2, 128, 4, 4), (128, 128, 3, 3), {"padding": "same"}),
        ((128, 4, 4), (128, 128, 3, 3), {"padding": 1}),  # one image
    ],
)
def test_other_convolutions_are_pytorchs_own(images, weight, settings):
    images, weight = torch.randn(images), torch.randn(weight, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = small_images.conv2d(images, weight, **settings)
        assert torch.equal(output, F.conv2d(images, weight, **settings))
    assert not is_unfolded(output)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_number_formats_are_pytorchs_own(dtype):
    images, weight = (tensor.detach().to(dtype) for tensor in case(128, 128, (4, 4), (3, 3)))
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float64):
        output = small_images.conv2d(images, weight, padding=1)
    assert output.dtype == dtype
    assert not is_unfolded(output)


def test_training_unfolds_them():
    images, weight = case(128, 128, (4, 4), (3, 3))
    with SafeLayouts(), torch.autocast("cpu", torch.bfloat16):
        assert is_unfolded(F.conv2d(images, weight, padding=1))


def test_an_empty_output_is_pytorchs_error():
    images, weight = case(128, 128, (2, 2), (3, 3))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        in_bfloat16(images, weight)
