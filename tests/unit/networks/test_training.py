import numpy as np
import pytest
import torch
from torch import nn

from swim.errors import DataError, SettingError
from swim.networks import checkpoint, quantisation, training
from swim.runtime import files
from swim.settings import ModelSettings, TrainingSettings, registry

FLOAT = ModelSettings()
FOUR = ModelSettings(weight_bits=4, activation_bits=4)
CPU = torch.device("cpu")


def run(digits, model=FOUR, seed=0, **settings):
    chosen = {"epochs": 3, "quantised_epochs": 1, "batch_size": 20, **settings}
    return training.train(model, TrainingSettings(**chosen), digits, seed=seed, place=CPU)


def densenet_blocks():
    """Weights of DenseNet-121: its blocks, growth 32, and the halvings between them."""
    total, channels = 0, 64
    for number, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            total += channels * 128 + 128 * 32 * 9
            channels += 32
        if number < 3:
            total += channels * channels // 2
            channels //= 2
    return total


@pytest.mark.parametrize(
    ("name", "channels", "classes", "weights"),
    [
        ("mlp3", 1, 10, 784 * 32 + 32 * 32 + 32 * 10),
        ("mlp4", 1, 10, 784 * 32 + 2 * 32 * 32 + 32 * 10),
        ("lenet", 1, 10, 105_918),
        ("convnet", 3, 10, 6_397_632),
        ("resnet18", 3, 10, 11_164_352),
        ("resnet18", 3, 200, 11_164_352 + 190 * 512),
        ("densenet121", 3, 10, 27 * 64 + densenet_blocks() + 1024 * 10),
    ],
)
def test_networks_of_the_paper_have_its_numbers_of_weights(name, channels, classes, weights):
    model = registry.find("network", name)(channels, classes)
    assert sum(p.numel() for p in model.parameters() if p.dim() > 1) == weights


@pytest.mark.parametrize("classes", [10, 7])
@pytest.mark.parametrize(("name", "channels"), [("vgg11", 3), ("vgg11", 1), ("densenet121", 1)])
def test_large_networks_by_shape_alone(name, channels, classes):
    with torch.device("meta"):
        model = registry.find("network", name)(channels, classes).eval()
        assert model(torch.empty(2, channels, 32, 32)).shape == (2, classes)


def test_a_network_that_does_not_take_the_images_is_named(digits):
    with pytest.raises(DataError, match="convnet does not take the 1x28x28 images of squares"):
        run(digits, ModelSettings(name="convnet"))


def test_an_unknown_network():
    with pytest.raises(SettingError, match=r"mean 'lenet'.*known: mlp3"):
        registry.find("network", "letnet")


@pytest.mark.parametrize("model", [FLOAT, FOUR], ids=["float", "4-bit"])
def test_training_learns_and_records_every_epoch(digits, model):
    net, history = run(digits, model)
    assert [row.epoch for row in history] == [1, 2, 3]
    assert [row.quantised for row in history] == [False, False, model is FOUR]
    assert history[-1].accuracy > 0.9 > history[0].accuracy
    assert not net.training
    images = digits.inputs("test", slice(None))
    assert (net(images).argmax(1) == digits.labels("test")).double().mean() > 0.9


def test_the_same_seed_gives_the_same_network_and_touches_no_global_state(digits):
    before = torch.get_rng_state()
    one, other, third = (run(digits, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["fc1.weight"], third["fc1.weight"])


def test_deployed_weights_are_on_their_grid_and_plain_parameters(digits):
    net, _ = run(digits)
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        weight = getattr(net, name).weight
        assert isinstance(weight, nn.Parameter)
        levels = weight.detach() / weight.detach().abs().max() * 15
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        assert levels.abs().max().round() == 15
    assert "fc1.weight" in net.state_dict()


def test_quantised_activations_do_not_depend_on_the_batch(digits):
    net, _ = run(digits)
    images = digits.inputs("test", slice(0, 50))
    together = net(images)
    one_by_one = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
    seen = []
    net.fc2.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    net(images)
    assert len(seen[-1].unique()) <= 16


def test_the_activation_quantiser_rounds_to_its_levels():
    quantiser = quantisation.ActivationQuantiser(2)
    quantisation.calibrate(nn.Sequential(quantiser), [])
    quantiser.observing = True
    quantiser(torch.tensor([-1.0, 2.0]))
    quantiser.fix()
    x = torch.tensor([-5.0, -1.0, -0.4, 0.0, 0.6, 1.4, 1.6, 9.0])
    assert quantiser(x).tolist() == [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]


def test_straight_through_gradient_of_a_weight():
    weight = nn.Parameter(torch.tensor([0.5, -1.0, 0.26]))
    quantised = quantisation.WeightQuantiser(2)(weight)
    torch.testing.assert_close(quantised, torch.tensor([2 / 3, -1.0, 1 / 3]))
    quantised.sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("model", [FLOAT, FOUR], ids=["float", "4-bit"])
def test_a_checkpoint_gives_the_same_network(digits, model, tmp_path):
    net, _ = run(digits, model, epochs=1)
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, net, digits, {"model": model.model_dump()})
    loaded, settings = checkpoint.load(path)
    images = digits.inputs("test", slice(0, 20))
    assert torch.equal(net(images), loaded(images))
    assert settings["programmed"] == [
        f"{n}.weight" for n in ("conv1", "conv2", "fc1", "fc2", "fc3")
    ]
    one, other = net.state_dict(), loaded.state_dict()
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_another_network_is_refused(digits, tmp_path):
    net, _ = run(digits, FLOAT, epochs=1)
    net.fc3 = nn.Linear(84, 7)
    checkpoint.save(tmp_path / "m", net, digits, {"model": FLOAT.model_dump()})
    with pytest.raises(DataError, match="does not fit lenet"):
        checkpoint.load(tmp_path / "m")
    files.save_arrays(tmp_path / "other", {"a": np.ones(1)}, {})
    with pytest.raises(DataError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "other")


def test_a_diverging_run_says_what_to_change(digits):
    with pytest.raises(DataError, match="learning_rate"):
        run(digits, FLOAT, optimizer="sgd", learning_rate=1000.0)


@pytest.mark.parametrize("model", [FLOAT, FOUR], ids=["float", "4-bit"])
def test_bfloat16_training_learns_as_float32_does_and_gives_float32_weights(digits, model):
    net, history = run(digits, model, arithmetic="bfloat16")
    exact, _ = run(digits, model)
    assert history[-1].accuracy > 0.9
    assert all(value.dtype != torch.bfloat16 for value in net.state_dict().values())
    images = digits.inputs("test", slice(None))
    assert net(images).dtype == torch.float32
    assert (net(images).argmax(1) == digits.labels("test")).double().mean() > 0.9
    assert not torch.equal(net.fc1.weight, exact.fc1.weight)


def test_one_step_in_bfloat16_moves_weights_as_one_in_float32(digits):
    settings = {"epochs": 1, "batch_size": digits.size("train"), "optimizer": "sgd",
                "learning_rate": 0.1, "quantised_epochs": 0}  # fmt: skip
    start = checkpoint.initial(FLOAT, digits, 0).state_dict()
    moved = {
        arithmetic: run(digits, FLOAT, **settings, arithmetic=arithmetic)[0].state_dict()
        for arithmetic in ("float32", "bfloat16")
    }
    for name, first in start.items():
        step, other = (moved[a][name] - first for a in ("float32", "bfloat16"))
        # 2^-9 of each number, through five layers and back
        assert float((step - other).norm()) < 0.05 * float(step.norm()), name


def test_the_penalty_is_of_weights_alone(digits):
    """Against one step written out: biases move by their gradient only."""
    settings = {"epochs": 1, "batch_size": digits.size("train"), "optimizer": "sgd",
                "learning_rate": 0.1, "quantised_epochs": 0}  # fmt: skip
    start = checkpoint.initial(FLOAT, digits, 0).state_dict()
    without, with_ = (
        run(digits, FLOAT, **settings, weight_decay=decay)[0].state_dict() for decay in (0.0, 0.5)
    )
    rate = 0.1  # of the only step
    for name, first in start.items():
        expected = without[name] - (rate * 1.9 * 0.5 * first if first.dim() > 1 else 0)
        torch.testing.assert_close(with_[name], expected, msg=name)
