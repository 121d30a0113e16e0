"""Trained networks of the user's own as checkpoints."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from swim.errors import DataError
from swim.networks import training
from swim.networks.import_weights import adopt
from swim.networks.zoo.lenet import LeNet
from swim.settings import ModelSettings, TrainingSettings

FLOAT = ModelSettings()
FOUR = ModelSettings(weight_bits=4, activation_bits=4)


@pytest.fixture(scope="module")
def trained(digits):
    settings = TrainingSettings(epochs=3, batch_size=20)
    return training.train(FLOAT, settings, digits, seed=0, place=torch.device("cpu"))[0]


def take(path, digits, settings=FLOAT):
    lines = []
    model = adopt(path, settings, digits, calibration_images=200, report=lines.append)
    return model, "\n".join(lines)


def written(folder, content, name="my.pt"):
    path = folder / name
    save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path)
    return path


def release(state):
    """As the first release saves a network: each layer is ``op`` in a module with helpers."""
    made = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        made[f"{layer}.op.{leaf}"] = value
        if leaf == "weight":
            for helper in ("weightS", "noise", "mask"):
                made[f"{layer}.{helper}"] = torch.zeros_like(value)
    return made


KINDS = {
    "state dict": lambda s: (s, "my.pt"),
    "safetensors": lambda s: (s, "my.safetensors"),
    "in a training checkpoint": lambda s: ({"epoch": 3, "state_dict": s}, "my.pth"),
    "data-parallel": lambda s: ({f"module.{n}": v for n, v in s.items()}, "my.pt"),
    "the first release's": lambda s: (release(s), "saved_B_LeNet.pt"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_imported_weights_equal_those_of_the_file(digits, trained, tmp_path, kind):
    content, name = KINDS[kind]({n: v.contiguous() for n, v in trained.state_dict().items()})
    model, said = take(written(tmp_path, content, name), digits)
    assert not model.training
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert "accuracy on 200 training images: 9" in said or "100.00%" in said


def test_other_names_are_taken_in_order_and_said(digits, trained, tmp_path):
    state = {f"layer{i}": v for i, v in enumerate(trained.state_dict().values())}
    model, said = take(written(tmp_path, state), digits)
    assert torch.equal(model.fc3.bias, trained.fc3.bias)
    assert "in order: layer0 as conv1.weight" in said


def test_bits_quantise_after_training(digits, trained, tmp_path):
    model, _ = take(written(tmp_path, trained.state_dict()), digits, FOUR)
    levels = model.fc1.weight / model.fc1.weight.abs().max() * 15
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert float(model.fc2.input_quantiser.scale) > 0
    images, labels = digits.inputs("test", slice(None)), digits.labels("test")
    assert (model(images).argmax(1) == labels).double().mean() > 0.8
    again, _ = take(written(tmp_path, model.state_dict(), "own.pt"), digits, FOUR)
    assert torch.equal(again(images), model(images))


def test_what_differs_is_listed(digits, trained, tmp_path):
    state = trained.state_dict()
    state["fc3.weight"] = torch.zeros(7, 84)
    state["extra"] = state.pop("fc3.bias")
    with pytest.raises(DataError) as caught:
        take(written(tmp_path, state), digits)
    text = str(caught.value)
    assert "does not fit lenet" in text
    assert "missing: fc3.bias (10,)" in text
    assert "not in the network: extra (10,)" in text
    assert "fc3.weight: the file has (7, 84), the network (10, 84)" in text


def test_a_long_list_is_cut(digits, tmp_path):
    state = {f"other{i}": torch.zeros(1) for i in range(40)}
    with pytest.raises(DataError, match="and 30 more"):
        take(written(tmp_path, state), digits)


def test_a_network_of_other_data_is_doubted(digits, tmp_path):
    torch.manual_seed(0)
    _, said = take(written(tmp_path, LeNet().state_dict()), digits)
    assert "hardly better than chance" in said


def test_files_of_another_kind(digits, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        take(tmp_path / "none.pt", digits)
    with pytest.raises(DataError, match="neither safetensors nor a state dict"):
        take(written(tmp_path, nn.Linear(2, 2)), digits)  # a whole module may run code
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"half.pt: neither"):
        take(tmp_path / "half.pt", digits)
    with pytest.raises(DataError, match="no state dict but a dict of int"):
        take(written(tmp_path, {"epoch": 3}), digits)
    with pytest.raises(DataError, match="no state dict but list"):
        take(written(tmp_path, [1, 2]), digits)
