"""Where the recursion starts: the loss's second derivative with respect to each output."""

import torch
from torch import Tensor

from swim.errors import DataError, SettingError

LOSSES = ("cross_entropy", "mse")


def output_curvature(loss: str, outputs: Tensor) -> Tensor:
    """``d^2 loss / d output^2``, element by element, for a loss summed over samples.

    Args:
        loss: ``cross_entropy`` (softmax over dimension 1) gives ``p (1 - p)``; ``mse`` (sum of
            squared errors) gives 2.
        outputs: (N, C, ...) logits or predictions.

    Returns:
        A float64 tensor shaped like ``outputs``. It depends on no label.
    """
    if loss == "mse":
        return torch.full_like(outputs, 2.0, dtype=torch.float64)
    if loss != "cross_entropy":
        raise SettingError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")
    if outputs.dim() < 2:
        raise DataError(f"cross-entropy needs outputs (N, C, ...), got {tuple(outputs.shape)}")
    p = torch.softmax(outputs.detach().double(), dim=1)
    # A confident network's largest p rounds to 1; the sum of the others keeps 1 - p accurate.
    top = p.argmax(dim=1, keepdim=True)
    others = p.scatter(1, top, 0.0).sum(dim=1, keepdim=True)
    return p * (1 - p).scatter(1, top, others)
