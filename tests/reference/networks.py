"""Random small networks of every operation that the recursion supports."""

import copy

import torch
from torch import nn

from tests.reference.twin import AddBranches, ConcatBranches, GateBranches


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


# Element-wise modules, each between two convolutions.
CURVED = [
    nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.SiLU(True), nn.Mish(), nn.Mish(True), nn.Sigmoid(),
    nn.LogSigmoid(), nn.Tanh(), nn.Tanhshrink(), nn.Softplus(2), nn.Softsign(), nn.ReLU6(),
    nn.Hardtanh(-0.5, 1.5, True), nn.Hardsigmoid(), nn.Hardsigmoid(True), nn.Hardswish(),
    nn.Hardswish(True), nn.Softshrink(0.3), nn.LeakyReLU(0.2), nn.LeakyReLU(0.2, True), nn.PReLU(3),
    nn.ELU(0.7), nn.ELU(0.7, True), nn.SELU(), nn.SELU(True), nn.CELU(0.5), nn.CELU(0.5, True),
]  # fmt: skip


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
    "gate": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3, padding=1), nn.SiLU(inplace=True),
            GateBranches(
                nn.Identity(),
                nn.Sequential(
                    nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1),
                    nn.Sigmoid(),
                ),
            ),
            nn.Dropout(0.5), nn.Conv2d(3, 2, 3),
        )
    ),
    "layer-norm": lambda: _made(
        _head(nn.Conv2d(4, 3, 3), nn.LayerNorm((5, 4)), nn.ReLU(True), nn.Conv2d(3, 2, 2))
    ),
    "plain layer-norm": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3), nn.LayerNorm(4, elementwise_affine=False, eps=0.1), nn.Tanh(),
            nn.Conv2d(3, 2, 2),
        )
    ),
    "rms-norm": lambda: _made(
        _head(nn.Conv2d(4, 3, 3), nn.RMSNorm(4), nn.SiLU(), nn.RMSNorm((5, 4), eps=0.2))
    ),
    "group-norm": lambda: _made(
        _head(nn.Conv2d(4, 6, 3), nn.GroupNorm(3, 6), nn.Hardswish(True), nn.Conv2d(6, 2, 2))
    ),
    "instance-norm": lambda: _made(
        _head(
            nn.Conv2d(4, 3, 3), nn.InstanceNorm2d(3, affine=True), nn.LeakyReLU(0.3, True),
            nn.Conv2d(3, 2, 2), nn.InstanceNorm2d(2), nn.ReLU(True),
        )
    ),
    "conv1d": lambda: _made(
        _head(
            nn.Flatten(2), nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2, groups=2),
            nn.ReLU(True), nn.Conv1d(6, 3, 3, padding="same"), nn.AvgPool1d(4, 3, 1),
            nn.SiLU(True), nn.Conv1d(3, 2, 2), nn.AdaptiveAvgPool1d(3),
        )
    ),
    "conv3d": lambda: _made(
        _head(
            nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 4, (1, 3, 2), (1, 2, 1), (1, 0, 1)), nn.GELU(),
            nn.AvgPool3d(2, 1, 1, count_include_pad=False), nn.Conv3d(4, 2, 2, groups=2),
            nn.AdaptiveAvgPool3d((2, 1, 3)),
        )
    ),
    "transposed conv1d": lambda: _made(
        _head(
            nn.Flatten(2), nn.Conv1d(4, 4, 6, 6), nn.ReLU(True),
            nn.ConvTranspose1d(4, 6, 4, 3, 1, output_padding=2, groups=2, dilation=2),
        )
    ),
    "transposed conv2d": lambda: _made(
        _head(
            nn.Conv2d(4, 4, 3, 2), nn.ReLU(True),
            nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0), groups=2, bias=False),
            nn.Tanh(), nn.ConvTranspose2d(6, 2, 2),
        )
    ),
    "transposed conv3d": lambda: _made(
        _head(
            nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 3, (2, 3, 3), (1, 2, 2)), nn.ReLU(True),
            nn.ConvTranspose3d(3, 2, (1, 2, 3), 2, (0, 1, 1), (1, 0, 1)),
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
for module in CURVED:
    NETWORKS[repr(module)] = lambda module=module: _made(
        _head(nn.Conv2d(4, 3, 3, 2), copy.deepcopy(module), nn.Conv2d(3, 2, 2))
    )
