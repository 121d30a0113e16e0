"""Subjects of the benchmarks: the paper's networks, with random weights and images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import record
from swim.networks import quantisation
from swim.settings import registry

SHAPES = {
    "lenet": (1, 28, 28),
    "convnet": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "vit": (3, 32, 32),
}
CLASSES = 10


class ViT(nn.Module):
    """A small vision transformer: 64 patches, 4 encoder layers of 128 features and 4 heads."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, 128, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 64, 128) * 0.02)
        layer = nn.TransformerEncoderLayer(
            128, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        outputs: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return outputs


def network(name: str, bits: int | None = None) -> nn.Module:
    """One of the paper's networks in eval mode, at random weights; quantised to ``bits``."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    build: Callable[[int, int], nn.Module] = (
        ViT if name == "vit" else registry.find("network", name)
    )
    model = build(shape[0], CLASSES).eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # BackPACK needs it
    if bits is not None:
        quantisation.quantise_activations(model, bits)
        quantisation.calibrate(model, [images(name, 200)[0]])
        quantisation.quantise_weights(model, bits)
        quantisation.deploy(model)
    return model


def images(name: str, count: int) -> tuple[Tensor, Tensor]:
    """Normalised images and labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, *SHAPES[name], generator=generator)
    return x, torch.randint(0, CLASSES, (count,), generator=generator)


def operations(model: nn.Module, image: Tensor) -> int:
    """Multiplications and additions of one image's linear and convolutional layers."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(image)
    total: int = counter.get_total_flops()
    return total


def matrix_product_rate(place: torch.device = record.CPU) -> float:
    """Floating-point operations per second of a float32 matrix product."""
    size = 8192 if place.type == "cuda" else 2048
    a, b = torch.randn(size, size, device=place), torch.randn(size, size, device=place)
    return 2 * size**3 / min(record.seconds(lambda: a @ b, 3))
