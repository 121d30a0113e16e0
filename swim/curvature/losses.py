"""Where backward passes start: a loss's derivatives with respect to the network's outputs.

All is in float64, for a loss that is summed over samples: softmax cross-entropy over dimension 1,
or the sum of squared errors (``mse``). A confident network's largest probability rounds to 1, so
``1 - p`` is everywhere the sum of the others, which keeps its digits.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.errors import DataError, SettingError

LOSSES = ("cross_entropy", "mse")


def check(loss: str, outputs: Tensor) -> None:
    """Raise unless the loss is known and takes such outputs.

    Raises:
        SettingError: the loss is unknown.
        DataError: cross-entropy of outputs without classes.
    """
    if loss not in LOSSES:
        raise SettingError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")
    if loss == "cross_entropy" and outputs.dim() < 2:
        raise DataError(f"cross-entropy needs outputs (N, C, ...), got {tuple(outputs.shape)}")


def probabilities(outputs: Tensor) -> Tensor:
    """Softmax over dimension 1, in float64."""
    return torch.softmax(outputs.detach().double(), dim=1)


def output_curvature(loss: str, outputs: Tensor) -> Tensor:
    """``d^2 loss / d output^2``, element by element.

    Args:
        loss: ``cross_entropy`` gives ``p (1 - p)``; ``mse`` gives 2.
        outputs: (N, C, ...) logits or predictions.

    Returns:
        A float64 tensor shaped like ``outputs``. It depends on no label.

    Raises:
        SettingError, DataError: as :func:`check`.
    """
    check(loss, outputs)
    if loss == "mse":
        return torch.full_like(outputs, 2.0, dtype=torch.float64)
    p = probabilities(outputs)
    top = p.argmax(dim=1, keepdim=True)
    return p * (1 - p).scatter(1, top, _others(p, top))


def _others(p: Tensor, index: Tensor) -> Tensor:
    """``1 - p`` of one class, (N, 1, ...)."""
    return p.scatter(1, index, 0.0).sum(dim=1, keepdim=True)


def needed(labels: Any) -> Tensor:
    """The labels of a batch.

    Raises:
        DataError: there are none.
    """
    if not isinstance(labels, Tensor):
        raise DataError(f"this estimator needs labels, not {labels!r}")
    return labels


def _fitting(loss: str, outputs: Tensor, labels: Any) -> Tensor:
    """Labels for these outputs, checked."""
    check(loss, outputs)
    shape = outputs.shape if loss == "mse" else (len(outputs), *outputs.shape[2:])
    labels = needed(labels).to(outputs.device)
    if labels.shape != shape:
        raise DataError(f"labels have shape {tuple(labels.shape)}, not {tuple(shape)}")
    if loss == "mse":
        return labels.double()
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise DataError(f"labels of cross-entropy must be integers below {outputs.shape[1]}")
    return labels.long()


def total(loss: str, outputs: Tensor, labels: Any) -> Tensor:
    """The loss itself, summed over samples: a float64 scalar that autograd can differentiate.

    Arguments and errors as in :func:`residual`.
    """
    labels = _fitting(loss, outputs, labels)
    if loss == "mse":
        return (outputs.double() - labels).square().sum()
    return F.cross_entropy(outputs.double(), labels, reduction="sum")


def residual(loss: str, outputs: Tensor, labels: Any) -> Tensor:
    """``d loss / d output``: ``p - onehot(label)``, or ``2 (output - target)``.

    Args:
        loss: ``cross_entropy`` or ``mse``.
        outputs: (N, C, ...).
        labels: integers (N, ...) for cross-entropy, targets shaped like outputs for mse.

    Returns:
        A float64 tensor shaped like ``outputs``.

    Raises:
        SettingError: the loss is unknown.
        DataError: labels are missing or do not fit.
    """
    labels = _fitting(loss, outputs, labels)
    if loss == "mse":
        return 2 * (outputs.detach().double() - labels)
    p, index = probabilities(outputs), labels.unsqueeze(1)
    return p.scatter(1, index, -_others(p, index))


def curvature_factors(loss: str, outputs: Tensor) -> Tensor:
    """Factors of the loss's Hessian in the outputs: ``S S^T = d^2 loss / d output^2``.

    Cross-entropy: ``s_c = sqrt(p_c) (e_c - p)``, since ``sum_c s_c s_c^T = diag(p) - p p^T``
    (Dangel, Kunstner & Hennig, BackPACK, arXiv:1912.10985); mse: ``sqrt(2) e_c``. Positions
    beyond (N, C) have factors of their own.

    Returns:
        float64, (K, N, C, ...), one factor per output and position: K = C x positions.

    Raises:
        SettingError, DataError: as :func:`check`.
    """
    check(loss, outputs)
    n, c, positions = len(outputs), *_classes_and_positions(loss, outputs)
    eye = torch.eye(c, dtype=torch.float64, device=outputs.device)
    if loss == "mse":
        blocks = math.sqrt(2) * eye.expand(n, positions, c, c)
    else:
        p = probabilities(outputs).reshape(n, c, positions).transpose(1, 2)  # (n, positions, c)
        others = p.unsqueeze(2).masked_fill(eye.bool(), 0.0).sum(3)
        away = torch.where(eye.bool(), others.unsqueeze(3), -p.unsqueeze(2))  # e_c - p, row c
        blocks = p.sqrt().unsqueeze(3) * away
    # (n, position, factor's class, class) -> (position, factor's class, n, class, position)
    factors = torch.diag_embed(blocks.permute(2, 0, 3, 1)).movedim(-1, 0)
    return factors.reshape(positions * c, *outputs.shape)


def _classes_and_positions(loss: str, outputs: Tensor) -> tuple[int, int]:
    each = outputs[0].numel()
    if loss == "mse":
        return each, 1
    return outputs.shape[1], each // outputs.shape[1]
