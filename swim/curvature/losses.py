"""Where backward passes start: a loss's derivatives with respect to the network's outputs.

All is in float64, for a loss that is summed over samples and over every label that counts: softmax
cross-entropy over the classes, or the sum of squared errors (``mse``). :mod:`swim.data.labels`
compares outputs and labels, and finds the classes. A confident network's largest probability
rounds to 1, so ``1 - p`` is everywhere the sum of the others, which keeps its digits.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from swim.data.labels import IGNORED, Fit, Loss, fit


def probabilities(outputs: Tensor) -> Tensor:
    """Softmax over dimension 1, in float64."""
    return torch.softmax(outputs.detach().double(), dim=1)


def output_curvature(loss: Loss, outputs: Tensor, labels: Any = None) -> Tensor:
    """``d^2 loss / d output^2``, element by element.

    Args:
        loss: ``cross_entropy`` gives ``p (1 - p)``; ``mse`` gives 2.
        outputs: (N, C, ...) logits or predictions, or (N, ..., C) as the labels tell.
        labels: (N, ...), or None. Their values matter only where they do not count.

    Returns:
        A float64 tensor shaped like ``outputs``.

    Raises:
        SettingError, DataError: as :func:`swim.data.labels.fit`.
    """
    fitted = fit(loss, outputs, labels)
    if loss == "mse":
        return torch.full_like(outputs, 2.0, dtype=torch.float64)
    p = probabilities(fitted.outputs)
    top = p.argmax(dim=1, keepdim=True)
    return fitted.back(fitted.weighted(p * (1 - p).scatter(1, top, _others(p, top))))


def _others(p: Tensor, index: Tensor) -> Tensor:
    """``1 - p`` of one class, (N, 1, ...)."""
    return p.scatter(1, index, 0.0).sum(dim=1, keepdim=True)


def total(loss: Loss, outputs: Tensor, labels: Any) -> Tensor:
    """The loss itself, summed over samples: a float64 scalar that autograd can differentiate.

    Arguments and errors as in :func:`residual`.
    """
    fitted = fit(loss, outputs, labels)
    if loss == "mse":
        return (outputs.double() - fitted.given).square().sum()
    losses = F.cross_entropy(
        fitted.outputs.double(), fitted.given, reduction="none", ignore_index=IGNORED
    )
    return losses.sum() if fitted.weights is None else (losses * fitted.weights).sum()


def residual(loss: Loss, outputs: Tensor, labels: Any) -> Tensor:
    """``d loss / d output``: ``p - onehot(label)``, or ``2 (output - target)``.

    Args:
        loss: ``cross_entropy`` or ``mse``.
        outputs: (N, C, ...), or (N, ..., C) as the labels tell.
        labels: integers (N, ...) for cross-entropy, targets shaped like outputs for mse.

    Returns:
        A float64 tensor shaped like ``outputs``.

    Raises:
        SettingError: the loss is unknown.
        DataError: labels are missing or do not fit.
    """
    fitted = fit(loss, outputs, labels)
    if loss == "mse":
        return 2 * (outputs.detach().double() - fitted.given)
    return fitted.back(residual_of_classes(fitted, fitted.given))


def residual_of_classes(fitted: Fit, labels: Tensor, power: float = 1.0) -> Tensor:
    """``w^power (p - onehot(label))``, (N, C, ...), for these labels.

    Which labels count, and with which weight w, the batch's own labels say.
    """
    p, index = probabilities(fitted.outputs), labels.clamp_min(0).unsqueeze(1)
    return fitted.weighted(p.scatter(1, index, -_others(p, index)), power)


def curvature_factors(loss: Loss, outputs: Tensor, labels: Any = None) -> Tensor:
    """Factors of the loss's Hessian in the outputs: ``S S^T = d^2 loss / d output^2``.

    Cross-entropy: ``s_c = sqrt(p_c) (e_c - p)``, since ``sum_c s_c s_c^T = diag(p) - p p^T``
    (Dangel, Kunstner & Hennig, BackPACK, arXiv:1912.10985); mse: ``sqrt(2) e_c``. Positions
    beyond (N, C) have factors of their own; they are zero where the label does not count.

    Returns:
        float64, (K, N, ...), one factor per output and position: K = C x positions, the last
        dimensions those of ``outputs``.

    Raises:
        SettingError, DataError: as :func:`swim.data.labels.fit`.
    """
    fitted = fit(loss, outputs, labels)
    shape = fitted.outputs.shape
    n, each = shape[0], math.prod(shape[1:])
    c = each if loss == "mse" else shape[1]
    positions = each // c
    eye = torch.eye(c, dtype=torch.float64, device=outputs.device)
    if loss == "mse":
        blocks = math.sqrt(2) * eye.expand(n, positions, c, c)
    else:
        p = probabilities(fitted.outputs).reshape(n, c, positions).transpose(1, 2)
        others = p.unsqueeze(2).masked_fill(eye.bool(), 0.0).sum(3)  # p is (n, positions, c)
        away = torch.where(eye.bool(), others.unsqueeze(3), -p.unsqueeze(2))  # e_c - p, row c
        blocks = p.sqrt().unsqueeze(3) * away
    # (n, position, factor's class, class) -> (position, factor's class, n, class, position)
    factors = torch.diag_embed(blocks.permute(2, 0, 3, 1)).movedim(-1, 0)
    factors = fitted.counting(factors.reshape(positions * c, *shape))
    if fitted.weights is not None:
        factors = factors * fitted.weights.to(factors.dtype).sqrt().unsqueeze(1)
    return fitted.back(factors, before=1)


def drawn_signs(loss: Loss, outputs: Tensor, labels: Any, generator: np.random.Generator) -> Tensor:
    """Random vectors u with ``E[u u^T] = d^2 loss / d output^2``, made of independent signs e.

    Cross-entropy: ``u_c = sqrt(p_c) e_c - p_c sum_j sqrt(p_j) e_j``; mse: ``sqrt(2) e_c``. The
    arguments, the shape and the errors are those of :func:`output_curvature`.
    """
    fitted = fit(loss, outputs, labels)
    # Of the network's own layout, sample after sample: the batches' split changes no sign.
    bits = generator.integers(0, 2, fitted.outputs.shape, dtype=np.int8)
    signs = torch.from_numpy(2 * bits - 1).to(outputs.device).double()
    if loss == "mse":
        return math.sqrt(2) * signs
    p = probabilities(fitted.outputs)
    signed = p.sqrt() * signs
    top = p.argmax(dim=1, keepdim=True)
    mixed = signed.sum(dim=1, keepdim=True)
    # Of the likeliest class sqrt(p) e - p sqrt(p) e is sqrt(p) e (1 - p), which keeps its digits.
    rest = signed.scatter(1, top, 0.0).sum(dim=1, keepdim=True)
    likeliest = signed.gather(1, top) * _others(p, top) - p.gather(1, top) * rest
    return fitted.back(fitted.weighted((signed - p * mixed).scatter(1, top, likeliest), 0.5))


def drawn_residual(
    loss: Loss, outputs: Tensor, labels: Any, generator: np.random.Generator
) -> Tensor:
    """The residual of a label drawn from the network's softmax; for mse a normal of variance 2.

    Its ``E[u u^T]`` is ``d^2 loss / d output^2``, too. The arguments, the shape and the errors
    are those of :func:`output_curvature`.
    """
    fitted = fit(loss, outputs, labels)
    shape = fitted.outputs.shape
    if loss == "mse":
        normals = torch.from_numpy(generator.standard_normal(shape)).to(outputs.device)
        return math.sqrt(2) * normals
    uniform = torch.from_numpy(generator.random((shape[0], *shape[2:]))).to(outputs.device)
    drawn = drawn_classes(fitted.outputs, uniform)
    return fitted.back(residual_of_classes(fitted, drawn, 0.5))


def drawn_classes(outputs: Tensor, uniform: Tensor) -> Tensor:
    """The class in whose share of [0, 1) each uniform number (N, ...) lies, (N, ...)."""
    ends = probabilities(outputs).cumsum(dim=1)
    below: Tensor = (ends <= uniform.unsqueeze(1) * ends[:, -1:]).sum(dim=1)
    return below.clamp_max(outputs.shape[1] - 1)
