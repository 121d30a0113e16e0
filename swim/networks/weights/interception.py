"""Modes that watch the torch functions of a pass, and hand other weights to the calls."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from swim.errors import UnsupportedOperationError
from swim.networks.weights.attention import attention_in_steps
from swim.networks.weights.expressions import Operand, Stored, Weights
from swim.networks.weights.flow import Flow
from swim.networks.weights.operations import put


class Watch(TorchFunctionMode):
    """While active, every torch function that Python calls goes through :meth:`_call`.

    Multi-head attention comes as the linear layers and products that it consists of.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.multi_head_attention_forward:
            with self:
                return attention_in_steps(*args, **kwargs or {})
        if func is Tensor.__iter__:
            with self:
                return iter(args[0].unbind(0))
        return self._call(func, args, kwargs or {})

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result that the model receives instead of ``func(*args, **kwargs)``."""
        raise NotImplementedError


class Follow(Watch):
    """Follows a pass, and hands its weighted calls to :meth:`_weighted`."""

    def __init__(self, stored: Stored, spread: frozenset[str] = frozenset()):
        super().__init__()
        self.flow = Flow(stored, spread)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        seen = self.flow.look(func, args, kwargs)
        if seen.kind in ("use", "free", "mixed"):
            if seen.kind == "use":
                result = self._weighted(func, args, kwargs, seen.operands)
            else:
                result = self._other(func, args, kwargs)
            self.flow.overwritten(func, args, kwargs)
            return result
        result = func(*args, **kwargs)
        if seen.kind == "expression":
            self.flow.derive(seen, func, args, kwargs, result)
        return result

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        """The result that the model receives from a call with weights."""
        raise NotImplementedError

    def _other(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result that the model receives from any other call with activations."""
        return func(*args, **kwargs)


def with_weights(
    func: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    operands: Iterable[Operand],
    weights: Weights,
) -> Any:
    """The result of a call whose operands are made of other weights, by name."""
    made = {operand.path: operand.of(weights) for operand in operands}
    positional, named = put(args, kwargs, made)
    return func(*positional, **named)


class Handed(Follow):
    """Gives every weighted call its weights from a mapping."""

    def __init__(self, stored: Stored, weights: Weights, spread: frozenset[str] = frozenset()):
        super().__init__(stored, spread)
        self._weights = weights

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        for name in (name for operand in operands for name in operand.names):
            if name not in self._weights:
                raise UnsupportedOperationError(
                    f"the weight {name!r} is used on a path that no batch took when the network "
                    "was looked at; give batches that take every path"
                )
        return with_weights(func, args, kwargs, operands, self._weights)
