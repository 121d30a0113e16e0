"""Every way to write a product of an activation and a weight: programmed, or refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import swim
from swim.curvature.estimate import second_derivative
from swim.errors import SettingError, UnsupportedOperationError
from swim.networks.isolation import copies_of, left_alone
from swim.networks.weights.expressions import Stored
from swim.networks.weights.tracing import trace

GLOBAL = torch.randn(8, 32, generator=torch.Generator().manual_seed(3))


class Through(torch.autograd.Function):
    """Rounds, and passes the gradient on."""

    @staticmethod
    def forward(ctx, w):
        return (w * 16).round() / 16

    @staticmethod
    def backward(ctx, g):
        return g


class OwnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        return x @ w.t()

    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError


class Net(nn.Module):
    """A first layer written in some way, and a last one."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.W, self.V = nn.Parameter(torch.randn(32, 8) * 0.4), nn.Parameter(torch.randn(32, 8))
        self.down, self.up = nn.Parameter(torch.randn(3, 8)), nn.Parameter(torch.randn(32, 3))
        self.cube = nn.Parameter(torch.randn(32, 8, 8) * 0.2)
        self.alpha = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("levels", torch.randint(-7, 8, (32, 8), dtype=torch.int8))
        self.register_buffer("scale", torch.tensor(0.1))
        self.lstm = nn.LSTM(2, 32, batch_first=True)
        self.gru = nn.GRU(2, 16, 2, batch_first=True, bidirectional=True)
        self.cell, self.gates = nn.RNNCell(8, 32), nn.LSTMCell(8, 32)
        self.projected = nn.LSTM(8, 40, proj_size=32, batch_first=True)
        self.hidden = [nn.Linear(8, 32)]  # not registered
        self.plain = torch.randn(32, 8)
        self.last = nn.Linear(32, 4)

    def forward(self, x):
        return self.last(torch.relu(self.way(self, x)))


def by_hand(m, x):
    state = torch.zeros(len(x), 32)
    for _ in range(3):
        state = torch.tanh(x @ m.cell.weight_ih.T + state @ m.cell.weight_hh.T + m.cell.bias_ih)
    return state


def over_stored_keys(m, x):
    keys, values = (w.expand(len(x), 32, 8) for w in (m.W, m.V))
    return F.scaled_dot_product_attention(x[:, None], keys, values)[:, 0].repeat(1, 4)


PROGRAMMED = {
    "linear": (lambda m, x: F.linear(x, m.W), ["W"]),
    "x @ W.T": (lambda m, x: x @ m.W.T, ["W"]),
    "W @ x": (lambda m, x: (m.W @ x.T).T, ["W"]),
    "mT": (lambda m, x: x @ m.W.mT, ["W"]),
    "matmul": (lambda m, x: torch.matmul(x, m.W.permute(1, 0)), ["W"]),
    "mm": (lambda m, x: torch.mm(x, m.W.t()), ["W"]),
    "aten": (lambda m, x: torch.ops.aten.mm(x, m.W.t()), ["W"]),
    "aten overload": (lambda m, x: torch.ops.aten.mm.default(x, m.W.t()), ["W"]),
    "bmm": (lambda m, x: torch.bmm(x[None], m.W.t()[None])[0], ["W"]),
    "mv": (lambda m, x: torch.stack([m.W.mv(row) for row in x]), ["W"]),
    "addmm": (lambda m, x: torch.addmm(x.new_zeros(32), x, m.W.t()), ["W"]),
    "addmm, scaled": (lambda m, x: torch.addmm(x.new_ones(32), x, m.W.t(), beta=2, alpha=3), ["W"]),
    "baddbmm": (
        lambda m, x: torch.baddbmm(x.new_zeros(1, 1, 32), x[None], m.W.t()[None])[0],
        ["W"],
    ),
    "einsum": (lambda m, x: torch.einsum("bi,oi->bo", x, m.W), ["W"]),
    "einsum, list": (lambda m, x: torch.einsum(x, [0, 1], m.W, [2, 1], [0, 2]), ["W"]),
    "einsum, ellipsis": (lambda m, x: torch.einsum("...i,oi->...o", x, m.W), ["W"]),
    "tensordot": (lambda m, x: torch.tensordot(x, m.W, ([1], [1])), ["W"]),
    "inner": (lambda m, x: torch.inner(x, m.W), ["W"]),
    "bilinear": (lambda m, x: F.bilinear(x, x, m.cube), ["cube"]),
    "conv1d": (lambda m, x: F.conv1d(x[:, None], m.W[:, None])[..., 0], ["W"]),
    "half of a weight": (lambda m, x: F.linear(x[:, :4], m.W[:, :4]), ["W"]),
    "row by row": (lambda m, x: torch.stack([x @ row for row in m.W], 1), ["W"]),
    "chunks": (lambda m, x: torch.cat([F.linear(x, w) for w in m.W.chunk(4)], 1), ["W"]),
    "two joined": (lambda m, x: F.linear(x, torch.cat([m.W[:16], m.V[16:]])), ["W", "V"]),
    "stacked": (lambda m, x: torch.matmul(x, torch.stack([m.W, m.V]).mT).sum(0), ["W", "V"]),
    "data": (lambda m, x: F.linear(x, m.W.data), ["W"]),
    "detach": (lambda m, x: F.linear(x, m.W.detach()), ["W"]),
    "no_grad": (lambda m, x: torch.no_grad()(F.linear)(x, m.W), ["W"]),
    "quantised": (lambda m, x: F.linear(x, (m.W * 16).round() / 16), ["W"]),
    "quantised, data": (lambda m, x: F.linear(x, (m.W * 16).round().data / 16), ["W"]),
    "quantised, transposed": (lambda m, x: x @ ((m.W * 16).round() / 16).T, ["W"]),
    "straight through": (lambda m, x: F.linear(x, Through.apply(m.W)), ["W"]),
    "straight through, by hand": (
        lambda m, x: F.linear(x, m.W + ((m.W * 16).round() / 16 - m.W).detach()),
        ["W"],
    ),
    "learned step": (lambda m, x: F.linear(x, (m.W / m.alpha).round() * m.alpha), ["W"]),
    "standardised": (
        lambda m, x: F.linear(x, F.layer_norm(m.W.view(2, 128), (128,)).view_as(m.W)),
        ["W"],
    ),
    "whole numbers": (lambda m, x: F.linear(x, m.levels.float() * m.scale), ["levels"]),
    "masked": (lambda m, x: F.linear(x, m.W * (m.levels > 0)), ["W"]),
    "low rank added": (lambda m, x: F.linear(x, m.W + m.up @ m.down), ["W"]),
    "low rank, one by one": (lambda m, x: (x @ m.down.T) @ m.up.T, ["down", "up"]),
    "product, summed": (lambda m, x: (x[:, None] * m.W).sum(-1), ["W"]),
    "product, mean": (lambda m, x: (x.unsqueeze(1) * m.W).mean(2), ["W"]),
    "product, term by term": (lambda m, x: sum(x[:, i, None] * m.W[:, i] for i in range(8)), ["W"]),
    "own function": (lambda m, x: OwnProduct.apply(x, m.W), ["W"]),
    "unregistered module": (lambda m, x: m.hidden[0](x), ["hidden.0.weight"]),
    "plain attribute": (lambda m, x: x @ m.plain.T, ["plain"]),
    "a recurrence by hand": (by_hand, ["cell.weight_ih", "cell.weight_hh"]),
    "lstm": (
        lambda m, x: m.lstm(x.view(-1, 4, 2))[0][:, -1],
        ["lstm.weight_ih_l0", "lstm.weight_hh_l0"],
    ),
    "gru": (
        lambda m, x: m.gru(x.view(-1, 4, 2))[0].mean(1),
        [f"gru.weight_{kind}_l{layer}{way}" for layer in "01" for way in ("", "_reverse")
         for kind in ("ih", "hh")],
    ),
    "projected lstm": (
        lambda m, x: m.projected(x[:, None].repeat(1, 2, 1))[0][:, 1],
        ["projected.weight_ih_l0", "projected.weight_hh_l0", "projected.weight_hr_l0"],
    ),
    "cell": (
        lambda m, x: m.cell(x, m.cell(x)),
        ["cell.weight_ih", "cell.weight_hh"],
    ),
    "lstm cell": (
        lambda m, x: m.gates(x, m.gates(x))[0],
        ["gates.weight_ih", "gates.weight_hh"],
    ),
    "attention over stored keys": (over_stored_keys, ["W", "V"]),
    "gate and weight": (lambda m, x: F.linear(x * m.W[0], m.W), ["W"]),
}  # fmt: skip


@pytest.fixture
def x():
    return torch.randn(40, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", PROGRAMMED)
def test_use_is_programmed_under_its_parameters_name(name, x):
    way, expected = PROGRAMMED[name]
    model = Net(way).eval()
    with left_alone(model):
        traced = trace(model, x[:2], x)
    assert sorted(traced.weights) == sorted([*expected, "last.weight"])
    with torch.no_grad():
        y = model(x).argmax(1)
        loss = float(F.cross_entropy(model(x), y))
    device = swim.Device(sigma=0.2, M=4, K=4)
    found = swim.evaluate(model, [(x, y)], device=device, chips=3)
    assert set(found.programmed) == {*expected, "last.weight"}
    for weight in (*expected, "last.weight"):
        exact = {n: torch.ones(w.shape, dtype=torch.bool) for n, w in traced.weights.items()}
        still = swim.Device(sigma=0.2, M=4, K=4, verified_sigma=0)
        whole = swim.evaluate(model, [(x, y)], exact, device=still, chips=1)
        assert float(whole.loss[0]) == pytest.approx(loss, rel=1e-4)
        del exact[weight]
        noisy = swim.evaluate(model, [(x, y)], exact, device=still, chips=1)
        assert abs(float(noisy.loss[0] - whole.loss[0])) > 1e-6, f"{weight} is not programmed"


REFUSED = {
    "two added": (lambda m, x: F.linear(x, m.W + m.V), r"several tensors.*'V', 'W'"),
    "a constant": (lambda m, x: F.linear(x @ torch.ones(8, 8), m.W), "constant"),
    "a global tensor": (lambda m, x: x @ GLOBAL, "does not hold"),
    "numpy": (lambda m, x: x @ torch.from_numpy(m.W.detach().numpy()).T, r"'W' leaves torch"),
    "activations in numpy": (
        lambda m, x: torch.from_numpy(x.detach().numpy() * 2) @ m.W.T,
        "leave torch",
    ),
    "distances": (lambda m, x: torch.cdist(x, m.W), "'W' meets activations in cdist"),
    "transforms": (
        lambda m, x: torch.fft.irfft(
            torch.fft.rfft(x.repeat(1, 4)) * torch.fft.rfft(m.W[:, 0]), 32
        ),
        "'W'",
    ),
    "scaled as a whole": (
        lambda m, x: torch.bmm(x[:, None], (x[:, :1, None] * m.W).mT)[:, 0],
        "'W' is multiplied by activations",
    ),
    "several at once": (lambda m, x: torch.einsum("bi,ri,or->bo", x, m.down, m.up), "'down', 'up'"),
    "whole numbers at once": (
        lambda m, x: (x * 4).round().to(torch.int32) @ m.levels.to(torch.int32).T / 1.0,
        r"'levels'.*int32",
    ),
    "in two ways": (lambda m, x: F.linear(x, m.W) + F.linear(x, m.W.round()), "in two ways"),
    "of another shape": (
        lambda m, x: F.linear(x, m.W.sum(0, True)).expand(-1, 32),
        "another shape",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_programmed_is_refused_by_name(name, x):
    way, text = REFUSED[name]
    model = Net(way).eval()
    with pytest.raises(UnsupportedOperationError, match=text):
        swim.evaluate(model, [(x, torch.zeros(40).long())], device=swim.Device(sigma=0.1), chips=1)


def test_digital_keeps_a_weight_exact_and_lists_it(x):
    model, y = Net(REFUSED["two added"][0]).eval(), torch.zeros(40).long()
    device = swim.Device(sigma=0.2, M=4, K=4)
    found = swim.evaluate(model, [(x, y)], device=device, chips=2, digital=["W", "V"])
    assert list(found.programmed) == ["last.weight"]
    assert found.programmed.total == 128
    assert found.programmed.digital["W"] == found.programmed.digital["V"] == "named in digital="
    assert "last.bias" in found.programmed.digital
    everything = swim.evaluate(model, [(x, y)], device=device, chips=1, digital=["[WV]"])
    assert list(everything.programmed) == ["last.weight"]
    assert list(second_derivative(model, [(x, y)], digital=["W", "V"])) == ["last.weight"]
    with pytest.raises(SettingError, match=r"no weight is called 'lsat.weight'.*'last.weight'"):
        swim.evaluate(model, [(x, y)], device=device, chips=1, digital=["W", "V", "lsat.weight"])


class Scaled(nn.Module):
    def forward(self, w):
        return w * 3


def layer(kind):
    torch.manual_seed(0)
    own = nn.Linear(8, 32)
    if kind == "old weight norm":
        return weight_norm(own)
    if kind == "weight norm":
        return parametrizations.weight_norm(own)
    if kind == "old spectral norm":
        return spectral_norm(own)
    if kind == "spectral norm":
        return parametrizations.spectral_norm(own)
    if kind == "orthogonal":
        return parametrizations.orthogonal(own)
    if kind == "pruned":
        return prune.l1_unstructured(own, "weight", 0.5)
    parametrize.register_parametrization(own, "weight", Scaled())
    return own


KINDS = ["old weight norm", "weight norm", "old spectral norm", "spectral norm", "orthogonal",
         "pruned", "scaled"]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_parametrised_weight_is_named_after_its_attribute_and_is_the_effective_one(kind, x):
    model = nn.Sequential(layer(kind), nn.ReLU(), nn.Linear(32, 4)).eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    attributes = {k: v for k, v in vars(model[0]).items() if isinstance(v, torch.Tensor)}
    with left_alone(model):
        traced = trace(model, x[:2])
    assert list(traced.weights) == ["0.weight", "2.weight"]
    expected = (model[0](torch.eye(8)) - model[0].bias).T
    torch.testing.assert_close(traced.weights["0.weight"], expected.detach(), rtol=1e-5, atol=1e-6)
    found = swim.evaluate(model, [(x, model(x).argmax(1))], device=swim.Device(sigma=0.2), chips=2)
    assert set(found.programmed) == {"0.weight", "2.weight"}
    assert {n: torch.equal(t, before[n]) for n, t in model.state_dict().items()} == dict.fromkeys(
        before, True
    )
    for key, value in attributes.items():
        assert key == "weight" or vars(model[0])[key] is value


class TwoPaths(nn.Module):
    def __init__(self, choose):
        super().__init__()
        torch.manual_seed(0)
        self.p, self.q, self.o = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 4)
        self.choose = choose

    def forward(self, x):
        return self.o(torch.relu(self.choose(self, x)))


def routed(m, x):
    """Each image by itself to one of two experts."""
    first = x[:, 0] > 0
    out = x.new_zeros(len(x), 16)
    out[first] = m.p(x[first])
    out[~first] = m.q(x[~first])
    return out


@pytest.mark.parametrize("where", ["evaluate", "sensitivity"])
def test_paths_of_single_images_are_all_seen(where):
    model = TwoPaths(routed).eval()
    up, down = torch.rand(30, 8) + 0.1, -torch.rand(30, 8) - 0.1
    y = torch.zeros(30).long()
    for batches in ([(up, y), (down, y)], [(torch.cat([up, down]), torch.cat([y, y]))]):
        if where == "sensitivity":
            scores = second_derivative(model, batches, estimator="gradient")
            assert list(scores) == ["p.weight", "o.weight", "q.weight"] or set(scores) == {
                "p.weight", "q.weight", "o.weight"
            }  # fmt: skip
            assert all(score.abs().max() > 0 for score in scores.values())
            continue
        found = swim.evaluate(model, batches, device=swim.Device(sigma=0.2), chips=2)
        assert set(found.programmed) == {"p.weight", "q.weight", "o.weight"}


@pytest.mark.parametrize(
    "write",
    [
        lambda out, mine, values: out.__setitem__(mine, values),
        lambda out, mine, values: out.masked_scatter_(mine[:, None].expand_as(out), values),
        lambda out, mine, values: out.index_copy_(0, mine.nonzero()[:, 0], values),
        lambda out, mine, values: out[:, :8].__setitem__(mine, values[:, :8])
        or out[:, 8:].__setitem__(mine, values[:, 8:]),
        lambda out, mine, values: [
            out[int(i)].copy_(v) for i, v in zip(mine.nonzero(), values, strict=True)
        ],
    ],
    ids=["assignment", "masked_scatter_", "index_copy_", "through views", "row by row"],
)  # fmt: skip
def test_activations_written_into_constants_are_activations(write):
    def gathered(m, x):
        out = torch.zeros(len(x), 16)
        for part, mine in ((m.p, x[:, 0] > 0), (m.q, x[:, 0] <= 0)):
            write(out, mine, part(x[mine]))
        return out

    model, x = TwoPaths(gathered).eval(), torch.randn(20, 8)
    found = swim.evaluate(
        model, [(x, torch.arange(20) % 4)], device=swim.Device(sigma=0.2), chips=2
    )
    assert set(found.programmed) == {"p.weight", "q.weight", "o.weight"}
    assert found.loss.std() > 0


def test_path_that_only_a_chip_takes_is_refused():
    model = TwoPaths(lambda m, x: m.q(x) if bool(m.p(x).abs().max() > 50) else m.p(x)).eval()
    x = torch.randn(20, 8)
    device = swim.Device(sigma=100.0, M=4, K=4)
    with pytest.raises(UnsupportedOperationError, match=r"'q\.weight' is used on a path"):
        swim.evaluate(model, [(x, torch.zeros(20).long())], device=device, chips=3)


def test_names_follow_identity_not_order():
    """Two layers of one shape, run in the order that a batch's values decide."""
    model = TwoPaths(lambda m, x: m.p(x) + 2 * m.q(x) if x.sum() > 0 else 2 * m.q(x) + m.p(x))
    model, y = model.double().eval(), torch.zeros(9).long()
    up, down = torch.rand(9, 8).double(), -torch.rand(9, 8).double()
    both = second_derivative(model, [(up, y), (down, y)], estimator="recursion")
    alone = [second_derivative(model, [(batch, y)], estimator="recursion") for batch in (up, down)]
    for name, score in both.items():
        torch.testing.assert_close(score, alone[0][name] + alone[1][name])
    assert not torch.allclose(alone[0]["p.weight"], alone[0]["q.weight"])


class Draws(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.calls = kind, 0
        self.a, self.b = nn.Linear(8, 64), nn.Linear(64, 4)

    def forward(self, x):
        self.calls += 1
        h = torch.relu(self.a(x))
        if self.kind == "dropout":
            h = F.dropout(h, 0.5)
        elif self.kind == "randn":
            h = h + 0.1 * torch.randn_like(h)
        elif self.kind == "random state of a layer":
            h = h + torch.randn(64)
        elif self.kind == "numpy":
            import numpy as np

            h = h * float(np.random.rand())
        elif self.kind == "python":
            import random

            h = h * random.random()
        elif self.kind == "calls":
            h = h * (1 + self.calls % 2)
        elif self.kind == "mean of the batch":
            h = h - h.mean(0)
        elif self.kind == "largest of the batch":
            h = h / h.max()
        elif self.kind == "range of the batch":
            step = (h.max() / 15).detach()
            h = (h / step).round() * step
        elif self.kind == "batch norm":
            h = F.batch_norm(h, None, None, training=True)
        elif self.kind == "a draw without effect":
            torch.rand(3)
        return self.b(h)


ESTIMATORS = ["recursion", "gauss_newton", "hutchinson", "empirical_fisher", "gradient"]


@pytest.mark.parametrize("run", ["evaluate", *ESTIMATORS])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[(kind, "random numbers|again") for kind in (
            "dropout", "randn", "random state of a layer", "numpy", "python", "calls")],
        *[(kind, "batch") for kind in (
            "mean of the batch", "largest of the batch", "range of the batch", "batch norm")],
    ],
)  # fmt: skip
def test_predictions_that_depend_on_chance_or_company_are_refused(kind, text, run, x):
    model = Draws(kind).eval()
    batches = [(x * torch.linspace(1, 5, 40)[:, None], torch.arange(40) % 4)]

    def call():
        if run == "evaluate":
            swim.evaluate(model, batches, device=swim.Device(sigma=0.1), chips=1)
        else:
            swim.sensitivity(model, batches, estimator=run)

    with pytest.raises(UnsupportedOperationError, match=text):
        call()


def test_a_path_that_depends_on_the_number_of_images_is_seen_or_refused():
    model = TwoPaths(lambda m, x: m.p(x) if len(x) < 10 else m.q(x)).eval()
    x = torch.randn(40, 8)
    with pytest.raises(UnsupportedOperationError, match=r"'q\.weight' is used on a path"):
        swim.evaluate(model, [(x, torch.zeros(40).long())], device=swim.Device(sigma=0.1), chips=1)


def test_products_written_into_a_given_tensor(x):
    def way(m, x):
        return torch.mm(x, m.W.t(), out=torch.empty(len(x), 32)) @ m.last.weight.T @ m.last.weight

    model = Net(way).eval()
    with left_alone(model):
        assert set(trace(model, x[:2]).weights) == {"W", "last.weight"}


def test_draws_without_effect_are_no_fault(x):
    model = Draws("a draw without effect").eval()
    found = [
        swim.evaluate(model, [(x, torch.zeros(40).long())], device=swim.Device(sigma=0.2), chips=2)
        for _ in range(2)
    ]
    assert torch.equal(found[0].loss, found[1].loss)
    assert model.calls == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda m: torch.jit.script(m), "scripted"),
        (lambda m: torch.ao.quantization.quantize_dynamic(m, {nn.Linear}), "packed weights"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_modules_that_hide_their_weights_are_refused(make, text, x):
    model = nn.Sequential(make(nn.Sequential(nn.Linear(8, 16))), nn.Linear(16, 4)).eval()
    with pytest.raises(UnsupportedOperationError, match=text):
        swim.evaluate(model, [(x, torch.zeros(40).long())], device=swim.Device(sigma=0.1), chips=1)


def test_the_proof_finds_a_weight_that_the_trace_did_not_see(x, monkeypatch):
    """Whatever hides a weight from the trace, the outputs give it away."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    seen = Stored.expressions

    def blind(self):
        return (pair for pair in seen(self) if "0.weight" not in pair[1].sources)

    monkeypatch.setattr(Stored, "expressions", blind)
    monkeypatch.setattr(
        "swim.networks.weights.tracer.Tracer._known_or_constant", lambda self, tensor: None
    )
    with (
        left_alone(model),
        pytest.raises(UnsupportedOperationError, match=r"'0\.weight' reaches the outputs"),
    ):
        trace(model, x[:2], state=copies_of(model))


def test_weights_written_by_the_forward_are_the_written_ones(x):
    class Clamps(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.Linear(8, 4, bias=False)

        def forward(self, x):
            with torch.no_grad():
                self.a.weight.clamp_(-0.1, 0.1)
            return self.a(x)

    model = Clamps().eval()
    before = model.a.weight.detach().clone()
    with left_alone(model):
        traced = trace(model, x[:2])
    assert torch.equal(traced.weights["a.weight"], before.clamp(-0.1, 0.1))
    scores = second_derivative(model, [(x, None)])
    swim.evaluate(model, [(x, torch.zeros(40).long())], device=swim.Device(sigma=0.1), chips=2)
    assert list(scores) == ["a.weight"]
    assert torch.equal(model.a.weight, before)
