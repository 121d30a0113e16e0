"""Second derivatives of the loss per weight, raw and as sensitivities.

An estimator is one file here and one line in :mod:`swim.registry`. It is a function of model and
batches and, by keyword, of loss and progress, of seed and samples too if it draws. It gives
name -> float64 tensor shaped like the weight: raw, summed over samples.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from swim import registry, streams
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
    inputs: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """What an estimator gives: raw second derivatives ``H_ii``, summed over samples.

    Args:
        model: any ``nn.Module``; it is left exactly as it was.
        batches: iterable of (inputs, labels), a ``DataLoader`` included; tensors or numpy arrays,
            several inputs as a tuple (:func:`swim.batches.read`). How it is split bounds memory
            and changes no number beyond rounding (``release`` excepted). Labels of cross-entropy
            have the shape of the outputs without the classes, which are dimension 1 or the last;
            those of -100 count nowhere.
        estimator: a key of ``swim.registry.ESTIMATORS``; docs/estimators.md compares them.
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        seed: of the estimators that draw.
        samples: their draws: labels a sample (``monte_carlo_fisher``), probes every 50 samples
            (``hutchinson``).
        noise: standard deviation of Gaussian errors of the weights, in units of ``max|W_layer|``:
            the average over programmed chips, each batch at one of its own
            (:mod:`swim.curvature.averaged`); 0 is at the weights as they are.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        progress: called with the number of batches done.

    Returns:
        weight name -> float64 tensor shaped like the weight.

    Raises:
        UnsupportedOperationError: the estimator cannot take the network; the operation is named.
        SettingError: the estimator or the loss is unknown, or the noise negative.
        DataError: batches are empty or of a kind that is not read, labels are missing or do not
            fit the outputs, or a number is not finite.
    """
    if not noise >= 0:
        raise SettingError(f"noise must be at least 0, not {noise}")
    _check_gradients()
    run = registry.find("estimator", estimator)
    drawing = {"seed": seed, "samples": samples} if estimator in registry.DRAWING else {}
    result: dict[str, Tensor]
    from swim.batches import read

    if inputs is not None:
        batches = read(model, batches, inputs)
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
    inputs: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> "dict[str, Tensor]":
    """How much each weight's programming error costs: ``H_ii * max|W_layer|^2``.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's error is a share of the layer's full
    scale, so this ranks weights by the loss that leaving each unverified would cost (SWIM,
    arXiv:2202.08395). Arguments and errors are those of :func:`second_derivative`.

    Returns:
        weight name -> float64 tensor shaped like the weight.
    """
    from swim.batches import first
    from swim.tracing import device_of, left_alone, trace, weights_of

    _check_gradients()
    with left_alone(model):
        (sample, _), stream = first(model, batches, inputs)
        weights = weights_of(trace(model, sample[:1].to(device_of(model))))
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


def _check_gradients() -> None:
    """Raise where autograd cannot be turned on.

    Raises:
        SettingError: the caller is in inference mode.
    """
    import torch

    if torch.is_inference_mode_enabled():
        raise SettingError(
            "second derivatives need autograd, which torch.inference_mode() turns off for all that "
            "is made in it; call this outside (torch.no_grad() does no harm)"
        )
