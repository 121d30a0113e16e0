"""Random changes of training images that keep their class; only training uses them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels, as the original release crops 32x32 and 64x64 images


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to four pixels, filling with zeros, and mirror half of them.

    Args:
        images: (N, C, H, W), normalised; zero is the mean colour.
        generator: random generator of the shifts and flips, on the CPU.
    """
    count, _, height, width = images.shape
    shift = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.arange(width)
    columns = torch.where(flipped, columns.flip(0), columns) + shift[1]
    rows = torch.arange(height) + shift[0]
    padded = F.pad(images, [PADDING] * 4)
    image = torch.arange(count)[:, None, None]
    # Indexing with three tensors puts channels last; permuting back makes a view.
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images themselves."""
    return images


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop_flip": crop_flip,
    "none": none,
}
