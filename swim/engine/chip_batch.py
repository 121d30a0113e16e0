"""Several chips in one forward pass: their channels side by side in dimension 1.

With a small network a processor spends much of its time between operations. So its weights on R
chips become one network: an activation is (N, R x C, ...), the first layer sees the images once, a
convolution has R times the groups, and a linear layer is a batched product. Element-wise operations
and pooling stay as they are (:mod:`.chip_rules`).

The calls of the model's own forward are watched; nothing is assumed about its modules. A model
with an operation that has no rule is run chip by chip.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim.engine.activations import (
    Mark,
    Memory,
    address,
    apply_pending_relu,
    mark_of,
    marked,
    require,
)
from swim.engine.chip_rules import pool, rule_for
from swim.engine.kernels import SUBSTITUTES, fake_quantize_
from swim.networks.weights.expressions import Operand, Stored
from swim.networks.weights.flow import Flow
from swim.networks.weights.interception import Watch
from swim.networks.weights.operations import asks, operation_name, put, tensors_in

# A weight on R chips: "one" tensor that all share, "joined" (R x out, ...), or "stacked"
# (R, out, in).
Form = Literal["one", "joined", "stacked"]

_RELU = {torch.relu, F.relu, Tensor.relu}
_MAXIMA = {F.max_pool1d, F.max_pool2d, torch.max_pool2d, F.max_pool3d}
_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}


class ChipBatch(Watch):
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
            in_place: write ReLUs and quantised values over their input where no other tensor
                seems to use it. If the model does use it, the pass raises
                NotBatchableError, and works with ``in_place=False``.
        """
        super().__init__()
        self.chips = len(weights)
        self._stored, self._weights, self._in_place = stored, weights, in_place
        self._ready: dict[tuple[str, Form], Tensor] = {}
        self._flow = Flow(stored)
        self.shared = frozenset(
            name for name in weights[0] if len({id(chip[name]) for chip in weights}) == 1
        )

    def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """One pass.

        Args:
            model: the network; its own weights have no effect.
            inputs: (1, N, ...), which all chips are shown, or (chips, N, ...), each its own.

        Returns:
            Outputs (chips, N, classes).

        Raises:
            NotBatchableError: an operation has no rule.
        """
        self._flow = Flow(self._stored)
        shown = inputs[0]
        if len(inputs) > 1:
            shown = marked(inputs.transpose(0, 1).flatten(1, 2), Mark(Memory.SHARED))
        with self:
            outputs = model(shown)
        require(isinstance(outputs, Tensor) and outputs.dim() == 2, "outputs of another shape")
        if mark_of(outputs) is None:  # nothing that differs between chips has reached them
            result: Tensor = outputs.expand(self.chips, *outputs.shape)
            return result
        apply_pending_relu(outputs)
        split: Tensor = outputs.unflatten(1, (self.chips, -1)).transpose(0, 1)
        return split

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        inputs = [t for t in tensors_in([args, kwargs]) if mark_of(t)]
        overwritten = any(_mark(t).memory is Memory.OVERWRITTEN for t in inputs)
        require(not overwritten, "an activation used again")
        if inputs and asks(func):
            answer = func(*args, **kwargs)
            require(not isinstance(answer, Tensor), "a transposed view")
            return answer
        outcome = self._with_pending_relu(inputs[0], func, args, kwargs) if inputs else None
        if outcome is None:
            for tensor in inputs:
                apply_pending_relu(tensor)
            outcome = self._plain(inputs, func, args, kwargs)
        return _marked_result(outcome, inputs) if outcome.of_all_chips else outcome.result

    def _with_pending_relu(
        self, first: Tensor, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> "_Outcome | None":
        """What operations give that put a ReLU off, or do it too; None for other operations."""
        mark = _mark(first)
        may_overwrite = self._in_place and mark.memory is Memory.FREE
        if may_overwrite and func in _RELU:
            return _Outcome(first, overwrites=True, relu_pending=True)
        if func in _MAXIMA:
            return _Outcome(pool(func, *args, **kwargs), relu_pending=mark.relu_pending)
        if may_overwrite and func is torch.fake_quantize_per_tensor_affine:
            return _Outcome(_quantise(*args, **kwargs), overwrites=True)
        return None

    def _plain(
        self,
        inputs: Sequence[Tensor],
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> "_Outcome":
        """What all other operations give, with the weights of all chips."""
        seen = self._flow.look(func, args, kwargs)
        if seen.kind == "use":
            operand = _only_weight(func, seen.operands)
            name = operand.names[0]
            require(name in self._weights[0], "another path")
            if inputs or name not in self.shared:
                return _Outcome(self._weighted(operand, func, *args, **kwargs))
            args, kwargs = put(args, kwargs, {operand.path: self.ready(name, "one")})
            result = SUBSTITUTES.get(func, func)(*args, **kwargs)
            return _Outcome(result, of_all_chips=False)
        if not inputs:
            result = SUBSTITUTES.get(func, func)(*args, **kwargs)
            if seen.kind == "expression":
                self._flow.derive(seen, func, args, kwargs, result)
            return _Outcome(result, of_all_chips=False)
        if func in _CONVOLUTIONS or func is F.linear:  # of a weight that no device holds
            return _Outcome(self._weighted(None, func, *args, **kwargs))
        return _Outcome(rule_for(func, self.chips)(func, *args, **kwargs))

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
        require(not mark_of(weight), "a weight that depends on activations")
        name = operand.names[0] if operand else None
        bias = None if bias is None else bias.repeat(self.chips)
        if func in _CONVOLUTIONS:
            require(input.dim() == weight.dim(), "convolution of one image without a batch")
            return self._convolution(func, name, input, weight, bias, *rest, **kwargs)
        require(func is F.linear, f"there is no rule for {operation_name(func)}")
        require(input.dim() == 2, "linear layer over several positions")
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
        each = mark_of(input) is not None
        if not each and groups > 1:
            input, each = input.repeat(1, self.chips, *[1] * (input.dim() - 2)), True
        if each:
            groups *= self.chips
        elif input.dim() == 4 and input.size(1) == 1 and input.is_contiguous():
            # Strides of channels last, by which torch chooses the faster kernel: with one channel
            # the tensor has both layouts.
            step = input.size(3)
            input = input.as_strided(input.shape, (input.size(2) * step, 1, step, 1))
        safe = SUBSTITUTES[func]
        result: Tensor = safe(input, stacked, bias, stride, padding, dilation, groups)
        return result

    def _linear(
        self, name: str | None, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if mark_of(input) is None:
            return F.linear(input, self.ready(name, "joined", weight), bias)
        stacked = self.ready(name, "stacked", weight)  # (R, out, in)
        inputs = input.unflatten(1, (self.chips, -1)).transpose(0, 1)  # (R, N, in)
        if bias is None:
            outputs = torch.bmm(inputs, stacked.mT)
        else:
            outputs = torch.baddbmm(bias.view(self.chips, 1, -1), inputs, stacked.mT)
        return outputs.transpose(0, 1).flatten(1)

    def ready(self, name: str | None, form: Form, weight: Tensor | None = None) -> Tensor:
        """A weight on all chips, made once; ``weight`` on each chip if no device holds it."""
        if name is None:
            return _in_form(form, [cast(Tensor, weight)] * self.chips)
        if (name, form) not in self._ready:
            self._ready[name, form] = _in_form(form, [chip[name] for chip in self._weights])
        return self._ready[name, form]

    @property
    def made(self) -> list[tuple[str, Form]]:
        """The arguments of all calls of :meth:`ready` so far."""
        return list(self._ready)


class _Outcome(NamedTuple):
    """What a call gives.

    Attributes:
        result: its result.
        of_all_chips: whether the result holds all chips, or one that they share.
        overwrites: whether the result lies in the memory of the call's first activation.
        relu_pending: whether a ReLU is still to be applied to the result.
    """

    result: Any
    of_all_chips: bool = True
    overwrites: bool = False
    relu_pending: bool = False


def _mark(activation: Tensor) -> Mark:
    """The mark of a tensor that has one."""
    return cast(Mark, mark_of(activation))


def _marked_result(outcome: _Outcome, inputs: Sequence[Tensor]) -> Tensor:
    """The result with its mark; the inputs' marks then say that they have been used."""
    result: Tensor = outcome.result
    if outcome.overwrites:  # other values, so another tensor, in the same memory
        _mark(inputs[0]).memory = Memory.OVERWRITTEN
        result = result.view_as(result)
    used = {address(t) for t in inputs if _mark(t).memory is not Memory.OVERWRITTEN}
    for tensor in inputs:
        if _mark(tensor).memory is Memory.FREE:
            _mark(tensor).memory = Memory.SHARED
    memory = Memory.SHARED if address(result) in used else Memory.FREE
    return marked(result, Mark(memory, outcome.relu_pending))


def _only_weight(func: Any, operands: Sequence[Operand]) -> Operand:
    """The weight of a convolution or linear layer, the uses that have a rule."""
    require(len(operands) == 1 and operands[0].whole, "a part of a weight, or several")
    require(func in _CONVOLUTIONS or func is F.linear, f"no rule for {operation_name(func)}")
    return operands[0]


def _in_form(form: Form, chips: list[Tensor]) -> Tensor:
    if form == "one":
        return chips[0]
    if form == "stacked":
        return torch.stack(chips)
    joined = torch.cat(chips)
    return joined.contiguous(memory_format=torch.channels_last) if joined.dim() == 4 else joined


def _quantise(input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Tensor:
    """Quantise over the input; a pending ReLU is not needed where no level is below zero."""
    if input.device.type != "cpu" or quant_min < int(zero_point):
        apply_pending_relu(input)
    return fake_quantize_(input, scale, zero_point, quant_min, quant_max)
