"""Any estimator on any model: raw second derivatives, and sensitivities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swim.runtime import rng
from swim.settings import estimator_traits, registry
from swim.settings.arguments import number, whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from swim.curvature.control import Control
    from swim.curvature.spread import Estimate
    from swim.data.labels import Loss
    from swim.networks.subject import Subject


def second_derivative(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "recursion",
    loss: "Loss" = "cross_entropy",
    seed: int = 0,
    samples: int = 1,
    probe: str = "signs",
    noise: float = 0.0,
    images: int | None = None,
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    control: "Control | None" = None,
) -> "Estimate":
    """What an estimator gives: raw second derivatives ``H_ii``, summed over samples.

    Args:
        model: any ``nn.Module``; it is left exactly as it was.
        batches: iterable of (inputs, labels), a ``DataLoader`` included; tensors or numpy arrays,
            several inputs as a tuple (:func:`swim.data.batches.read`). How it is split bounds
            memory and changes no number beyond rounding (``release`` excepted). Labels of
            cross-entropy have the shape of the outputs without the classes, which are dimension 1
            or the last; those of -100 count nowhere.
        estimator: a key of ``swim.settings.registry.ESTIMATORS``; docs/estimators.md compares them.
        loss: ``cross_entropy``, ``mse`` (sum of squared errors), or cross-entropy with class
            weights, :class:`swim.data.labels.CrossEntropy`.
        seed: of the estimators that draw.
        samples: their draws: passes over all samples (``gauss_newton_probe``), labels a sample
            (``monte_carlo_fisher``), probes every 50 samples (``hutchinson``).
        probe: of ``gauss_newton_probe``: ``signs``, or ``labels`` drawn from the network's softmax.
        noise: standard deviation of Gaussian errors of the weights, in units of ``max|W_layer|``:
            the average over programmed chips, each batch at one of its own
            (:mod:`swim.curvature.noisy_weights`); 0 is at the weights as they are.
        images: how many samples to take, a random subset by the seed; a larger one contains the
            smaller, and the order of samples does not favour any. None takes all. Of a loader that
            shuffles, the subset is another one each time.
        digital: names or patterns of weights that stay digital on purpose.
        inputs: where inputs or batches are dicts, the key or keys of what the model takes.
        progress: called with the number of batches done.
        control: follows the pass, and keeps the state that a killed one goes on from; for a loader
            that gives the same batches in the same order (:mod:`swim.curvature.control`).

    Returns:
        weight name -> float64 tensor shaped like the weight: a dict with the attribute
        ``relative_error``, see :class:`swim.curvature.spread.Estimate`.

    Raises:
        UnsupportedOperationError: the estimator cannot take the network; the operation is named.
        SettingError: the estimator or the loss is unknown, a number is out of range, or there are
            fewer samples than ``images``.
        DataError: batches are empty or of a kind that is not read, labels are missing or do not
            fit the outputs, or a number is not finite.
    """
    drawing = {"seed": seed, "samples": samples, "probe": probe}
    return _estimated(
        model, batches, inputs, estimator, loss, drawing, noise, images, digital, progress, control
    )[0]


def _estimated(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    inputs: str | Sequence[str] | None,
    estimator: str,
    loss: "Loss",
    drawing: dict[str, Any],
    noise: float,
    images: int | None,
    digital: Iterable[str],
    progress: Callable[[int], None] | None,
    control: "Control | None" = None,
) -> "tuple[Estimate, dict[str, Tensor]]":
    """Raw second derivatives and the weights that they are of."""
    from swim.curvature import advice
    from swim.curvature.control import Control
    from swim.curvature.noisy_weights import averaged
    from swim.curvature.spread import Estimate, Spread
    from swim.data.batches import first
    from swim.networks.isolation import left_alone
    from swim.networks.subject import subject_of

    noise = number("noise", noise, 0)
    seed, probe = whole("seed", drawing["seed"]), drawing["probe"]
    drawing = {"seed": seed, "samples": whole("samples", drawing["samples"], 1)}
    run = registry.find("estimator", estimator)
    own: dict[str, Any] = drawing if estimator in estimator_traits.DRAWING else {}
    control = control or Control()
    spread = Spread()
    control.keep("spread", spread.state, spread.restore)
    if estimator in estimator_traits.PROBING:
        own = {**own, "probe": probe, "spread": spread}

    def estimate(noisy: "Subject", batch: list[Any], number: int) -> "dict[str, Tensor]":
        keyed = own and {**own, "seed": rng.key(seed, "estimator", number)}
        found: dict[str, Tensor] = run(noisy, batch, loss=loss, control=control.of_batch(), **keyed)
        return found

    with left_alone(model), advice.once():
        chosen = _chosen(model, batches, inputs, images, seed)
        (sample, _), stream = first(model, chosen, inputs)
        subject = subject_of(model, sample, digital)
        if noise:
            raw = averaged(subject, stream, noise, seed, estimate, progress, control)
        else:
            raw = run(subject, stream, loss=loss, progress=progress, control=control, **own)
    found = Estimate(raw)
    found.estimator = estimator
    if estimator in estimator_traits.PROBING:
        found.of(spread, {name: float(w.abs().max()) for name, w in subject.weights.items()})
    return found, subject.weights


def _chosen(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    inputs: str | Sequence[str] | None,
    images: int | None,
    seed: int,
) -> Iterable[tuple[Any, Any]]:
    """The batches, or those of a random subset of their images."""
    from swim.data.batches import read
    from swim.data.random_images import of_batches

    if images is None:
        return batches
    return of_batches(read(model, batches, inputs), whole("images", images, 1), seed)


def sensitivity(
    model: "nn.Module",
    batches: Iterable[tuple[Any, Any]],
    *,
    estimator: str = "gauss_newton_probe",
    loss: "Loss" = "cross_entropy",
    seed: int = 0,
    samples: int = 1,
    probe: str = "signs",
    noise: float = 0.0,
    images: int | None = None,
    digital: Iterable[str] = (),
    inputs: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> "Estimate":
    """How much each weight's programming error costs: ``H_ii * max|W_layer|^2``.

    ``E[dL] ~ 1/2 sum_i H_ii Var(dw_i)``, and a device's error is a share of the layer's full
    scale, so this ranks weights by the loss that leaving each unverified would cost (SWIM,
    arXiv:2202.08395). Arguments and errors are those of :func:`second_derivative`, but for the
    default estimator: the probe, which takes every differentiable network, costs a gradient pass
    and ranks best at that cost (docs/scores.md). ``estimator="recursion"`` is the paper's.

    Returns:
        weight name -> float64 tensor shaped like the weight, a dict as of
        :func:`second_derivative`.
    """
    drawing = {"seed": seed, "samples": samples, "probe": probe}
    raw, weights = _estimated(
        model, batches, inputs, estimator, loss, drawing, noise, images, digital, progress
    )
    return scaled(raw, weights)


def scaled(raw: "Estimate", weights: "Mapping[str, Tensor]") -> "Estimate":
    """Sensitivities ``H_ii * max|W_layer|^2`` from raw second derivatives and their weights."""
    from swim.curvature.spread import Estimate

    # In double precision, as selection methods and policies of the pipeline have it.
    scores = Estimate({n: h * float(weights[n].abs().max()) ** 2 for n, h in raw.items()})
    scores.estimator, scores.scaled = raw.estimator, True
    scores.relative_error, scores.relative_errors = raw.relative_error, raw.relative_errors
    return scores
