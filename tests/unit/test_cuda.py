"""On a GPU: the answers of the CPU to rounding, and the same bytes twice. Skipped without one."""

import copy

import pytest
import torch
from torch import nn

import swim
from swim.cli.accelerator import start
from swim.curvature.control import Control
from swim.curvature.estimate import second_derivative
from swim.data import prepare
from swim.data.dataset import DataSet
from swim.engine import evaluator
from swim.evaluation import monte_carlo, perturbation, spending
from swim.networks import quantisation, training
from swim.programming.chip import Chip
from swim.programming.in_situ import InSitu
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask
from swim.runtime import files
from swim.runtime.unfinished import Unfinished
from swim.settings import Compute, ModelSettings, TrainingSettings, registry
from tests.unit.conftest import run

PLACE = "cuda"
pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    # What torch says of operations whose sums may come in any order.
    pytest.mark.filterwarnings("ignore:.*deterministic:UserWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]
CLOSED = swim.Device(sigma=0.2, M=8, K=1, convention="release")
COUNTED = swim.Device(sigma=0.2, M=8, K=2, write_verify="redraw", read_noise=0.01)
DEVICES = {
    "closed form": CLOSED,
    "redraw, noise": COUNTED,
    "clip": swim.Device(sigma=0.2, M=8, K=2, write_verify="redraw", clip=True),
    "pulse": swim.Device(sigma=0.2, M=8, K=4, write_verify="pulse"),
    "variation": swim.Device(
        sigma=0.2, M=4, K=2, write_verify="redraw", variation=registry.find("variation", "rram1")
    ),
}


@pytest.fixture(autouse=True)
def full_precision():
    """As swim.cli.accelerator.start has it."""
    start(Compute())
    yield
    torch.use_deterministic_algorithms(False)


class Residual(nn.Module):
    """What ResNet-18 consists of, small: strides, batch-norm, two branches, means."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.right = nn.Conv2d(8, 8, 1, stride=2, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + self.right(x))
        return self.last(self.pool(x).flatten(1))


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5),
    )  # fmt: skip


def images(count=60):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 5, (count,), generator=generator)


def made(kind, dtype=torch.float64):
    torch.manual_seed(2)
    model = plain() if kind.startswith("plain") else Residual()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    if "quantised" in kind:
        quantisation.quantise_activations(model, 4)
        quantisation.calibrate(model, [images()[0].float()])
        quantisation.quantise_weights(model, 4)
        if "deployed" in kind:
            quantisation.deploy(model)
    return model.to(dtype).eval()


def both(kind, dtype=torch.float64):
    """The same network on the CPU and on the GPU."""
    model = made(kind, dtype)
    return model, copy.deepcopy(model).to(PLACE)


def batches(dtype=torch.float64, count=60):
    x, y = images(count)
    return list(zip(x.to(dtype).split(25), y.split(25), strict=True))


def close(found, expected, rtol=1e-8):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].device.type == PLACE
        bound = rtol * float(value.abs().max())
        torch.testing.assert_close(found[name].cpu(), value, rtol=rtol, atol=bound)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_second_derivatives_are_those_of_the_cpu(estimator, kind, noise):
    here, there = both(kind)
    expected = swim.sensitivity(here, batches(), estimator=estimator, noise=noise)
    close(swim.sensitivity(there, batches(), estimator=estimator, noise=noise), expected)


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_a_killed_pass_goes_on_to_the_same_bytes(estimator, tmp_path):
    class Stopping(Unfinished):
        def write(self, state):
            super().write(state)
            raise KeyboardInterrupt

    model = made("residual", torch.float32).to(PLACE)

    def pass_(control=None):
        return second_derivative(
            model, batches(torch.float32), estimator=estimator, control=control
        )

    whole = pass_()
    with pytest.raises(KeyboardInterrupt):
        pass_(Control(Stopping(tmp_path / "s", "d", seconds=0), PLACE))
    control = Control(Unfinished(tmp_path / "s", "d"), PLACE)
    assert control.samples == 25
    for name, value in pass_(control).items():
        assert torch.equal(value, whole[name])


def exact():
    """A quantised network whose every value is a small multiple of a power of two.

    Sums of these are exact in float32, in any order, so that no value is tipped to another level.
    """
    model = made("plain quantised deployed", torch.float32)
    with torch.no_grad():
        for number, layer in enumerate(m for m in model.modules() if hasattr(m, "input_quantiser")):
            layer.weight.copy_((layer.weight / layer.weight.abs().max() * 15).round() / 16)
            layer.bias.copy_((layer.bias * 16).round() / 16)
            layer.input_quantiser.scale.fill_(0.5)
            layer.input_quantiser.zero_point.fill_(0 if number else 8)
    return model


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_second_derivatives_of_a_quantised_network_are_those_of_the_cpu(estimator):
    here = exact()
    there = copy.deepcopy(here).to(PLACE)
    data = [(((2 * x).round() / 2), y) for x, y in batches(torch.float32)]
    with torch.no_grad():
        assert torch.equal(there(data[0][0].to(PLACE)).cpu(), here(data[0][0]))
    expected = swim.sensitivity(here, data, estimator=estimator)
    assert all(value.any() for value in expected.values())
    close(swim.sensitivity(there, data, estimator=estimator), expected, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_chips_of_a_mask_are_those_of_the_cpu(kind, device):
    here, there = both(kind)
    results = []
    for model in (here, there):
        mask = swim.select(swim.sensitivity(model, batches()), "0.2")
        results.append(
            swim.evaluate(model, batches(), mask, device=DEVICES[device], chips=10, seed=1)
        )
    expected, found = results
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.nwc_per_chip, expected.nwc_per_chip, rtol=1e-6, atol=0)
    assert torch.equal(found.accuracy, expected.accuracy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["plain quantised", "residual quantised deployed", "plain"])
def test_chips_in_each_precision(kind, dtype):
    """Quantised networks come in float32: rounding may tip a value to the next level."""
    if "quantised" in kind and dtype == torch.float64:
        pytest.skip("quantisers take float32")
    here, there = both(kind, dtype)
    expected, found = (
        swim.evaluate(model, batches(dtype), device=CLOSED, chips=16) for model in (here, there)
    )
    assert abs(found.mean - expected.mean) <= 0.01
    torch.testing.assert_close(found.loss, expected.loss, rtol=0.02, atol=0)


def test_small_networks_run_in_groups_also_here():
    with torch.no_grad():
        network = evaluator.Network(made("plain").to(PLACE), batches(), "cross_entropy")
    assert network.group == evaluator.GROUP


def test_chips_on_images_of_their_own():
    here, there = both("residual")
    data = batches(count=600)
    rows = []
    for model in (here, there):
        made_rows = monte_carlo.stream(model, data, device=CLOSED, images=80)
        rows.append([next(made_rows) for _ in range(24)])
    for expected, found in zip(*rows, strict=True):
        assert found[0] == expected[0]
        assert found[-1] == expected[-1]
        assert found[1] == pytest.approx(expected[1], abs=1e-9)
        assert found[2] == pytest.approx(expected[2], rel=1e-6)


@pytest.mark.parametrize("device", [name for name in DEVICES if name != "closed form"])
@pytest.mark.parametrize("policy", registry.POLICIES)
def test_policies_program_the_same_chips(policy, device):
    here, there = both("residual", torch.float32)
    scores = swim.sensitivity(here, batches(torch.float32))
    programmed = []
    for model in (here, there):
        targets = {n: model.get_parameter(n).detach() for n in scores}
        programmed.append(
            of_name(policy, 0.1, scores).program(Chip(targets, DEVICES[device], 0, 1))
        )
    expected, found = programmed
    # One device more or less where the budget is met.
    assert found.nwc == pytest.approx(expected.nwc, rel=0.02, abs=1e-3)
    assert found.reads == pytest.approx(expected.reads, rel=0.02)
    for name, weight in expected.weights.items():
        scale = float(targets[name].abs().max())
        other = (found.weights[name].cpu() - weight).abs() > 1e-5 * scale
        assert other.double().mean() <= 0.02


def test_where_cycles_are_spent_is_the_same():
    here, there = both("residual", torch.float32)
    tables = []
    for model in (here, there):
        scores = swim.sensitivity(model, batches(torch.float32))
        targets = {n: model.get_parameter(n).detach() for n in scores}
        mask = {n: m.cpu() for n, m in swim.select(scores, "0.2").items()}
        methods = {"swim": VerifyMask(mask), "marginal": of_name("marginal", 0.1, scores)}
        tables.append(spending.table(methods, targets, device=COUNTED, seed=0, chips=2))
    expected, found = tables
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    numbers = expected.select_dtypes("number").to_numpy()
    assert abs(found.select_dtypes("number").to_numpy() - numbers).max() <= 0.05 * numbers.max()


def test_on_device_training_is_that_of_the_cpu():
    here, there = both("residual")
    results = []
    for model in (here, there):
        policy = InSitu(model, batches(), 2.0, learning_rate=0.05)
        results.append(swim.evaluate(model, batches(), policy=policy, device=COUNTED, chips=3))
    expected, found = results
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.nwc_per_chip, expected.nwc_per_chip, rtol=1e-6, atol=0)


def test_loss_of_single_weights_is_that_of_the_cpu():
    expected, found = (
        list(perturbation.stream(model, batches(), std=0.1, weights=40)) for model in both("plain")
    )
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("network", ["lenet", "mlp3"])
@pytest.mark.parametrize("bits", [None, 4])
def test_each_step_twice_gives_the_same_bytes(network, bits, tmp_path):
    run("prepare", "--dataset", "mnist5k", "--out", tmp_path / "data")
    quantised = ("--model-weight-bits", bits, "--model-activation-bits", bits) if bits else ()
    for folder in (tmp_path / "once", tmp_path / "again"):
        model, second, mask = (folder / name for name in ("model", "second", "mask"))
        where_ = ("--accelerator", "auto")
        run("train", "--data", tmp_path / "data", "--out", model, "--model-name", network,
            "--training-epochs", 2, "--training-quantised-epochs", 1, *quantised,
            *where_)  # fmt: skip
        run("sensitivity", "--model", model, "--data", tmp_path / "data", "--out", second, *where_)
        run("select", "--model", model, "--sensitivity", second, "--out", mask)
        run("evaluate", "--model", model, "--data", tmp_path / "data", "--mask", mask, "--out",
            folder / "chips.csv", "--sigma", "0.3", "--chips", 12, *where_)  # fmt: skip
        run("program", "--model", model, "--data", tmp_path / "data", "--sensitivity", second,
            "--out", folder / "policy.csv", "--sigma", "0.3", "--chips", 3, "--policy", "marginal",
            "--budget", "0.05", "--device-write-verify", "redraw", *where_)  # fmt: skip
    for name in ("model", "second", "mask", "chips.csv", "policy.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "once" / name).read_bytes(), name
    weights, _ = files.load_tensors(model)
    assert all(value.isfinite().all() for value in weights.values())


def test_a_residual_network_trains_to_the_same_bytes(tmp_path):
    prepare.prepare("mnist5k", tmp_path / "data")
    data = DataSet(tmp_path / "data")
    place = start(Compute(accelerator="auto"))
    settings = TrainingSettings(
        epochs=1, quantised_epochs=0, optimizer="sgd", learning_rate=0.01, weight_noise=0.02
    )
    model = ModelSettings(**{"import": "tests.unit.test_cuda:Grey"})
    states = [training.train(model, settings, data, seed=0, place=place)[0] for _ in range(2)]
    for one, other in zip(*(s.state_dict().values() for s in states), strict=True):
        assert torch.equal(one, other)


class Grey(nn.Module):
    """Residual for MNIST."""

    def __init__(self):
        super().__init__()
        self.inner = Residual()
        self.inner.last = nn.Linear(8, 10)

    def forward(self, x):
        return self.inner(x.expand(-1, 3, -1, -1))
