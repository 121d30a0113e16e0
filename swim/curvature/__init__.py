"""Second derivatives of the loss per weight, raw and as sensitivities.

An estimator is one file here and one line in :mod:`swim.registry`. It is a function of model and
batches and, by keyword, of loss and progress, of seed and samples too if it draws. It gives
name -> float64 tensor shaped like the weight: raw, summed over samples.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from swim import registry, streams, traits
from swim.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["second_derivative", "sensitivity"]


def second_derivative(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "recursion",
    loss: str = "cross_entropy",
    seed: int = 0,
    samples: int = 1,
    noise: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """What an estimator gives: raw second derivatives ``H_ii``, summed over samples.

    Args:
        model: any ``nn.Module``; it is left exactly as it was.
        batches: iterable of (inputs, labels), a ``DataLoader`` included. How it is split bounds
            memory and changes no number beyond rounding (``release`` excepted).
        estimator: a key of ``swim.registry.ESTIMATORS``; docs/estimators.md compares them.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        seed: of the estimators that draw.
        samples: their draws: labels a sample (``monte_carlo_fisher``), probes every 50 samples
            (``hutchinson``).
        noise: standard deviation of Gaussian errors of the weights, in units of ``max|W_layer|``:
            the average over programmed chips, each batch at one of its own
            (:mod:`swim.curvature.averaged`); 0 is at the weights as they are.
        progress: called with the number of batches done.

    Returns:
        weight name -> float64 tensor shaped like the weight.

    Raises:
        UnsupportedOperationError: the estimator cannot take the network; the operation is named.
        SettingError: the estimator or the loss is unknown, or the noise negative.
        DataError: batches are empty, labels are missing, or a number is not finite.
    """
    if not noise >= 0:
        raise SettingError(f"noise must be at least 0, not {noise}")
    run = registry.find("estimator", estimator)
    drawing = {"seed": seed, "samples": samples} if estimator in traits.DRAWING else {}
    result: dict[str, Tensor]
    if not noise:
        result = run(model, batches, loss=loss, progress=progress, **drawing)
        return result

    from swim.curvature.averaged import averaged

    def estimate(noisy: "nn.Module", batch: list[Any], number: int) -> "dict[str, Tensor]":
        own = drawing and {**drawing, "seed": streams.key(seed, "estimator", number)}
        return run(noisy, batch, loss=loss, progress=None, **own)

    return averaged(model, batches, noise, seed, estimate, progress)


def sensitivity(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "recursion",
    loss: str = "cross_entropy",
    seed: int = 0,
    samples: int = 1,
    noise: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """How much each weight's programming error costs: ``H_ii * max|W_layer|^2``.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's error is a share of the layer's full
    scale, so this ranks weights by the loss that leaving each unverified would cost (SWIM,
    arXiv:2202.08395). Arguments and errors are those of :func:`second_derivative`.

    Returns:
        weight name -> float64 tensor shaped like the weight.
    """
    from swim.tracing import device_of, first, left_alone, trace, weights_of

    with left_alone(model):
        (inputs, _), stream = first(batches)
        weights = weights_of(trace(model, inputs[:1].to(device_of(model))))
        raw = second_derivative(
            model,
            stream,
            estimator=estimator,
            loss=loss,
            seed=seed,
            samples=samples,
            noise=noise,
            progress=progress,
        )
    return {name: h * weights[name].abs().max() ** 2 for name, h in raw.items()}
