"""Several chips at once predict as each does alone, or are not run at once."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from swim.devices.bit_sliced import Device
from swim.engine import evaluator
from swim.engine.evaluator import GROUP, Network
from swim.evaluation.monte_carlo import stream
from swim.evaluation.stratified import PILOT
from swim.networks.isolation import left_alone
from swim.networks.quantisation import calibrate, deploy, quantise_activations, quantise_weights
from swim.networks.zoo.lenet import LeNet


class Forward(nn.Module):
    """A network of two convolutions and a linear layer around a forward of one's own."""

    def __init__(self, forward, inner=9, outputs=5):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.fc = nn.Linear(6 * inner, outputs)
        self.drop = nn.Dropout(0.5)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def reused(m, x):
    """An activation is used again after a ReLU that could have been written over it."""
    y = m.a(x)
    return m.fc((F.relu(y) + y).flatten(1))


def viewed(m, x):
    """A view shares the memory of what a ReLU would be written over."""
    y = m.a(x)
    view = y.flatten(1)
    y = F.relu(y)
    return m.fc(y.flatten(1) + view)


def written_over(m, x):
    """The model's own in-place operations, whose input it goes on using."""
    y = m.a(x)
    F.relu(y, inplace=True)
    z = y.add_(m.b(y))
    return m.fc(torch.relu(z).flatten(1) + y.flatten(1))


def joined(m, x):
    parts = [m.a(x), m.b(m.a(x)), m.a(x)]
    return m.fc(F.adaptive_avg_pool2d(torch.cat(parts, 1), (3, 1)).flatten(1))


def shuffled(m, x):
    y = m.a(x).view(len(x), 2, -1, 6, 6).transpose(1, 2).flatten(1, 2)
    return head(m, y)


def checked(m, x):
    y = m.a(x)
    assert y.shape[1] == 6
    return head(m, y)


def head(m, y):
    return m.fc(F.max_pool2d(y, 2).flatten(1))


TOGETHER = {
    "plain": lambda m, x: head(m, F.relu(m.b(m.a(x)))),
    "padded pool": lambda m, x: m.fc(F.max_pool2d(m.a(x), 3, 2, 1).view(len(x), -1)),
    "batch-norm": lambda m, x: m.fc(torch.flatten(F.avg_pool2d(m.norm(m.a(x)).relu(), 2), 1)),
    "skip": lambda m, x: head(m, m.a(x).relu() + m.b(m.a(x))),
    "reshape": lambda m, x: m.fc(F.max_pool2d(m.a(x), 2).reshape(len(x), -1)),
    "gate": lambda m, x: head(m, m.a(x) * m.b(m.a(x)).mean((2, 3), keepdim=True).sigmoid()),
    "other functions": lambda m, x: head(m, m.drop(F.gelu(m.a(x) / 2 - 0.1).clamp(-1, 3) * 1.5)),
    "outputs scaled": lambda m, x: 3 * head(m, m.a(x)),
    "joined": joined,
}
APART = {
    "a view of the batch": lambda m, x: m.fc(F.max_pool2d(m.a(x), 2).view(-1, 54)),
    "channels chosen": lambda m, x: head(m, torch.cat([m.a(x)[:, :3], m.a(x)[:, 3:]], 1)),
    "softmax over channels": lambda m, x: head(m, m.a(x).softmax(1)),
    "mean over channels": lambda m, x: head(m, m.a(x) - m.a(x).mean(1, keepdim=True)),
    "input added": lambda m, x: head(m, m.a(x) + x.mean(1, keepdim=True)),
    "shape used": lambda m, x: head(m, m.a(x)) / m.a(x).shape[1],
    "joined with the input": lambda m, x: head(m, torch.cat([m.a(x), x], 1)[:, 3:]),
    "transposed": lambda m, x: head(m, m.a(x).mT),
    "layer over positions": lambda m, x: m.fc(m.a(x).flatten(2).repeat(1, 1, 2)[..., :54]).mean(1),
    "shuffled channels": shuffled,
    "a check of its own": checked,
}


def made(forward, **sizes):
    torch.manual_seed(0)
    return Forward(forward, **sizes).eval()


def images(count=20, shape=(3, 6, 6)):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(count, *shape, generator=generator),
             torch.randint(0, 5, (count,), generator=generator))]  # fmt: skip


def weights_of_chips(network):
    generator = torch.Generator().manual_seed(2)
    return [
        {name: weight + 0.3 * torch.randn(weight.shape, generator=generator)
         for name, weight in network.targets.items()}
        for _ in range(GROUP)
    ]  # fmt: skip


def compare(model, batches):
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, "cross_entropy")
        assert network.group == GROUP
        chips = weights_of_chips(network)
        positions = [torch.randperm(network.images)[:7] for _ in chips]
        for shown in (None, positions):
            right, losses = network.measure(chips, shown)
            alone = [network.measure([chip], shown and [shown[r]]) for r, chip in enumerate(chips)]
            assert torch.equal(right, torch.cat([a[0] for a in alone]))
            torch.testing.assert_close(losses, torch.cat([a[1] for a in alone]))
            assert losses.std(0).min() > 0


@pytest.mark.parametrize("name", TOGETHER)
def test_chips_at_once_predict_as_each_alone(name):
    compare(made(TOGETHER[name]), images())


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("own", ["a.weight", "fc.weight"])
def test_layers_that_all_chips_share(name, own):
    """Chips that differ in one layer: layers before it run once, with equal predictions."""
    model, batches = made(TOGETHER[name]), images()
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, "cross_entropy")
        chips = [{**network.targets, own: chip[own]} for chip in weights_of_chips(network)]
        right, losses = network.measure(chips)
        alone = [network.measure([chip]) for chip in chips]
        assert torch.equal(right, torch.cat([a[0] for a in alone]))
        torch.testing.assert_close(losses, torch.cat([a[1] for a in alone]))
        _, same = network.measure([network.targets] * GROUP)
        torch.testing.assert_close(same, network.measure([network.targets])[1].expand_as(same))


def test_a_shared_convolution_runs_once():
    model, batches = made(TOGETHER["plain"]), images()
    channels = []
    with left_alone(model), torch.no_grad():
        network = Network(model, batches, "cross_entropy")
        own = [{**network.targets, "fc.weight": c["fc.weight"]} for c in weights_of_chips(network)]

        class Count(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                result = func(*args, **(kwargs or {}))
                if func is F.conv2d:
                    channels.append(result.shape[1])
                return result

        with Count():
            network.measure(own)
            network.measure(weights_of_chips(network))
    assert channels[: len(channels) // 2] == [6] * (len(channels) // 2)
    assert set(channels[len(channels) // 2 :]) == {6 * GROUP}


@pytest.mark.parametrize("forward", [reused, viewed, written_over], ids=lambda f: f.__name__)
def test_nothing_is_written_over_that_is_used_again(forward):
    model, batches = made(forward, inner=36), images()
    network = Network(model, batches, "cross_entropy")
    chips = weights_of_chips(network)
    with torch.no_grad():
        assert network.group == GROUP
        _, losses = network.measure(chips)
        for r, chip in enumerate(chips):
            outputs = torch.func.functional_call(model, chip, (batches[0][0],))
            expected = F.cross_entropy(outputs, batches[0][1], reduction="none")
            torch.testing.assert_close(network.measure([chip])[1][0], expected)
            torch.testing.assert_close(losses[r], expected)


@pytest.mark.parametrize("name", APART)
def test_what_cannot_run_together_runs_alone(name):
    """No error, and the predictions of a plain forward."""
    model, batches = made(APART[name]), images()
    network = Network(model, batches, "cross_entropy")
    assert network.group == 1
    chip = weights_of_chips(network)[0]
    expected = torch.func.functional_call(model, chip, (batches[0][0],))
    with torch.no_grad():
        _, losses = network.measure([chip])
    expected = F.cross_entropy(expected, batches[0][1], reduction="none")
    torch.testing.assert_close(losses[0], expected)


def test_a_first_layer_in_groups():
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
    compare(nn.Sequential(*layers).eval(), images(shape=(4, 6, 6)))


def over_words(*layers):
    return nn.Sequential(nn.Embedding(9, 4), *layers, nn.Flatten(), nn.LazyLinear(5))


# Layers of other kinds: (network, an input's shape, whether chips run together).
KINDS = {
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3, 2), nn.GELU(), nn.Conv1d(4, 6, 2, groups=2), nn.AvgPool1d(2),
            nn.Flatten(), nn.LazyLinear(5),
        ), (3, 14), True,
    ),
    "conv3d": (
        lambda: nn.Sequential(
            nn.Conv3d(3, 4, (3, 1, 3), padding="same"), nn.SiLU(True), nn.MaxPool3d(2),
            nn.Conv3d(4, 2, 2), nn.Flatten(), nn.LazyLinear(5),
        ), (3, 4, 5, 4), True,
    ),
    "transposed convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, 2), nn.Flatten(),
            nn.LazyLinear(5),
        ), (3, 5, 5), False,
    ),
    "transposed convolution first": (
        lambda: nn.Sequential(nn.ConvTranspose1d(3, 2, 3), nn.Flatten(), nn.LazyLinear(5)),
        (3, 5), False,
    ),
    "layer-norm": (
        lambda: nn.Sequential(nn.Linear(7, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 5)),
        (7,), False,
    ),
    "group-norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.LazyLinear(5)
        ), (3, 5, 5), False,
    ),
    "words": (lambda: over_words(nn.Flatten(), nn.Linear(24, 7), nn.Tanh()), None, True),
    "words by position": (lambda: over_words(nn.Linear(4, 3), nn.ReLU()), None, False),
    "attention": (
        lambda: over_words(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), None, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_other_kinds(kind):
    build, shape, together = KINDS[kind]
    torch.manual_seed(0)
    model, (inputs, labels) = build().eval(), images(20, shape or (6,))[0]
    if shape is None:
        inputs = (inputs.abs() * 4).long().clamp(max=8)
    with torch.no_grad():
        model(inputs)
    network = Network(model, [(inputs, labels)], "cross_entropy")
    assert network.group == (GROUP if together else 1)
    chips = weights_of_chips(network)
    assert len(chips[0]) == sum(
        isinstance(m, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention)
        for m in model.modules()
    )
    with torch.no_grad():
        for first in range(0, GROUP, network.group):
            group = chips[first : first + network.group]
            for chip, found in zip(group, network.measure(group)[1], strict=True):
                outputs = torch.func.functional_call(model, chip, (inputs,))
                expected = F.cross_entropy(outputs, labels, reduction="none")
                torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("deployed", [True, False])
def test_chips_of_a_quantised_lenet_predict_as_each_alone(deployed):
    """Weights on the grid, or quantised in every forward; inputs of layers quantised."""
    torch.manual_seed(0)
    model, batches = LeNet().eval(), images(50, (1, 28, 28))
    quantise_activations(model, 4)
    calibrate(model, [x for x, _ in batches])
    quantise_weights(model, 4)
    assert parametrize.is_parametrized(model.conv1)
    if deployed:
        deploy(model)
    hardly_tipped(Network(model, batches, "cross_entropy"))


def hardly_tipped(network):
    """A value between two levels may go to either, by rounding: rarely, and by one level."""
    assert network.group == GROUP
    chips = weights_of_chips(network)
    with torch.no_grad():
        _, losses = network.measure(chips)
        alone = torch.cat([network.measure([chip])[1] for chip in chips])
    same = (losses - alone).abs() <= 1e-4 * (1 + alone)
    assert same.double().mean() > 0.98
    torch.testing.assert_close(losses, alone, rtol=0.2, atol=0.2)


def quantised_skip(m, x):
    """The quantiser of the second layer's input could write over what the sum uses."""
    y = F.relu(m.a(x))
    return m.fc(F.max_pool2d(y + m.b(y), 2).flatten(1))


def test_a_quantised_skip_connection():
    model, batches = made(quantised_skip), images(50)
    quantise_activations(model, 4)
    calibrate(model, [x for x, _ in batches])
    hardly_tipped(Network(model, batches, "cross_entropy"))


def test_losses_of_regression_are_those_of_each_chip_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    network = Network(model, [(torch.randn(40, 6), torch.randn(40, 2))], "mse")
    chips = weights_of_chips(network)
    with torch.no_grad():
        right, losses = network.measure(chips)
        alone = torch.cat([network.measure([chip])[1] for chip in chips])
    assert network.group == GROUP
    assert right.isnan().all()
    torch.testing.assert_close(losses, alone)


def test_large_networks_run_chip_by_chip():
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 10_000))
    network = Network(model, images(), "cross_entropy")
    assert network.group == 1


def test_a_network_that_changes_after_it_was_tried():
    """It predicts chip by chip on the images where it must."""

    def forward(m, x):
        y = m.a(x)
        return head(m, y.softmax(1) if len(x) > 2 else y)

    model, batches = made(forward), images()
    network = Network(model, batches, "cross_entropy")
    assert network.group == GROUP
    chips = weights_of_chips(network)
    with torch.no_grad():
        _, losses = network.measure(chips)
        for chip, found in zip(chips, losses, strict=True):
            outputs = torch.func.functional_call(model, chip, (batches[0][0],))
            expected = F.cross_entropy(outputs, batches[0][1], reduction="none")
            torch.testing.assert_close(found, expected)


def answers_of(forward):
    """A network's predictions by eight chips, twice, and those of a plain loop."""
    model, batches = made(forward), images()
    shown, weights = batches[0][0].clone(), copy.deepcopy(model.state_dict())
    expected = []
    with torch.no_grad():
        network = Network(model, batches, "cross_entropy")
        chips = weights_of_chips(network)
        for chip in chips:
            own = {name: weight.clone() for name, weight in chip.items()}
            outputs = torch.func.functional_call(copy.deepcopy(model), own, (shown.clone(),))
            expected.append(F.cross_entropy(outputs, batches[0][1], reduction="none"))
        groups = [chips[i : i + network.group] for i in range(0, GROUP, network.group)]
        first, second = (
            torch.cat([network.measure(group)[1] for group in groups]) for _ in range(2)
        )
    assert torch.equal(batches[0][0], shown)
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)
    torch.testing.assert_close(first, torch.stack(expected))
    torch.testing.assert_close(second, first)
    return network


@pytest.mark.parametrize("layer", ["a", "fc"])
def test_a_forward_that_writes_to_its_weights(layer):
    """What it writes is the effective weight: errors come behind it, and are not clamped."""

    def forward(m, x):
        getattr(m, layer).weight.data.clamp_(-0.1, 0.1)
        return head(m, m.a(x))

    network = Network(made(forward), images(), "cross_entropy")
    plain = Network(made(lambda m, x: head(m, m.a(x))), images(), "cross_entropy")
    assert network.group == 1
    assert network.targets[f"{layer}.weight"].abs().max() == 0.1
    for chip in weights_of_chips(plain):
        with torch.no_grad():
            torch.testing.assert_close(network.measure([chip])[1], plain.measure([chip])[1])


def test_a_forward_that_writes_to_its_images():
    assert answers_of(lambda m, x: head(m, m.a(x.mul_(2).add_(1)))).group == 1


def test_a_forward_that_looks_at_the_number_of_channels():
    """Chips' channels lie side by side; what that changes may be little."""

    def forward(m, x):
        y = m.a(x)
        return head(m, y * (1 + 3e-3 * y.shape[1] ** -0.5))

    assert answers_of(forward).group == 1


def test_a_network_that_changes_on_images_of_each_chip():
    """Answered chip by chip there; the images given as one tensor."""

    def forward(m, x):
        y = m.a(x)
        return head(m, y.softmax(1) if len(x) > 2 else y)

    network = Network(made(forward), images(), "cross_entropy")
    chips = weights_of_chips(network)
    positions = torch.arange(GROUP * 5).view(GROUP, 5) % 20
    with torch.no_grad():
        _, losses = network.measure(chips, positions)
        for chip, places, found in zip(chips, positions, losses, strict=True):
            torch.testing.assert_close(network.measure([chip], [places])[1][0], found)


@pytest.mark.parametrize("group", [1, GROUP])
def test_fewer_images_at_once_where_memory_is_short(group, monkeypatch):
    """The accelerator has room for five images; the predictions are the same."""
    monkeypatch.setattr(evaluator, "GROUP", group)
    seen = []

    def forward(m, x):
        seen.append(len(x))
        if len(x) > short[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return head(m, m.a(x))

    short = [100]
    network = Network(made(forward), images(), "cross_entropy")
    chips = weights_of_chips(network)[:group]
    assert network.group == group
    with torch.no_grad():
        plenty = network.measure(chips)
        short[0] = 5
        scarce = network.measure(chips)
        seen.clear()
        network.measure(chips)
        assert seen == [5] * 4
        short[0] = 0
        with pytest.raises(torch.OutOfMemoryError):
            network.measure(chips)
    assert torch.equal(plenty[0], scarce[0])
    torch.testing.assert_close(plenty[1], scarce[1])


@pytest.mark.parametrize("samples", [None, 12])
def test_a_chips_bytes_do_not_depend_on_where_the_run_begins(samples):
    model = made(TOGETHER["plain"])
    device = Device(sigma=0.1)

    def rows(start, count):
        made = stream(model, images(), device=device, first_chip=start, images=samples)
        return [next(made) for _ in range(count)]

    whole = rows(0, 21)
    assert [row[0] for row in whole] == list(range(21))
    assert rows(5, 7) == whole[5:12]
    assert rows(17, 4) == whole[17:]
    assert PILOT % GROUP == 0


def test_a_pass_takes_as_many_images_as_its_activations_allow():
    """LeNet's largest activation, of eight chips, has 48 x 28 x 28 elements an image."""
    seen = []
    model = LeNet().eval()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    network = Network(model, images(200, (1, 28, 28)), "cross_entropy")
    seen.clear()
    with torch.no_grad():
        network.measure(weights_of_chips(network))
        # As many as have room, in equal parts; then both parts are recorded, and tried.
        assert 3 * 2**19 // (48 * 28 * 28) == 41
        assert seen == [40, 40, 200, 200]
        seen.clear()
        network.measure(weights_of_chips(network))
        assert seen == []
        network.measure([network.targets])
        assert seen == [200]


def test_a_pass_with_large_activations_is_not_recorded(monkeypatch):
    """All of a block's activations would be in memory at once."""
    monkeypatch.setattr(evaluator, "_ROOM", {"cpu": (2**22, 20 * 48 * 28 * 28)})
    seen = []
    model = LeNet().eval()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    network = Network(model, images(200, (1, 28, 28)), "cross_entropy")
    seen.clear()
    with torch.no_grad():
        network.measure(weights_of_chips(network))
    assert seen == [20] * 10
    assert not network.passes.replays


def test_under_autocast_nothing_is_replayed():
    network = Network(LeNet().eval(), images(100, (1, 28, 28)), "cross_entropy")
    chips = weights_of_chips(network)
    with torch.no_grad():
        network.measure(chips)
        with torch.autocast("cpu", torch.bfloat16):
            _, losses = network.measure(chips)
            alone = torch.cat([network.measure([chip])[1] for chip in chips])
    torch.testing.assert_close(losses, alone, rtol=0.1, atol=0.1)


def test_groups_of_other_sizes_have_recordings_of_their_own():
    network = Network(LeNet().eval(), images(100, (1, 28, 28)), "cross_entropy")
    chips = weights_of_chips(network)
    with torch.no_grad():
        _, losses = network.measure(chips)
        _, fewer = network.measure(chips[:3])
    assert len(network.passes.replays) == 2
    assert None not in network.passes.replays.values()
    torch.testing.assert_close(fewer, losses[:3])
