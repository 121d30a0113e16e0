"""Forward passes of a model with other weights: those of one chip, or of several at once."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swim.data.batches import Inputs, alike, arguments, shown
from swim.data.labels import one_tensor
from swim.engine.bfloat16 import Bfloat16
from swim.engine.chip_batch import ChipBatch
from swim.engine.compiled import is_on
from swim.engine.kernels import FastKernels
from swim.networks.isolation import afresh, call
from swim.networks.weights.expressions import Stored
from swim.networks.weights.interception import Handed
from swim.networks.weights.tracing import Traced

if TYPE_CHECKING:
    from swim.engine.compiled import Replay

Weights = Mapping[str, Tensor]  # weight name -> weight, of one chip
_Run = Callable[[nn.Module, Any], Tensor]


@dataclass
class Way:
    """How passes of a network run; what trials on two images have found.

    Attributes:
        images_alone: images in a pass of one chip, at most.
        images_together: images in a pass of several chips, at most.
        channels_last: whether images and weights of convolutions are laid out as (N, H, W, C).
        writes_to_images: whether the forward writes to its images; each pass then gets a copy.
        discontinuous: whether a quantiser or another step function is among the operations, so
            that rounding may tip a value to another level.
        in_place: whether passes of several chips write ReLUs and quantised values over their
            input.
        bfloat16: whether passes of one chip compute in bfloat16; others never do.
    """

    images_alone: int
    images_together: int
    channels_last: bool
    writes_to_images: bool = False
    discontinuous: bool = False
    in_place: bool = True
    bfloat16: bool = False

    def images(self, chips: int) -> int:
        """How many images a pass of so many chips takes at most."""
        return self.images_together if chips > 1 else self.images_alone

    def limit_images(self, chips: int, most: int) -> None:
        """Let a pass of so many chips take no more than ``most`` images."""
        if chips > 1:
            self.images_together = min(self.images_together, most)
        else:
            self.images_alone = min(self.images_alone, most)

    def same(self, outputs: Tensor, expected: Tensor) -> bool:
        """Whether outputs are as near as rounding, and quantisers that it tips, allow."""
        bound = 0.01 if self.discontinuous else 1e-4
        return bool((outputs - expected).abs().mean() <= bound * expected.abs().mean())


class Passes:
    """Runs a model's forward with the weights of chips.

    The model itself is never written to. Weights that are stored tensors are handed to its forward
    by ``torch.func.functional_call``, others (quantised in the forward, or read elsewhere too) at
    the calls that use them, so that noise is added after quantisation.

    Attributes:
        way: how passes run.
        mode: the mode in which a pass of one chip follows its weights to where they are used.
        replays: recorded passes by the layout of their inputs; None where a pass cannot be
            replayed.
    """

    def __init__(
        self,
        model: nn.Module,
        traced: Traced,
        state: Mapping[str, Tensor],
        sample: Any,
        digital: tuple[str, ...],
        way: Way,
    ):
        """For one model.

        Args:
            model: the network.
            traced: where its weights are used.
            state: its parameters and buffers; copies, since a forward may write to its own.
            sample: the inputs of a batch, as the model takes them.
            digital: names or patterns of weights that no device holds.
            way: how passes run; may be changed between two passes.
        """
        self.way, self.mode = way, Handed
        self.replays: dict[Any, Replay | None] = {}
        self._model, self._traced, self._state = model, traced, state
        self._sample, self._digital = sample, digital
        self._compiled = is_on()

    def run(
        self,
        chips: Sequence[Weights],
        batches: Iterable[tuple[Any, Tensor]],
        take: Callable[[Tensor, Tensor], Any],
    ) -> list[Any]:
        """Run one chip or several at once.

        Noise is drawn in float32; with ``way.bfloat16`` a chip's weights are rounded here, once.

        Args:
            chips: the weights of each.
            batches: inputs (1 or chips, n, ...), and labels.
            take: called with each batch's outputs, (chips, n, classes), and labels.

        Returns:
            What ``take`` returns for each batch.
        """
        state = dict(self._state)
        if self.way.bfloat16:
            chips = [{name: weight.bfloat16() for name, weight in chip.items()} for chip in chips]
        if len(chips) == 1:
            state |= self._stored_weights(chips[0])
        stored = Stored(self._model, state, self._digital)
        run = self._together(chips, stored) if len(chips) > 1 else self._alone(chips[0], stored)

        def passes(model: nn.Module) -> list[Any]:
            results = []
            for inputs, labels in batches:
                new = not alike(inputs[0], self._sample)
                with shown(inputs[0]) if new else contextlib.nullcontext():
                    given = inputs.clone() if self.way.writes_to_images else inputs
                    afresh()
                    results.append(take(run(model, given), labels))
            return results

        state = {f"model.{name}": tensor for name, tensor in state.items()}
        results: list[Any] = call(_Within(self._model), state, (passes,))
        return results

    def _stored_weights(self, weights: Weights) -> dict[str, Tensor]:
        """Parameters and buffers that are weights, with a chip's values."""
        values = {}
        for name, parameters in self._traced.handed.items():
            weight = weights[name]
            if weight.dim() == 4 and self.way.channels_last:
                weight = weight.contiguous(memory_format=torch.channels_last)
            values.update(dict.fromkeys(parameters, weight))
        return values

    def _alone(self, weights: Weights, stored: Stored) -> _Run:
        """A pass of one chip: inputs (1, n, ...) to outputs (1, n, ...)."""

        def run(model: nn.Module, inputs: Inputs) -> Tensor:
            with contextlib.ExitStack() as modes:
                if self.way.bfloat16:
                    place = next(iter(weights.values())).device.type
                    modes.enter_context(torch.autocast(place, torch.bfloat16, cache_enabled=False))
                modes.enter_context(Bfloat16() if self.way.bfloat16 else FastKernels())
                if self._traced.followed or self.mode is not Handed:
                    modes.enter_context(self.mode(stored, weights, self._traced.spread))
                outputs = model(*arguments(inputs[0]))
            outputs = one_tensor(outputs)[None]
            return outputs.float() if self.way.bfloat16 else outputs

        return run

    def _together(self, chips: Sequence[Weights], stored: Stored) -> _Run:
        """A pass of several chips: inputs (1 or chips, n, ...) to outputs (chips, n, classes).

        More images than a pass takes are shared among passes of equal size, replayed if they can
        be, and one for what is left.
        """
        together = ChipBatch(stored, chips, self.way.in_place)

        def run(model: nn.Module, inputs: Tensor) -> Tensor:
            images, most = inputs.shape[1], self.way.images_together
            if images <= most:
                return together(model, inputs)
            few = images // -(-images // most)
            whole = images - images % few
            if whole < images:
                return torch.cat([run(model, part) for part in inputs.split(whole, 1)], 1)
            replay = self._replay(together, model, inputs, few)
            if replay is None:
                return torch.cat([together(model, part) for part in inputs.split(few, 1)], 1)
            return replay(inputs, together.ready)

        return run

    def _replay(
        self, together: ChipBatch, model: nn.Module, inputs: Tensor, few: int
    ) -> "Replay | None":
        """A pass on inputs of this layout, recorded the first time; None where it cannot be."""
        on_cpu = inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if not (self._compiled and on_cpu):
            return None
        from swim.engine.compiled import record  # loads LLVM, which most networks do without

        key = (together.chips, inputs.shape, inputs.stride(), inputs.dtype, few, together.shared)
        if key not in self.replays:
            together(model, inputs[:, :few])
            weights = {made: together.ready(*made) for made in together.made}
            self.replays[key] = None
            with contextlib.suppress(Exception):  # memory, or an operation of another kind
                run = partial(together, model)
                self.replays[key] = record(run, inputs, few, weights, self.way.same)
        return self.replays[key]


class _Within(nn.Module):
    """Runs a function of the model, so that other weights are put in once for many batches."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[nn.Module], Any]) -> Any:
        return run(self.model)
