"""The multilayer perceptrons of the original release: hidden layers of 32 units."""

import itertools

from torch import Tensor, nn


class MLP(nn.Module):
    """(N, C, 28, 28), or any shape of so many values -> (N, classes)."""

    def __init__(self, hidden: int, in_channels: int = 1, classes: int = 10):
        super().__init__()
        sizes = [in_channels * 28 * 28, *[32] * hidden, classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        result: Tensor = self.layers(x)
        return result


def mlp3(in_channels: int = 1, classes: int = 10) -> MLP:
    """Three linear layers: 784-32-32-10."""
    return MLP(2, in_channels, classes)


def mlp4(in_channels: int = 1, classes: int = 10) -> MLP:
    """Four linear layers: 784-32-32-32-10."""
    return MLP(3, in_channels, classes)
