"""The ResNet-20 for CIFAR-10 (He et al., arXiv:1512.03385), to read a checkpoint of others into.

Three stages of three basic blocks with 16, 32 and 64 channels; a shortcut into the next stage takes
every second pixel and pads channels with zeros on both sides, so it has no weights.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.step, self.more = outputs // inputs, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.step, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.bn1(self.conv1(x)))
        if self.more:
            x = F.pad(x[:, :, :: self.step, :: self.step], (0, 0, 0, 0, self.more, self.more))
        return torch.relu(x + self.bn2(self.conv2(hidden)))


class ResNet20(nn.Module):
    """Ten classes of images (N, 3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32), *(_Block(32, 32) for _ in range(2)))
        self.layer3 = nn.Sequential(_Block(32, 64), *(_Block(64, 64) for _ in range(2)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        outputs: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return outputs


def load(path: Path) -> nn.Module:
    """The network with the weights of a checkpoint that DataParallel has saved, in eval mode."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model = ResNet20()
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return model.eval()
