"""The model and the process are the same after sensitivity and evaluate as before."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

import swim


class BoomError(RuntimeError):
    pass


class Passes:
    """Counts them where no one brings the count back."""

    count = 0


PASSES = Passes()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.Linear(16, 8)
        self.fc = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.passes, self.fail_at = PASSES, None
        self.seen, self.kept = [], {"sum": torch.zeros(1)}

    def forward(self, x):
        self.calls += 1
        self.passes.count += 1
        self.seen.append(len(x))
        self.kept["sum"] += 1
        self.kept["last"] = x
        if self.fail_at is not None and self.passes.count >= self.fail_at:
            raise BoomError
        torch.rand(1), random.random(), np.random.rand()
        x = self.drop(self.norm(self.conv(x)).relu())
        return self.fc(self.frozen(x.flatten(1)).relu())


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Net().train()
    model.drop.eval()
    model.frozen.requires_grad_(False)
    model.conv.register_forward_hook(lambda module, args, out: None)
    x = torch.randn(4, 1, 4, 4)
    model(x).sum().backward()
    return model


def state(model):
    return {
        "bytes": {k: (v.data_ptr(), v.numpy().tobytes()) for k, v in model.state_dict().items()},
        "objects": {k: id(v) for k, v in model.named_parameters()},
        "grad": {k: None if p.grad is None else p.grad.numpy().tobytes()
                 for k, p in model.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in model.named_parameters()},
        "versions": {k: p._version for k, p in model.named_parameters()},
        "training": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
                  for k, m in model.named_modules()},
        "attributes": {k: sorted(vars(m)) for k, m in model.named_modules()},
        "contents": (list(model.seen), list(model.kept), float(model.kept["sum"])),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "grad mode": torch.is_grad_enabled(),
    }  # fmt: skip


def shuffled():
    data = TensorDataset(torch.randn(12, 1, 4, 4), torch.randint(0, 3, (12,)))
    return DataLoader(data, batch_size=4, shuffle=True)


RUNS = {
    "sensitivity": lambda model, data: swim.sensitivity(model, data),
    "evaluate": lambda model, data: swim.evaluate(
        model, data, device=swim.Device(sigma=0.2), chips=3
    ),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("grad", [True, False])
def test_model_and_process_are_the_same_after_each_function(run, grad, model):
    data = shuffled()
    with torch.set_grad_enabled(grad):
        before = state(model)
        RUNS[run](model, data)
        assert state(model) == before


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("calls", [1, 3, 5, 9])
def test_model_and_process_are_the_same_after_a_failure_midway(run, calls, model):
    data = shuffled()
    model.fail_at = model.passes.count + calls
    before = state(model)
    with pytest.raises(BoomError):
        RUNS[run](model, data)
    assert state(model) == before


@pytest.mark.parametrize("run", RUNS)
def test_model_and_process_are_the_same_after_a_refusal(run, model):
    model.fc = nn.Sequential(nn.GELU(), nn.MultiheadAttention(8, 1), nn.Linear(8, 3))
    data = shuffled()
    before = state(model)
    with pytest.raises((swim.SwimError, TypeError)):
        RUNS[run](model, data)
    assert state(model) == before


@pytest.mark.parametrize("run", RUNS)
def test_a_parametrised_model_is_left_alone_too(run, model):
    class Halve(nn.Module):
        def forward(self, weight):
            return torch.fake_quantize_per_tensor_affine(weight, 0.1, 0, -7, 7)

    parametrize.register_parametrization(model.fc, "weight", Halve())
    data = shuffled()
    before = state(model)
    result = RUNS[run](model, data)
    assert state(model) == before
    if run == "sensitivity":
        assert list(result) == ["conv.weight", "frozen.weight", "fc.weight"]


def test_the_callers_generator_draws_the_same_order_afterwards(model):
    data = shuffled()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    swim.sensitivity(model, data)
    assert torch.equal(torch.rand(3), expected)
