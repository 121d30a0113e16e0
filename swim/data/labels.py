"""Labels and outputs compared, in one place for every loss, every estimator and ``swim.evaluate``.

Cross-entropy takes outputs (N, C, ...), with the classes at dimension 1 as in PyTorch, or (N, ...,
C), with the classes last as language models have them. The labels' shape, (N, ...) without the
classes, tells which of the two it is. Where both fit, the outputs are refused. Squared errors take
targets shaped like the outputs. In both losses, dimensions of size 1 may be missing or too many;
nothing is ever broadcast.

A label of :data:`IGNORED` counts nowhere: not in an accuracy, a loss or a second derivative.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.errors import DataError, SettingError, short

LOSSES = ("cross_entropy", "mse")
IGNORED = -100  # as in torch.nn.functional.cross_entropy


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy whose classes count differently, as ``nn.CrossEntropyLoss(weight)``.

    Attributes:
        class_weights: of each class, (C,), not negative; a label's loss is multiplied by that of
            its class. Label smoothing needs no setting: it changes no second derivative.
    """

    class_weights: Tensor


Loss = str | CrossEntropy


class NotFiniteError(DataError):
    """Outputs of a network hold NaN or infinity.

    Attributes:
        chip: number of the chip with these outputs; None for the network before programming.
    """

    chip: int | None = None


@dataclass(frozen=True)
class Fit:
    """Outputs and the labels that belong to them, in the layout of PyTorch's losses.

    Attributes:
        outputs: (N, C, ...) for cross-entropy, a view of the network's outputs; else as they are.
        labels: int64 (N, ...) for cross-entropy, targets shaped like outputs for mse; None if the
            batch has none.
        axis: the dimension of the network's own outputs that holds the classes.
        weights: what each label's loss is multiplied by, shaped like the labels; None for one.
    """

    outputs: Tensor
    labels: Tensor | None
    axis: int = 1
    weights: Tensor | None = None

    @property
    def given(self) -> Tensor:
        """The labels.

        Raises:
            DataError: there are none.
        """
        return needed(self.labels)

    def counting(self, values: Tensor) -> Tensor:
        """``values`` (..., N, C, ...), with zeros where the label does not count."""
        if self.labels is None or self.labels.is_floating_point():
            return values
        ignored = self.labels == IGNORED
        return values.masked_fill(ignored.unsqueeze(1), 0.0) if ignored.any() else values

    def weighted(self, values: Tensor, power: float = 1.0) -> Tensor:
        """:meth:`counting`, each label's values multiplied by its weight to some power."""
        counting = self.counting(values)
        if self.weights is None:
            return counting
        return counting * self.weights.to(values.dtype).pow(power).unsqueeze(1)

    def back(self, values: Tensor, before: int = 0) -> Tensor:
        """Values shaped (..., *outputs), with the classes where the network has them.

        Args:
            values: shaped like :attr:`outputs`, with ``before`` leading dimensions.
            before: number of leading dimensions.
        """
        return values.movedim(1 + before, self.axis + before) if self.axis != 1 else values


def check_loss(loss: Loss) -> None:
    """Raise unless the loss is known.

    Raises:
        SettingError: it is not, or its class weights are no numbers from 0.
    """
    if isinstance(loss, CrossEntropy):
        weights = loss.class_weights
        if weights.dim() != 1 or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise SettingError(
                f"class weights must be one finite number from 0 for each class, (C,), not "
                f"{short(weights.tolist())}"
            )
    elif loss not in LOSSES:
        raise SettingError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")


def needed(labels: Any) -> Tensor:
    """The labels of a batch.

    Raises:
        DataError: there are none.
    """
    if not isinstance(labels, Tensor):
        raise DataError(f"this needs labels, not {labels!r}: batches are (inputs, labels) pairs")
    return labels


def one_tensor(outputs: Any) -> Tensor:
    """The outputs, if they are one tensor.

    Raises:
        DataError: they are not.
    """
    if isinstance(outputs, Tensor):
        return outputs
    kind, entry = type(outputs).__name__, "[0]"
    if isinstance(outputs, dict):
        names = [str(name) for name in outputs]
        kind += f" of {', '.join(names)}"
        entry = f"[{names[0] if 'logits' not in names else 'logits'!r}]"
    elif isinstance(outputs, list | tuple):
        kind += f" of {len(outputs)}"
    else:
        entry = ".logits" if hasattr(outputs, "logits") else "..."
    raise DataError(
        f"the model must return one tensor of outputs, not {kind}; wrap it in a module whose "
        f"forward returns the outputs alone: `return self.model(*inputs){entry}`"
    )


def fit(loss: Loss, outputs: Any, labels: Any) -> Fit:
    """Outputs and labels compared.

    Args:
        loss: ``cross_entropy`` or ``mse``, or a :class:`CrossEntropy` with class weights.
        outputs: of a network, floating-point (N, ...).
        labels: of the same samples, or None.

    Raises:
        SettingError: the loss is unknown.
        DataError: outputs are no single tensor of numbers, or not finite; labels do not fit them,
            are out of range, or are of a type that the loss does not take.
    """
    check_loss(loss)
    outputs = one_tensor(outputs)
    if not outputs.is_floating_point() or not outputs.dim():
        raise DataError(
            f"the model must return numbers for each sample, (N, ...) in floating point, not "
            f"{_described(outputs)}: logits or predictions, before argmax or a mean"
        )
    if not _finite(outputs.detach()):
        way = ""
        if not bool((outputs.isnan() | (outputs == math.inf)).any()):
            way = "; to mask logits take a large negative number, such as -1e4, instead of -inf"
        raise NotFiniteError(
            f"the network's outputs are not finite: they hold NaN or infinity{way}"
        )
    labels = None if labels is None else needed(labels).to(outputs.device)
    if labels is not None and (not labels.dim() or len(labels) != len(outputs)):
        raise DataError(
            f"the model gives outputs {tuple(outputs.shape)} for labels {tuple(labels.shape)}: "
            "both need one row for each sample of the inputs"
        )
    if loss == "mse":
        return _of_mse(outputs, labels)
    fitted = _of_classes(outputs, labels)
    return _with_weights(fitted, loss.class_weights) if isinstance(loss, CrossEntropy) else fitted


def _with_weights(fitted: Fit, class_weights: Tensor) -> Fit:
    classes = fitted.outputs.shape[1]
    if len(class_weights) != classes:
        raise DataError(
            f"{len(class_weights)} class weights for a network of {classes} classes: one for each "
            "is needed"
        )
    # A label that does not count has any weight: its values are zero.
    weights = class_weights.to(fitted.outputs.device)[fitted.given.clamp_min(0)]
    return replace(fitted, weights=weights)


def _finite(values: Tensor) -> bool:
    # A sum is finite only if all values are, and takes a third of the time.
    return math.isfinite(float(values.sum())) or bool(values.isfinite().all())


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _rows(tensor: Tensor) -> str:
    """A shape, with N for the number of samples."""
    return _row(tuple(tensor.shape))


def _row(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its dimensions of size 1, except the first, of samples."""
    return (*shape[:1], *(size for size in shape[1:] if size != 1))


def _of_mse(outputs: Tensor, labels: Tensor | None) -> Fit:
    if labels is None:
        return Fit(outputs, None)
    if _without_ones(labels.shape) != _without_ones(outputs.shape):
        way = (
            "; class numbers are labels of cross_entropy" if not labels.is_floating_point() else ""
        )
        raise DataError(
            f"labels of mse must have the shape of the outputs: labels have shape "
            f"{_rows(labels)}, outputs {_rows(outputs)}{way}"
        )
    if labels.is_complex():
        raise DataError(f"labels of mse must be real numbers, not {_described(labels)}")
    labels = labels.reshape(outputs.shape)
    if not labels.is_floating_point():
        labels = labels.to(outputs.dtype)
    elif not bool(labels.isfinite().all()):
        raise DataError("labels are not finite: they hold NaN or infinity")
    return Fit(outputs, labels)


def _of_classes(outputs: Tensor, labels: Tensor | None) -> Fit:
    if outputs.dim() < 2:
        raise DataError(
            f"cross-entropy needs outputs (N, C, ...), got {_rows(outputs)}; for two classes "
            "and one logit return both: torch.stack([torch.zeros_like(logit), logit], 1)"
        )
    if labels is None and outputs.dim() > 2:
        raise DataError(
            f"outputs {_rows(outputs)} without labels: only labels, (N, ...) without the "
            "classes, tell whether the classes are dimension 1 or the last"
        )
    axis = 1 if labels is None else _class_axis(outputs, labels)
    classes = outputs.shape[axis]
    if classes < 2:
        raise DataError(
            f"outputs {_rows(outputs)} hold one class, whose cross-entropy is always zero; "
            "for two classes and one logit return both: "
            "torch.cat([torch.zeros_like(logit), logit], 1)"
        )
    moved = outputs.movedim(axis, 1) if axis != 1 else outputs
    if labels is None:
        return Fit(moved, None)
    return Fit(moved, _class_numbers(labels, moved), axis)


def _class_axis(outputs: Tensor, labels: Tensor) -> int:
    """The dimension that holds the classes: 1 or the last.

    Raises:
        DataError: the labels' shape fits neither, or both.
    """
    shape, last = tuple(outputs.shape), outputs.dim() - 1
    expected = {axis: (*shape[:axis], *shape[axis + 1 :]) for axis in (1, last)}
    fitting = [axis for axis, own in expected.items() if own == tuple(labels.shape)]
    if not fitting:
        found = _without_ones(tuple(labels.shape))
        fitting = [axis for axis, own in expected.items() if _without_ones(own) == found]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(
            f"outputs {_rows(outputs)} with labels {_rows(labels)}: the classes may be dimension 1 "
            "or the last. To tell, add a dimension of size 1 to the labels, labels.unsqueeze(-1), "
            "and to the outputs: outputs.unsqueeze(-1) if the classes are dimension 1, "
            "outputs.unsqueeze(-2) if they are the last"
        )
    fault = f"labels have shape {_rows(labels)}, not {_row(expected[1])}"
    if last > 1:
        fault += f" or {_row(expected[last])}"
    if tuple(labels.shape) == shape:
        axis = 1 if last == 1 else -1
        fault += (
            "; one-hot labels and probabilities are not taken, but class numbers are: "
            f"labels.argmax({axis}), with the dimension of the classes"
        )
    raise DataError(f"{fault}, as cross_entropy of outputs {_rows(outputs)} needs")


def _class_numbers(labels: Tensor, outputs: Tensor) -> Tensor:
    """int64 labels shaped like ``outputs`` (N, C, ...) without C, each in range or ignored."""
    classes = outputs.shape[1]
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"labels of cross-entropy must be integers below {classes}, the number of classes, not "
            f"{_described(labels)}; labels.long() makes class numbers of whole floats, and numbers "
            "to predict need loss='mse'"
        )
    if labels.dtype == torch.bool and classes != 2:
        raise DataError(f"labels are True and False, and the network has {classes} classes")
    labels = labels.long().reshape(outputs.shape[0], *outputs.shape[2:])
    low, high = (int(end) for end in labels.aminmax()) if labels.numel() else (0, 0)
    if low >= 0 and high < classes:  # the usual case
        return labels
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= classes)]
    if wrong.numel():
        value = int(wrong[wrong.abs().argmax()])
        hint = "; labels that start at 1 need `labels - 1`" if value == classes else ""
        raise DataError(
            f"label {value} is out of range: labels of cross-entropy must be integers below "
            f"{classes}, the number of classes that the network has, from 0, or {IGNORED} where "
            f"nothing is to count{hint}"
        )
    return labels


def counted(loss: Loss, labels: Tensor) -> Tensor:
    """Number of labels of each sample that count: int64 (N,); one for the targets of mse."""
    if loss == "mse":
        return torch.ones(len(labels), dtype=torch.int64, device=labels.device)
    return (labels != IGNORED).reshape(len(labels), -1).sum(1)


def each_loss(loss: Loss, outputs: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Of each sample: the number of correct labels (NaN for mse), and the sum of their losses.

    Args:
        loss: ``cross_entropy`` or ``mse`` (sum of squared errors).
        outputs: of a network, (N, ...).
        labels: of the same samples.

    Returns:
        Two tensors (N,). Samples have :func:`counted` labels, most often one.

    Raises:
        SettingError, DataError: as :func:`fit`; or there are no labels.
    """
    fitted = fit(loss, outputs, labels)
    outputs, labels = fitted.outputs, fitted.given
    if loss == "mse":
        error = (outputs - labels).square().reshape(len(outputs), -1).sum(1)
        return torch.full_like(error, float("nan")), error
    right = (outputs.argmax(1) == labels).to(outputs.dtype)
    losses = F.cross_entropy(outputs, labels, reduction="none", ignore_index=IGNORED)
    if fitted.weights is not None:
        losses = losses * fitted.weights.to(losses.dtype)
    if outputs.dim() == 2:
        return right, losses
    return right.double().flatten(1).sum(1), losses.double().flatten(1).sum(1)
