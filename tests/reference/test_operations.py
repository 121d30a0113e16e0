"""Every function that the recursion lets through, against its Jacobian, squared entry by entry."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swim.curvature import rules, zero_one_operations
from swim.curvature.estimate import second_derivative
from swim.errors import DataError
from swim.networks.weights.operations import operation_name

KERNEL = {
    "max_pool1d": 1, "avg_pool1d": 1, "adaptive_max_pool1d": 1, "adaptive_avg_pool1d": 1,
    "max_pool2d": 2, "avg_pool2d": 2, "adaptive_max_pool2d": 2, "adaptive_avg_pool2d": 2,
    "max_pool3d": 3, "avg_pool3d": 3, "adaptive_max_pool3d": 3, "adaptive_avg_pool3d": 3,
}  # fmt: skip


def first(found):
    return found[0] if isinstance(found, tuple) else found


def line(start, stop, count):
    return torch.linspace(start, stop, count, dtype=torch.float64)


def joined(parts):
    return torch.cat([part.flatten() * (i + 1) for i, part in enumerate(parts)])


# How a function of this name is called on x of shape (2, 4, 4, 3); just on x where none is given.
CALLS = {
    "clamp": lambda f, x: f(x, -0.5, 0.7),
    "clamp_": lambda f, x: f(x, max=0.7),
    "fake_quantize_per_tensor_affine": lambda f, x: f(x, 0.25, 3, 0, 7),
    "fake_quantize_per_channel_affine": lambda f, x: f(
        x, torch.tensor([0.2, 0.3, 0.1, 0.2]), torch.tensor([0, 1, 2, 3]).int(), 1, 0, 7
    ),
    "flatten": lambda f, x: f(x, 1, 2),
    "unflatten": lambda f, x: f(x, 1, (2, 2)),
    "reshape": lambda f, x: f(x, (2, -1, 3)),
    "view": lambda f, x: f(x, 2, -1, 6),
    "view_as": lambda f, x: f(x, torch.empty(3, 32)),
    "reshape_as": lambda f, x: f(x, torch.empty(3, 32)),
    "squeeze": lambda f, x: f(x[:, :1], 1),
    "unsqueeze": lambda f, x: f(x, 1),
    "permute": lambda f, x: f(x, (2, 0, 3, 1)),
    "transpose": lambda f, x: f(x, 1, 2),
    "swapaxes": lambda f, x: f(x, 1, 2),
    "movedim": lambda f, x: f(x, 1, 3),
    "t": lambda f, x: f(x[0, 0]),
    "cat": lambda f, x: f([x, 3 * x], 1),
    "concat": lambda f, x: f([x, 3 * x], 1),
    "concatenate": lambda f, x: f([x, 3 * x], 1),
    "stack": lambda f, x: f([x, 3 * x], 1),
    "chunk": lambda f, x: joined(f(x, 2, 1)),
    "split": lambda f, x: joined(f(x, [1, 3], 1)),
    "unbind": lambda f, x: joined(f(x, 1)),
    "narrow": lambda f, x: f(x, 2, 1, 2),
    "select": lambda f, x: f(x, 2, 1),
    "__getitem__": lambda f, x: f(x, (slice(None), slice(1, None), torch.tensor([0, 0, 2]))),
    "expand": lambda f, x: f(x[:, :1], 2, 5, 4, 3),
    "expand_as": lambda f, x: f(x[:, :1], torch.empty(2, 5, 4, 3)),
    "repeat": lambda f, x: f(x, 1, 2, 1, 3),
    "roll": lambda f, x: f(x, 1, 2),
    "flip": lambda f, x: f(x, (1, 3)),
    "to": lambda f, x: f(x, torch.float32),
    "type_as": lambda f, x: f(x, torch.empty(1)),
    "pad": lambda f, x: joined(
        [f(x[:, :1], (1, 2, 0, -1), value=5.0)]
        + [f(x[:, i, 0], (1, 2), mode) for i, mode in ((1, "reflect"), (2, "replicate"))]
        + [f(x[:, 3], (1, 2, 1, 0), mode) for mode in ("reflect", "replicate")]
    ),
    "pixel_shuffle": lambda f, x: f(x, 2),
    "pixel_unshuffle": lambda f, x: f(x, 2) if x.shape[-1] % 2 == 0 else f(x[..., :2], 2),
    "channel_shuffle": lambda f, x: f(x, 2),
    "sum": lambda f, x: f(x, (1, 2)),
    "mean": lambda f, x: joined([f(x[0], (1, 2)), f(x[1])]),
    "batch_norm": lambda f, x: f(
        x, line(0, 1, 4), line(1, 3, 4), line(-1, 2, 4), None
    ),
    "layer_norm": lambda f, x: joined(
        [f(x[0], (4, 3), line(-1, 2, 12).view(4, 3)), f(x[1], [3], eps=0.1)]
    ),
    "rms_norm": lambda f, x: joined(
        [f(x[0], (4, 3), line(-1, 2, 12).view(4, 3)), f(x[1], [3], eps=0.1)]
    ),
    "group_norm": lambda f, x: joined([f(x[:1], 2, line(-1, 2, 4), line(1, 2, 4)), f(x[1:], 4)]),
    "instance_norm": lambda f, x: joined(
        [
            f(x[:1], weight=line(-1, 2, 4)),
            f(x[1:], line(0, 1, 4), line(1, 2, 4), use_input_stats=False),
        ]
    ),
    "softplus": lambda f, x: f(x, 2.0),
    "softshrink": lambda f, x: f(x, 0.3),
    "hardshrink": lambda f, x: f(x, 0.3),
    "leaky_relu": lambda f, x: f(x, 0.2, True),
    "prelu": lambda f, x: f(x, line(-0.2, 1, 4)),
    "pow": lambda f, x: f(x, 3),
    "pow_": lambda f, x: f(x, 3),
    "__pow__": lambda f, x: f(x, torch.tensor([2.0, 3.0, 1.0])),
    "sqrt": lambda f, x: f(x + 9),
    "log": lambda f, x: f(x + 9),
    "dropout": lambda f, x: f(x, 0.5, False),
    "dropout1d": lambda f, x: f(x[0], 0.5, False),
    "feature_alpha_dropout": lambda f, x: f(x, 0.5, False),
    "alpha_dropout": lambda f, x: f(x, 0.5, False),
    "dropout2d": lambda f, x: f(x, 0.5, False),
    "dropout3d": lambda f, x: f(x, 0.5, training=False),
    **dict.fromkeys(
        ("add", "sub", "subtract", "rsub", "add_", "sub_"),
        lambda f, x: f(x, torch.linspace(1, 2, 3), alpha=3),
    ),
    **dict.fromkeys(
        ("mul", "multiply", "div", "divide", "true_divide", "mul_", "div_", "__add__", "__radd__",
         "__iadd__", "__sub__", "__rsub__", "__isub__", "__mul__", "__rmul__", "__imul__",
         "__truediv__"),
        lambda f, x: f(x, torch.linspace(1, 2, 3)),
    ),
}  # fmt: skip


def call_of(func):
    name = operation_name(func).removesuffix("_with_indices")
    name = inspect.unwrap(func).__name__ if name == "F.max_pool with return_indices" else name
    dims = KERNEL.get(name)
    if dims:
        shapes = {1: (2, 4, 12), 2: (2, 4, 4, 3), 3: (2, 2, 2, 4, 3)}
        return lambda x: first(func(x.view(shapes[dims]), 2))
    call = CALLS.get(name, lambda f, x: f(x))
    return lambda x: call(func, x)


FUNCTIONS = sorted(
    (zero_one_operations.FUNCTIONS | zero_one_operations._DROPOUTS | set(rules.RULES))
    - set(rules.LAYERS),
    key=operation_name,
)


class Probe(nn.Module):
    """The function of a weight, each value of its result weighted differently."""

    def __init__(self, x, run):
        super().__init__()
        self.weight, self.shape, self.run = nn.Parameter(x.reshape(-1, 1)), x.shape, run

    def forward(self, one):
        x = F.linear(one, self.weight).view(self.shape) * 1
        out = self.run(x)
        return (out * factors(out)).reshape(1, -1)


def factors(out):
    return torch.linspace(0.5, 2, out.numel()).to(out).reshape(out.shape)


def both(run, x):
    """The recursion's result, and that of the Jacobian itself."""
    found = second_derivative(Probe(x, run), [(torch.ones(1, 1, dtype=x.dtype), None)], loss="mse")[
        "weight"
    ].reshape(x.shape)
    x = x.double()
    jacobian = torch.autograd.functional.jacobian(lambda x: run(x * 1).double(), x)
    h = 2 * factors(run(x * 1).double()) ** 2
    expected = torch.tensordot(h, jacobian.square(), h.dim())
    return found, expected


def a_tensor(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 4, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("func", FUNCTIONS, ids=operation_name)
def test_the_jacobian_squared(func):
    narrow = operation_name(func) in ("to", "float", "half", "bfloat16", "type_as")
    found, expected = both(call_of(func), a_tensor())
    assert expected.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-2 if narrow else 1e-9, atol=1e-12)


CROSS_TERMS = {
    # What is dropped: a term where an activation arrives by two ways.
    "x + x": (lambda x: x + x, lambda x: 2 + 0 * x),
    "x * x": (lambda x: x * x, lambda x: 2 * x**2),
    "x sigmoid(x)": (
        lambda x: x * torch.sigmoid(x),
        lambda x: x.sigmoid() ** 2 + (x * x.sigmoid() * (1 - x.sigmoid())) ** 2,
    ),
    "x *= sigmoid(x)": (
        lambda x: x.mul_(torch.sigmoid(x)),
        lambda x: x.sigmoid() ** 2 + (x * x.sigmoid() * (1 - x.sigmoid())) ** 2,
    ),
    "in place, held twice": (
        lambda x: F.silu(x, inplace=True) + x,
        lambda x: 2 * torch.func.vmap(torch.func.grad(F.silu))(x.flatten()).view_as(x) ** 2,
    ),
}


@pytest.mark.parametrize("name", CROSS_TERMS)
def test_the_stated_treatment_of_two_ways(name):
    run, share = CROSS_TERMS[name]
    x = a_tensor()
    found, _ = both(run, x)
    torch.testing.assert_close(found, 2 * factors(x) ** 2 * share(x))


@pytest.mark.parametrize("size", [1, 2, 3, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_of_small_and_large_groups(size, dtype):
    """Two values normalised leave almost nothing, as differences of large terms."""
    x = torch.randn(6, size, generator=torch.Generator().manual_seed(size)).to(dtype) * 3 + 5
    found, expected = both(lambda x: F.layer_norm(x, (size,), eps=0.01), x)
    assert (found >= 0).all()
    scale = factors(x).square().max() / x.var(1, unbiased=False).add(0.01).min()
    accuracy = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(found, expected, rtol=10 * accuracy, atol=float(scale) * accuracy)


def test_an_infinite_slope_is_an_error():
    with pytest.raises(DataError, match="not finite"):
        both(lambda x: torch.sqrt(0 * x), a_tensor())


def test_a_linear_layer_over_positions_may_be_written_over():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6)
    layers = [nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)]
    apart = second_derivative(nn.Sequential(*layers), [(x, None)])
    layers[1] = nn.ReLU(inplace=True)
    for name, value in second_derivative(nn.Sequential(*layers), [(x, None)]).items():
        torch.testing.assert_close(value, apart[name])
