"""Predictions of a network with the weights of chips, on images that stay in memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swim.data.batches import Inputs, Keys, Several, alike, arguments, first, joined, shown
from swim.data.labels import NotFiniteError, check_loss, counted, each_loss, fit, needed
from swim.engine.activations import NotBatchableError
from swim.engine.kernels import keep_freed_memory
from swim.engine.passes import Passes, Way, Weights
from swim.errors import UnsupportedOperationError
from swim.networks import memory_format
from swim.networks.diverged import check_finite, of_chips
from swim.networks.isolation import copies_of, device_of, few
from swim.networks.weights.interception import Handed, Watch
from swim.networks.weights.operations import jumps, operation_name
from swim.networks.weights.tracing import trace

# Chips that a small network runs at once, and how many weights make it no longer small: above,
# one chip keeps a processor busy, and more only take memory.
GROUP = 8
_SMALL = 1_000_000
# Elements of a pass's largest activation, of one chip and of a group: what a CPU's caches and its
# allocator hold on to, and a fair share of a GPU's memory. Not read from the machine, since
# results must not depend on it.
_ROOM = {"cpu": (2**22, 3 * 2**19), "cuda": (2**26, 2**26)}
# Products in bfloat16 are so fast that what lies between them should stay in the caches.
_ROOM_OF_BFLOAT16 = 2**20
# A recorded pass takes so many images, in at most so many parts in its convolutions. While it is
# recorded, the activations of all layers for all of these images are in memory.
_BLOCK, _PARTS = 512, 16
# Rounding to bfloat16, and quantisers that it tips, may change outputs by this much of their size.
_BFLOAT16 = 0.1


class Network:
    """A model with its test images in memory, ready to run with the weights of chips.

    Attributes:
        targets: the programmed weights, name -> ideal weight.
        inventory: the same with their counts, and what stays digital.
        images: number of test images.
        counted: labels of each image that count, in units of their mean: float64 (images,), ones
            where each image has one label.
        group: how many chips :meth:`measure` runs at once; a pure function of the model.
        passes: runs the model's forward.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Any, Any]],
        loss: str,
        inputs: Keys = None,
        digital: Iterable[str] = (),
        bfloat16: bool = False,
    ):
        keep_freed_memory()
        place = device_of(model)
        check_loss(loss)
        (sample, _), stream = first(model, batches, inputs)
        self._loss, self._sample, digital = loss, sample, tuple(digital)
        self._batches = [(x.to(place), needed(y).to(place)) for x, y in stream]
        state, shown_all = copies_of(model), [x for x, _ in self._batches]
        traced = trace(model, few(shown_all[0]), *shown_all, state=state, digital=digital)
        self._traced, self.inventory = traced, traced.inventory
        self.targets = {name: weight.clone() for name, weight in traced.weights.items()}
        check_finite(self.targets)
        counts = torch.cat([counted(loss, y) for _, y in self._batches]).double()
        self.images, self._mean_count = len(counts), float(counts.mean())
        self.counted = counts / self._mean_count
        self._joined: tuple[Inputs, Tensor] | None = None
        size = len(self._batches[0][1])
        way = Way(size, size, memory_format.fastest(place) is torch.channels_last)
        self.passes = Passes(model, traced, state, sample, digital, way)
        self._try_one_chip()
        if bfloat16:
            self._try_bfloat16()
        self.group = GROUP if self._may_run_together() and self._runs_together() else 1
        same = zip(*self._batches, strict=True)
        if self.group > 1 and all(alike(part, column[0]) for column in same for part in column):
            self._batches = [self._all()]

    def measure(
        self,
        chips: Sequence[Weights],
        positions: Sequence[Tensor] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Whether each chip classifies each image correctly, and with which loss.

        Of one chip, or of as many as :attr:`group`.

        Args:
            chips: weight name -> weight, of each chip.
            positions: the images that each chip is shown, (n,) each; all if None.
            numbers: numbers of the chips, to name them in errors.

        Returns:
            Whether each image is classified correctly (1, 0, or NaN), and its loss: (chips, n); of
            several labels their sums, in units of the mean number that counts.

        Raises:
            DataError: outputs are not finite, or labels do not fit them.
        """
        while True:
            try:
                return self._measure(chips, positions)
            except NotFiniteError:
                raise self._diverged(chips, positions, numbers) from None
            except torch.OutOfMemoryError:
                images = self.passes.way.images(len(chips))
                if images == 1:
                    raise
                self.passes.way.limit_images(len(chips), images // 2)
            except NotBatchableError:  # on these images, though it could on those tried
                return self._one_by_one(chips, positions, numbers)

    def digests(self) -> tuple[str, str]:
        """One digest of the test images with their labels, and one of the programmed weights.

        Of their values, however batches are split.
        """
        batches = [[*arguments(inputs), labels] for inputs, labels in self._batches]
        weights = ((name, [weight]) for name, weight in self.targets.items())
        return _digest(("", part) for part in zip(*batches, strict=True)), _digest(weights)

    def _one_by_one(
        self,
        chips: Sequence[Weights],
        positions: Sequence[Tensor] | None,
        numbers: Sequence[int] | None,
    ) -> tuple[Tensor, Tensor]:
        """:meth:`measure`, chip by chip."""
        shown = [None] * len(chips) if positions is None else [[p] for p in positions]
        names = [None] * len(chips) if numbers is None else [[n] for n in numbers]
        each = zip(chips, shown, names, strict=True)
        results = [self.measure([chip], images, name) for chip, images, name in each]
        correct, losses = (torch.cat(parts) for parts in zip(*results, strict=True))
        return correct, losses

    def _measure(
        self, chips: Sequence[Weights], positions: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        def compare(outputs: Tensor, labels: Tensor) -> list[Tensor]:
            labels = labels.expand(len(chips), *labels.shape[1:])
            results = each_loss(self._loss, outputs.flatten(0, 1), labels.flatten(0, 1))
            return [part.view(len(chips), part.numel() // len(chips)) for part in results]

        size = self.passes.way.images(len(chips))
        if len(chips) > 1 and 1 < _BLOCK // size <= _PARTS:
            size *= _BLOCK // size
        results = self.passes.run(chips, self._chosen(positions, size), compare)
        correct, losses = (torch.cat(parts, 1) for parts in zip(*results, strict=True))
        if not bool(losses.isfinite().all()):
            raise NotFiniteError("the loss of an image is not finite: the outputs are too large")
        if self._mean_count != 1:
            correct, losses = correct / self._mean_count, losses / self._mean_count
        return correct, losses

    def _diverged(
        self,
        chips: Sequence[Weights],
        positions: Sequence[Tensor] | None,
        numbers: Sequence[int] | None,
    ) -> NotFiniteError:
        """The error for outputs that are not finite: of which chip, and from which layer on."""

        def alone(chip: int | None) -> Callable[[type[Handed]], Any]:
            shown = None if positions is None else [positions[chip or 0]]

            def run(mode: type[Handed]) -> Any:
                self.passes.mode = mode
                try:
                    return self._measure([self.targets if chip is None else chips[chip]], shown)
                finally:
                    self.passes.mode = Handed

            return run

        return of_chips(len(chips), alone, numbers)

    def _chosen(
        self, positions: Sequence[Tensor] | None, size: int
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs (1 or chips, n, ...) and their labels, at most ``size`` images at once."""
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

    # Trials on two images: which way of running gives the right outputs, and how many images fit.

    @cached_property
    def operations(self) -> float:
        """Multiplications and additions of the products and convolutions of an image's pass."""
        two = self._two_images()
        with FlopCounterMode(display=False) as counter:
            self._try([self.targets], two)
        return float(counter.get_total_flops()) / two[0][1].shape[1]

    def _try_one_chip(self) -> None:
        """Run the unprogrammed network: its layout, whether it writes to images, its outputs.

        Channels last makes convolution and pooling fastest, but a ``view`` in the forward may be
        impossible in that layout; then the network runs in the order of dimensions.
        """
        way, two = self.passes.way, self._two_images()
        try:
            outputs = self._try([self.targets], two)
        except RuntimeError:
            way.channels_last = False
            with shown(two[0][0]):
                outputs = self._try([self.targets], two := self._two_images())
        before, after = arguments(self._two_images()[0][0]), arguments(two[0][0])
        way.writes_to_images = not all(map(torch.equal, before, after))
        try:
            fit(self._loss, outputs[0], two[0][1][0])
        except NotFiniteError:
            raise self._diverged([], None, None) from None

    def _try_bfloat16(self) -> None:
        """Compute in bfloat16 from here on, if the unprogrammed network's outputs allow it."""
        expected = self._try([self.targets], self._two_images())
        self.passes.way.bfloat16 = True
        try:
            outputs = self._try([self.targets], self._two_images())
        except RuntimeError as error:
            raise UnsupportedOperationError(
                f"this network does not run in bfloat16 ({error}); use arithmetic float32"
            ) from error
        change = float((outputs - expected).abs().mean() / expected.abs().mean())
        if not change <= _BFLOAT16:
            raise UnsupportedOperationError(
                f"bfloat16 changes the outputs of this network by {change:.0%} of their size, more "
                f"than {_BFLOAT16:.0%}; use arithmetic float32"
            )

    def _may_run_together(self) -> bool:
        """Whether several chips at once are worth trying, and nothing known speaks against it."""
        small = sum(weight.numel() for weight in self.targets.values()) <= _SMALL
        way, traced = self.passes.way, self._traced
        unlike = way.writes_to_images or way.bfloat16 or isinstance(self._sample, Several)
        unlike = unlike or traced.branches or traced.overwrites or bool(traced.spread)
        return GROUP > 1 and small and not unlike

    def _runs_together(self) -> bool:
        """Whether a group of chips predicts as its chips do alone; also sets ``way.in_place``.

        The chips differ by a factor, so that a layer which mixes chips up gives outputs that are
        far off. Writing in place is tried first; the second trial does without.
        """
        chips = [
            {name: weight * (1 + r / GROUP) for name, weight in self.targets.items()}
            for r in range(GROUP)
        ]
        images = self._two_images()
        same_for_each = [(x.expand(GROUP, *x.shape[1:]), y) for x, y in images]
        for in_place in (True, False):
            self.passes.way.in_place = in_place
            try:
                # Copies, since a forward may write to its weights.
                alone = [{name: weight.clone() for name, weight in c.items()} for c in chips]
                expected = torch.cat([self._try([chip], images) for chip in alone])
                results = [self._try(chips, shown) for shown in (images, same_for_each)]
            except Exception:  # whatever its layers say to shapes that they do not expect
                continue
            return all(self.passes.way.same(outputs, expected) for outputs in results)
        return False

    def _try(self, chips: Sequence[Weights], two: list[tuple[Any, Tensor]]) -> Tensor:
        """Outputs (chips, n, ...) for two images; notes how many images fit into a pass."""
        images = two[0][1].shape[1]
        with _Activations(images) as seen:
            (outputs,) = self.passes.run(chips, two, lambda outputs, _: outputs)
        self.passes.way.discontinuous |= seen.discontinuous
        room = _ROOM["cuda" if outputs.is_cuda else "cpu"][len(chips) > 1]
        if self.passes.way.bfloat16 and not outputs.is_cuda:
            room = min(room, _ROOM_OF_BFLOAT16)
        self.passes.way.limit_images(len(chips), max(1, room * images // seen.elements))
        result: Tensor = outputs.double() if outputs.is_floating_point() else outputs
        return result

    def _two_images(self) -> list[tuple[Any, Tensor]]:
        """Copies of at most two images, to try something on."""
        inputs, labels = self._batches[0]
        return [(inputs[None, :2].clone(), labels[None, :2])]


def _digest(named: Iterable[tuple[str, Sequence[Tensor]]]) -> str:
    """A digest of tensors, each given in pieces along its first dimension; dtypes count."""
    whole = hashlib.blake2b(digest_size=16)
    for name, pieces in named:
        whole.update(f"{name} {pieces[0].dtype} {tuple(pieces[0].shape[1:])}".encode())
        for piece in pieces:
            whole.update(piece.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()


class _Activations(Watch):
    """While active, notes what the activations of some images are like.

    Attributes:
        elements: elements of the largest activation.
        discontinuous: whether a quantiser or another step function is among the operations.
    """

    def __init__(self, images: int):
        super().__init__()
        self.elements, self.discontinuous, self._images = 1, False, images

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            exact = result.is_floating_point() and result.element_size() >= 4
            self.discontinuous |= not exact or jumps(operation_name(func))
            if result.dim() and len(result) == self._images:
                self.elements = max(self.elements, result.numel())
        return result
