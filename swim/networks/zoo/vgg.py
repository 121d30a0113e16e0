"""VGG-11, torchvision's."""

from torch import nn
from torchvision import models


def vgg11(in_channels: int = 3, classes: int = 200) -> nn.Module:
    """(N, C, 32, 32) or larger -> (N, classes)."""
    model = models.vgg11(num_classes=classes)
    if in_channels != 3:
        model.features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
    network: nn.Module = model
    return network
