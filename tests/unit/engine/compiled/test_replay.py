"""A recorded pass gives what the pass itself gives, or there is none."""

import random
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swim.engine.compiled.recording import Recording
from swim.engine.compiled.replay import record

FEW, ALL = 3, 12


def same(found, expected):
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def parameters(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv": (4, 2, 3, 3), "fc": (5, 36), "shift": (5,)}
    return {(k,): torch.randn(shape, generator=generator) for k, shape in shapes.items()}


def images(seed=0, count=ALL):
    return torch.randn(1, count, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def convolutions(w, x):
    return F.max_pool2d(F.conv2d(x[0], w["conv",], padding=1).mul_(2).round_(), 2)


def head(w, y):
    return torch.addmm(w["shift",], y.flatten(1).relu_(), w["fc",].t())[None]


def plain(w, x):
    return head(w, convolutions(w, x))


def joined(w, x):
    y = convolutions(w, x)
    return head(w, torch.cat([y[:, 2:], y[:, :2] + 1], dim=1))


def normalised(w, x):
    y = F.conv2d(x[0], w["conv",], padding=1)
    y = F.batch_norm(y, torch.ones(4), torch.full((4,), 2.0))
    return head(w, F.max_pool2d(y, 2))


def constants_written_to(w, x):
    """An earlier step would see the last value."""
    scale = torch.ones(4, 1, 1)
    scale[1:] *= 3
    return head(w, F.max_pool2d(F.conv2d(x[0], w["conv",], padding=1) * scale, 2))


def skipped(w, x):
    """Two tensors cross everywhere but behind the sum."""
    y = F.conv2d(x[0], w["conv",], padding=1)
    return head(
        w, F.avg_pool2d(y + F.conv2d(y.relu(), w["conv",].repeat(1, 2, 1, 1), padding=1), 2)
    )


REPLAYED = [plain, joined, normalised, skipped]


@pytest.mark.parametrize("run", REPLAYED, ids=lambda run: run.__name__)
def test_other_images_and_other_weights(run):
    weights = parameters(0)
    recorded = record(lambda x: run(weights, x), images(), FEW, weights, same)
    for seed in range(3):
        others, shown = parameters(seed), images(seed + 1)
        expected = run(others, shown)
        found = recorded(shown, lambda key, others=others: others[(key,)])
        torch.testing.assert_close(found, expected)
        before = shown.clone()
        recorded(shown, lambda key, others=others: others[(key,)])
        assert torch.equal(shown, before)


def test_convolutions_see_few_images_and_products_all():
    """And what is element by element runs where its input has just been made."""
    weights = parameters(0)
    recorded = record(lambda x: plain(weights, x), images(), FEW, weights, same)
    seen = []
    for part in (recorded.front, recorded.back):
        shapes = {step.function.__name__.split(".")[0]: step.layout.shape for step in part._steps}
        seen.append({name: shapes[name][0] for name in ("convolution", "relu_", "addmm")
                     if name in shapes})  # fmt: skip
    assert seen == [{"convolution": FEW, "relu_": FEW}, {"addmm": ALL}]


def test_a_recording_keeps_no_activation():
    """A deep network's would fill the memory."""
    alive = []

    def run(x):
        y = x * 2
        alive.append(weakref.ref(y))
        y = y + 1
        alive.append(alive[0]() is not None)
        return y

    shown = images()
    with Recording([shown]) as recording:
        outputs = run(shown)
    assert alive[1:] == [False]
    assert [step.results for step in recording.steps] == [(1,), (2,)]
    assert recording.slot(outputs) == 2


def draws(w, x):
    y = convolutions(w, x)
    return head(w, y + torch.rand_like(y))


def draws_in_python(w, x):
    """Too little to be found out by what comes out."""
    return plain(w, x) * (1 + 1e-9 * random.random())


def draws_in_numpy(w, x):
    return plain(w, x) * (1 + 1e-9 * np.random.rand())


def asks_for_a_value(w, x):
    return head(w, convolutions(w, x) / float(x.abs().max()))


total = torch.zeros(())


def writes_outside(w, x):
    total.add_(x.sum())
    return plain(w, x) + total


counter = torch.zeros(())


def counts(w, x):
    counter.add_(1)
    return plain(w, x) * counter


def hidden(w, x):
    """A value taken behind torch's back; found out by what it does to other images."""
    return head(w, convolutions(w, x) * x.numpy().max())


def other_operations(w, x):
    return plain(w, x).neg() if x.shape[1] == FEW else plain(w, x)


def no_convolution(w, x):
    return torch.addmm(w["shift",], x[0].flatten(1)[:, :36], w["fc",].t())[None]


def two_tensors_cross(w, x):
    left, right = (
        F.max_pool2d(F.conv2d(part, w["conv",], padding=1), 2).flatten(1) for part in (x[0], -x[0])
    )
    return (left @ w["fc",].t() + right @ w["fc",].t())[None]


def constant(w, x):
    return torch.ones(1, x.shape[1], 5)


NOT_REPLAYED = [
    draws, asks_for_a_value, writes_outside, counts, hidden, other_operations, no_convolution,
    two_tensors_cross, constant, constants_written_to, draws_in_python, draws_in_numpy,
]  # fmt: skip


@pytest.mark.parametrize("run", NOT_REPLAYED, ids=lambda run: run.__name__)
def test_passes_that_are_not_replayed(run):
    weights = parameters(0)
    assert record(lambda x: run(weights, x), images(), FEW, weights, same) is None


def viewed(w, x):
    """A view of a weight holds for one layout of it."""
    y = F.max_pool2d(F.conv2d(x[0], w["conv",].view(4, 18).view(4, 2, 3, 3), padding=1), 2)
    return head(w, y)


def test_weights_in_another_layout_than_recorded():
    given, others = parameters(0), parameters(1)
    replay = record(lambda x: viewed(given, x), images(0), FEW, given, same)
    conv = others["conv",].contiguous(memory_format=torch.channels_last)
    found = replay(images(1), lambda *key: conv if key == ("conv",) else others[key])
    assert same(found, viewed(others, images(1)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:, :0],
        lambda x: x[:, :FEW],
        torch.Tensor.double,
        lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    ],
)
def test_inputs_of_another_layout_are_refused(change):
    given = parameters(0)
    replay = record(lambda x: plain(given, x), images(0), FEW, given, same)
    with pytest.raises(ValueError, match="recorded on inputs"):
        replay(change(images(1)), lambda *key: given[key])


def test_weights_of_another_shape_are_refused():
    given = parameters(0)
    replay = record(lambda x: plain(given, x), images(0), FEW, given, same)
    with pytest.raises(ValueError, match="a tensor like"):
        replay(images(1), lambda *key: given[key][:3])
