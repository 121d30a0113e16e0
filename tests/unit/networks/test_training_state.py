"""A run of training that was stopped goes on to the bytes of one that was not."""

import dataclasses

import pytest
import torch
from torch import nn

from swim.networks import checkpoint, training
from swim.runtime.unfinished import Unfinished
from swim.settings import ModelSettings, TrainingSettings
from tests.unit.stopping import StoppedError, StoppingAfter

CPU = torch.device("cpu")
FOUR = ModelSettings(weight_bits=4, activation_bits=4)


class Dropping(nn.Module):
    """Batch-norm's running statistics and dropout's draws are part of what goes on."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
            nn.Flatten(), nn.Linear(4 * 36, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def run(digits, unfinished=None, model=FOUR, seen=None, **settings):
    # 400 images in batches of 30: 14 steps an epoch, the last one of ten images.
    chosen = {"epochs": 3, "quantised_epochs": 1, "batch_size": 30, **settings}
    return training.train(
        model, TrainingSettings(**chosen), digits, seed=0, place=CPU, unfinished=unfinished,
        progress=None if seen is None else seen.append,
    )  # fmt: skip


# In the first epoch, at an epoch's end, in the quantised epoch, at the very end.
@pytest.mark.long
@pytest.mark.parametrize("stops", [[5], [14], [28, 3], [1, 1, 20, 15], [42]], ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_resumed_training_ends_with_the_weights_and_history_of_an_undisturbed_run(
    digits, tmp_path, stops, optimizer
):
    settings = {"optimizer": optimizer, "weight_noise": 0.05, "warmup_epochs": 0.5}
    whole, history = run(digits, **settings)
    for steps in stops:
        with pytest.raises(StoppedError):
            run(digits, StoppingAfter(tmp_path / "model.safetensors", steps), **settings)
    seen = []
    last = Unfinished(tmp_path / "model.safetensors", "same", seconds=1e9)
    resumed, rows = run(digits, last, seen=seen, **settings)
    assert [dataclasses.astuple(r) for r in rows] == [dataclasses.astuple(r) for r in history]
    assert seen == rows
    one, other = whole.state_dict(), resumed.state_dict()
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_dropout_and_batch_norm_go_on_too(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_build", lambda *_: Dropping())
    settings = {"model": ModelSettings(), "augment": True}
    whole, _ = run(digits, **settings)
    with pytest.raises(StoppedError):
        run(digits, StoppingAfter(tmp_path / "m", 20), **settings)
    resumed, _ = run(digits, Unfinished(tmp_path / "m", "same", seconds=1e9), **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_state_of_other_settings_or_half_a_file_is_discarded(digits, tmp_path):
    with pytest.raises(StoppedError):
        run(digits, StoppingAfter(tmp_path / "m", 3))
    path = tmp_path / ".m.unfinished.pt"
    assert Unfinished(tmp_path / "m", "same").read() is not None
    assert Unfinished(tmp_path / "m", "other").read() is None
    path.write_bytes(path.read_bytes()[:1000])
    half = Unfinished(tmp_path / "m", "same")
    assert half.read() is None
    half.remove()
    assert list(tmp_path.iterdir()) == []


def test_states_are_saved_as_often_as_asked(tmp_path):
    kept = Unfinished(tmp_path / "m", "d", seconds=1000)
    assert not kept.due()
    assert Unfinished(tmp_path / "m", "d", seconds=0).due()
