"""Write slices from the top, each once, and choose lower digits that compensate the errors above.

A slice's error is known once the slice is read. The slices below then hold digits that compensate
it, instead of the weight's own digits, so only the last slice's error remains, without a rewrite.
A budget is then spent as by ``marginal``. Song et al., Science 383:903 (2024), show in hardware
that later devices can compensate earlier ones.
"""

import torch
from torch import Tensor

from swim.programming.cells import Cells
from swim.programming.marginal import Layer, Marginal


class Reslice(Marginal):
    """Slices are written one after the other, with digits from 0 to 2^K - 1."""

    signed = False  # digits below zero need a differential pair a slice

    def start(self, cells: Cells, curvature: Tensor) -> Layer:
        """A layer whose slices were written and read one after the other."""
        shares = cells.device.shares
        wanted = cells.magnitudes
        left = wanted.clone()  # what the slices below must still add, as far as the readings tell
        written = []
        for j, share in enumerate(shares):
            level = self._digit(left, share, sum(shares[j + 1 :]), cells.device.K)
            side = torch.where(level < 0, -1.0, 1.0)
            level = level.abs()
            own = cells.device.clipped(side * cells.normals[j] * cells.sigma_at(level), level)
            error = side * own
            reading = error + cells.read_noise[j]
            left -= share * side * level
            left -= cells.significance[j] * cells.trust_at(level) * reading
            written.append((error, reading, level, side))
        errors, readings, levels, sides = (torch.stack(part) for part in zip(*written, strict=True))
        nominal = (torch.tensor(shares, device=wanted.device)[:, None] * levels * sides).sum(0)
        now = Cells(cells.chip, cells.name, levels, sides)
        return Layer(now, curvature, errors, readings, nominal - wanted)

    def _digit(self, left: Tensor, share: float, below: float, bits: int) -> Tensor:
        """The level that leaves a rest closest to the middle of what the slices below can hold."""
        top = 2**bits - 1
        aim = left if self.signed else left - below / 2
        least = -top if self.signed else 0
        result: Tensor = (aim / share * top).round_().clamp_(least, top) / top
        return result
