"""On-device training, the baseline: recover accuracy by training on the programmed chip.

Every step writes every device once, and each write has a fresh error, so training works against
the noise that it makes (the baseline of SWIM, DAC 2022, arXiv:2202.08395; its first release trains
by SGD at 1e-4 with momentum 0.9).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swim.curvature.shared import Leaves, reached
from swim.data.batches import by_number, check, pair, read
from swim.data.labels import NotFiniteError, check_loss, counted, each_loss
from swim.errors import DataError, SettingError
from swim.networks.subject import Subject, subject_of
from swim.programming.cells import Cells
from swim.programming.chip import Chip, Programmed
from swim.settings.arguments import number, whole


class InSitu:
    """The policy that trains each chip within a budget of write cycles.

    The targets are kept and updated digitally, in float; what is written is the target, rounded to
    its grid where weights are quantised, with the devices' fresh errors. Gradients are those of
    the chip as written. Biases and batch-norm stay as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Any, Any]],
        budget: float,
        *,
        learning_rate: float = 1e-4,
        momentum: float = 0.9,
        weight_bits: int | None = None,
        loss: str = "cross_entropy",
        inputs: str | Sequence[str] | None = None,
        digital: Iterable[str] = (),
    ):
        """A policy for :func:`swim.evaluate`.

        Args:
            model: the network that is evaluated.
            batches: (inputs, labels) of one step each; after the last the first comes again. A
                sequence of the user's own is asked for each when its step comes; whatever else
                can only be iterated over is kept in memory.
            budget: normalised write cycles to spend: as many whole steps as fit into it.
            learning_rate: of plain SGD.
            momentum: of its steps.
            weight_bits: bits of the written magnitudes, None for float weights.
            loss: ``cross_entropy`` or ``mse``.
            inputs: where inputs or batches are dicts, the key or keys of what the model takes.
            digital: names or patterns of weights that no device holds.

        Raises:
            SettingError: a number is out of range, or the loss unknown.
            DataError: there are no batches, or they are of a kind that is not read.
        """
        budget = number("budget", budget, 0)
        learning_rate = number("learning_rate", learning_rate, 0, above=True)
        momentum = number("momentum", momentum, 0, 1)
        if weight_bits is not None:
            weight_bits = whole("weight_bits", weight_bits, 1, 24)
        check_loss(loss)
        check(model, batches)
        if isinstance(batches, list | tuple) or not by_number(batches):
            batches, inputs = list(read(model, batches, inputs)), None
        if not len(batches):
            raise DataError("batches is empty: (inputs, labels) pairs are needed")
        self._inputs, self._digital = inputs, tuple(digital)
        self._subject: Subject | None = None
        self._model, self._batches, self._budget = model, batches, budget
        self._rate, self._momentum, self._loss = learning_rate, momentum, loss
        self._top = 2**weight_bits - 1 if weight_bits else None

    @property
    def words(self) -> str:
        """The policy and its budget, in words."""
        return f"in-situ training within {self._budget:g} NWC"

    def __repr__(self) -> str:
        steps = f"{len(self._batches)} batches, learning rate {self._rate:g}"
        return f"Policy({self.words}, {steps})"

    def program(self, chip: Chip) -> Programmed:
        """Write the chip, then train it step by step.

        NWC is the number of writes of all steps over the cycles of full write-verify: counted on
        this chip, or expected in the closed form (:mod:`swim.devices.write_verify`).

        Raises:
            SettingError: all devices are inside the tolerance at once, so there is no unit of NWC.
            DataError: training diverged, or the batches do not fit the network.
        """
        verifying = sum(float(Cells(chip, name).cycles.sum()) for name in chip.targets)
        devices = chip.device.slices * sum(t.numel() for t in chip.targets.values())
        if not verifying:
            raise SettingError(
                f"at sigma {chip.device.sigma:g} every device is inside the tolerance of "
                f"{chip.device.tolerance:g} at its first write, so there are no write cycles to "
                "spend; choose a larger sigma or a smaller tolerance"
            )
        steps = int(self._budget * verifying / devices)
        targets = {name: target.clone() for name, target in chip.targets.items()}
        moving = {name: torch.zeros_like(target) for name, target in targets.items()}
        written = self._write(chip, targets, 0)
        for step in range(1, steps + 1):
            batch = self._batches[(step - 1) % len(self._batches)]
            try:
                gradients = self._gradients(written, *pair(self._model, batch, self._inputs))
            except NotFiniteError as error:
                hint = "; a lower learning rate may help" if step > 1 else ""
                raise NotFiniteError(
                    f"chip {chip.index}, after {step - 1} steps of on-device training at learning "
                    f"rate {self._rate:g}: {error}{hint}"
                ) from None
            for name, gradient in gradients.items():
                moving[name].mul_(self._momentum).add_(gradient)
                targets[name].sub_(moving[name], alpha=self._rate)
            written = self._write(chip, targets, step)
        return Programmed(written, steps * devices / verifying)

    def _write(self, chip: Chip, targets: Mapping[str, Tensor], write: int) -> dict[str, Tensor]:
        """The weights after the n-th write; the full scale stays that of the first targets."""
        device, written = chip.device, {}
        for name, target in targets.items():
            scale = chip.scales[name]
            meant = self._on_grid(target, scale)
            errors = chip.unit_errors(name, write).to(target.dtype)
            if device.variation:
                errors *= device.weight_std_at(meant.abs().float() / (scale or 1.0)).to(errors)
                written[name] = meant.add_(errors, alpha=scale)
            else:
                written[name] = meant.add_(errors, alpha=device.weight_std(False) * scale)
        return written

    def _on_grid(self, target: Tensor, scale: float) -> Tensor:
        """The nearest target that devices of that full scale can hold, as a new tensor."""
        limited = target.clamp(-scale, scale)
        if self._top is None or scale == 0:
            return limited
        return limited.mul_(self._top / scale).round_().mul_(scale / self._top)

    def _gradients(self, written: Mapping[str, Tensor], x: Any, y: Any) -> dict[str, Tensor]:
        """Gradients of a batch's mean loss, by weight name."""
        if self._subject is None:
            self._subject = subject_of(self._model, x, self._digital)
        mode = Leaves(self._subject, written)
        outputs = self._subject.run(mode, x.to(self._subject.place))
        with torch.enable_grad():
            losses = each_loss(self._loss, outputs, y)[1]
            counts = counted(self._loss, y)
            # The mean over the labels that count.
            single = bool((counts == 1).all())
            loss = losses.mean() if single else losses.sum() / counts.sum().clamp_min(1)
        names = list(mode.by_name)
        found = torch.autograd.grad(loss, list(mode.by_name.values()), allow_unused=True)
        return dict(zip(names, reached(found, names), strict=True))
