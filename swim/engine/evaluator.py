"""A network's answers with other weights, on images that stay in memory."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from swim.data.batches import Inputs, Keys, Several, alike, arguments, first, joined, shown
from swim.data.labels import NotFiniteError, check_loss, counted, each_loss, fit, needed, one_tensor
from swim.engine.activations import CannotRunTogetherError
from swim.engine.chip_batch import ChipBatch
from swim.engine.compiled import is_on
from swim.engine.kernels import FastKernels, keep_freed_memory
from swim.networks import memory_format
from swim.networks.diverged import check_finite, of_chips
from swim.networks.isolation import afresh, call, copies_of, device_of, few
from swim.networks.weights.expressions import Stored
from swim.networks.weights.interception import Handed, Watch
from swim.networks.weights.operations import jumps, operation_name
from swim.networks.weights.tracing import trace

if TYPE_CHECKING:
    from swim.engine.compiled import Replay

# Chips that a small network runs at once, and how many weights make it no longer small: above,
# one chip keeps a processor busy, and more only take memory.
GROUP = 8
_SMALL = 1_000_000
# Elements of a pass's largest activation, of one chip and of a group: what a CPU's caches and its
# allocator hold on to, and a fair part of a GPU's memory. Not taken from the machine, since
# results must not depend on it.
_ROOM = {"cpu": (2**22, 3 * 2**19), "cuda": (2**26, 2**26)}
# A recorded pass takes so many images, in at most so many parts in its convolutions. While it is
# recorded, the activations of all layers for all of these images are in memory.
_BLOCK, _PARTS = 512, 16


class _Seen(Watch):
    """Notes what activations of some images are like.

    Attributes:
        elements: of the largest.
        jumps: whether a quantiser or another step function is among the operations.
    """

    def __init__(self, images: int):
        super().__init__()
        self.elements, self.jumps, self._images = 1, False, images

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            exact = result.is_floating_point() and result.element_size() >= 4
            self.jumps |= not exact or jumps(operation_name(func))
            if result.dim() and len(result) == self._images:
                self.elements = max(self.elements, result.numel())
        return result


class _Within(nn.Module):
    """Runs a function of the model, so that other weights are put in once for many batches."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[nn.Module], Any]) -> Any:
        return run(self.model)


class Network:
    """A model with its test images in memory, ready to run with other weights.

    The model itself is never written to: weights that are stored tensors are handed to its forward
    by ``torch.func.functional_call``, others (quantised in the forward, or read elsewhere too) at
    the calls that use them, so that noise is added after quantisation.

    Attributes:
        targets: the programmed weights, name -> ideal weight.
        inventory: the same with their counts, and what stays digital.
        images: how many test images there are.
        counted: labels of each image that count, in units of their mean: float64 (images,), ones
            where each image has one label.
        group: how many chips :meth:`answers` runs at once; a pure function of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Any, Any]],
        loss: str,
        inputs: Keys = None,
        digital: Iterable[str] = (),
    ):
        self._compiled = is_on()
        keep_freed_memory()
        place = device_of(model)
        check_loss(loss)
        (sample, _), stream = first(model, batches, inputs)
        self._model, self._loss, self._sample = model, loss, sample
        self._digital = tuple(digital)
        self._batches = [(x.to(place), needed(y).to(place)) for x, y in stream]
        # Copies, since a forward may write to its own parameters.
        self._state, shown_all = copies_of(model), [x for x, _ in self._batches]
        traced = trace(
            model, few(shown_all[0]), *shown_all, state=self._state, digital=self._digital
        )
        self._traced, self.inventory = traced, traced.inventory
        self.targets = {name: weight.clone() for name, weight in traced.weights.items()}
        # Whether each pass follows its weights to where they are used; also where some are unused,
        # which other batches might use.
        self._follows = (
            traced.unused or traced.branches or traced.handed.keys() != traced.weights.keys()
        )
        self._mode: type[Handed] = Handed
        check_finite(self.targets)
        counts = torch.cat([counted(loss, y) for _, y in self._batches]).double()
        self.images, self._mean_count = len(counts), float(counts.mean())
        self.counted = counts / self._mean_count
        self._joined: tuple[Inputs, Tensor] | None = None
        size = len(self._batches[0][1])
        self._size = {False: size, True: size}  # images a pass: of one chip, and of a group
        self._replays: dict[Any, Replay | None] = {}
        self._channels_last = memory_format.fastest(place) is torch.channels_last
        self._in_place = True
        self._overwrites = self._jumps = False  # its images; what rounding does
        self._try_one_chip()
        self.group = GROUP if self._runs_together() else 1
        same = zip(*self._batches, strict=True)
        if self.group > 1 and all(alike(part, column[0]) for column in same for part in column):
            self._batches = [self._all()]

    def answers(
        self,
        chips: Sequence[Mapping[str, Tensor]],
        positions: Sequence[Tensor] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What each chip answers, by its weights: one, or as many as :attr:`group`.

        Args:
            chips: weight name -> weight, of each chip.
            positions: the images that each chip is shown, (n,) each; all if None.
            numbers: of the chips, to name them in errors.

        Returns:
            Whether each image is classified rightly (1, 0, or NaN), and its loss: (chips, n); of
            several labels their sums, in units of the mean number that counts.

        Raises:
            DataError: outputs are not finite, or labels do not fit them.
        """
        together = len(chips) > 1
        while True:
            try:
                return self._answers(chips, positions)
            except NotFiniteError:
                raise self._diverged(chips, positions, numbers) from None
            except torch.OutOfMemoryError:
                if self._size[together] == 1:
                    raise
                self._size[together] //= 2
            except CannotRunTogetherError:  # on these images, though it could on those tried
                shown = [None] * len(chips) if positions is None else [[p] for p in positions]
                names = [None] * len(chips) if numbers is None else [[n] for n in numbers]
                each = zip(chips, shown, names, strict=True)
                found = [self.answers([chip], own, name) for chip, own, name in each]
                right, losses = (torch.cat(parts) for parts in zip(*found, strict=True))
                return right, losses

    def _answers(
        self, chips: Sequence[Mapping[str, Tensor]], positions: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        def answer(outputs: Tensor, labels: Tensor) -> list[Tensor]:
            labels = labels.expand(len(chips), *labels.shape[1:])
            found = each_loss(self._loss, outputs.flatten(0, 1), labels.flatten(0, 1))
            return [part.view(len(chips), part.numel() // len(chips)) for part in found]

        size = self._size[together := len(chips) > 1]
        if together and 1 < _BLOCK // size <= _PARTS:
            size *= _BLOCK // size
        found = self._passes(chips, self._chosen(positions, size), answer)
        right, losses = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        if not bool(losses.isfinite().all()):
            raise NotFiniteError("the loss of an image is not finite: the outputs are too large")
        if self._mean_count != 1:
            right, losses = right / self._mean_count, losses / self._mean_count
        return right, losses

    def _diverged(
        self,
        chips: Sequence[Mapping[str, Tensor]],
        positions: Sequence[Tensor] | None,
        numbers: Sequence[int] | None,
    ) -> NotFiniteError:
        """The error for answers that are not finite: of which chip, and from which layer on."""

        def alone(chip: int | None) -> Callable[[type[Handed]], Any]:
            shown = None if positions is None else [positions[chip or 0]]

            def run(mode: type[Handed]) -> Any:
                self._mode = mode
                try:
                    return self._answers([self.targets if chip is None else chips[chip]], shown)
                finally:
                    self._mode = Handed

            return run

        return of_chips(len(chips), alone, numbers)

    def _passes(
        self,
        chips: Sequence[Mapping[str, Tensor]],
        chosen: Iterable[tuple[Any, Tensor]],
        take: Callable[[Tensor, Tensor], Any],
    ) -> list[Any]:
        """What is taken from each pass's outputs, (chips, n, classes), and labels."""
        together = len(chips) > 1
        state = dict(self._state)
        if not together:
            for name, parameters in self._traced.handed.items():
                weight = chips[0][name]
                if weight.dim() == 4 and self._channels_last:
                    weight = weight.contiguous(memory_format=torch.channels_last)
                state.update(dict.fromkeys(parameters, weight))

        stored = Stored(self._model, state, self._digital)
        run = self._group(chips, stored) if together else self._alone(chips[0], stored)

        def passes(model: nn.Module) -> list[Any]:
            found = []
            for inputs, labels in chosen:
                new = not alike(inputs[0], self._sample)
                with shown(inputs[0]) if new else contextlib.nullcontext():
                    own = inputs.clone() if self._overwrites else inputs
                    afresh()
                    found.append(take(run(model, own), labels))
            return found

        state = {f"model.{name}": tensor for name, tensor in state.items()}
        found: list[Any] = call(_Within(self._model), state, (passes,))
        return found

    def _chosen(
        self, positions: Sequence[Tensor] | None, size: int
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs (1 or chips, n, ...) and labels alike, at most ``size`` images at once."""
        if positions is None:
            for inputs, labels in self._batches:
                for part in zip(inputs.split(size), labels.split(size), strict=True):
                    yield part[0][None], part[1][None]
            return
        inputs, labels = self._all()
        for chosen in torch.stack(list(positions)).to(labels.device).split(size, 1):
            yield inputs[chosen], labels[chosen]

    def _all(self) -> tuple[Inputs, Tensor]:
        """All inputs and labels, joined."""
        if self._joined is None:
            inputs, labels = (joined(part) for part in zip(*self._batches, strict=True))
            self._joined = inputs, cast(Tensor, labels)
        return self._joined

    def _group(
        self, chips: Sequence[Mapping[str, Tensor]], stored: Stored
    ) -> Callable[[nn.Module, Tensor], Tensor]:
        """A pass of all chips: inputs (1 or chips, n, ...) to outputs (chips, n, classes)."""
        together = ChipBatch(stored, chips, self._in_place)

        def run(model: nn.Module, inputs: Tensor) -> Tensor:
            images, most = inputs.shape[1], self._size[True]
            if images <= most:
                return together(model, inputs)
            few = images // -(-images // most)
            whole = images - images % few
            if whole < images:
                return torch.cat([run(model, part) for part in inputs.split(whole, 1)], 1)
            replayed = self._replayed(together, model, inputs, few)
            if replayed is None:
                return torch.cat([together(model, part) for part in inputs.split(few, 1)], 1)
            return replayed(inputs, together.ready)

        return run

    def _replayed(
        self, together: ChipBatch, model: nn.Module, inputs: Tensor, few: int
    ) -> "Replay | None":
        """A pass on inputs of this layout, recorded the first time."""
        on_cpu = inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if not (self._compiled and on_cpu):
            return None
        from swim.engine.compiled import record  # loads LLVM, which most networks do without

        key = (together.chips, inputs.shape, inputs.stride(), inputs.dtype, few, together.shared)
        if key not in self._replays:
            together(model, inputs[:, :few])
            weights = {made: together.ready(*made) for made in together.made}
            self._replays[key] = None
            with contextlib.suppress(Exception):  # memory, or an operation of another kind
                run = partial(together, model)
                self._replays[key] = record(run, inputs, few, weights, self._same)
        return self._replays[key]

    def _same(self, found: Tensor, expected: Tensor) -> bool:
        """Whether outputs are as near as rounding, and quantisers that it tips, allow."""
        bound = 0.01 if self._jumps else 1e-4
        return bool((found - expected).abs().mean() <= bound * expected.abs().mean())

    def _alone(
        self, weights: Mapping[str, Tensor], stored: Stored
    ) -> Callable[[nn.Module, Any], Tensor]:
        """A pass of one chip: inputs (1, n, ...) to outputs (1, n, ...)."""

        def run(model: nn.Module, inputs: Inputs) -> Tensor:
            with contextlib.ExitStack() as modes:
                modes.enter_context(FastKernels())
                if self._follows or self._mode is not Handed:
                    modes.enter_context(self._mode(stored, weights, self._traced.spread))
                outputs = model(*arguments(inputs[0]))
            return one_tensor(outputs)[None]

        return run

    def _try_one_chip(self) -> None:
        """Find how one chip runs best, on two images.

        Channels last is the layout that makes convolution and pooling fastest, but ``view`` may
        fail in it where it would not in another.
        """
        few = self._few()
        try:
            outputs = self._try([self.targets], few)
        except RuntimeError:
            self._channels_last = False
            with shown(few[0][0]):
                outputs = self._try([self.targets], few := self._few())
        before, after = arguments(self._few()[0][0]), arguments(few[0][0])
        self._overwrites = not all(map(torch.equal, before, after))
        try:
            fit(self._loss, outputs[0], few[0][1][0])
        except NotFiniteError:
            raise self._diverged([], None, None) from None

    def _try(
        self, chips: Sequence[Mapping[str, Tensor]], shown: list[tuple[Any, Tensor]]
    ) -> Tensor:
        """Outputs (chips, n, ...) for the images shown; sees how many fit into a pass."""
        together = len(chips) > 1
        images = shown[0][1].shape[1]
        with _Seen(images) as seen:
            (outputs,) = self._passes(chips, shown, lambda outputs, _: outputs)
        self._jumps |= seen.jumps
        room = _ROOM["cuda" if outputs.is_cuda else "cpu"][together]
        fitting = max(1, room * images // seen.elements)
        self._size[together] = min(self._size[together], fitting)
        found: Tensor = outputs.double() if outputs.is_floating_point() else outputs
        return found

    def _few(self) -> list[tuple[Any, Tensor]]:
        """Copies of at most two images, to try something on."""
        inputs, labels = self._batches[0]
        return [(inputs[None, :2].clone(), labels[None, :2])]

    def _runs_together(self) -> bool:
        """Whether a group answers as its chips do alone, tried on two images.

        Chips are told apart by a factor; a layer that mixes them up is far off.
        """
        small = sum(weight.numel() for weight in self.targets.values()) <= _SMALL
        unlike = self._overwrites or self._traced.branches or self._traced.overwrites
        unlike = unlike or bool(self._traced.spread) or isinstance(self._sample, Several)
        if GROUP == 1 or not small or unlike:
            return False
        chips = [
            {name: weight * (1 + r / GROUP) for name, weight in self.targets.items()}
            for r in range(GROUP)
        ]
        images = self._few()
        same_for_each = [(x.expand(GROUP, *x.shape[1:]), y) for x, y in images]
        for self._in_place in (True, False):
            try:
                # Copies, since a forward may write to its weights.
                alone = [{name: weight.clone() for name, weight in c.items()} for c in chips]
                expected = torch.cat([self._try([chip], images) for chip in alone])
                found = [self._try(chips, shown) for shown in (images, same_for_each)]
            except Exception:  # whatever its layers say to shapes that they do not expect
                continue
            return all(self._same(outputs, expected) for outputs in found)
        return False
