"""Random small networks of every operation that the recursion supports."""

import torch
from torch import nn

from tests.reference.twin import AddBranches, ConcatBranches


def _randomise(model, generator):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.running_mean.shape
            module.running_mean.copy_(torch.randn(size, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(size, generator=generator))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    return model.double().eval()


def build(kind, seed=0):
    """A network for inputs (n, 4, 7, 6) and five classes, in float64 and eval mode."""
    generator = torch.Generator().manual_seed(seed)
    return _randomise(NETWORKS[kind](), generator)


def inputs(seed=0, count=3):
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(count, 4, 7, 6, generator=generator, dtype=torch.float64)


def _head(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5))


def _made(model):
    model = model.double()
    model.eval()(inputs())
    return model


NETWORKS = {
    "linear": lambda: _made(nn.Sequential(nn.Flatten(), nn.Linear(168, 5))),
    "two hidden": lambda: _made(
        nn.Sequential(
            nn.Flatten(), nn.Linear(168, 7), nn.ReLU(), nn.Linear(7, 6, bias=False), nn.ReLU(),
            nn.Linear(6, 5),
        )
    ),
    "convolution": lambda: _made(_head(nn.Conv2d(4, 3, 3), nn.ReLU())),
    "stride, padding": lambda: _made(
        _head(nn.Conv2d(4, 3, (3, 2), stride=(2, 1), padding=(2, 1)), nn.ReLU(), nn.Conv2d(3, 2, 2))
    ),
    "dilation, groups": lambda: _made(
        _head(
            nn.Conv2d(4, 6, 3, padding=2, dilation=(2, 1), groups=2, bias=False), nn.ReLU(),
            nn.Conv2d(6, 6, 2, groups=6),
        )
    ),
    "same padding": lambda: _made(
        _head(
            nn.Conv2d(4, 3, (2, 4), padding="same"), nn.ReLU(),
            nn.Conv2d(3, 2, 3, padding="valid"),
        )
    ),
    "batch-norm": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 2, 2), nn.BatchNorm2d(2),
        )
    ),
    "max-pool": lambda: _made(
        _head(nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 2, 2))
    ),
    "average pool": lambda: _made(
        _head(nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 2, 2))
    ),
    "average pool without padding's count": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3), nn.AvgPool2d(2, 2, 1, count_include_pad=False),
            nn.Conv2d(3, 2, 2),
        )
    ),
    "adaptive pool": lambda: _made(
        _head(nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Conv2d(3, 2, 2))
    ),
    "skip": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(),
            AddBranches(
                nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)), nn.Identity()
            ),
            nn.ReLU(),
        )
    ),
    "concatenation": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3, padding=1),
            ConcatBranches(nn.Identity(), nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())),
            nn.AdaptiveAvgPool2d(2),
        )
    ),
}  # fmt: skip
