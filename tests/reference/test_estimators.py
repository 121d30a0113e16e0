"""Every estimator against a slow twin written from its formula, and what all have in common."""

import copy
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from swim.curvature import gauss_newton_probe, hutchinson, per_sample, recursion_coherent, rules
from swim.curvature import losses as loss_derivatives
from swim.curvature.estimate import second_derivative
from swim.errors import DataError, SettingError, UnsupportedOperationError
from swim.networks import quantisation
from swim.networks.zoo.lenet import LeNet
from swim.runtime import rng
from swim.settings import estimator_traits, registry
from tests.reference import networks, twin

# Torch's own remark on the network, not on us.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
CLASSES = 5
DETERMINISTIC = [name for name in registry.ESTIMATORS if name not in estimator_traits.DRAWING]


class Tied(nn.Module):
    """One weight used twice in depth, one at three positions of a sample."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        x = torch.relu(self.first(x[:, :, 0, :3].transpose(1, 2)))
        return self.last(torch.relu(self.again(torch.relu(self.again(x)))).sum(1))


class PerPosition(nn.Module):
    """A class for each position: outputs (N, C, H, W)."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, CLASSES, 3, stride=3)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


class Attention(nn.Module):
    """Self-attention over the first dimension of an image, of linear layers and activations."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 4) for _ in range(3))
        self.norm, self.last = nn.LayerNorm(4), nn.Linear(4, CLASSES)

    def forward(self, x):
        x = x.mean(2)
        mixed = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.last(F.gelu(self.norm(mixed)).mean(1))


def quantised(deployed):
    """A small network with 4-bit weights and activations, its weights on their grid or not yet."""
    model = nn.Sequential(
        nn.Conv2d(4, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES)
    ).eval()
    quantisation.quantise_activations(model, 4)
    quantisation.calibrate(model, [networks.inputs().float()])
    quantisation.quantise_weights(model, 4)
    if deployed:
        quantisation.deploy(model)
    return model


def made(build):
    torch.manual_seed(11)
    return build().eval()


SMALL = {
    "two hidden": lambda: networks.build("two hidden", 1),
    "dilation, groups": lambda: networks.build("dilation, groups", 1),
    "batch-norm": lambda: networks.build("batch-norm", 1),
    "skip": lambda: networks.build("skip", 1),
    "average pool": lambda: networks.build("average pool", 1),
    "tied, positions": lambda: made(Tied).double(),
    "outputs at positions": lambda: made(PerPosition).double(),
    "quantised in the forward": lambda: made(lambda: quantised(False)),
    "quantised, deployed": lambda: made(lambda: quantised(True)),
}


def data(model, count=4, loss="cross_entropy"):
    """Inputs in the network's precision, and labels that fit its outputs.

    Small inputs, so that no softmax is so sure that the twins lose digits.
    """
    x = networks.inputs(3, count).to(next(model.parameters()).dtype) / 5
    outputs = model(x).detach()
    generator = torch.Generator().manual_seed(4)
    if loss == "mse":
        return x, torch.randn(outputs.shape, generator=generator).to(outputs)
    return x, torch.randint(0, CLASSES, (count, *outputs.shape[2:]), generator=generator)


def programmed(model):
    """The parameters that are programmed, by the names that results have."""
    return {
        name.replace("parametrizations.", "").removesuffix(".original"): p
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


def summed_loss(loss, outputs, labels):
    if loss == "mse":
        return (outputs - labels).square().sum()
    return F.cross_entropy(outputs, labels, reduction="sum")


def compare(found, expected, rtol=1e-9):
    if next(iter(expected.values())).dtype == torch.float32:
        rtol = 1e-3
    assert list(found) == list(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        assert scale > 0
        assert found[name].dtype == torch.float64
        torch.testing.assert_close(
            found[name], value.double(), rtol=rtol, atol=1e-4 * rtol * scale, msg=name
        )


# --- slow twins --------------------------------------------------------------------------------


def gradient_twin(model, x, y, loss):
    weights = programmed(model)
    found = torch.autograd.grad(summed_loss(loss, model(x), y), list(weights.values()))
    return dict(zip(weights, found, strict=True))


def empirical_fisher_twin(model, x, y, loss):
    each = [gradient_twin(model, x[n : n + 1], y[n : n + 1], loss) for n in range(len(x))]
    return {name: sum(g[name] ** 2 for g in each) for name in each[0]}


def gauss_newton_twin(model, x, y, loss):
    """J^T H J with explicit Jacobians, sample by sample."""
    weights, total = programmed(model), {}
    for n in range(len(x)):
        outputs = model(x[n : n + 1])
        label = y[n : n + 1]
        size = outputs.numel()
        hessian = torch.func.hessian(lambda out: summed_loss(loss, out, label))  # noqa: B023
        inner = hessian(outputs.detach()).reshape(size, size)
        rows = [
            torch.autograd.grad(out, list(weights.values()), retain_graph=True)
            for out in outputs.flatten()
        ]
        for name, jacobian in zip(weights, zip(*rows, strict=True), strict=True):
            j = torch.stack(jacobian).reshape(size, -1)
            diagonal = torch.einsum("ci,cd,di->i", j, inner, j).reshape(weights[name].shape)
            total[name] = total.get(name, 0) + diagonal
    return total


TWINS = {
    "gradient": gradient_twin,
    "empirical_fisher": empirical_fisher_twin,
    "gauss_newton": gauss_newton_twin,
}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("estimator", TWINS)
def test_equals_its_slow_twin(estimator, kind, loss):
    model = SMALL[kind]()
    x, y = data(model, loss=loss)
    found = second_derivative(model, [(x, y)], estimator=estimator, loss=loss)
    compare(found, TWINS[estimator](model, x, y, loss))


def full_hessian(model, x, y, loss):
    """All second derivatives by all programmed weights, and the diagonal by name."""
    weights = programmed(model)
    sizes = [weight.numel() for weight in weights.values()]
    names = {name: key for key, p in model.named_parameters() for name in weights
             if weights[name] is p}  # fmt: skip

    def total(vector):
        parts = zip(weights, vector.split(sizes), strict=True)
        state = {names[name]: part.view(weights[name].shape) for name, part in parts}
        return summed_loss(loss, torch.func.functional_call(model, state, (x,)), y)

    vector = torch.cat([weight.detach().flatten() for weight in weights.values()])
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(total, vector)


def by_weight(model, vector):
    weights = programmed(model)
    parts = vector.split([weight.numel() for weight in weights.values()])
    return {name: part.view(weights[name].shape) for name, part in zip(weights, parts, strict=True)}


@pytest.mark.parametrize(
    "kind", ["two hidden", "skip", "tied, positions", "quantised, deployed", "attention"]
)
def test_hutchinson_is_z_times_hz_of_each_block(kind, monkeypatch):
    monkeypatch.setattr(hutchinson, "BLOCK", 3)
    model = made(Attention).double() if kind == "attention" else SMALL[kind]()
    x, y = data(model, 5)
    found = second_derivative(model, [(x, y)], estimator="hutchinson", seed=8, samples=2)
    expected = 0
    for block, rows in enumerate((slice(0, 3), slice(3, 5))):
        hessian = full_hessian(model, x[rows], y[rows], "cross_entropy")
        for probe in range(2):
            signs = [
                2.0 * rng.generator(8, "hutchinson", block, probe, name).integers(
                    0, 2, weight.numel(), dtype=np.int8
                ) - 1
                for name, weight in programmed(model).items()
            ]  # fmt: skip
            z = torch.from_numpy(np.concatenate(signs)).to(hessian)
            expected = expected + z * (hessian @ z) / 2
    compare(found, by_weight(model, expected))


@pytest.mark.parametrize("kind", ["average pool", "average pool without padding's count",
                                  "adaptive pool", "batch-norm"])  # fmt: skip
def test_coherent_recursion_through_averages_equals_the_twin(kind, monkeypatch):
    model, x = networks.build(kind, 1), networks.inputs(1)
    monkeypatch.setattr(twin.Pool, "power", 1)
    _, expected = twin.second_derivatives(twin.twin_of(model), x.numpy())
    found = second_derivative(model, [(x, None)], estimator="recursion_coherent")
    compare(found, {name: torch.from_numpy(value) for name, value in expected.items()})


def test_coherent_is_not_the_recursion_where_there_are_averages():
    model, x = networks.build("adaptive pool", 1), networks.inputs(1)
    one, other = (second_derivative(model, [(x, None)], estimator=estimator)
                  for estimator in ("recursion", "recursion_coherent"))  # fmt: skip
    assert (other["0.weight"] > 1.5 * one["0.weight"]).all()


def test_every_rule_that_averages_has_its_coherent_form():
    averaging = {func for func, rule in rules.RULES.items()
                 if "Averaging" in rule.__code__.co_names}  # fmt: skip
    assert averaging == set(recursion_coherent.PLAIN)


class Quantiser(twin.Layer):
    """Levels between limits: h passes inside them."""

    def __init__(self, module):
        self.step, self.zero = float(module.scale), int(module.zero_point)
        self.top = module.top

    def run(self, x):
        levels = np.round(x / self.step) + self.zero
        self.inside = (levels >= 0) & (levels <= self.top)
        return (np.clip(levels, 0, self.top) - self.zero) * self.step

    def back(self, h):
        return h * self.inside


class Unscaled(twin.Layer):
    """Hands on h divided by max|W|, as the first release's quantised layers do."""

    def __init__(self, layer):
        self.layer = layer

    def parts(self):
        return [self.layer]

    def run(self, x):
        return self.layer.run(x)

    def back(self, h):
        return self.layer.back(h) / abs(self.layer.w).max()


@pytest.mark.parametrize("bits", [None, 4])
def test_release_estimator_equals_the_twin_of_the_first_release(bits, monkeypatch):
    """Two batches: plain averages, 1 / max|W| of later layers if quantised, twice the gradient."""
    monkeypatch.setattr(twin.Pool, "power", 1)
    model = made(lambda: quantised(True)) if bits else networks.build("average pool", 1)
    x, y = data(model, 5)
    batches = [(x[:2], y[:2]), (x[2:], y[2:])]
    if bits:
        conv, _, pool, _, fc = (twin.twin_of(m, str(i)) for i, m in enumerate(model))
        whole = twin.Chain([
            Quantiser(model[0].input_quantiser), Unscaled(conv), twin.ReLU(), pool, twin.Flatten(),
            Quantiser(model[4].input_quantiser), Unscaled(fc),
        ])  # fmt: skip
    else:
        whole = twin.twin_of(model)
    _, expected = twin.second_derivatives(whole, x.double().numpy())
    for inputs, labels in batches:
        for name, g in gradient_twin(model, inputs, labels, "cross_entropy").items():
            expected[name] = expected[name] + 2 * g.double().numpy() / len(inputs)
    found = second_derivative(model, batches, estimator="release")
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name].numpy(), value, rtol=1e-3 if bits else 1e-9, atol=abs(value).max() * 1e-5
        )


# --- what all have in common ---------------------------------------------------------------------


# Of the others, one scales by the batch's size, one squares sums over groups of a batch.
SPLIT_AT_WILL = [e for e in registry.ESTIMATORS if e not in ("release", "gauss_newton_probe")]


@pytest.mark.parametrize("estimator", SPLIT_AT_WILL)
@pytest.mark.parametrize("kind", ["batch-norm", "tied, positions", "lenet"])
def test_the_split_into_batches_changes_rounding_alone(estimator, kind):
    """Ragged splits, across the blocks of probes; 64-bit, and a 4-bit LeNet in 32-bit."""
    if kind == "lenet":
        model = made(LeNet)
        x = torch.randn(60, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        quantisation.quantise_activations(model, 4)
        quantisation.calibrate(model, [x])
        y, sizes, rtol = torch.arange(60) % 10, [1, 50, 9], 1e-3
    else:
        model = SMALL[kind]()
        (x, y), sizes, rtol = data(model, 60), [1, 50, 2, 7], 1e-9
    whole = second_derivative(model, [(x, y)], estimator=estimator, seed=3)
    pieces = zip(x.split(sizes), y.split(sizes), strict=True)
    split = second_derivative(model, pieces, estimator=estimator, seed=3)
    for name, value in whole.items():
        atol = rtol * float(value.abs().max())
        torch.testing.assert_close(split[name], value, rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("estimator", ["gauss_newton", "monte_carlo_fisher", "empirical_fisher"])
def test_the_room_for_gradients_changes_rounding_alone(estimator, monkeypatch):
    model = SMALL["skip"]()
    x, y = data(model, 7)
    roomy = second_derivative(model, [(x, y)], estimator=estimator, samples=2)
    monkeypatch.setattr(per_sample, "ROOM", 500)
    cramped = second_derivative(model, [(x, y)], estimator=estimator, samples=2)
    compare(cramped, roomy)


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made in the block hold at once; not those that it is given."""

    def __init__(self, *given):
        super().__init__()
        self.live, self.peak = 0, 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self.known.discard(key)
        self.live -= size


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_smaller_batches_bound_memory(estimator, monkeypatch):
    """Peak bytes beyond what one image takes fall with the batch; nothing is left behind."""
    monkeypatch.setattr(hutchinson, "BLOCK", 10**6)  # which would bound it as well
    monkeypatch.setattr(gauss_newton_probe, "TOGETHER", 10**6)
    few_weights = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
                   nn.Linear(294, 10)]  # fmt: skip
    model = made(lambda: nn.Sequential(*few_weights))
    x, y = torch.randn(64, 1, 28, 28), torch.arange(64) % 10

    def peak(size):
        batches = zip(x.split(size), y.split(size), strict=True)
        with LiveBytes(x, y, *model.parameters()) as memory:
            found = second_derivative(model, batches, estimator=estimator)
        held = sum(value.nbytes for value in found.values())
        del found
        assert memory.live <= 1000
        return memory.peak - held

    small, large = peak(8), peak(64)
    assert small < 0.2 * large


def test_per_sample_memory_is_bounded_in_a_large_batch(monkeypatch):
    model, (x, y) = made(LeNet), (torch.randn(64, 1, 28, 28), torch.arange(64) % 10)
    peaks = []
    for room in (2**24, 2**17):
        monkeypatch.setattr(per_sample, "ROOM", room)
        with LiveBytes() as memory:
            second_derivative(model, [(x, y)], estimator="empirical_fisher")
        peaks.append(memory.peak)
    assert peaks[1] < 0.5 * peaks[0]


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_a_model_is_left_as_it_was(estimator):
    model = networks.build("batch-norm").train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    x, y = data(model.eval(), 3)
    second_derivative(model.train(), [(x, y)], estimator=estimator)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("estimator", ["gradient", "empirical_fisher", "gauss_newton",
                                       "gauss_newton_probe", "monte_carlo_fisher",
                                       "hutchinson"])  # fmt: skip
def test_single_precision_loses_nothing_to_its_range(estimator):
    """A network so sure that squares of its derivatives are no float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, CLASSES))
    with torch.no_grad():
        model[2].weight.mul_(200)
    x = torch.randn(40, 20)
    x = x[model(x).softmax(1).max(1).values > 1 - 1e-7]
    y = model(x).argmax(1)
    assert len(x) > 10
    found = second_derivative(model, [(x, y)], estimator=estimator, samples=3)
    exact = second_derivative(model.double(), [(x.double(), y)], estimator=estimator, samples=3)
    for name, value in exact.items():
        assert value.abs().max() > 0
        tolerance = 1e-3 * float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=tolerance)


# --- refusals ------------------------------------------------------------------------------------


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.fc(x[:, 0, 0])
        return torch.stack([row if row.sum() > 0 else 2 * row for row in x])


def test_what_vmap_cannot_run_is_run_one_by_one():
    model = made(Branching).double()
    x, y = data(model)
    found = second_derivative(model, [(x, y)], estimator="empirical_fisher")
    each = [
        gradient_twin(model, x[i : i + 1], y[i : i + 1], "cross_entropy") for i in range(len(x))
    ]
    compare(found, {name: sum(one[name] ** 2 for one in each) for name in each[0]})
    compare(
        second_derivative(model, [(x, y)], estimator="gradient"),
        gradient_twin(model, x, y, "cross_entropy"),
    )


class OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad


def test_what_is_not_differentiable_twice_is_refused():
    class Once(nn.Sequential):
        def forward(self, x):
            return self[1](OnceOnly.apply(self[0](x[:, 0, 0])))

    model = Once(nn.Linear(6, 6), nn.Linear(6, CLASSES)).double()
    x, y = data(model)
    with pytest.raises(UnsupportedOperationError, match="once_differentiable"):
        second_derivative(model, [(x, y)], estimator="hutchinson")


@pytest.mark.parametrize("estimator", ["gradient", "empirical_fisher", "hutchinson", "release"])
def test_labels_are_needed_and_must_fit(estimator):
    model = networks.build("linear")
    x = networks.inputs(count=2)
    for labels, message in (
        (None, "needs labels"),
        (torch.tensor([0, 9]), "integers below 5"),
        (torch.tensor([0.0, 1.0]), "integers below 5"),
        (torch.zeros(2, 5), "shape"),
    ):
        with pytest.raises(DataError, match=message):
            second_derivative(model, [(x, labels)], estimator=estimator)
    with pytest.raises(SettingError, match="cross_entropy, mse"):
        second_derivative(model, [(x, torch.zeros(2).long())], estimator=estimator, loss="hinge")


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_what_is_not_finite_is_an_error(estimator):
    model = networks.build("two hidden")
    model[1].weight.data[0, 0] = float("nan")
    x = networks.inputs()
    with pytest.raises(DataError, match="not finite"):
        second_derivative(model, [(x, torch.zeros(3).long())], estimator=estimator)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_factors_of_the_losses_hessian(loss):
    outputs = torch.randn(3, 4, 2, dtype=torch.float64)
    labels = torch.zeros(1, 4, 2) if loss == "mse" else torch.zeros(1, 2).long()
    every = labels.expand(3, *labels.shape[1:])
    factors = loss_derivatives.curvature_factors(loss, outputs, every)
    found = torch.einsum("kncp,kndq->ncpdq", factors, factors)
    for n in range(3):
        hessian = torch.func.hessian(lambda out: summed_loss(loss, out[None], labels))
        torch.testing.assert_close(found[n], hessian(outputs[n]))
