"""Second derivatives of the loss per weight, raw and as sensitivities."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from swim import registry

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["second_derivative", "sensitivity"]


def second_derivative(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "recursion",
    loss: str = "cross_entropy",
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """Raw second derivatives ``H_ii``, summed over samples, by the estimator of that name.

    See :func:`swim.curvature.recursion.recursion` for arguments, result and errors.
    """
    run = registry.find("estimator", estimator)
    result: dict[str, Tensor] = run(model, batches, loss=loss, progress=progress)
    return result


def sensitivity(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "recursion",
    loss: str = "cross_entropy",
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """How much each weight's programming error costs: ``H_ii * max|W_layer|^2``.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's error is a share of the layer's full
    scale, so this ranks weights by the loss that leaving each unverified would cost (SWIM,
    arXiv:2202.08395).

    Args:
        model: any ``nn.Module``; it is left exactly as it was.
        batches: iterable of (inputs, labels), a ``DataLoader`` included.
        estimator: a key of ``swim.registry.ESTIMATORS``.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        progress: called with the number of batches done.

    Returns:
        weight name -> float64 tensor shaped like the weight.

    Raises:
        UnsupportedOperationError: an operation has no rule; it is named.
        SettingError, DataError: an argument is unknown or empty.
    """
    from swim.tracing import device_of, first, left_alone, trace, weights_of

    with left_alone(model):
        (inputs, _), stream = first(batches)
        weights = weights_of(trace(model, inputs[:1].to(device_of(model))))
        raw = second_derivative(model, stream, estimator=estimator, loss=loss, progress=progress)
    return {name: h * weights[name].abs().max() ** 2 for name, h in raw.items()}
