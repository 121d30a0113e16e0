"""The mask policy: weights chosen beforehand are write-verified, all others written once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from swim.devices.write_verify import expected_rewrites
from swim.errors import DataError
from swim.programming.budgeted import Offers, account, by_weight, programmed
from swim.programming.cells import Cells
from swim.programming.chip import Chip, Programmed
from swim.selection.chosen import described


@dataclass(frozen=True)
class VerifyMask:
    """Write-verify the weights where ``mask`` is True, all devices of each.

    In the closed form a verified weight keeps its standard normal, scaled by ``verified_sigma``
    instead of sigma, and its cycles are those that ``redraw`` expects. Otherwise its devices are
    rewritten one by one, and their cycles are counted.

    Attributes:
        mask: weight name -> bool tensor shaped like the weight; no weight of a missing name is
            verified.
    """

    mask: Mapping[str, Tensor]

    @property
    def words(self) -> str:
        """How many weights are verified, in words."""
        if not self.mask:
            return "no write-verify"
        known: str | None = getattr(self.mask, "words", None)
        return f"write-verify of {known or described(self.mask)}"

    def __repr__(self) -> str:
        return f"VerifyMask({self.words})"

    def program(self, chip: Chip) -> Programmed:
        """Write every device once, then verify those of the mask.

        Raises:
            DataError: the mask names a weight that the chip lacks, or has another shape.
        """
        self._check(chip.targets)
        device = chip.device
        counted = device.write_verify != "closed_form" and any(m.any() for m in self.mask.values())
        if counted:
            return account(self._written(chip))
        if device.clip or device.variation:
            return programmed(self._taken(chip))
        return self._by_weight(chip)

    def _by_weight(self, chip: Chip) -> Programmed:
        """Program weights instead of devices: with one sigma, their errors add up to one normal."""
        device = chip.device
        weights, verified, total = {}, 0, 0
        for name, target in chip.targets.items():
            scale, mask = chip.scales[name], self.mask.get(name)
            weights[name] = chip.with_errors(
                name, device.weight_std(False) * scale, mask, device.weight_std(True) * scale
            )
            verified += 0 if mask is None else _count(mask)
            total += target.numel()
        part = verified / total
        return Programmed(weights, part, part * (1 + expected_rewrites(device)))

    def spent(self, chip: Chip) -> dict[str, Tensor]:
        """Cycles of each device beyond its first: name -> (slices, weights).

        Raises:
            DataError: as :meth:`program`.
        """
        self._check(chip.targets)
        found = {}
        for cells, offer, chosen in self._taken(chip):
            assert offer.spent is not None
            found[cells.name] = offer.spent(chosen)
        return found

    def _written(self, chip: Chip) -> Iterator[tuple[Cells, Tensor, float, float]]:
        """Each layer's devices, rewritten in place, programmed weight, cycles and reads."""
        for name, target in chip.targets.items():
            cells = Cells(chip, name)
            chosen = self._chosen(name, target)
            cycles = cells.verify(chosen)
            reads = cells.shape[0] * int(chosen.count_nonzero()) + cycles
            yield cells, cells.weight(cells.errors), cycles, reads

    def _chosen(self, name: str, target: Tensor) -> Tensor:
        """The mask of one layer: bool (1, weights)."""
        mask = self.mask.get(name, torch.zeros_like(target, dtype=torch.bool))
        return mask.to(target.device).reshape(1, -1)

    def _taken(self, chip: Chip) -> Iterator[tuple[Cells, Offers, Tensor]]:
        """Each layer's devices, its weights as offers, and its mask: bool (1, weights)."""
        for name, target in chip.targets.items():
            cells = Cells(chip, name)
            worth = torch.zeros(1, device=target.device).expand(target.numel())
            yield cells, by_weight(cells, worth), self._chosen(name, target)

    def _check(self, targets: Mapping[str, Tensor]) -> None:
        for name, mask in self.mask.items():
            if name not in targets:
                raise DataError(
                    f"the mask names {name!r}, which is not a programmed weight of this model; "
                    f"those are {', '.join(targets)}"
                )
            if mask.shape != targets[name].shape or mask.dtype != torch.bool:
                raise DataError(
                    f"the mask of {name!r} is {mask.dtype} {tuple(mask.shape)}; it must be "
                    f"torch.bool {tuple(targets[name].shape)}"
                )


def _count(mask: Tensor) -> int:
    """How many weights a mask chooses; on a CPU by numpy, which takes a third of the time."""
    if mask.device.type == "cpu":
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def verify_all(targets: Mapping[str, Tensor]) -> VerifyMask:
    """The policy that verifies every weight."""
    return VerifyMask({name: torch.ones_like(t, dtype=torch.bool) for name, t in targets.items()})
