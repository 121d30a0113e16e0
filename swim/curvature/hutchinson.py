"""The Hessian's diagonal by random probes: for any network that is differentiable twice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from swim.curvature.autograd_graph import graph_behind
from swim.curvature.control import Control
from swim.curvature.losses import output_curvature, total
from swim.curvature.shared import Leaves, Term, normalised, reached, summed
from swim.data.labels import Loss, needed
from swim.errors import UnsupportedOperationError
from swim.networks.subject import Subject
from swim.runtime import rng

# Samples that share their probes. Batches are cut where a block ends, so that the split into
# batches changes no probe; small blocks average more of the noise for the same work.
BLOCK = 50


def hutchinson(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    loss: Loss = "cross_entropy",
    progress: Callable[[int], None] | None = None,
    control: Control | None = None,
    seed: int = 0,
    samples: int = 1,
) -> dict[str, Tensor]:
    """``sum_b mean_k z_bk * (H_b z_bk)``, whose expectation is the Hessian's diagonal.

    z are independent signs, new for every :data:`BLOCK` samples b (Hutchinson, 1990,
    doi:10.1080/03610919008812866; for diagonals Bekas, Kokiopoulou & Saad, 2007,
    doi:10.1016/j.apnum.2007.01.003). An estimate misses by the root of
    ``sum_b sum_j H_b,ij^2 / samples`` (j != i), and may be negative.

    Args:
        model: any network that autograd can differentiate twice, attention included; left as it
            was.
        batches: (inputs, labels) pairs.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.
        control: follows the pass, and keeps its state.
        seed: of the probes, which are keyed by block, probe and weight.
        samples: probes a block; each costs about two gradients.

    Returns:
        name -> float64 tensor shaped like the weight. The split into batches changes it by
        rounding only.

    Raises:
        UnsupportedOperationError: a weight cannot be told, or an operation is not differentiable
            twice; torch's message names it.
        DataError: batches or labels are missing or do not fit, or a derivative is not finite.
        SettingError: the loss is unknown.
    """
    control = control or Control()
    done = control.samples

    def terms(subject: Subject, inputs: Any, labels: Any) -> Iterator[Term]:
        nonlocal done
        own = needed(labels)
        while len(inputs):
            size = BLOCK - done % BLOCK
            probes = _Probes(seed, done // BLOCK, samples)
            yield from _one_block(subject, inputs[:size], own[:size], loss, probes)
            done += len(inputs[:size])
            control.advance(len(inputs[:size]))
            inputs, own = inputs[size:], own[size:]

    return summed(model, batches, progress, terms, control)


def _one_block(
    subject: Subject, inputs: Tensor, labels: Tensor, loss: Loss, probes: "_Probes"
) -> Iterator[Term]:
    mode = Leaves(subject)
    leaves = mode.by_name
    try:
        # Of attention's implementations this alone is differentiable twice.
        with sdpa_kernel(SDPBackend.MATH):
            outputs = subject.run(mode, inputs)
        _, unit = normalised(output_curvature(loss, outputs, labels), outputs.dtype)
        found = torch.autograd.grad(
            total(loss, outputs, labels) / unit,
            list(leaves.values()),
            create_graph=True,
            allow_unused=True,
        )
        first = reached(found, leaves)
        for number in range(probes.count):
            signs = probes.signs(number, leaves)
            along = torch.stack([(g * z).sum() for g, z in zip(first, signs, strict=True)]).sum()
            if number == 0:
                _check_graph(along)
            second = torch.autograd.grad(
                along, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
            for name, z, product in zip(leaves, signs, second, strict=True):
                yield name, z * product, unit / probes.count
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if isinstance(error, UnsupportedOperationError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedOperationError(
            f"random probes need a network that is differentiable twice: {reason}"
        ) from error


def _check_graph(gradient: Tensor) -> None:
    """Torch's ``once_differentiable`` raises only where *all* leaves are asked for, not ours."""
    for node in graph_behind(gradient):
        if "Error" in node.name():
            raise UnsupportedOperationError(
                "random probes need a network that is differentiable twice: it holds a custom "
                "autograd.Function that is marked as once_differentiable"
            )


@dataclass(frozen=True)
class _Probes:
    """The random signs of one block of samples."""

    seed: int
    block: int
    count: int

    def signs(self, number: int, leaves: dict[str, Tensor]) -> list[Tensor]:
        """One probe: -1 or 1 for every weight."""
        found = []
        for name, leaf in leaves.items():
            stream = rng.generator(self.seed, "hutchinson", self.block, number, name)
            bits = stream.integers(0, 2, leaf.numel(), dtype=np.int8)
            found.append(torch.from_numpy(2 * bits - 1).view(leaf.shape).to(leaf))
        return found
