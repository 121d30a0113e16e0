"""The ConvNet of the original release: six convolutions and three linear layers."""

from torch import Tensor, nn


class ConvNet(nn.Module):
    """(N, C, 32, 32) -> (N, classes); 6.4 million weights for three channels and ten classes."""

    def __init__(self, in_channels: int = 3, classes: int = 10):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (64, 128, 256):
            layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            in_channels = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(256 * 4 * 4, 1024), nn.ReLU(),
            nn.Linear(1024, 1024), nn.ReLU(),
            nn.Linear(1024, classes),
        )  # fmt: skip
        # Without batch-norm, torch's own smaller weights would lose much of the first epoch
        # (He et al., arXiv:1502.01852).
        for layer in (*self.features, *self.classifier[:-1]):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        result: Tensor = self.classifier(self.features(x).flatten(1))
        return result
