"""Exported checkpoints hold integers, and give the weights of the original bit for bit."""

import numpy as np
import pytest
import torch

from swim.networks import checkpoint, quantisation
from swim.networks.integer_weights import STEP, levels_and_step, pack, unpack
from swim.runtime import files
from swim.settings import ModelSettings, registry
from tests import ROOT

# The others, of millions of weights, at 6 bits, the paper's; before a release at all.
SMALL = ("mlp3", "mlp4", "lenet")
BITS = range(1, 9)
CASES = [
    pytest.param(name, bits, marks=[] if name in SMALL or (name, bits) == ("convnet", 6)
                 else pytest.mark.slow)
    for name in registry.NETWORKS for bits in BITS
]  # fmt: skip


def quantised(name, bits):
    """A quantised network as training leaves it, with running statistics that are not zero."""
    torch.manual_seed(bits)
    small = name in SMALL
    model = registry.find("network", name)(1 if small else 3, 10)
    settings = ModelSettings(name=name, weight_bits=bits, activation_bits=bits)
    images = torch.randn(2, *((1, 28, 28) if small else (3, 32, 32)))
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1 * torch.rand_like(buffer))
    quantisation.quantise(model, settings, [images] if small else None)
    quantisation.deploy(model)
    return model, settings


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_every_quantised_weight_of_a_network_is_an_integer_times_one_step(name, bits):
    model, settings = quantised(name, bits)
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    layers = [m for m in model.modules() if isinstance(m, quantisation.LAYERS)]
    names = [key for key, value in arrays.items()
             if any(value.ctypes.data == layer.weight.data_ptr() for layer in layers)]  # fmt: skip
    record = {"model": settings.model_dump(mode="json"), "programmed": names}
    packed, integers = pack(arrays, record)
    assert integers == names
    assert len(names) == len(layers)
    for key in names:
        assert packed[key].dtype == (np.int16 if bits == 8 else np.int8)
        assert packed[STEP + key].shape == (1,)
        assert np.abs(packed[key]).max() == 2**bits - 1
    record["integers"] = integers
    tensors = {key: torch.from_numpy(value) for key, value in packed.items()}
    for found in (unpack(packed, record), unpack(tensors, record)):
        assert list(found) == list(arrays)
        for key, value in found.items():
            read = np.asarray(value)
            assert read.dtype == arrays[key].dtype
            assert read.tobytes() == arrays[key].tobytes(), key


@pytest.mark.parametrize("bits", BITS)
def test_steps_that_a_quantiser_would_not_find_again(bits):
    """Products of the largest level that are rounded at a tie: max|W| / top is another number."""
    top, generator = 2**bits - 1, np.random.default_rng(bits)
    levels = generator.integers(-top, top + 1, (40, 8))
    levels[0, 0] = top
    quantiser = quantisation.WeightQuantiser(bits)
    changed = 0
    for step in generator.uniform(0.01, 0.02, 500).astype(np.float32):
        weight = levels.astype(np.float32) * step
        changed += quantiser(torch.from_numpy(weight)).numpy().tobytes() != weight.tobytes()
        integers, found = levels_and_step(weight, top)
        assert (integers.astype(np.float32) * found).tobytes() == weight.tobytes()
        np.testing.assert_array_equal(integers, levels)
    # One bit has no products that are rounded.
    assert changed > 0 or bits == 1


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_layers_whose_largest_level_is_not_reached(bits, scale):
    top = 2**bits - 1
    for largest in {1, (top + 1) // 2, max(top - 1, 1)}:
        levels = np.random.default_rng(largest).integers(-largest, largest + 1, (30, 5))
        levels.flat[:2] = largest, -largest
        weight = levels.astype(np.float32) * np.float32(scale / 7)
        integers, step = levels_and_step(weight, top)
        assert (integers.astype(np.float32) * step).tobytes() == weight.tobytes()


def test_a_layer_of_zeros_is_zeros():
    integers, step = levels_and_step(np.zeros((3, 4), np.float32), 15)
    assert not integers.any()
    assert step > 0
    assert (integers * step).tobytes() == np.zeros((3, 4), np.float32).tobytes()


def per_channel():
    levels = np.random.default_rng(0).integers(-15, 16, (4, 50)).astype(np.float32)
    levels[:, 0] = 15
    return levels * np.array([[0.1], [0.2], [0.37], [0.011]], np.float32)


OFF_GRID = {
    "float weights": np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32),
    "one weight beside the grid": np.array([15, 3, -4, 2.5], np.float32),
    "a step for each channel": per_channel(),
    "a negative zero": np.array([15, -0.0, 1], np.float32),
    "a last bit": np.array([np.nextafter(np.float32(3), np.float32(4)), 1, 15], np.float32),
    "float64": np.array([1.0, 15.0]),
    "no number": np.array([1.0, np.nan], np.float32),
    "nothing": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("kind", OFF_GRID)
def test_weights_on_no_common_grid_stay_as_they_are(kind):
    weight = OFF_GRID[kind]
    assert levels_and_step(weight, 15) is None
    record = {"model": {"weight_bits": 4}, "programmed": ["a"]}
    packed, integers = pack({"a": weight}, record)
    assert integers == []
    assert unpack(packed, {**record, "integers": integers})["a"] is weight


def test_weights_that_a_pass_computes_are_integers_too():
    arrays = {"a": OFF_GRID["float weights"], "effective:a": np.array([15, 3], np.float32)}
    record = {"model": {"weight_bits": 4}, "programmed": ["a"]}
    packed, integers = pack(arrays, record)
    assert integers == ["effective:a"]
    assert packed["a"] is arrays["a"]
    found = unpack(packed, {**record, "integers": integers})
    assert found["effective:a"].tolist() == [15, 3]


# Experiment -> bits, accuracy on its test images and number of weights that devices hold.
STORED = {"lenet_mnist": (4, 0.9887, 105_918), "convnet_cifar10": (6, 0.8626, 6_397_632)}


@pytest.mark.parametrize("name", STORED)
def test_stored_checkpoints_are_read(name):
    bits, accuracy, weights = STORED[name]
    path = ROOT / f"docs/checkpoints/{name}.safetensors"
    assert path.stat().st_size < 1.1 * weights
    model, record = checkpoint.load(path)
    assert record["clean"] == {"accuracy": accuracy, "images": 10_000}
    assert record["integers"] == record["programmed"]
    assert record["inventory"]["total"] == weights
    packed, _ = files.load_arrays(path)
    for key in record["integers"]:
        assert np.abs(packed[key]).max() == 2**bits - 1
        product = packed[key].astype(np.float32) * packed[STEP + key]
        assert model.state_dict()[key].numpy().tobytes() == product.tobytes()
