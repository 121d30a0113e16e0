"""The weights of a model that devices hold."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from swim.data.batches import first
from swim.networks.isolation import left_alone
from swim.networks.subject import subject_of


def programmed_weights(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """The weights that :func:`swim.evaluate` programs: what selection methods rank.

    Effective weights, after quantisation or a parametrisation, as the pipeline's checkpoints store
    them. Only the first batch is used.

    Args:
        model: any ``nn.Module``; it is left exactly as it was.
        batches: (inputs, labels) pairs, as :func:`swim.evaluate` takes them.
        digital: names or patterns of weights that stay digital on purpose.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.

    Returns:
        name -> copy of the weight, in the order of their first use.

    Raises:
        UnsupportedOperationError: a weight cannot be programmed; the message names it.
        DataError: batches are empty or of a kind that is not read.
    """
    with left_alone(model):
        (sample, _), _ = first(model, batches, inputs)
        weights = subject_of(model, sample, digital).weights
        return {name: weight.detach().clone() for name, weight in weights.items()}
