"""The recursion against its slow twin: every rule, every operation on the allow-list."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import swim
from swim.curvature import recursion, rules
from swim.curvature.estimate import second_derivative
from swim.curvature.rules import (
    arithmetic,
    attention,
    averages,
    contractions,
    elementwise,
    interpolation,
    norms,
    products,
)
from swim.errors import DataError, UnsupportedOperationError
from tests.reference import networks, twin

KINDS = list(networks.NETWORKS)
# Torch's own remark on the network, not on us.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def compare(found, expected, rtol):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == torch.float64
        np.testing.assert_allclose(found[name].numpy(), value, rtol=rtol, atol=0, err_msg=name)


def of(model, x, loss="cross_entropy"):
    return second_derivative(model, [(x, None)], loss=loss)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_loops_over_units(kind, loss):
    model, x = networks.build(kind, seed=1), networks.inputs(1)
    outputs, expected = twin.second_derivatives(
        twin.twin_of(model, conv=twin.Units), x.numpy(), loss
    )
    np.testing.assert_allclose(model(x).detach().numpy(), outputs, rtol=1e-10)
    compare(of(model, x, loss), expected, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_twins_agree(kind):
    model, x = networks.build(kind, seed=2), networks.inputs(2, count=2).numpy()
    _, slow = twin.second_derivatives(twin.twin_of(model, conv=twin.Units), x)
    _, fast = twin.second_derivatives(twin.twin_of(model, conv=twin.Conv), x)
    for name in slow:
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-10)


def test_torchvisions_resnet18_unmodified():
    torch.manual_seed(3)
    model = torchvision.models.resnet18().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    outputs, expected = twin.second_derivatives(twin.twin_of_resnet(model), x.numpy())
    np.testing.assert_allclose(model(x).detach().numpy(), outputs, rtol=1e-9)
    found = of(model, x)
    assert set(found) == set(expected)
    assert sum(value.numel() for value in found.values()) == 11_678_912
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-9, atol=1e-30, err_msg=name)


@pytest.mark.parametrize("kind", ["skip", "average pool"])
def test_batching_changes_nothing(kind):
    model, x = networks.build(kind), networks.inputs(count=7)
    whole = of(model, x)
    split = second_derivative(model, [(part, None) for part in x.split([1, 4, 2])])
    labelled = torch.utils.data.TensorDataset(x, torch.zeros(len(x), dtype=torch.long))
    loader = torch.utils.data.DataLoader(labelled, batch_size=3)
    loaded = second_derivative(model, loader)
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-12, atol=0)
        torch.testing.assert_close(loaded[name], whole[name], rtol=1e-12, atol=0)


def test_sensitivity_is_scaled_by_the_layers_full_scale():
    model, x = networks.build("batch-norm"), networks.inputs()
    raw, scores = of(model, x), swim.sensitivity(model, [(x, None)], estimator="recursion")
    for name, value in raw.items():
        top = model.get_parameter(name).abs().max() ** 2
        torch.testing.assert_close(scores[name], value * top)


def test_a_confident_softmax_keeps_its_small_curvature():
    logits = torch.tensor([[40.0, 0.0, -3.0]], dtype=torch.float32)
    from swim.curvature.losses import output_curvature

    others = np.exp([-40.0, -43.0])
    expected = np.array([others.sum(), others[0], others[1]])
    found = output_curvature("cross_entropy", logits)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def sized(factor, seed=0):
    """Three layers whose last is so large, or whose first is, that float32 is left."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(),
                          nn.Linear(30, 5))  # fmt: skip
    with torch.no_grad():
        for name, value in factor.items():
            model.get_parameter(name).mul_(value)
    return model, torch.randn(40, 20)


@pytest.mark.parametrize(
    ("factor", "loss"),
    [
        ({"4.weight": 3e3}, "cross_entropy"),  # p (1 - p) is about 1e-60
        ({"2.weight": 1e-9, "4.weight": 1e-9}, "mse"),  # squares vanish
        ({"2.weight": 1e7, "4.weight": 1e7}, "mse"),  # what the first scale makes too large
    ],
    ids=["confident", "small weights", "large weights"],
)
def test_single_precision_loses_nothing_to_its_range(factor, loss):
    model, x = sized(factor)
    found = second_derivative(model, [(x, None)], loss=loss)
    expected = second_derivative(model.double(), [(x.double(), None)], loss=loss)
    for name, value in expected.items():
        assert (value > 0).double().mean() > 0.3
        # Sums of samples that cancel nothing: relative errors stay near float32's.
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=float(value.max()) * 1e-9)
        assert (found[name][value > value.max() * 1e-30] > 0).all()


@pytest.mark.parametrize("factor", [{"2.weight": float("nan")}, {"2.weight": 1e30}])
def test_what_is_not_finite_is_an_error(factor):
    model, x = sized(factor)
    with pytest.raises(DataError, match="not finite"):
        second_derivative(model, [(x, None)], loss="mse")


# --- arithmetic in the forward ---------------------------------------------------------------


class Between(nn.Module):
    """A convolution, some arithmetic on two branches, a linear layer."""

    def __init__(self, combine):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.conv = nn.Conv2d(4, 3, 3, padding=1)
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.fc = nn.Linear(126, 5)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.3
        self.double().eval()
        self.combine = combine

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.fc(self.combine(self.a(x), self.b(x)).flatten(1))


def in_place(a, b):
    a *= 6
    a /= 2
    b *= torch.full((7, 6), 2.0)
    a -= b
    return a


ARITHMETIC = {
    "a + b": (lambda a, b: a + b, (1, 1)),
    "a - b": (lambda a, b: a - b, (1, -1)),
    "b.rsub(a)": (lambda a, b: torch.rsub(b, a), (1, -1)),
    "sub alpha": (lambda a, b: torch.sub(a, b, alpha=2), (1, -2)),
    "-a + b": (lambda a, b: -a + b, (-1, 1)),
    "add alpha": (lambda a, b: torch.add(a, b, alpha=3), (1, 3)),
    "add_ alpha": (lambda a, b: a.add_(b, alpha=3), (1, 3)),
    "a += b": (lambda a, b: a.__iadd__(b), (1, 1)),
    "3 * a - b / 4": (lambda a, b: 3 * a - b / 4, (3, -0.25)),
    "5 - a - 5 + b": (lambda a, b: 5 - a - 5 + b, (-1, 1)),
    "a * constant tensor": (lambda a, b: a * torch.full((7, 6), -2.0) + b, (-2, 1)),
    "in place": (lambda a, b: a.mul_(6).div_(2).sub_(b, alpha=2), (3, -2)),
    "operators in place": (in_place, (3, -2)),
    "stack, sum": (lambda a, b: torch.stack([a, b]).sum(0), (1, 1)),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_recursion_through_sums_and_differences_equals_the_twin(name):
    combine, factors = ARITHMETIC[name]
    model, x = Between(combine), networks.inputs(4)
    parts = {key: twin.twin_of(getattr(model, key), key) for key in ("conv", "a", "b", "fc")}
    whole = [parts["conv"], twin.ReLU(), twin.Sum([parts["a"], parts["b"]], factors)]
    _, expected = twin.second_derivatives(
        twin.Chain([*whole, twin.Flatten(), parts["fc"]]), x.numpy()
    )
    found = of(model, x)
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key].numpy(), value, rtol=1e-9, err_msg=key)


def test_subtracting_the_mean():
    class Mean(twin.Layer):
        def run(self, x):
            self.count, self.shape = x.size, x.shape
            return np.full(x.shape, x.mean())

        def back(self, h):
            return np.full(self.shape, h.sum() / self.count**2)

    model, x = Between(lambda a, b: a - a.mean() + 0 * b), networks.inputs(4, count=1)
    chain = [
        twin.twin_of(model.conv, "conv"), twin.ReLU(), twin.twin_of(model.a, "a"),
        twin.Sum([twin.Identity(), Mean()], [1, -1]), twin.Flatten(), twin.twin_of(model.fc, "fc"),
    ]  # fmt: skip
    _, expected = twin.second_derivatives(twin.Chain(chain), x.numpy())
    found = of(model, x)
    assert found.pop("b.weight").abs().max() == 0
    for key, value in expected.items():
        np.testing.assert_allclose(found[key].numpy(), value, rtol=1e-9, err_msg=key)


def test_a_tied_weight_adds_its_uses():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(4, 4, bias=False).double()

        def forward(self, x):
            return self.w(torch.relu(self.w(x)))

    model = Tied().eval()
    x = torch.randn(3, 4, dtype=torch.float64)
    w = model.w.weight.detach().numpy()
    chain = twin.Chain([twin.Linear("1", w, None), twin.ReLU(), twin.Linear("2", w, None)])
    _, expected = twin.second_derivatives(chain, x.numpy())
    found = of(model, x)
    np.testing.assert_allclose(found["w.weight"].numpy(), expected["1"] + expected["2"], rtol=1e-10)


def test_fake_quantised_weights_and_activations():
    """Straight-through: h passes inside the range; the weight that counts is the rounded one."""
    weight, x = torch.randn(5, 8, dtype=torch.float32), torch.randn(6, 8) * 2

    class Quantised(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 5, bias=False)
            self.second.weight.data = weight

        def forward(self, x):
            hidden = torch.fake_quantize_per_tensor_affine(self.first(x), 0.25, 3, 0, 15)
            rounded = torch.fake_quantize_per_tensor_affine(self.second.weight, 0.2, 0, -7, 7)
            return torch.nn.functional.linear(hidden, rounded)

    model = Quantised().eval()
    found = of(model, x)
    hidden = model.first(x).detach().double().numpy()
    levels = np.round(hidden / 0.25) + 3
    inside = (levels >= 0) & (levels <= 15)
    quantised = (np.clip(levels, 0, 15) - 3) * 0.25
    w = (np.clip(np.round(weight.numpy() / np.float32(0.2)), -7, 7) * 0.2).astype(np.float64)
    h = twin.start(quantised @ w.T, "cross_entropy")
    assert list(found) == ["first.weight", "second.weight"]
    np.testing.assert_allclose(found["second.weight"], h.T @ quantised**2, rtol=1e-4)
    h_hidden = (h @ w**2) * inside
    expected = h_hidden.T @ x.double().numpy() ** 2
    np.testing.assert_allclose(found["first.weight"], expected, rtol=1e-4, atol=1e-7)


# --- mutation: autograd's own backward in place of any rule is noticed -------------------------

# Each rule with a network, or an arithmetic, that uses it.
WITNESS = {
    products.linear: "two hidden",
    products.convolution: "convolution",
    products.transposed_convolution: "transposed conv2d",
    norms.batch_norm: "batch-norm",
    norms.layer_norm: "layer-norm",
    norms.rms_norm: "rms-norm",
    norms.group_norm: "group-norm",
    norms.instance_norm: "instance-norm",
    averages.avg_pool: "average pool",
    averages.avg_pool1d: "conv1d",
    averages.adaptive_avg_pool: "adaptive pool",
    averages.mean: lambda a, b: a - a.mean((1, 2, 3), True) + b,
    elementwise.elementwise: "gate",
    arithmetic.add: lambda a, b: torch.add(a, b, alpha=3),
    arithmetic.add_in_place: lambda a, b: a.add_(b, alpha=3),
    arithmetic.sub: lambda a, b: a - b,
    arithmetic.sub_in_place: lambda a, b: a.sub_(b, alpha=3),
    arithmetic.rsub: lambda a, b: torch.rsub(b, a),
    arithmetic.neg: lambda a, b: -a + b,
    arithmetic.mul: lambda a, b: 3 * a + b,
    arithmetic.mul_in_place: lambda a, b: a.mul_(3) + b,
    arithmetic.div: lambda a, b: a / 3 + b,
    arithmetic.div_in_place: lambda a, b: a.div_(3) + b,
    arithmetic.rdiv: lambda a, b: 3 / (a + 9) + b,
    # Of two equals each counts a quarter, where autograd halves.
    arithmetic.maximum: lambda a, b: torch.maximum(a, a.clone()) + b,
    arithmetic.minimum: lambda a, b: torch.minimum(a, a.clone()) + b,
    attention.softmax: lambda a, b: a.softmax(1) + b,
    attention.softmin: lambda a, b: nn.functional.softmin(a, 1) + b,
    attention.log_softmax: lambda a, b: a.log_softmax(1) + b,
    attention.attention: (lambda a, b: nn.functional.scaled_dot_product_attention(a, b, b)),
    contractions.product: lambda a, b: a @ (b.mT @ b),
    contractions.sum_and_product: lambda a, b: torch.baddbmm(
        a.flatten(0, 1), b.flatten(0, 1), (b.mT @ b).flatten(0, 1)
    ).view_as(a),
    interpolation.interpolate: lambda a, b: (
        nn.functional.interpolate(a[..., 1:], (7, 6), mode="bilinear") + b
    ),
}


def test_every_rule_has_a_witness():
    assert set(WITNESS) == set(rules.RULES.values())


@pytest.mark.parametrize("rule", WITNESS, ids=lambda rule: rule.__name__)
def test_autograds_own_backward_in_place_of_a_rule_is_noticed(rule, monkeypatch):
    witness = WITNESS[rule]
    model = networks.build(witness, 1) if isinstance(witness, str) else Between(witness)
    x = networks.inputs(1)
    right = of(model, x)
    plain = {
        func: (lambda func, *args, **kwargs: func(*args, **kwargs)) if r is rule else r
        for func, r in rules.RULES.items()
    }
    monkeypatch.setattr(recursion, "RULES", plain)
    with pytest.raises(UnsupportedOperationError):
        of(model, x)
    # Without the guard, the numbers themselves are wrong.
    monkeypatch.setattr(recursion, "check_graph", lambda outputs, leaves: None)
    wrong = of(model, x)
    assert any(not torch.allclose(wrong[name], right[name], rtol=1e-6, atol=0) for name in right)


# --- what must be refused ----------------------------------------------------------------------


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return grad * 3 * ctx.saved_tensors[0] ** 2


class Stealthy(torch.autograd.Function):
    """Named like one of ours."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


Stealthy.__name__ = Stealthy.__qualname__ = "SquaredLinear"


def hidden_product(a, b):
    with torch.no_grad():
        factor = a.mean()
    return a * factor + b


REFUSED = {
    "power of an activation": lambda a, b: 2**a + b,
    "exponent": lambda a, b: torch.pow(a, b),
    "product of three": lambda a, b: torch.einsum("nchw,nchw,nchw->nchw", a, b, b),
    "mask that is an activation": lambda a, b: nn.functional.scaled_dot_product_attention(
        a, b, b, attn_mask=a @ b.mT
    ),
    "rounding": lambda a, b: a.div_(3, rounding_mode="floor") + b,
    "slope that is an activation": lambda a, b: nn.functional.prelu(a, b.mean((0, 2, 3))) + b,
    "one value made several": lambda a, b: torch.pow(a, torch.full((2, 1, 1, 1, 1), 2)).sum(0) + b,
    "activation written into a part": lambda a, b: nn.functional.silu(a[:, :1], inplace=True) + b,
    "activation that a view shows": lambda a, b: (a.view(-1), torch.tanh_(a))[0].view_as(a) + b,
    "dropout": lambda a, b: nn.functional.dropout(a, 0.5, training=True) + b,
    "detach": lambda a, b: a.detach() + b,
    "data": lambda a, b: a.data + b,
    "no_grad": hidden_product,
    "clamp by a tensor": lambda a, b: torch.clamp(a, min=b),
    "item": lambda a, b: a + b * a.sum().item(),
    "assignment": lambda a, b: a.__setitem__(0, b[0]) or a,
    "copying": lambda a, b: a.copy_(b),
    "custom function": lambda a, b: Cube.apply(a) + b,
    "custom function of a known name": lambda a, b: Stealthy.apply(a) + b,
}


@pytest.mark.parametrize("name", REFUSED)
def test_recursion_refuses_operations_without_a_rule_and_names_another_estimator(name):
    company = dict.fromkeys(["item", "no_grad", "slope that is an activation"], "share a batch")
    text = {"dropout": "random numbers", **company}
    with pytest.raises(
        UnsupportedOperationError, match=text.get(name, 'estimator="gauss_newton_probe"')
    ):
        of(Between(REFUSED[name]), networks.inputs())


def scripted_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a - b


def test_scripted_and_traced_parts_are_refused():
    function = torch.jit.script(scripted_difference)
    with pytest.raises(UnsupportedOperationError):
        of(Between(function), networks.inputs())
    block = nn.Sequential(nn.Linear(5, 5), nn.ReLU()).double()
    for compiled in (
        torch.jit.script(block),
        torch.jit.trace(block, torch.randn(1, 5, dtype=torch.float64)),
    ):
        model = nn.Sequential(networks.build("convolution"), compiled, nn.Linear(5, 5).double())
        with pytest.raises(UnsupportedOperationError, match="scripted or traced"):
            of(model, networks.inputs())
        labels = torch.zeros(len(networks.inputs()), dtype=torch.long)
        with pytest.raises(UnsupportedOperationError, match="scripted or traced"):
            swim.evaluate(model, [(networks.inputs(), labels)], device=swim.Device(sigma=0.1))


def test_batch_statistics_are_refused():
    class Own(nn.BatchNorm2d):
        def forward(self, x):
            return nn.functional.batch_norm(x, None, None, self.weight, self.bias, True)

    model = nn.Sequential(nn.Conv2d(4, 3, 3), Own(3), nn.Flatten(), nn.Linear(60, 5)).double()
    with pytest.raises(UnsupportedOperationError, match="running"):
        of(model, networks.inputs())


def test_unknown_operations_on_the_images_themselves_are_fine():
    class Preprocessing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = networks.build("convolution")

        def forward(self, x):
            return self.net(torch.tanh(x) * x)

    x = networks.inputs()
    found = of(Preprocessing(), x)
    expected = of(networks.build("convolution"), torch.tanh(x) * x)
    for name, value in expected.items():
        torch.testing.assert_close(found[f"net.{name}"], value)


def test_wrong_arguments_of_second_derivative_are_named():
    model = networks.build("linear")
    with pytest.raises(swim.SwimError, match="known: recursion"):
        second_derivative(model, [(networks.inputs(), None)], estimator="recursoin")
    with pytest.raises(swim.SwimError, match="cross_entropy, mse"):
        of(model, networks.inputs(), loss="hinge")
    with pytest.raises(swim.SwimError, match="empty"):
        second_derivative(model, [])
    with pytest.raises(swim.SwimError, match="pair"):
        second_derivative(model, [networks.inputs()])
    with pytest.raises(swim.SwimError, match="no linear or convolutional"):
        of(nn.Flatten(), networks.inputs())
