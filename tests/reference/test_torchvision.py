"""Networks that nobody named in the code: they agree with the slow twin, or say what to do."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import swim
from swim.curvature.estimate import second_derivative
from tests.reference import graph

# Name, number of images, their side: small, yet more than one position before the last average.
NETWORKS = {
    "mobilenet_v2": (2, 40),
    "mobilenet_v3_small": (2, 40),
    "resnet50": (2, 33),
    "efficientnet_b0": (2, 40),
    "convnext_tiny": (1, 64),
}


def made(name):
    """With weights and statistics as after some training: activations keep their size."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=11).double()
    count, side = NETWORKS[name]
    x = torch.randn(count, 3, side, side, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.8
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("layer_scale"):
                parameter.uniform_(0.2, 0.6)
        model.train()(torch.randn(6, 3, side, side, dtype=torch.float64))
    return model.eval(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_the_twin(name):
    model, x = made(name)
    outputs, expected = graph.second_derivatives(model, x.numpy())
    np.testing.assert_allclose(model(x).detach().numpy(), outputs, rtol=1e-8, atol=1e-12)
    found = second_derivative(model, [(x, None)])
    weights = {f"{n}.weight" for n, m in model.named_modules()
               if isinstance(m, nn.Conv2d | nn.Linear)}  # fmt: skip
    assert set(found) == set(expected) == weights
    for key, value in expected.items():
        top = value.max()
        assert top > 0
        np.testing.assert_allclose(
            found[key].numpy(), value, rtol=1e-6, atol=top * 1e-10, err_msg=key
        )
    single = second_derivative(model.float(), [(x.float(), None)])
    for key, value in found.items():
        error = (single[key] - value).abs().max() / value.max()
        assert error < 2e-3, key


def test_vision_transformer_is_ranked_unmodified():
    torch.manual_seed(0)
    model = torchvision.models.vit_b_16(image_size=32)
    x = torch.randn(1, 3, 32, 32)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # it starts at zero
    scores = swim.sensitivity(model, [(x, None)], estimator="recursion")
    assert sum(value.numel() for value in scores.values()) > 80e6
    assert all((value >= 0).all() and value.any() for value in scores.values())
