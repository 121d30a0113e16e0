"""Networks that hide weights (caches, chosen experts, scaled kernels), and ways to write a layer
that torch's transforms cannot run: as plain PyTorch has it, or refused by name."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import swim
from swim.curvature.estimate import second_derivative
from swim.errors import UnsupportedOperationError
from swim.programming.chip import Chip
from swim.programming.mask import VerifyMask

DEVICE = swim.Device(sigma=0.2, M=4, K=4)


class Net(nn.Module):
    """A first layer written in some way, and a last one."""

    def __init__(self, way, **parts):
        super().__init__()
        self.way, self.cache, self.W = way, {}, nn.Parameter(torch.randn(16, 8) * 0.4)
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.relu(self.way(self, x)))


def made(way, parts=dict):
    torch.manual_seed(0)
    return Net(way, **parts()).eval()


def inputs():
    return torch.randn(11, 8, generator=torch.Generator().manual_seed(1))


def labels():
    return torch.arange(11) % 4


def answers(model, weights, x):
    """Plain PyTorch, on a copy whose parameters have other values."""
    return torch.func.functional_call(copy.deepcopy(model), dict(weights), (x,))


def check_chips(model, x, targets, run):
    batches = [(x[:2], labels()[:2]), (x[2:], labels()[2:])]
    found = swim.evaluate(model, batches, device=DEVICE, chips=2)
    assert set(found.programmed) == set(targets)
    for index in range(2):
        chip = VerifyMask({}).program(Chip(targets, DEVICE, 0, index)).weights
        with torch.no_grad():
            loss = float(F.cross_entropy(run(model, chip, x), labels()))
        assert float(found.loss[index]) == pytest.approx(loss, rel=1e-4)


# --- caches --------------------------------------------------------------------------------------


def kept_as_attribute(m, x):
    if not hasattr(m, "_kept"):
        m._kept = (m.W * 16).round() / 16
    return F.linear(x, m._kept)


def kept_in_a_dict(m, x):
    if "w" not in m.cache:
        m.cache["w"] = (m.W.detach() * 16).round() / 16
    return F.linear(x, m.cache["w"])


def kept_as_a_buffer(m, x):
    if "late" not in m._buffers:
        m.register_buffer("late", (m.W * 16).round() / 16, persistent=False)
    return F.linear(x, m.late)


@functools.cache
def kept_by_a_function(m):
    return m.W * 2


@pytest.mark.parametrize("way", [kept_as_attribute, kept_in_a_dict, kept_as_a_buffer])
def test_weight_computed_at_the_first_call_is_programmed_on_every_chip_and_batch(way):
    model, x = made(way), inputs()
    quantised = ((model.W * 16).round() / 16).detach()
    targets = {"W": quantised, "head.weight": model.head.weight.detach()}

    def run(model, chip, x):
        return F.linear(F.linear(x, chip["W"]).relu(), chip["head.weight"], model.head.bias)

    before = {name: sorted(vars(m)) for name, m in model.named_modules()}
    check_chips(model, x, targets, run)
    for estimator in ("gradient", "empirical_fisher", "gauss_newton", "recursion"):
        scores = second_derivative(model, [(x, labels())], estimator=estimator)
        plain = made(lambda m, x: F.linear(x, m.W))
        with torch.no_grad():
            plain.W.copy_(quantised)
        expected = second_derivative(plain, [(x, labels())], estimator=estimator)
        assert scores.keys() == expected.keys()
        for name, score in scores.items():
            torch.testing.assert_close(score, expected[name], rtol=1e-5, atol=1e-8)
    assert {name: sorted(vars(m)) for name, m in model.named_modules()} == before
    assert model.cache == {}
    assert "late" not in model._buffers


def test_weight_in_a_functions_cache_is_refused():
    model = made(lambda m, x: F.linear(x, kept_by_a_function(m)))
    with pytest.raises(UnsupportedOperationError, match="cache"):
        swim.evaluate(model, [(inputs(), labels())], device=DEVICE, chips=1)


# --- weights that are chosen or scaled by activations --------------------------------------------


def modulated(m, x):
    """Each image has kernels of its own: the stored ones, scaled by activations and normed."""
    style, images = m.style(x), x.view(1, -1, 2)
    kernels = m.kernels[None] * style[:, None, :, None]
    kernels = kernels * torch.rsqrt(kernels.square().sum((2, 3), keepdim=True) + 1e-8)
    return F.conv1d(images, kernels.flatten(0, 1), groups=len(x)).view(len(x), 16)


def squashed(m, x):
    kernels = torch.tanh(m.kernels[None] * m.style(x)[:, None, :, None])
    return F.conv1d(x.view(1, -1, 2), kernels.flatten(0, 1), groups=len(x)).view(len(x), 16)


def data_set(m, x):
    m.style.weight.data = m.W.data[:4] * 2
    return m.style(x).repeat(1, 4)


def styled():
    return {"kernels": nn.Parameter(torch.randn(16, 4, 2)), "style": nn.Linear(8, 4)}


def experts():
    return {"gate": nn.Linear(8, 3), "E": nn.Parameter(torch.randn(3, 8, 16)),
            "table": nn.Embedding(3, 128)}  # fmt: skip


REFUSED = {
    "gathered": (
        lambda m, x: torch.bmm(x[:, None], m.E[m.gate(x).argmax(1)])[:, 0], experts, "'E'"),
    "index_select, transposed": (
        lambda m, x: torch.bmm(
            m.E.index_select(0, m.gate(x).argmax(1)).mT.contiguous(), x[..., None])[..., 0],
        experts, "'E'"),
    "matrices in an embedding": (
        lambda m, x: torch.einsum(
            "bi,bio->bo", x, m.table((x[:, 0] > 0).long()).view(-1, 8, 16)),
        experts, r"'table\.weight'"),
    "modulated": (modulated, styled, "'kernels'"),
    "modulated, squashed": (squashed, styled, "'kernels'"),
    "set by .data": (
        data_set, styled, r"'style\.weight'"),
    "sparse": (lambda m, x: torch.sparse.mm(m.W.to_sparse(), x.T).T, dict, "'W'.*sparse"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_weight_that_activations_choose_or_scale_is_refused_by_name(name):
    way, parts, text = REFUSED[name]
    model, batches = made(way, parts), [(inputs(), labels())]
    with pytest.raises(UnsupportedOperationError, match=text):
        swim.evaluate(model, batches, device=DEVICE, chips=1)
    with pytest.raises(UnsupportedOperationError, match=text):
        swim.sensitivity(model, batches, estimator="gradient")


def test_embeddings_that_are_read_and_compared_stay_digital():
    """Rows of tables, a vector an index, multiplied with each other: no weight in a contraction."""
    model = made(
        lambda m, x: torch.bmm(
            m.table((x > 0).long()).view(-1, 8, 128)[..., :16],
            m.table((x[:, 1] > 0).long())[:, :16, None],
        )[..., 0].repeat(1, 2),
        experts,
    )
    found = swim.evaluate(model, [(inputs(), labels())], device=DEVICE, chips=1)
    assert list(found.programmed) == ["head.weight"]
    assert "index" in found.programmed.digital["table.weight"]


# --- products written entry by entry -------------------------------------------------------------


def rotated(m, x):
    """Rotary positions: sine and cosine of one buffer, added up, and no contraction."""
    q, k, v = m.qkv(x.view(-1, 4, 2)).chunk(3, -1)
    angles = torch.einsum("i,j->ij", torch.arange(4.0), m.frequencies)
    angles = torch.cat([angles, angles], -1)

    def turn(t):
        a, b = t.chunk(2, -1)
        return t * angles.cos() + torch.cat([-b, a], -1) * angles.sin()

    return F.scaled_dot_product_attention(turn(q), turn(k), v).flatten(1)


def turning():
    return {"qkv": nn.Linear(2, 12), "frequencies": nn.Buffer(torch.tensor([1.0, 0.3]))}


def test_rotary_tables_of_one_buffer_are_digital():
    model = made(rotated, turning)
    targets = {n: model.get_parameter(n).detach() for n in ("qkv.weight", "head.weight")}
    check_chips(model, inputs(), targets, answers)


def by_addcmul(m, x):
    out = x.new_zeros(len(x), 16)
    for i in range(8):
        out = torch.addcmul(out, x[:, i, None], m.W[:, i])
    return out


def test_products_added_by_addcmul_are_a_contraction():
    model = made(by_addcmul)
    targets = {n: model.get_parameter(n).detach() for n in ("W", "head.weight")}
    check_chips(model, inputs(), targets, answers)


def scaled_steps(m, x):
    """A scale of channels, at every step of a sequence, and the mean over steps."""
    steps = [m.scale * step for step in x.view(len(x), 2, 4).unbind(1)]
    return torch.stack(steps, 1).mean(1) @ m.W[:, :4].T


def columns_stacked(m, x):
    return torch.stack([x[:, i, None] * m.W[:, i] for i in range(8)]).sum(0)


@pytest.mark.parametrize("way", [scaled_steps, columns_stacked])
def test_stacked_products_are_a_contraction_only_if_the_weight_varies_along_the_sum(way):
    model = made(way, lambda: {"scale": nn.Parameter(torch.rand(4))})
    targets = {n: model.get_parameter(n).detach() for n in ("W", "head.weight")}
    check_chips(model, inputs(), targets, answers)


# --- what torch's transforms cannot run, or run wrongly ------------------------------------------


class OwnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w, g.t() @ x


def entry_by_entry(m, x):
    out = torch.empty(len(x), 16)
    for j in range(16):
        out[:, j] = x @ m.W[j]
    return out


def one_of_two(m, x):
    """A second layer for images of which the first is not sure."""
    first = F.linear(x, m.W)
    unsure = first.amax(1) < 1.2
    if unsure.any():
        first = first.clone()
        first[unsure] = m.second(torch.relu(first[unsure]))
    return first


def remembering(m, x):
    m.cache[len(m.cache)] = float(x.sum())
    return F.linear(x, m.W)


WAYS = {
    "prelu": (lambda m, x: m.act(m.conv(x[:, None])).mean(2), lambda: {
        "conv": nn.Conv1d(1, 16, 3), "act": nn.PReLU(16)}),
    "gru": (lambda m, x: m.gru(x.view(-1, 4, 2))[0][:, -1], lambda: {
        "gru": nn.GRU(2, 16, batch_first=True)}),
    "cell": (lambda m, x: m.cell(x[:, 4:], m.cell(x[:, :4])), lambda: {"cell": nn.GRUCell(4, 16)}),
    "in place": (lambda m, x: x.new_zeros(len(x), 16).addmm_(x, m.W.t()), dict),
    "in place, summed": (lambda m, x: x[:, None].repeat(1, 16, 1).mul_(m.W).sum(2), dict),
    "set by entry": (entry_by_entry, dict),
    "checkpoint": (
        lambda m, x: checkpoint(lambda z: F.linear(z, m.W), x, use_reentrant=False), dict),
    "own function": (lambda m, x: OwnProduct.apply(x, m.W), dict),
    "vmap": (lambda m, x: torch.func.vmap(lambda row: m.W @ row)(x), dict),
    "jvp": (
        lambda m, x: torch.func.jvp(
            lambda z: torch.tanh(F.linear(z, m.W)), (x,), (torch.ones_like(x),))[1], dict),
    "early exit": (one_of_two, lambda: {"second": nn.Linear(16, 16)}),
    "values read by Python": (remembering, dict),
}  # fmt: skip


def single_samples(model, weights, x, y):
    """Gradient, empirical Fisher and Gauss-Newton by one sample and one output at a time."""
    leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
    found = {
        kind: {n: torch.zeros_like(w) for n, w in weights.items()}
        for kind in ("gradient", "empirical_fisher", "gauss_newton")
    }
    for i in range(len(x)):
        outputs = answers(model, leaves, x[i : i + 1])
        loss = F.cross_entropy(outputs, y[i : i + 1])
        rows = [
            torch.autograd.grad(z, list(leaves.values()), retain_graph=True, materialize_grads=True,
                                allow_unused=True)
            for z in (loss, *outputs[0])
        ]  # fmt: skip
        p = outputs[0].softmax(0).detach()
        for name, (own, *jacobian) in zip(leaves, zip(*rows, strict=True), strict=True):
            found["gradient"][name] += own
            found["empirical_fisher"][name] += own**2
            stacked = torch.stack(jacobian)
            centred = stacked - torch.einsum("c,c...->...", p, stacked)
            found["gauss_newton"][name] += torch.einsum("c,c...->...", p, centred**2)
    return found


@pytest.mark.parametrize("name", WAYS)
def test_scores_agree_with_single_samples_whatever_vmap_can_run(name):
    way, parts = WAYS[name]
    model, x, y = made(way, parts), inputs(), labels()
    programmed = swim.evaluate(model, [(x, y)], device=DEVICE, chips=1).programmed
    weights = {
        n: p.detach() for n, p in model.named_parameters() if p.dim() > 1 and n in programmed
    }
    assert set(weights) == set(programmed)
    assert len(weights) > 1
    for estimator, expected in single_samples(model, weights, x, y).items():
        found = second_derivative(model, [(x[:4], y[:4]), (x[4:], y[4:])], estimator=estimator)
        assert found.keys() == weights.keys()
        for weight, score in found.items():
            scale = float(expected[weight].abs().max())
            assert scale > 0
            torch.testing.assert_close(
                score.float(), expected[weight], rtol=1e-3, atol=1e-4 * scale, msg=str
            )
    assert model.cache == {}


@pytest.mark.parametrize("estimator", ["gradient", "empirical_fisher", "gauss_newton", "recursion"])
@pytest.mark.parametrize("cut", ["no_grad", "detach"])
def test_scores_of_weights_whose_graph_is_cut_are_refused(cut, estimator):
    """Zero would be a wrong number: an error of such a weight does change the outputs."""

    def frozen(m, x):
        return F.linear(x, m.W).detach() if cut == "detach" else torch.no_grad()(F.linear)(x, m.W)

    with pytest.raises(UnsupportedOperationError, match=r"'W'|no_grad|detach"):
        swim.sensitivity(made(frozen), [(inputs(), labels())], estimator=estimator)


def under_autocast(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        return F.linear(x, m.W).float()


@pytest.mark.parametrize(
    ("way", "text"),
    [
        (WAYS["checkpoint"][0], "checkpoint"),
        (WAYS["vmap"][0], "torch.func"),
        (under_autocast, "autocast"),
    ],
)
def test_recursion_refuses_what_hides_operations_from_it(way, text):
    with pytest.raises(UnsupportedOperationError, match=text):
        swim.sensitivity(made(way), [(inputs(), labels())], estimator="recursion")


# --- one layer under two names -------------------------------------------------------------------


def twice():
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 4)).eval()


def tied():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    model[2].weight = model[0].weight
    return model.eval()


@pytest.mark.parametrize("make", [twice, tied])
def test_shared_layers_are_programmed_once_and_left_as_they_were(make):
    model, x, y = make(), inputs(), labels()
    before = {(id(m), k): p for m in model.modules() for k, p in m._parameters.items()}
    targets = {n: model.get_parameter(n).detach() for n in ("0.weight", "4.weight")}
    check_chips(model, x, targets, answers)
    for estimator, expected in single_samples(model, targets, x, y).items():
        found = second_derivative(model, [(x, y)], estimator=estimator)
        for name, score in found.items():
            torch.testing.assert_close(score.float(), expected[name], rtol=1e-3, atol=1e-6)
    after = {(id(m), k): p for m in model.modules() for k, p in m._parameters.items()}
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before)
    assert all(p.requires_grad for p in model.parameters())


def test_table_rows_in_a_product_are_programmed_however_they_are_read():
    """Relative keys: rows of a table by fixed positions, in a product with the queries."""

    def relative(m, x):
        q, k, v = m.qkv(x.view(-1, 4, 2)).chunk(3, -1)
        rows = m.rows(torch.arange(4)[:, None] - torch.arange(4) + 3)
        scores = q @ k.mT + torch.einsum("bid,ijd->bij", q, rows)
        return (scores.softmax(-1) @ v).flatten(1)

    model = made(relative, lambda: {"qkv": nn.Linear(2, 12), "rows": nn.Embedding(7, 4)})
    names = ("qkv.weight", "rows.weight", "head.weight")
    check_chips(model, inputs(), {n: model.get_parameter(n).detach() for n in names}, answers)
