"""Convolutions of every kind in channels last; in a process of their own, since one may end it."""

import subprocess
import sys
import textwrap

import pytest

# Random networks of convolutions, dilated ones on narrow images among them.
NETWORKS = """
import random, sys
import torch
from torch import nn

CONVOLUTIONS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
MODES = ["zeros", "zeros", "zeros", "reflect", "replicate", "circular"]

def convolution(rng, d, channels):
    def each(*values):
        return (rng.choice(values),) * d if rng.random() < 0.5 else rng.choices(values, k=d)
    groups = rng.choice([g for g in (1, 1, 2, 3) if channels % g == 0])
    settings = {"stride": each(1, 1, 2, 3), "dilation": each(1, 2, 3), "groups": groups,
                "padding": each(0, 1, 2, 4), "bias": rng.random() < 0.8}
    outputs = groups * rng.randint(1, 4)
    kernel = each(1, 2, 3, 5)
    if rng.random() < 0.15:
        return TRANSPOSED[d - 1](channels, outputs, kernel, **settings)
    if rng.random() < 0.2:
        settings |= {"padding": "same", "stride": 1}
    mode = rng.choice(MODES)
    return CONVOLUTIONS[d - 1](channels, outputs, kernel, padding_mode=mode, **settings)

def network(seed):
    'A network in eval mode, and two images for it; None if its images get too small.'
    rng = random.Random(seed)
    torch.manual_seed(seed)
    d = rng.choice([1, 2, 2, 2, 3])
    size = [rng.randint(1, 13 if d < 3 else 6) for _ in range(d - 1)] + [rng.randint(1, 3)]
    first = channels = rng.choice([1, 2, 3, 6])
    layers = []
    for _ in range(rng.randint(1, 2)):
        layers += [convolution(rng, d, channels), nn.ReLU()]
        channels = layers[-2].out_channels
    images = torch.randn(2, first, *size)
    try:
        with torch.no_grad():
            flat = nn.Sequential(*layers)(images).flatten(1)
    except RuntimeError:
        return None
    if not flat.shape[1]:
        return None
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat.shape[1], 3)).eval(), images

ISSUE = nn.Conv2d(6, 4, (3, 1), stride=2, padding=1, dilation=2, groups=2), torch.randn(2, 6, 12, 1)

def networks(count):
    yield nn.Sequential(ISSUE[0], nn.Flatten(), nn.Linear(40, 3)).eval(), ISSUE[1]
    yield from filter(None, map(network, range(count)))
"""

ENGINE = """
from swim.engine.evaluator import Network, each_loss

def batches(images):
    more = torch.randn(7, *images.shape[1:])
    return [(x, torch.arange(len(x)) % 3) for x in (images[:0], images, more, more[:0])]

together = 0
with torch.no_grad():
    for model, images in networks(50):
        shown = batches(images)
        engine = Network(model, shown, "cross_entropy")
        together += engine.group > 1
        engine.passes.way.images_alone, engine.passes.way.images_together = 4, 3  # so that passes are recorded, too
        chips = [{k: w * (1 + 0.1 * torch.randn_like(w)) for k, w in engine.targets.items()}
                 for _ in range(engine.group)]
        for group in {1, engine.group}:
            _, found = engine.measure(chips[:group])
            for chip, losses in zip(chips[:group], found, strict=True):
                expected = [each_loss("cross_entropy", torch.func.functional_call(model, chip, (x,)), y)[1]
                            for x, y in shown]
                torch.testing.assert_close(losses, torch.cat(expected), rtol=1e-3, atol=1e-3)
assert together >= 5, together
"""  # noqa: E501

GRADIENTS = """
from swim.networks.layouts import SafeLayouts
from swim.networks.weight_noise import WeightNoise

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

def gradients(model, images, order):
    model.zero_grad()
    model(images.contiguous(memory_format=order)).square().sum().backward()
    return [p.grad.clone(memory_format=torch.contiguous_format) for p in model.parameters()]

for model, images in networks(50):
    order = LAST.get(images.dim(), torch.contiguous_format)
    expected = gradients(model, images, torch.contiguous_format)
    model.to(memory_format=order)
    with SafeLayouts(), WeightNoise(0.0, 0, model):
        found = gradients(model, images, order)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
"""

TRAINING = """
import sys
import numpy as np
import torch
from torch import nn
from swim.data import dataset as data
from swim.networks import training as train
from swim.runtime import files as io
from swim.settings import ModelSettings, TrainingSettings

def make(channels, classes):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 28)),
        nn.Conv2d(6, 4, (3, 1), stride=2, padding=1, dilation=2, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(48, classes),
    )

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (200, 1, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(200) % 10
    about = {"dataset": "noise", "classes": 10, "mean": [0.5], "std": [0.3], "augmentation": "none"}
    io.save_arrays(sys.argv[1], arrays, about)
    sizes = {"channels": 1, "classes": 10}
    model = ModelSettings(**{"import": "narrow:make", "arguments": sizes}, weight_bits=4, activation_bits=4)
    settings = TrainingSettings(epochs=2, quantised_epochs=1, batch_size=100)
    _, rows = train.train(model, settings, data.DataSet(sys.argv[1]), seed=0, place=torch.device("cpu"))
    assert len(rows) == 2
"""  # noqa: E501


def run(tmp_path, script, *arguments):
    path = tmp_path / "narrow.py"
    path.write_text(textwrap.dedent(script))
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"


@pytest.mark.long
@pytest.mark.parametrize("script", [ENGINE, GRADIENTS], ids=["engine", "gradients"])
def test_every_convolution_gives_what_it_gives_in_the_order_of_dimensions(tmp_path, script):
    run(tmp_path, NETWORKS + script)


@pytest.mark.long
def test_training_survives_dilated_convolutions_of_narrow_images(tmp_path):
    run(tmp_path, TRAINING, tmp_path / "noise.safetensors")
