"""Foreign networks on programmed chips, against copies of them with the same errors written in.

What is to be programmed is listed here by hand or by a plain rule: every parameter of more than one
dimension but for those named. Chips are compared one by one, so a weight left exact shows.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from torchvision import models

import swim
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask

CHIPS = 3


class Lambda(nn.Module):
    """Modules and a forward in one line."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def cells(m, x):
    state = (x.new_zeros(len(x), 24), torch.zeros(len(x), 24))
    for step in x.unbind(1):
        state = m.cell(step, state)
    return m.head(state[0])


def by_hand(m, x):
    h = torch.zeros(len(x), 24)
    for step in x.unbind(1):
        h = torch.tanh(step @ m.W.T + h @ m.U.T)
    return m.head(h)


def routed(m, x):
    choice = m.gate(x).argmax(1)
    out = x.new_zeros(len(x), 4)
    for number, expert in enumerate(m.experts):
        mine = (choice == number).nonzero()[:, 0]
        out[mine] = expert(x[mine])
    return out


def decoder(m, x):
    memory = m.embed(x)
    return m.head(m.layer(m.query.expand(len(x), -1, -1), memory).mean(1))


def language(m, x):
    return F.linear(m.norm(m.body(m.table(x)).mean(1)), m.table.weight)


def unet(m, x):
    a = torch.relu(m.down(x))
    b = torch.relu(m.bottom(F.max_pool2d(a, 2)))
    return m.out(torch.cat([a, m.up(b)], 1)).mean((2, 3))


def blurred(m, x):
    x = torch.relu(m.conv(x))
    return m.head(F.conv2d(x, m.kernel.expand(6, 1, 3, 3), groups=6).flatten(1))


def standardised(m, x):
    w = m.conv.weight
    w = (w - w.mean((1, 2, 3), True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    return m.head(torch.relu(F.conv2d(x, w)).flatten(1))


def siamese(m, x):
    a, b = x.chunk(2, 1)
    return m.head(torch.cat([torch.relu(m.body(a)), torch.relu(m.body(b))], 1))


def sequence():
    return torch.randn(24, 6, 5)


def pictures(size=32):
    return torch.randn(16, 3, size, size)


def small():
    return torch.randn(24, 10)


LINEAR = {"head": (24, 4)}
# name -> network, inputs, parameters of more than one dimension that are digital
FOREIGN = {
    "resnet18": (lambda: models.resnet18(num_classes=5), pictures, ()),
    "mobilenet_v3": (lambda: models.mobilenet_v3_small(num_classes=5), pictures, ()),
    "shufflenet": (lambda: models.shufflenet_v2_x0_5(num_classes=5), pictures, ()),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=5), pictures, ()),
    "mnasnet": (lambda: models.mnasnet0_5(num_classes=5), pictures, ()),
    "efficientnet": (lambda: models.efficientnet_b0(num_classes=5), pictures, ()),
    "regnet": (lambda: models.regnet_y_400mf(num_classes=5), pictures, ()),
    "vit": (
        lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
        pictures,
        ("class_token", "encoder.pos_embedding"),
    ),
    "swin": (
        lambda: models.SwinTransformer([2, 2], 8, [2, 1], [1, 2], [4, 4], num_classes=5),
        pictures,
        ("relative_position_bias_table",),
    ),
    "convnext": (
        lambda: models.ConvNeXt(
            [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)],
            num_classes=5,
        ),
        pictures,
        ("layer_scale",),
    ),
    "lstm": (
        lambda: Lambda(lambda m, x: m.head(m.body(x)[0][:, -1]), head=nn.Linear(24, 4),
                       body=nn.LSTM(5, 24, 2, batch_first=True)), sequence, ()),
    "gru": (
        lambda: Lambda(lambda m, x: m.head(m.body(x)[1].transpose(0, 1).flatten(1)),
                       head=nn.Linear(24, 4),
                       body=nn.GRU(5, 12, batch_first=True, bidirectional=True)), sequence, ()),
    "lstm cell": (lambda: Lambda(cells, cell=nn.LSTMCell(5, 24), head=nn.Linear(24, 4)),
                  sequence, ()),
    "recurrence by hand": (
        lambda: Lambda(by_hand, W=nn.Parameter(torch.randn(24, 5)),
                       U=nn.Parameter(torch.randn(24, 24) / 5), head=nn.Linear(24, 4)),
        sequence, ()),
    "attention": (
        lambda: Lambda(lambda m, x: m.head(m.body(m.embed(x), m.embed(x), m.embed(x))[0].mean(1)),
                       embed=nn.Linear(5, 24), body=nn.MultiheadAttention(24, 3, batch_first=True),
                       head=nn.Linear(24, 4)), sequence, ()),
    "encoder": (
        lambda: Lambda(lambda m, x: m.head(m.body(m.embed(x)).mean(1)), embed=nn.Linear(5, 24),
                       body=nn.TransformerEncoder(nn.TransformerEncoderLayer(
                           24, 3, 32, batch_first=True, norm_first=True), 2,
                           enable_nested_tensor=False), head=nn.Linear(24, 4)), sequence, ()),
    "decoder": (
        lambda: Lambda(decoder, embed=nn.Linear(5, 24), query=nn.Parameter(torch.randn(1, 3, 24)),
                       layer=nn.TransformerDecoderLayer(24, 3, 32, batch_first=True),
                       head=nn.Linear(24, 4)), sequence, ("query",)),
    "language model, tied": (
        lambda: Lambda(language, table=nn.Embedding(11, 24), norm=nn.LayerNorm(24),
                       body=nn.Linear(24, 24)), lambda: torch.randint(0, 11, (24, 6)), ()),
    "experts": (
        lambda: Lambda(routed, gate=nn.Linear(10, 3), experts=nn.ModuleList(
            nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 4)) for _ in range(3))),
        small, ()),
    "u-net": (
        lambda: Lambda(unet, down=nn.Conv2d(3, 6, 3, padding=1),
                       bottom=nn.Conv2d(6, 8, 3, padding=1),
                       up=nn.ConvTranspose2d(8, 6, 2, 2), out=nn.Conv2d(12, 4, 1)),
        lambda: pictures(8), ()),
    "siamese": (lambda: Lambda(siamese, body=nn.Linear(5, 12), head=nn.Linear(24, 4)), small, ()),
}  # fmt: skip


def in_place_of(model, weights):
    """A copy of the model whose parameters have other values."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in weights.items():
            made.get_parameter(name).copy_(weight)
    return made


def on_chips(model, x, y, targets, device, write):
    """Mean loss and accuracy of each chip: errors drawn by name, written in, then plain PyTorch."""
    found = []
    for index in range(CHIPS):
        chip = VerifyMask({}).program(Chip(targets, device, 0, index)).weights
        with torch.no_grad():
            outputs = write(model, chip)(x)
        found.append([float(F.cross_entropy(outputs, y)),
                      float((outputs.argmax(1) == y).double().mean())])  # fmt: skip
    return torch.tensor(found, dtype=torch.float64)


def compare(model, x, targets, write):
    with torch.no_grad():
        y = model(x).argmax(1)
    device = swim.Device(sigma=0.2, M=4, K=4)
    expected = on_chips(model, x, y, targets, device, write)
    found = swim.evaluate(model, [(x, y)], device=device, chips=CHIPS)
    assert set(found.programmed) == set(targets)
    torch.testing.assert_close(found.loss, expected[:, 0], rtol=2e-3, atol=1e-4)
    assert (found.accuracy - expected[:, 1]).abs().max() <= 1.01 / len(x)  # a tie, at most


@pytest.mark.parametrize("name", FOREIGN)
def test_chips_are_those_with_the_same_errors_written_in(name):
    make, inputs, digital = FOREIGN[name]
    torch.manual_seed(1)
    model, x = make().eval(), inputs()
    targets = {
        name: p.detach()
        for name, p in model.named_parameters()
        if p.dim() > 1 and not any(part in name for part in digital)
    }
    write = in_place_of
    if "tied" in name:  # the table that is read stays exact

        def write(model, chip):
            made = in_place_of(model, {n: w for n, w in chip.items() if n != "table.weight"})
            made.run = lambda m, x: F.linear(
                m.norm(m.body(model.table(x)).mean(1)), chip["table.weight"]
            )
            return made

    compare(model, x, targets, write)


def test_a_buffer_that_is_convolved_with_is_programmed():
    torch.manual_seed(1)
    model = Lambda(blurred, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(96, 4)).eval()
    kernel = torch.tensor([1.0, 2, 1])
    model.register_buffer("kernel", (kernel[:, None] * kernel)[None, None] / 16)
    targets = {"conv.weight": model.conv.weight.detach(), "kernel": model.kernel,
               "head.weight": model.head.weight.detach()}  # fmt: skip

    def write(model, chip):
        made = in_place_of(model, {n: w for n, w in chip.items() if n != "kernel"})
        made.kernel = chip["kernel"]
        return made

    compare(model, pictures(8), targets, write)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", [weight_norm, parametrizations.weight_norm])
def test_a_normed_weight_gets_its_error_behind_the_norm(norm):
    torch.manual_seed(1)
    model = nn.Sequential(norm(nn.Linear(10, 16)), nn.ReLU(), nn.Linear(16, 4)).eval()
    effective = (model[0](torch.eye(10)) - model[0].bias).T.detach().clone()
    plain = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        plain[0].weight.copy_(effective)
        plain[0].bias.copy_(model[0].bias)
        plain[2].load_state_dict(model[2].state_dict())
    targets = {"0.weight": effective, "2.weight": model[2].weight.detach()}
    compare(model, small(), targets, lambda model, chip: in_place_of(plain, chip))


def test_a_standardised_weight_gets_its_error_behind_the_standardisation():
    torch.manual_seed(1)
    model = Lambda(standardised, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(216, 4)).eval()
    w = model.conv.weight.detach()
    effective = (w - w.mean((1, 2, 3), True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)

    def write(model, chip):
        plain = Lambda(
            lambda m, x: F.linear(torch.relu(F.conv2d(x, chip["conv.weight"])).flatten(1),
                                  chip["head.weight"], model.head.bias),
        )  # fmt: skip
        return plain.eval()

    targets = {"conv.weight": effective, "head.weight": model.head.weight.detach()}
    compare(model, pictures(8), targets, write)
