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


def resampled(x):
    """Larger and smaller, in every mode."""
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        yield F.interpolate(x, (5, 7), mode=mode)
        if mode != "area":
            yield F.interpolate(x, scale_factor=(0.5, 1.7), mode=mode)
    for mode in ("bilinear", "bicubic"):
        yield F.interpolate(x, (3, 6), mode=mode, align_corners=True)
        yield F.interpolate(x, (2, 2), mode=mode, antialias=True)
    yield F.interpolate(x, scale_factor=1.6, mode="bilinear", recompute_scale_factor=True)
    yield F.interpolate(x[0], 5, mode="linear")
    yield F.interpolate(x[None], (3, 5, 2), mode="trilinear")
    yield F.interpolate(x[None], 2, mode="nearest")


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
    **dict.fromkeys(("softmax", "softmin", "log_softmax", "special_softmax", "special_log_softmax"),
                    lambda f, x: joined(
        [f(x, 1), f(x[0] * 20, -1), f(x, 0, dtype=torch.float64)]
    )),
    "reciprocal": lambda f, x: f(x + 9),
    "rsqrt": lambda f, x: f(x + 9),
    "__rtruediv__": lambda f, x: f(x + 9, line(1, 2, 3)),
    "__rdiv__": lambda f, x: f(x + 9, line(1, 2, 3)),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), lambda f, x: f(x[0], x[1])),
    **dict.fromkeys(("matmul", "linalg_matmul", "__matmul__", "bmm"),
                    lambda f, x: f(x[0], x[1, :, :3])),
    "__rmatmul__": lambda f, x: f(x[0, :, :3], x[1]),
    "mm": lambda f, x: f(x[0, 0], x[1, 0, :3]),
    "mv": lambda f, x: f(x[0, 0], x[1, 0, 0]),
    "dot": lambda f, x: f(x[0, 0, 0], x[1, 0, 0]).view(1),
    "inner": lambda f, x: f(x[0], x[1, 0]),
    "tensordot": lambda f, x: f(x[0], x[1], dims=([0, 2], [0, 2])),
    "einsum": lambda f, x: joined(
        [f("nij,nik->njk", x[0], x[1]), f("nij,j->ni", [x[0], x[1, 0, 0]])]
    ),
    "baddbmm": lambda f, x: f(x[0, :, :, :2], x[1, :, :, :1], x[1, :, :2, 1:].mT[:, :1],
                              beta=2, alpha=0.5),
    "addbmm": lambda f, x: f(x[0, 0, :, :2], x[1, :, :, :1], x[1, :, :2, 1:].mT[:, :1],
                             beta=2, alpha=0.5),
    "addmm": lambda f, x: f(x[0, 0], x[1, 0], x[0, 1, :3], beta=2, alpha=0.5),
    "addmv": lambda f, x: f(x[0, 0, :, 0], x[1, 0], x[0, 1, 0], beta=2, alpha=0.5),
    "masked_fill": lambda f, x: f(x, line(-1, 1, 3) > 0, 5.0),
    "where": lambda f, x: f(x > 0, x, 3 * x) if f is torch.where else f(x, x < 0, line(0, 1, 3)),
    "tril": lambda f, x: f(x),
    "index_select": lambda f, x: f(x, 2, torch.tensor([0, 0, 3])),
    "repeat_interleave": lambda f, x: f(x, 2, 1),
    "unfold": lambda f, x: f(x, 2, 2, 1) if "Tensor" in f.__qualname__ else f(x, 2, padding=1),
    "fold": lambda f, x: f(x.view(2, 8, 6), (4, 3), 2),
    **dict.fromkeys(("interpolate", "upsample"), lambda f, x: joined(resampled(x))),
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
    - set(rules.LAYERS)
    - {F.scaled_dot_product_attention},  # several operations, below
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


SEEN = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]]).bool()
ATTENTION = {
    "plain": {},
    "scaled": {"scale": 3.0},
    "causal": {"is_causal": True},
    "masked": {"attn_mask": SEEN},
    "masked by numbers": {"attn_mask": torch.where(SEEN, line(0, 1, 3), -torch.inf)},
    "biased": {"attn_mask": line(-1, 1, 12).view(4, 3)},
    "shared keys": {"enable_gqa": True},
}


def step_by_step(q, k, v, attn_mask=None, is_causal=False, scale=3**-0.5, enable_gqa=False):
    """Attention of the operations that the tests above hold against their Jacobians."""
    if enable_gqa:
        k, v = torch.cat([k[:, [i // 2]] for i in range(4)], 1), v[:, [0, 0, 1, 1]]
    if is_causal:
        attn_mask = torch.ones(4, 3).tril().bool()
    scores = torch.matmul(q, k.transpose(2, 3)) * scale
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -1e30)
    elif attn_mask is not None:
        scores = scores + attn_mask.clamp(min=-1e30)
    weights = scores.softmax(-1)
    if attn_mask is not None:
        blind = (~attn_mask if attn_mask.dtype == torch.bool else attn_mask.isinf()).all(-1)
        weights = weights * (~blind).to(weights)[:, None]
    return torch.matmul(weights, v)


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_equals_its_two_products_and_softmax(kind):
    options, heads = ATTENTION[kind], 2 if kind == "shared keys" else 4

    def parts(x):
        return x[:1], x[1:, :heads, :3], 2 * x[1:, :heads, 1:]

    x = a_tensor()
    torch.testing.assert_close(
        step_by_step(*parts(x), **options), F.scaled_dot_product_attention(*parts(x), **options)
    )
    found, _ = both(lambda x: F.scaled_dot_product_attention(*parts(x), **options), x)
    expected, _ = both(lambda x: step_by_step(*parts(x), **options), x)
    assert expected.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1, 30, 300])
def test_softmax_keeps_the_digits_of_sure_rows_and_is_never_negative(factor, dtype):
    """Each row's largest share rounds to 1; what the others leave of it keeps its digits."""
    x = (a_tensor().flatten(0, 2) * factor).to(dtype)
    found, _ = both(lambda x: x.softmax(1), x)
    assert (found >= 0).all()
    exact = torch.zeros_like(found)
    h = 2 * factors(x).double() ** 2
    for row, (values, shares) in enumerate(zip(x.double(), h, strict=True)):
        a = torch.softmax(values, 0)
        for j in range(3):
            for i in range(3):
                away = sum(a[k] for k in range(3) if k != j) if i == j else a[j]
                exact[row, j] += shares[i] * (a[i] * away) ** 2
    accuracy = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found, exact, rtol=accuracy, atol=1e-30)


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
