"""The package's front door: lazy, documented, usable in four lines on any module."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import swim
from swim.cli.accelerator import start
from swim.errors import DataError, SettingError
from swim.settings import Compute


def imported_by(code):
    check = "import sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    run = [sys.executable, "-c", f"{code}\n{check}"]
    return set(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())


def test_importing_swim_loads_neither_torch_nor_pandas():
    assert not {"torch", "numpy", "pandas", "matplotlib"} & imported_by("import swim")


def test_the_command_line_and_its_help_load_no_torch():
    loaded = imported_by("from swim.cli import cli\ncli.main(['--help'], standalone_mode=False)")
    assert not {"torch", "pandas", "matplotlib", "scipy"} & loaded


def test_a_computing_step_starts_without_the_compiler_of_torch():
    """Importing it takes longer than importing torch; every job would."""
    code = "from swim.cli.accelerator import start\nfrom swim.settings import Compute\n"
    code += "start(Compute(accelerator='cpu'))\nimport sys\n"
    code += "sys.modules |= {m.replace('.', ':'): None for m in sys.modules if m.count('.') == 1}"
    loaded = imported_by(code)
    assert "torch:nn" in loaded
    assert not {"torch:_dynamo", "torch:_inductor"} & loaded


def test_the_arithmetic_of_a_computing_step_is_deterministic_and_full_float32():
    start(Compute(accelerator="cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    torch.set_deterministic_debug_mode("default")


def test_an_unknown_attribute_of_swim_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = swim.nothing
    assert set(swim.__all__) <= set(dir(swim))


class Own(nn.Module):
    """A network that nobody named: a skip, groups, two heads' worth of pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(40, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        y = (x + self.body(x)).relu_()
        parts = [self.pool(y).flatten(1), y.flatten(2).mean(2)]
        return self.head(torch.cat(parts, 1))


def test_four_lines_on_a_users_module():
    torch.manual_seed(0)
    model = Own()
    x, y = torch.randn(64, 3, 8, 8), torch.randint(0, 4, (64,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    scores = swim.sensitivity(model, loader)
    mask = swim.select(scores, fraction=0.1)
    result = swim.evaluate(model, loader, mask, device=swim.Device(sigma=0.1), chips=20, seed=0)

    weights = {"stem.weight", "body.0.weight", "head.weight"}
    assert set(scores) == set(mask) == weights
    again, other = (swim.sensitivity(model, loader, seed=seed) for seed in (0, 1))
    assert all(torch.equal(scores[n], again[n]) for n in weights)  # random signs, by the seed
    assert not torch.equal(scores["stem.weight"], other["stem.weight"])
    assert scores.relative_error > 0
    assert all(scores[n].shape == mask[n].shape == model.get_parameter(n).shape for n in weights)
    total = sum(m.numel() for m in mask.values())
    assert sum(int(m.sum()) for m in mask.values()) == int(total * 0.1 + 0.5)
    assert result.accuracy.shape == (20,)
    assert result.mean == pytest.approx(result.accuracy.mean().item())
    assert result.nwc == pytest.approx(0.1, abs=0.01)
    assert 0 < result.ci95 < result.std
    assert math.isnan(result.p05)  # of fewer than 60 chips
    nothing = swim.evaluate(model, loader, device=swim.Device(sigma=0.1), chips=20, seed=0)
    assert (result.loss - nothing.loss).mean() < 0


def test_a_policy_takes_a_masks_place():
    """It reads the chip's devices and decides: here it repairs the worst errors it sees."""
    from swim.programming.chip import Programmed
    from swim.programming.mask import VerifyMask

    class ReadAndRepair:
        def program(self, chip):
            once = VerifyMask({}).program(chip)
            weights = {}
            for name, target in chip.targets.items():
                error = once.weights[name] - target
                bad = error.abs() > error.abs().quantile(0.9)
                weights[name] = torch.where(bad, target, once.weights[name])
            return Programmed(weights, nwc=0.25)

    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    batches = [(torch.randn(40, 6), torch.randint(0, 3, (40,)))]
    device = swim.Device(sigma=0.3)
    plain = swim.evaluate(model, batches, device=device, chips=30)
    repaired = swim.evaluate(model, batches, policy=ReadAndRepair(), device=device, chips=30)
    clean = nn.functional.cross_entropy(model(batches[0][0]), batches[0][1]).item()
    assert (repaired.loss - clean).abs().mean() < (plain.loss - clean).abs().mean()
    assert repaired.nwc == 0.25


def test_regression_has_losses_and_no_accuracy():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    batches = [(torch.randn(40, 6), torch.randn(40, 2))]
    scores = swim.sensitivity(model, batches, loss="mse")
    mask = swim.select(scores, 0.2, tie_break=model)
    result = swim.evaluate(model, batches, mask, device=swim.Device(sigma=0.1), chips=3, loss="mse")
    assert result.accuracy.isnan().all()
    assert (result.loss > 0).all()


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (
            {"1.weight": torch.ones(2, 2, dtype=torch.bool)},
            "not a programmed weight of this model; those are 0.weight",
        ),
        ({"0.weight": torch.ones(2, 2, dtype=torch.bool)}, r"must be torch\.bool \(3, 6\)"),
        ({"0.weight": torch.ones(3, 6)}, r"torch\.float32"),
    ],
)
def test_a_mask_that_does_not_fit(mask, match):
    model = nn.Sequential(nn.Linear(6, 3))
    batches = [(torch.randn(4, 6), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(DataError, match=match):
        swim.evaluate(model, batches, mask, device=swim.Device(sigma=0.1), chips=1)


def test_wrong_arguments_of_evaluate():
    model = nn.Sequential(nn.Linear(6, 3))
    batches = [(torch.randn(4, 6), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(SettingError, match="chips must be at least 1"):
        swim.evaluate(model, batches, device=swim.Device(sigma=0.1), chips=0)
    with pytest.raises(DataError, match="empty"):
        swim.evaluate(model, [], device=swim.Device(sigma=0.1))
    with pytest.raises(SettingError, match="cross_entropy, mse"):
        swim.evaluate(model, batches, device=swim.Device(sigma=0.1), loss="hinge")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sigma": -0.1}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"sigma": 0.1, "verified_sigma": -1}, "verified_sigma"),
        ({"sigma": 0.1, "M": 4, "K": 3}, "multiple"),
        ({"sigma": 0.1, "K": 0}, "multiple"),
        ({"sigma": 0.1, "convention": "full"}, "full-scale, release"),
        ({"sigma": 0.1, "write_verify": "pulses"}, "'pulses'; known: closed_form, redraw, pulse"),
        ({"sigma": 0.1, "read_noise": -0.1}, "read_noise must be a finite number of at least 0"),
        ({"sigma": 0.1, "read_noise": 0.1}, "read_noise and clip need simulated write cycles"),
        ({"sigma": 0.1, "clip": True}, "set write_verify to redraw or pulse"),
        ({"sigma": 0.1, "tolerance": 0}, "tolerance must be positive, not 0"),
        ({"sigma": 0.1, "tolerance": float("nan")}, "tolerance must be positive, not nan"),
        ({"sigma": 0.1, "pulse_gain": 0}, "pulse_gain must be above 0 and at most 1, not 0"),
        ({"sigma": 0.1, "pulse_gain": 1.5}, "pulse_gain must be above 0 and at most 1, not 1.5"),
        ({"sigma": 0.1, "cycle_limit": 0}, "cycle_limit must be at least 1, not 0"),
    ],
)
def test_devices_out_of_range(settings, match):
    with pytest.raises(SettingError, match=match):
        swim.Device(**settings)


def test_the_formulas_of_both_conventions():
    assert swim.Device(0.1, M=4, K=4).significance == (1.0,)
    assert swim.Device(0.1, M=8, K=1).weight_std(False) == pytest.approx(0.0580, abs=5e-5)
    release = swim.Device(0.1, M=8, K=1, convention="release")
    assert release.significance == tuple(2.0**-i for i in range(1, 9))
    assert release.weight_std(False) == pytest.approx(0.0577, abs=5e-5)
    assert release.weight_std(True) == pytest.approx(0.0577 * 0.3, abs=5e-5)
    two = swim.Device(1, M=8, K=2)
    ratio = two.weight_std(False) / swim.Device(1, M=8, K=2, convention="release").weight_std(False)
    assert ratio == pytest.approx(3.01, abs=0.01)
