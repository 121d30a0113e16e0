"""The mask policy: weights chosen beforehand are write-verified, all others written once."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swim.errors import DataError
from swim.policies.base import Chip, Programmed


@dataclass(frozen=True)
class VerifyMask:
    """Write-verify the weights where ``mask`` is True.

    A verified weight keeps the sign and the luck of its draw at ``verified_sigma``; its cost is
    counted as the verified part of all weights, as in the paper's first release.

    Attributes:
        mask: weight name -> bool tensor shaped like the weight; a name that is missing is not
            verified at all.
    """

    mask: Mapping[str, Tensor]

    def program(self, chip: Chip) -> Programmed:
        """Add to each target its devices' errors, which have one sigma and so are one normal.

        Raises:
            DataError: the mask names a weight that the chip lacks, or has another shape.
        """
        self._check(chip.targets)
        device = chip.device
        weights, verified, total = {}, 0, 0
        for name, target in chip.targets.items():
            scale = chip.scales[name]
            std: Tensor | float = device.weight_std(False) * scale
            if name in self.mask:
                mask = self.mask[name].to(target.device)
                std = torch.where(mask, device.weight_std(True) * scale, std)
                verified += int(mask.sum())
            weights[name] = target + chip.unit_errors(name).mul_(std).to(target.dtype)
            total += target.numel()
        return Programmed(weights, verified / total)

    def _check(self, targets: Mapping[str, Tensor]) -> None:
        for name, mask in self.mask.items():
            if name not in targets:
                raise DataError(
                    f"the mask names {name!r}, but the model's weights are {', '.join(targets)}"
                )
            if mask.shape != targets[name].shape or mask.dtype != torch.bool:
                raise DataError(
                    f"the mask of {name!r} is {mask.dtype} {tuple(mask.shape)}; it must be "
                    f"torch.bool {tuple(targets[name].shape)}"
                )


def verify_all(targets: Mapping[str, Tensor]) -> VerifyMask:
    """The policy that verifies every weight."""
    return VerifyMask({name: torch.ones_like(t, dtype=torch.bool) for name, t in targets.items()})
