"""What follows a long pass: how many samples are done, and a state that a killed one goes on from.

The state holds the sums so far, the number of batches in them, and what an estimator carries from
batch to batch, such as its random generator. It is written between two batches. A pass that goes on
reads the batches before without computing them: later ones meet the same sums and the same random
numbers, so the result has the bytes of an uninterrupted pass.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import torch

    from swim.networks.subject import Subject
    from swim.runtime.unfinished import Unfinished


class Control:
    """Follows one pass over batches.

    Attributes:
        samples: number of samples done, those of an earlier run included.
        tell: called with how many more samples are done.
    """

    def __init__(
        self,
        unfinished: "Unfinished | None" = None,
        place: "torch.device | str" = "cpu",
        tell: Callable[[int], object] = lambda more: None,
    ):
        """A pass that begins, or goes on from the state that is there.

        Args:
            unfinished: where the state is kept; its digest covers all that sums depend on.
            place: the torch device of the model.
            tell: see above.
        """
        self.tell = tell
        self._unfinished = unfinished
        self._state = unfinished.read(place) if unfinished else None
        self._save: dict[str, Callable[[], Any]] = {}
        # No function in `_save` leads back here: such a cycle would hold on to sums and weights.
        done: tuple[int, int] = self._state["done"] if self._state else (0, 0)
        self._batches, self.samples = done
        self._within, self._size = 0, 0  # of the batch in work: samples done, and all

    def keep(self, name: str, save: Callable[[], Any], restore: Callable[[Any], object]) -> None:
        """Make something part of the state, and restore it at once if an earlier run saved it.

        Args:
            name: its key.
            save: returns it, in types that ``torch.load(weights_only=True)`` reads.
            restore: takes what ``save`` returned.
        """
        self._save[name] = save
        if self._state is not None:
            restore(self._state.pop(name))

    def keep_generator(self, generator: np.random.Generator) -> None:
        """Make the position of a random generator part of the state."""
        bits = generator.bit_generator

        def save() -> str:
            return json.dumps(dict(bits.state), default=lambda array: array.tolist())

        def restore(text: str) -> None:
            state = json.loads(text)
            for numbers in (state["state"], state):
                for key, value in numbers.items():
                    if isinstance(value, list):
                        numbers[key] = np.array(value, dtype=np.uint64)
            bits.state = state

        self.keep("generator", save, restore)

    def keep_sums(self, subject: "Subject", totals: dict[str, Tensor]) -> None:
        """Make sums by weight name part of the state, and weights that later batches added."""
        known = frozenset(subject.weights)

        def added() -> dict[str, Tensor]:
            return {n: w.clone() for n, w in subject.weights.items() if n not in known}

        self.keep("weights", added, subject.weights.update)
        self.keep("sums", lambda: totals, totals.update)

    def remaining(
        self,
        batches: Iterable[tuple[Any, Any]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, Any, Any]]:
        """(number from 0, inputs, labels) of each batch that no earlier run finished.

        A batch is done when the next one is asked for.

        Args:
            batches: all (inputs, labels) pairs.
            progress: called with the number of batches done.
        """
        for number, (inputs, labels) in enumerate(batches):
            if number < self._batches:
                continue
            self._within, self._size = 0, len(inputs)
            yield number, inputs, labels
            self.advance(self._size)
            self._batches = number + 1
            if progress is not None:
                progress(self._batches)
            if self._unfinished is not None and self._unfinished.due():
                state = {name: save() for name, save in self._save.items()}
                self._unfinished.write({**state, "done": (self._batches, self.samples)})

    def advance(self, more: int) -> None:
        """So many more samples of the batch in work are done; more than it has do not count."""
        more = min(more, self._size - self._within)
        self._within += more
        self.samples += more
        if more:
            self.tell(more)

    def of_batch(self) -> "Control":
        """For a pass over the batch in work alone: it counts here, and keeps no state."""
        return Control(tell=self.advance)
