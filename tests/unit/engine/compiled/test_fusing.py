"""Where a recorded pass runs compiled blocks, and that it gives what the pass itself gives."""

import pytest
import torch
import torch.nn.functional as F

from swim.engine import kernels
from swim.engine.compiled.block import Block
from swim.engine.compiled.replay import record

FEW, ALL, CHANNELS = 4, 12, 8
LAST = torch.channels_last


def same(found, expected):
    return (found - expected).abs().mean() <= 0.01 * expected.abs().mean()


def parameters(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"one": (CHANNELS, 2, 3, 3), "two": (CHANNELS, CHANNELS, 3, 3), "fc": (5, 128)}
    weights = {name: torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}
    return {
        (name,): w.contiguous(memory_format=LAST) if w.dim() == 4 else w
        for name, w in weights.items()
    }


def images(seed=0):
    return torch.randn(1, ALL, 2, 16, 16, generator=torch.Generator().manual_seed(seed))


def conv(w, x, name="one", **more):
    return F.conv2d(x, w[name,], torch.linspace(-1, 1, CHANNELS), padding=1, **more)


def pool(x, kernel_size=2, stride=None):
    return kernels.max_pool2d(x, kernel_size, stride=stride)


def levels(x):
    return kernels.fake_quantize_(x, 0.25, 0, 0, 15)


def head(w, y):
    return torch.mm(y.flatten(1)[:, :128], w["fc",].t())[None]


def relu_first(w, x):
    return head(w, pool(pool(conv(w, x[0]).relu()), 2))


def relu_in_place(w, x):
    return head(w, pool(F.relu_(conv(w, x[0]))))


def relu_behind(w, x):
    return head(w, pool(conv(w, x[0])).relu_())


def quantised(w, x):
    y = kernels.fake_quantize(x[0], 0.1, 0, -15, 15)
    return head(w, levels(pool(conv(w, y))))


def two_layers(w, x):
    y = levels(pool(conv(w, x[0]).relu_()))
    return head(w, pool(conv(w, y, "two"), kernel_size=2, stride=2).relu())


def quantised_when_flat(w, x):
    y = pool(conv(w, x[0])).flatten(1)
    return head(w, levels(y).view_as(y))


def in_two_groups(w, x):
    return head(w, pool(F.conv2d(torch.cat([x[0], -x[0]], 1), w["one",], groups=2)))


def without_padding(w, x):
    return head(w, pool(F.conv2d(x[0].to(memory_format=LAST), w["one",])))


FUSED = {
    relu_first: 1, relu_in_place: 1, relu_behind: 1, quantised: 1, two_layers: 2,
    quantised_when_flat: 1, in_two_groups: 1, without_padding: 1,
}  # fmt: skip


def no_pool(w, x):
    return head(w, conv(w, x[0]).relu_())


def average(w, x):
    return head(w, F.avg_pool2d(conv(w, x[0]), 2))


def windows_of_three(w, x):
    return head(w, pool(conv(w, x[0]), 3, 2))


def overlapping(w, x):
    return head(w, pool(conv(w, x[0]), 2, 1))


def stride(w, x):
    return head(w, pool(conv(w, x[0], stride=2)))


def dilation(w, x):
    return head(w, pool(conv(w, x[0], dilation=2)))


def used_twice(w, x):
    y = conv(w, x[0])
    return head(w, pool(y) + F.avg_pool2d(y, 2))


def skipped_relu(w, x):
    y = conv(w, x[0])
    return head(w, pool(y.relu()) - pool(y.neg()))


def scaled_between(w, x):
    return head(w, pool(conv(w, x[0]) * 2))


def computed_weight(w, x):
    return head(w, pool(F.conv2d(x[0], w["one",] * 2, padding=1)))


def by_the_images(w, x):
    return head(w, pool(F.conv2d(x[0], w["one",], x[0].mean((0, 2, 3)).repeat(4) * 0, padding=1)))


NOT_FUSED = [
    no_pool, average, windows_of_three, overlapping, stride, dilation, used_twice, skipped_relu,
    scaled_between, computed_weight, by_the_images,
]  # fmt: skip


def blocks(replayed):
    return sum(isinstance(step.function, Block) for step in replayed.front._steps)


@pytest.mark.parametrize("run", [*FUSED, *NOT_FUSED], ids=lambda run: run.__name__)
def test_the_same_with_other_images_and_weights(run):
    weights = parameters(0)
    recorded = record(lambda x: run(weights, x), images(), FEW, weights, same)
    for seed in range(3):
        others, shown = parameters(seed), images(seed + 1)
        found = recorded(shown, lambda key, others=others: others[(key,)])
        expected = run(others, shown)
        # A quantiser may take a tie to the other side.
        near = (found - expected).abs() < 1e-4 * expected.abs().max()
        assert near.double().mean() > 0.99
        assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert blocks(recorded) == FUSED.get(run, 0)


def test_double_precision_is_not_fused():
    weights = {key: weight.double() for key, weight in parameters(0).items()}
    shown = images().double()

    def run(x):
        y = F.conv2d(x[0], weights["one",], padding=1)
        return head(weights, pool(y))

    recorded = record(run, shown, FEW, weights, same)
    assert blocks(recorded) == 0
    found = recorded(shown, lambda key: weights[(key,)])
    torch.testing.assert_close(found, run(shown))


def test_what_crosses_is_written_once():
    """By the last block, without a copy."""
    weights = parameters(0)
    recorded = record(lambda x: two_layers(weights, x), images(), FEW, weights, same)
    *_, last = recorded.front._steps
    assert isinstance(last.function, Block)
    assert last.results == (recorded.part,)
    recorded = record(lambda x: no_pool(weights, x), images(), FEW, weights, same)
    assert recorded.front._steps[-1].function is torch.Tensor.copy_


def test_weights_that_are_one_tensor_are_not_told_apart():
    weights = parameters(0)
    weights["one",] = weights["two",]

    def run(x):
        y = F.conv2d(x[0].repeat(1, 4, 1, 1), weights["one",], padding=1)
        return head(weights, pool(F.conv2d(pool(y), weights["two",], padding=1)))

    assert record(run, images(), FEW, weights, same) is None


def test_weights_of_another_type_are_refused():
    weights = parameters(0)
    recorded = record(lambda x: relu_behind(weights, x), images(), FEW, weights, same)
    with pytest.raises(ValueError, match="float64"):
        recorded(images(), lambda key: weights[(key,)].double())
