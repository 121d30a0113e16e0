"""Slice after slice from the top, within a slice by second derivative: an ablation."""

import dataclasses

import torch
from torch import Tensor

from swim.programming.budgeted import Offers, by_device
from swim.programming.cells import Cells


def offers(cells: Cells, curvature: Tensor) -> Offers:
    """Single devices, ranked by slice and then by ``H max|W_layer|^2``."""
    order = torch.arange(cells.shape[0], 0, -1, dtype=torch.float64, device=curvature.device)
    made = by_device(cells, order[:, None].expand(cells.shape))
    return dataclasses.replace(made, ties=curvature)
