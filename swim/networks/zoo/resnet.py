"""ResNet-18 for small images: torchvision's, with another stem."""

from torch import nn
from torchvision import models


def resnet18(in_channels: int = 3, classes: int = 10) -> nn.Module:
    """(N, C, 32, 32) or larger -> (N, classes): a 3x3 stem of stride 1 and no stem pooling."""
    model: nn.Module = models.resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
