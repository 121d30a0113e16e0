"""Weights with errors: one pass over memory gives the bits of target + std times normal."""

import pytest
import torch

from swim.devices.bit_sliced import Device
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask
from swim.runtime import normals

SHAPES = [(7,), (3, 1, 5), (64, 16, 3, 3), (16, 25), (1, 70_001)]


def chip_of(target: torch.Tensor) -> Chip:
    return Chip({"w": target}, Device(sigma=0.1, M=8, K=2), seed=3, index=5)


def weight(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def twin(chip: Chip, std: float, mask: torch.Tensor | None, masked_std: float) -> torch.Tensor:
    """Whole tensors, one operation after the other."""
    target = chip.targets["w"]
    factors = torch.full(target.shape, std)
    if mask is not None:
        factors[mask] = masked_std
    return target + (chip.unit_errors("w") * factors).to(target.dtype)


def masks(shape: tuple[int, ...]) -> list[torch.Tensor | None]:
    some = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.3
    return [None, torch.zeros_like(some), torch.ones_like(some), some]


@pytest.fixture(params=["0", "1"], ids=["numpy", "machine code"])
def way(request, monkeypatch):
    monkeypatch.setenv("SWIM_COMPILED", request.param)
    monkeypatch.setattr(normals, "WORTH_COMPILING", 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_errors_has_the_bits_of_operations_on_whole_tensors(way, shape):
    chip = chip_of(weight(shape))
    before = chip.targets["w"].clone()
    for mask in masks(shape):
        result = chip.with_errors("w", 0.0712345, mask, 0.0123)
        assert torch.equal(result, twin(chip, 0.0712345, mask, 0.0123))
        assert result.shape == shape
    assert torch.equal(chip.targets["w"], before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_with_errors_of_other_types_adds_float32_errors_in_the_weights_type(way, dtype):
    chip = chip_of(weight((16, 25), dtype))
    for mask in masks((16, 25)):
        result = chip.with_errors("w", 0.07, mask, 0.01)
        assert result.dtype == dtype
        assert torch.equal(result, twin(chip, 0.07, mask, 0.01))


def test_with_errors_keeps_the_layout_of_a_weight_with_channels_last(way):
    target = weight((64, 16, 3, 3)).contiguous(memory_format=torch.channels_last)
    chip, mask = chip_of(target), masks((64, 16, 3, 3))[-1]
    result = chip.with_errors("w", 0.07, mask, 0.01)
    assert result.stride() == target.stride()
    assert torch.equal(result, chip_of(target.contiguous()).with_errors("w", 0.07, mask, 0.01))


def test_with_errors_of_a_transposed_mask_follows_the_weights_positions(way):
    chip = chip_of(weight((16, 25)))
    mask = (torch.rand(25, 16, generator=torch.Generator().manual_seed(2)) < 0.3).t()
    assert torch.equal(chip.with_errors("w", 0.07, mask, 0.01), twin(chip, 0.07, mask, 0.01))


def test_with_errors_of_a_weight_that_needs_gradients_passes_them_on(way):
    target = weight((16, 25)).requires_grad_()
    result = chip_of(target).with_errors("w", 0.07)
    result.sum().backward()
    assert torch.equal(target.grad, torch.ones(16, 25))
    assert torch.equal(result, chip_of(target.detach()).with_errors("w", 0.07))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_scales_are_the_largest_magnitudes(dtype):
    for values in ([-3.0, 1.0], [0.5, 2.0], [-0.0, 0.0], [-0.0], [7.0]):
        target = torch.tensor(values, dtype=dtype)
        scale = Chip({"w": target}, Device(sigma=0.1), 0, 0).scales["w"]
        assert scale == float(target.abs().max())
        assert str(scale) == str(float(target.abs().max()))  # no negative zero
    unknown = Chip({"w": torch.tensor([1.0, float("nan")])}, Device(sigma=0.1), 0, 0)
    assert unknown.scales["w"] != unknown.scales["w"]


def test_a_chip_programmed_through_a_mask_is_the_same_in_numpy_and_in_machine_code(monkeypatch):
    target = weight((64, 16, 3, 3))
    monkeypatch.setattr(normals, "WORTH_COMPILING", 0)
    chips = []
    for value in "01":
        monkeypatch.setenv("SWIM_COMPILED", value)
        chips.append(VerifyMask({"w": target > 0.5}).program(chip_of(target)))
    assert torch.equal(chips[0].weights["w"], chips[1].weights["w"])
    assert chips[0].nwc == chips[1].nwc == float((target > 0.5).double().mean())
