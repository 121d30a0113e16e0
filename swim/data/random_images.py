"""A random subset of images for a pass over fewer than all, whatever order they are in.

Each image has a random number, drawn image after image from one generator of the seed. Those with
the smallest numbers are taken and keep their order. The same seed takes the same images, a larger
subset contains the smaller ones, and how images are split into batches does not matter.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swim.data.batches import Inputs, alike, joined
from swim.errors import SettingError
from swim.runtime import rng


def _draws(seed: int) -> np.random.Generator:
    return rng.generator(seed, "sensitivity images")


def _smallest(numbers: np.ndarray, images: int) -> np.ndarray:
    """Positions of the smallest numbers, ascending; of equal ones the first."""
    return np.sort(np.argsort(numbers, kind="stable")[:images])


def positions(size: int, images: int, seed: int) -> Tensor:
    """Positions of ``images`` of ``size`` images, ascending, int64 (images,).

    Raises:
        SettingError: there are fewer.
    """
    if images > size:
        raise SettingError(f"{images:,} images are asked for, but there are only {size:,}")
    return torch.from_numpy(_smallest(_draws(seed).random(size), images))


@dataclass(frozen=True)
class _Part:
    """Some images of a batch, with their random numbers."""

    inputs: Inputs
    labels: Any
    numbers: np.ndarray

    def taken(self, rows: np.ndarray) -> "_Part":
        """A copy of some rows: a loader may write its next batch where this one is."""
        index = torch.from_numpy(rows)
        labels = None if self.labels is None else self.labels[index]
        return _Part(self.inputs[index], labels, self.numbers[rows])


def of_batches(
    batches: Iterable[tuple[Inputs, Any]], images: int, seed: int
) -> Iterator[tuple[Inputs, Any]]:
    """The images of :func:`positions`, from batches that are read once.

    They come in batches of the first one's size, as far as their shapes are equal. Up to twice as
    many images as asked for, and one batch, are held in memory.

    Args:
        batches: (inputs, labels) pairs as of :func:`swim.data.batches.read`.
        images: number of images.
        seed: of the choice.

    Raises:
        SettingError: there are fewer images.
    """
    draws, parts = _draws(seed), list[_Part]()
    size, total, highest = 0, 0, 1.0
    for inputs, labels in batches:
        size, total = size or len(inputs), total + len(inputs)
        part = _Part(inputs, labels, draws.random(len(inputs)))
        parts.append(part.taken(np.flatnonzero(part.numbers <= highest)))
        if sum(len(part.numbers) for part in parts) > 2 * images:
            numbers = np.concatenate([part.numbers for part in parts])
            highest = float(np.partition(numbers, images - 1)[images - 1])
            parts = [part.taken(np.flatnonzero(part.numbers <= highest)) for part in parts]
            parts = [part for part in parts if len(part.numbers)]
    if images > total:
        raise SettingError(f"images={images}: the batches hold only {total:,}; None takes all")
    last = _smallest(np.concatenate([part.numbers for part in parts]), images)
    start, rest = 0, []
    for part in parts:
        end = start + len(part.numbers)
        rest.append(part.taken(last[(last >= start) & (last < end)] - start))
        start = end
    yield from _batches([part for part in rest if len(part.numbers)], size)


def _batches(parts: Iterable[_Part], size: int) -> Iterator[tuple[Inputs, Any]]:
    """Parts that follow each other, joined to batches of ``size`` images."""
    waiting: list[_Part] = []
    for part in parts:
        if waiting and not _fit(waiting[0], part):
            yield _one(waiting)
            waiting = []
        waiting.append(part)
        while sum(len(each.numbers) for each in waiting) >= size:
            inputs, labels = _one(waiting)
            numbers = np.concatenate([each.numbers for each in waiting])
            rest = None if labels is None else labels[size:]
            yield inputs[:size], None if labels is None else labels[:size]
            waiting = [_Part(inputs[size:], rest, numbers[size:])] if len(numbers) > size else []
    if waiting:
        yield _one(waiting)


def _fit(one: _Part, other: _Part) -> bool:
    """Whether two parts can be joined."""
    without = [part.labels is None for part in (one, other)]
    labels = all(without) if any(without) else alike(one.labels, other.labels)
    return labels and type(one.inputs) is type(other.inputs) and alike(one.inputs, other.inputs)


def _one(parts: list[_Part]) -> tuple[Inputs, Any]:
    if len(parts) == 1:
        return parts[0].inputs, parts[0].labels
    labels = None if parts[0].labels is None else torch.cat([part.labels for part in parts])
    return joined([part.inputs for part in parts]), labels
