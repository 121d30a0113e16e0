"""Programming a chip takes a bounded multiple of its weights' memory, and changes no bit."""

import subprocess
import sys

import pytest
import torch

from swim.devices import chunks, pulse, redraw
from swim.devices.bit_sliced import Device
from swim.devices.four_level import MiddleLevels
from swim.programming.chip import Chip
from swim.programming.lookup import of_name
from swim.programming.mask import VerifyMask

PEAK = """
import json, sys
import torch
from swim.devices import Device
from swim.programming import Chip, VerifyMask
from swim.runtime.normals_code import compiled

compiled()  # the compiler's own memory is there once, whatever the weights
def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

layers, weights, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
device = Device(sigma=0.1, M=8, K=1, write_verify=kind)
def program(targets):
    VerifyMask({name: t > 0 for name, t in targets.items()}).program(Chip(targets, device, 0, 0))
targets = {f"layer{i}": torch.randn(weights // layers // 100, 100) for i in range(layers)}
program({"few": torch.randn(3, 100)})
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
program(targets)
print((status("VmHWM") - before) / (4 * weights))
"""


# Measured: 25, 8 and 43 times; the whole of all devices at once took 140.
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own account of memory")
@pytest.mark.parametrize(
    ("layers", "kind", "most"), [(1, "redraw", 40), (20, "redraw", 20), (1, "pulse", 65)]
)
def test_peak_memory_of_a_chip_is_a_bounded_multiple_of_its_weights(layers, kind, most):
    command = [sys.executable, "-c", PEAK, str(layers), "600000", kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 0 < float(done.stdout) < most


DEVICES = [
    {"M": 4, "K": 1},
    {"M": 4, "K": 2, "read_noise": 0.02, "variation": MiddleLevels(s=2)},
    {"M": 4, "K": 2, "clip": True, "read_noise": 0.02},
    {"M": 4, "K": 4, "cycle_limit": 2, "sigma": 0.3},
]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["redraw", "pulse"])
@pytest.mark.parametrize("settings", DEVICES)
@pytest.mark.parametrize("name", ["mask", "uswim", "read_first", "compensate", "reslice"])
def test_stretches_of_devices_change_no_bit(monkeypatch, name, settings, kind):
    generator = torch.Generator().manual_seed(0)
    targets = {
        "a": torch.randn(11, 13, generator=generator),
        "b": torch.randn(4, 2, 3, 3, generator=generator),
    }
    scores = {k: torch.rand(t.shape, generator=generator) for k, t in targets.items()}
    device = Device(**{"sigma": 0.1, **settings}, write_verify=kind)
    if name == "mask":
        policy = VerifyMask({k: score > 0.5 for k, score in scores.items()})
    else:
        policy = of_name(name, 0.3, scores)
    expected = policy.program(Chip(targets, device, 1, 2))
    for at_once in (1, 64):
        monkeypatch.setattr(chunks, "AT_ONCE", at_once)
        monkeypatch.setattr(redraw, "AT_ONCE", at_once)
        monkeypatch.setattr(pulse, "AT_ONCE", at_once)
        found = policy.program(Chip(targets, device, 1, 2))
        assert (found.nwc, found.reads) == (expected.nwc, expected.reads)
        for key in targets:
            assert torch.equal(found.weights[key], expected.weights[key])
