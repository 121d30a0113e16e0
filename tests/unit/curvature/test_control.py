"""A pass that was killed goes on to the bytes of one that was not; what is told on the way."""

import random

import pytest
import torch
from torch import nn

from swim.curvature.control import Control
from swim.curvature.estimate import second_derivative, sensitivity
from swim.data.labels import CrossEntropy
from swim.data.random_images import positions
from swim.runtime.unfinished import Unfinished
from swim.settings import estimator_traits, registry
from tests.unit.stopping import StoppedError, StoppingAfter

# Blocks of samples that share their probes, and groups of the probe's, end within a batch.
SIZES = (30, 30, 45, 30, 1, 30, 30, 20)


class Pixels(nn.Module):
    """Images; small enough for every estimator."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3 * 16, 5)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


class Tagger(nn.Module):
    """Sequences, with a label at each position."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class Branching(nn.Module):
    """Later batches use a weight that the first does not."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = (nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5))

    def forward(self, x):
        side = self.left if float(x.sum()) < 1e3 else self.right
        return self.last(torch.relu(side(x)))


def case(kind):
    """A model and its batches, always the same."""
    torch.manual_seed(0)
    networks = {"sequences": Tagger, "branching": Branching}
    model = networks.get(kind, Pixels)().eval()
    batches = []
    for number, size in enumerate(SIZES):
        if kind == "targets":
            batches.append((torch.randn(size, 1, 6, 6), torch.randn(size, 5)))
        elif kind == "pixels":
            batches.append((torch.randn(size, 1, 6, 6), torch.randint(0, 5, (size,))))
        elif kind == "sequences":
            labels = torch.randint(0, 3, (size, 7))
            labels[:, 5:] = -100
            batches.append((torch.randn(size, 7, 4), labels))
        else:
            x = torch.randn(size, 4)
            x[0, 0] += 2e3 if number in (2, 5) else 0
            batches.append((x, torch.randint(0, 5, (size,))))
    return model, batches


def check_resumed(kind, tmp_path, stops, **options):
    """Stop after so many batches each time; the end is that of an undisturbed pass, to the bit."""
    whole = second_derivative(*case(kind), **options)
    done = 0
    for batches in stops:
        stopping = Control(StoppingAfter(tmp_path / "s.safetensors", batches))
        assert stopping.samples == sum(SIZES[:done])
        with pytest.raises(StoppedError):
            second_derivative(*case(kind), control=stopping, **options)
        done += batches
        assert stopping.samples == sum(SIZES[:done])
    last = Control(Unfinished(tmp_path / "s.safetensors", "same", seconds=1e9))
    told = []
    last.tell = told.append
    resumed = second_derivative(*case(kind), control=last, **options)
    assert list(resumed) == list(whole)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert str(resumed.relative_error) == str(whole.relative_error)
    assert str(resumed.relative_errors) == str(whole.relative_errors)
    assert sum(told) == sum(SIZES[done:])
    assert last.samples == sum(SIZES)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_a_resumed_pass_ends_with_the_bytes_of_an_undisturbed_one(estimator, noise, tmp_path):
    check_resumed("pixels", tmp_path, [2, 1, 3], estimator=estimator, noise=noise, seed=3)


@pytest.mark.parametrize("estimator", sorted(estimator_traits.DRAWING))
def test_a_resumed_pass_draws_on_with_more_samples(estimator, tmp_path):
    check_resumed("pixels", tmp_path, [3], estimator=estimator, samples=3)


@pytest.mark.parametrize("loss", ["mse", CrossEntropy(torch.tensor([0.5, 1, 2, 1, 3]))], ids=type)
@pytest.mark.parametrize("probe", ["signs", "labels"])
def test_a_resumed_probe_of_every_kind_and_loss(probe, loss, tmp_path):
    options = {"estimator": "gauss_newton_probe", "loss": loss, "probe": probe}
    check_resumed("targets" if loss == "mse" else "pixels", tmp_path, [1, 4], **options)


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_a_resumed_pass_over_sequences(estimator, tmp_path):
    check_resumed("sequences", tmp_path, [3, 2], estimator=estimator)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("stops", [[1], [3], [4, 2]], ids=str)
def test_weights_that_only_earlier_batches_used_are_kept(noise, stops, tmp_path):
    check_resumed("branching", tmp_path, stops, estimator="gauss_newton_probe", noise=noise)


def test_a_pass_killed_after_its_last_batch_has_nothing_left_to_do(tmp_path):
    check_resumed("pixels", tmp_path, [len(SIZES)], estimator="gauss_newton_probe")


def test_images_and_the_state_go_together(tmp_path):
    """A subset by `images`, stopped; and it is the one of the positions."""
    model, batches = case("pixels")
    options = {"estimator": "gauss_newton_probe", "images": 80, "seed": 4}
    whole = sensitivity(model, batches, **options)
    with pytest.raises(StoppedError):
        second_derivative(
            model, batches, control=Control(StoppingAfter(tmp_path / "s", 1)), **options
        )
    control = Control(Unfinished(tmp_path / "s", "same"))
    assert control.samples == 30
    raw = second_derivative(model, batches, control=control, **options)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    index = positions(len(x), 80, seed=4)
    parts = [(x[rows], y[rows]) for rows in index.split(30)]
    expected = sensitivity(model, parts, estimator="gauss_newton_probe", seed=4)
    for name, weight in model.named_parameters():
        if name in raw:
            assert torch.equal(whole[name], expected[name])
            assert torch.equal(raw[name] * float(weight.detach().abs().max()) ** 2, whole[name])


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_samples_are_told_as_they_are_done(estimator, noise):
    told, finished = [], []
    second_derivative(
        *case("pixels"), estimator=estimator, noise=noise, progress=finished.append,
        control=Control(tell=told.append),
    )  # fmt: skip
    assert sum(told) == sum(SIZES)
    assert finished == list(range(1, len(SIZES) + 1))
    if estimator == "gauss_newton_probe" or (estimator == "hutchinson" and not noise):
        assert len(told) > len(SIZES)  # more often than once a batch


@pytest.fixture
def stopped(tmp_path):
    """The path of the state of a pass that was killed."""
    with pytest.raises(StoppedError):
        second_derivative(*case("pixels"), control=Control(StoppingAfter(tmp_path / "s", 3)))
    return tmp_path / ".s.unfinished.pt"


def test_a_damaged_state_is_discarded_with_a_line_in_the_log(stopped, tmp_path, caplog):
    whole, chance = stopped.read_bytes(), random.Random(0)
    lengths = [0, 1, 60, len(whole) // 2, len(whole) - 1]
    damaged = [whole[:length] for length in lengths]
    for _ in range(40):
        content = bytearray(whole)
        content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(content))
    for content in damaged:
        stopped.write_bytes(content)
        caplog.clear()
        assert Control(Unfinished(tmp_path / "s", "same")).samples == 0
        (line,) = caplog.messages
        assert str(stopped) in line
        assert "is not used, since" in line
    stopped.write_bytes(whole)
    assert Control(Unfinished(tmp_path / "s", "same")).samples == sum(SIZES[:3])


def test_a_state_of_other_inputs_is_discarded_with_a_line_in_the_log(stopped, tmp_path, caplog):
    assert Control(Unfinished(tmp_path / "s", "other")).samples == 0
    assert caplog.messages == [
        f"{stopped}: the state of a killed run is not used, since settings, inputs, code or the "
        "machine have changed"
    ]


def test_nothing_is_said_where_there_is_no_state(tmp_path, caplog):
    assert Control(Unfinished(tmp_path / "s", "same")).samples == 0
    assert not caplog.messages
