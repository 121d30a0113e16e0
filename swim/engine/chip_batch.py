"""Several chips in one forward pass: their channels side by side in dimension 1.

A small network leaves a processor waiting for the next operation. So its weights on R chips
become one network: an activation is (N, R x C, ...), the first layer sees the images once, a
convolution has R times the groups, a linear layer is a batched product; element-wise operations
and pooling are as they were.

As everywhere, the calls of the model's own forward are watched and nothing is assumed about its
modules. What may run so is a list; a model with anything else is run chip by chip.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim.engine.kernels import SUBSTITUTES, fake_quantize_
from swim.networks.weights.expressions import Operand, Stored
from swim.networks.weights.flow import Flow
from swim.networks.weights.interception import Watch
from swim.networks.weights.operations import asks, operation_name, put, tensors_in


class CannotRunTogetherError(Exception):
    """The model runs something that has no rule for several chips; never seen by a user."""


# All chips' weights of a call: "one" that they share, "joined" (R x out, ...), or "stacked"
# (R, out, in).
Form = Literal["one", "joined", "stacked"]


@dataclass
class Mark:
    """What is known of an activation that holds all chips, (N, R x C, ...).

    Attributes:
        fresh: it shares its memory with no other tensor, and no call has used it yet; the first
            that does may write its result there.
        overwritten: that has happened, so a second use must not.
        unrectified: a ReLU is still to be applied, in place, before anything but maxima, which
            leave fewer elements to apply it to, or a quantiser that does it too.
    """

    fresh: bool
    overwritten: bool = False
    unrectified: bool = False


def _mark(tensor: Any) -> Mark | None:
    return getattr(tensor, "_swim_mark", None)


def _marked(tensor: Tensor, mark: Mark) -> Tensor:
    tensor._swim_mark = mark  # type: ignore[attr-defined]
    return tensor


# Each element or channel by itself.
_ALIKE = {
    torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_,
    F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.mish,
    torch.sigmoid, Tensor.sigmoid, torch.tanh, Tensor.tanh, F.softplus,
    torch.clone, Tensor.clone, Tensor.contiguous, F.embedding,
}  # fmt: skip
_POOLS = {
    F.max_pool1d: 1, F.avg_pool1d: 1, F.adaptive_avg_pool1d: 1, F.adaptive_max_pool1d: 1,
    F.max_pool2d: 2, F.avg_pool2d: 2, F.adaptive_avg_pool2d: 2, F.adaptive_max_pool2d: 2,
    torch.max_pool2d: 2,
    F.max_pool3d: 3, F.avg_pool3d: 3, F.adaptive_avg_pool3d: 3, F.adaptive_max_pool3d: 3,
}  # fmt: skip
_ARITHMETIC = {
    torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__,
    torch.sub, Tensor.sub, Tensor.__sub__, Tensor.__rsub__,
    torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__,
    torch.div, Tensor.div, Tensor.__truediv__,
    torch.clamp, Tensor.clamp, Tensor.clamp_,
    torch.fake_quantize_per_tensor_affine,
}  # fmt: skip
_RELU = {torch.relu, F.relu, Tensor.relu}
_MAXIMA = {F.max_pool1d, F.max_pool2d, torch.max_pool2d, F.max_pool3d}
_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}


class Together(Watch):
    """While active, one forward pass of the model runs all chips.

    A call with a weight is given that weight on all chips. Tensors with a :class:`Mark` hold all
    chips, others one.
    """

    def __init__(
        self,
        stored: Stored,
        weights: Sequence[Mapping[str, Tensor]],
        in_place: bool = True,
    ):
        """For one network and group of chips.

        Args:
            stored: the model's tensors in these passes.
            weights: weight name -> weight, of each chip.
            in_place: write ReLUs and quantised values over their input where nothing else seems
                to use it. A model that does use it then raises, but not without this.
        """
        super().__init__()
        self.chips = len(weights)
        self._stored, self._weights, self._in_place = stored, weights, in_place
        self._ready: dict[tuple[str, Form], Tensor] = {}
        self._flow = Flow(stored)
        self.shared = frozenset(
            name for name in weights[0] if len({id(chip[name]) for chip in weights}) == 1
        )
        self._by_name: dict[str, Callable[..., Tensor]] = dict(_BY_NAME)
        self._by_name["batch_norm"], self._by_name["cat"] = self._batch_norm, self._cat

    def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """One pass.

        Args:
            model: the network, whose own weights do not matter.
            inputs: (1, N, ...), which all chips are shown, or (chips, N, ...), each its own.

        Returns:
            Outputs (chips, N, classes).

        Raises:
            CannotRunTogetherError: an operation has no rule.
        """
        self._flow = Flow(self._stored)
        shown = inputs[0]
        if len(inputs) > 1:
            shown = _marked(inputs.transpose(0, 1).flatten(1, 2), Mark(fresh=False))
        with self:
            outputs = model(shown)
        _only(isinstance(outputs, Tensor) and outputs.dim() == 2, "outputs of another shape")
        if _mark(outputs) is None:  # nothing that differs between chips has reached them
            result: Tensor = outputs.expand(self.chips, *outputs.shape)
            return result
        _rectify(outputs)
        split: Tensor = outputs.unflatten(1, (self.chips, -1)).transpose(0, 1)
        return split

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        held = [(t, mark) for t in tensors_in([args, kwargs]) if (mark := _mark(t))]
        _only(not any(mark.overwritten for _, mark in held), "an activation used again")
        if held and asks(func):
            answer = func(*args, **kwargs)
            _only(not isinstance(answer, Tensor), "a transposed view")
            return answer
        over = unrectified = False
        fresh = self._in_place and bool(held) and held[0][1].fresh
        if fresh and func in _RELU:
            result, over, unrectified = held[0][0], True, True
        elif held and func in _MAXIMA:
            result, unrectified = _pool(func, *args, **kwargs), held[0][1].unrectified
        elif fresh and func is torch.fake_quantize_per_tensor_affine:
            result, over = _quantise(*args, **kwargs), True
        else:
            for tensor, _ in held:
                _rectify(tensor)
            seen = self._flow.look(func, args, kwargs)
            if seen.kind == "use":
                operand = _only_weight(func, seen.operands)
                _only(operand.names[0] in self._weights[0], "another path")
                if not held and operand.names[0] in self.shared:
                    weight = self.ready(operand.names[0], "one")
                    args, kwargs = put(args, kwargs, {operand.path: weight})
                    return SUBSTITUTES.get(func, func)(*args, **kwargs)
                result = self._weighted(operand, func, *args, **kwargs)
            elif not held:
                result = SUBSTITUTES.get(func, func)(*args, **kwargs)
                if seen.kind == "expression":
                    self._flow.derive(seen, func, args, kwargs, result)
                return result
            elif func in _CONVOLUTIONS or func is F.linear:  # of a weight that no device holds
                result = self._weighted(None, func, *args, **kwargs)
            else:
                result = self._rule(func)(func, *args, **kwargs)
        if over:  # the same values no longer, so another tensor, in the same memory
            held[0][1].overwritten, result = True, result.view_as(result)
        taken = {_memory(t) for t, mark in held if not mark.overwritten}
        for _, mark in held:
            mark.fresh = False
        return _marked(result, Mark(_memory(result) not in taken, unrectified=unrectified))

    def _rule(self, func: Any) -> Callable[..., Tensor]:
        if func in _ALIKE:
            return _alike
        if func in _POOLS:
            return _pool
        if func in _ARITHMETIC:
            return _arithmetic
        rule = self._by_name.get(operation_name(func))
        if rule is None:
            raise CannotRunTogetherError(f"there is no rule for {operation_name(func)}")
        return rule

    def _batch_norm(
        self,
        func: Any,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        _only(not training, "batch-norm over the batch")
        values = (running_mean, running_var, weight, bias)
        mean, var, scale, shift = (None if v is None else v.repeat(self.chips) for v in values)
        return F.batch_norm(input, mean, var, scale, shift, False, momentum, eps)

    def _cat(self, func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Channels of each chip, not of all chips, one after the other."""
        _only(all(_mark(t) for t in tensors), "chips joined with a constant")
        _only(dim == 1, "joining other dimensions than channels")
        split = [t.unflatten(1, (self.chips, -1)) for t in tensors]
        return torch.cat(split, 2).flatten(1, 2)

    def _weighted(
        self,
        operand: Operand | None,
        func: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *rest: Any,
        **kwargs: Any,
    ) -> Tensor:
        _only(not _mark(weight), "a weight that depends on activations")
        name = operand.names[0] if operand else None
        bias = None if bias is None else bias.repeat(self.chips)
        if func in _CONVOLUTIONS:
            _only(input.dim() == weight.dim(), "convolution of one image without a batch")
            return self._convolution(func, name, input, weight, bias, *rest, **kwargs)
        _only(func is F.linear, f"there is no rule for {operation_name(func)}")
        _only(input.dim() == 2, "linear layer over several positions")
        return self._linear(name, input, weight, bias)

    def _convolution(
        self,
        func: Any,
        name: str | None,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        stacked = self.ready(name, "joined", weight)
        each = _mark(input) is not None
        if not each and groups > 1:
            input, each = input.repeat(1, self.chips, *[1] * (input.dim() - 2)), True
        if each:
            groups *= self.chips
        elif input.dim() == 4 and input.size(1) == 1 and input.is_contiguous():
            # Strides that say channels last, which those of one channel leave open.
            step = input.size(3)
            input = input.as_strided(input.shape, (input.size(2) * step, 1, step, 1))
        safe = SUBSTITUTES[func]
        result: Tensor = safe(input, stacked, bias, stride, padding, dilation, groups)
        return result

    def _linear(
        self, name: str | None, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if _mark(input) is None:
            return F.linear(input, self.ready(name, "joined", weight), bias)
        stacked = self.ready(name, "stacked", weight)  # (R, out, in)
        inputs = input.unflatten(1, (self.chips, -1)).transpose(0, 1)  # (R, N, in)
        if bias is None:
            outputs = torch.bmm(inputs, stacked.mT)
        else:
            outputs = torch.baddbmm(bias.view(self.chips, 1, -1), inputs, stacked.mT)
        return outputs.transpose(0, 1).flatten(1)

    def ready(self, name: str | None, form: Form, weight: Tensor | None = None) -> Tensor:
        """A weight on all chips, made once; ``weight`` on each where no device holds it."""
        if name is None:
            return _in_form(form, [cast(Tensor, weight)] * self.chips)
        if (name, form) not in self._ready:
            self._ready[name, form] = _in_form(form, [chip[name] for chip in self._weights])
        return self._ready[name, form]

    @property
    def made(self) -> list[tuple[str, Form]]:
        """Arguments of :meth:`ready` so far."""
        return list(self._ready)


def _only_weight(func: Any, operands: Sequence[Operand]) -> Operand:
    """The weight of a layer that has a rule here."""
    _only(len(operands) == 1 and operands[0].whole, "a part of a weight, or several")
    _only(func in _CONVOLUTIONS or func is F.linear, f"no rule for {operation_name(func)}")
    return operands[0]


def _in_form(form: Form, chips: list[Tensor]) -> Tensor:
    if form == "one":
        return chips[0]
    if form == "stacked":
        return torch.stack(chips)
    joined = torch.cat(chips)
    return joined.contiguous(memory_format=torch.channels_last) if joined.dim() == 4 else joined


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _rectify(tensor: Tensor) -> None:
    mark = _mark(tensor)
    if mark and mark.unrectified:
        tensor.relu_()
        mark.unrectified = False


def _quantise(input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Tensor:
    """Over the input, whose ReLU does nothing where no level is below zero."""
    if input.device.type != "cpu" or quant_min < int(zero_point):
        _rectify(input)
    return fake_quantize_(input, scale, zero_point, quant_min, quant_max)


def _only(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CannotRunTogetherError(otherwise)


def _alike(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    result: Tensor = SUBSTITUTES.get(func, func)(input, *args, **kwargs)
    return result


def _pool(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    _only(input.dim() == 2 + _POOLS[func], "pooling without a batch")
    result = _alike(func, input, *args, **kwargs)
    _only(isinstance(result, Tensor), "pooling with indices")
    return result


def _arithmetic(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Between activations of all chips, and with single numbers."""
    tensors = list(tensors_in([args, kwargs]))
    shapes = {(t.dim(), t.size(1)) for t in tensors if _mark(t)}
    _only(len(shapes) == 1, "arithmetic between other shapes")
    _only(all(_mark(t) or t.numel() == 1 for t in tensors), "arithmetic with a vector")
    return _alike(func, *args, **kwargs)


def _flatten(func: Any, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    _only(start_dim >= 1, "flattening the batch")
    return torch.flatten(input, start_dim, end_dim)


def _view(func: Any, input: Tensor, *shape: Any) -> Tensor:
    """Only as a way to flatten."""
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    _only(len(sizes) == 2, "reshaping to more than two dimensions")
    _only(sizes[0] == input.size(0) or sizes[1] == input[0].numel(), "reshaping the batch")
    return input.reshape(input.size(0), -1)


def _reduce(func: Any, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    dims = [dim] if isinstance(dim, int) else list(dim or [0])
    _only(all(d % input.dim() >= 2 for d in dims), "reducing over channels or images")
    return _alike(func, input, dim, *args, **kwargs)


def _dropout(
    func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    _only(not training, "dropout in training mode")
    return input


_BY_NAME: dict[str, Callable[..., Tensor]] = {
    "flatten": _flatten,
    "view": _view,
    "reshape": _view,
    "mean": _reduce,
    "sum": _reduce,
    **{name: _dropout for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")},
}
