"""A traced network, prepared for passes with other weights."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from swim.data.batches import arguments
from swim.data.labels import one_tensor
from swim.networks.isolation import (
    afresh,
    buffers_of,
    call,
    copies_of,
    device_of,
    few,
    parameters_of,
)
from swim.networks.weights.expressions import Operand, Stored, Weights
from swim.networks.weights.interception import Follow, Handed
from swim.networks.weights.tracing import Traced, trace


@dataclass(frozen=True)
class Subject:
    """A traced model; a run leaves the model as it was.

    Attributes:
        model: the module.
        traced: the trace of its weights.
        weights: the values of its programmed weights by name, in the order of their first use; a
            weight that only a later batch uses is added then.
        digital: patterns of weights that stay digital on purpose.
    """

    model: nn.Module
    traced: Traced
    weights: dict[str, Tensor]
    digital: tuple[str, ...] = ()

    @property
    def place(self) -> torch.device:
        """The torch device of the model."""
        return device_of(self.model)

    def stored(self, leaves: Weights | None = None) -> Stored:
        """Stand-ins for the model's tensors for one pass, which need no gradient.

        Args:
            leaves: tensors to give the pass in place of weights that can be replaced by name.
        """
        afresh()
        if self.traced.overwrites:
            return Stored(self.model, copies_of(self.model), self.digital)
        state = {**parameters_of(self.model), **buffers_of(self.model)}
        for name, leaf in (leaves or {}).items():
            state.update(dict.fromkeys(self.traced.handed[name], leaf))
        return Stored(self.model, state, self.digital)

    def run(self, mode: Follow, inputs: Any) -> Tensor:
        """The outputs (N, ...) of one pass under ``mode``, gradients enabled.

        Raises:
            DataError: the model returns something other than a tensor.
        """
        afresh()
        with torch.enable_grad(), mode:
            given = call(self.model, mode.flow.stored.state, arguments(inputs))
        return one_tensor(given)

    def under(self, mode: type[Handed]) -> Handed:
        """A mode that hands a pass its weights."""
        return mode(self.stored(), self.weights, self.traced.spread)

    def value(self, operand: Operand, name: str) -> Tensor:
        """A weight's value in a pass."""
        if name not in self.weights:
            self.weights[name] = operand.value(name)
        return self.weights[name]


def subject_of(model: nn.Module, inputs: Any, digital: Iterable[str] = ()) -> Subject:
    """Trace a model on its first inputs; call this in eval mode."""
    inputs = inputs.to(device_of(model))
    traced = trace(model, few(inputs), inputs, digital=digital)
    own, weights = dict([*model.named_parameters(), *model.named_buffers()]), dict(traced.weights)
    for name, stored in traced.handed.items():
        if not traced.overwrites:  # the model's own memory, not that of a copy
            weights[name] = own[stored[0]].detach()
    return Subject(model, replace(traced, weights=weights), weights, tuple(digital))
