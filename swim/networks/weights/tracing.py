"""Finds the weights of a model that are programmed into memory devices, by watching a pass.

A weight expression (:mod:`.expressions`) that meets an activation in a contraction is programmed,
or the model is refused by that weight's name. Tensors that the model uses in other ways (biases,
norms, look-up tables) are digital, and listed with the reason. Only torch's functions are watched,
so nothing is assumed about modules, and the model needs no changes. The trace ends with a proof
(:mod:`.proof`).
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from swim.data.batches import alike, arguments, shown
from swim.errors import SettingError, UnsupportedOperationError
from swim.networks.isolation import afresh, call, copies_of, few
from swim.networks.layouts import SafeLayouts
from swim.networks.weights.expressions import Stored
from swim.networks.weights.inventory import Inventory
from swim.networks.weights.operations import tensors_in
from swim.networks.weights.products_by_hand import behind_of, exact_on_purpose, listed
from swim.networks.weights.proof import prove
from swim.networks.weights.tracer import Tracer

_UNUSED = "not used"


@dataclass(frozen=True)
class Traced:
    """The result of a trace.

    Attributes:
        weights: the effective weights by name, in the order in which they are first used.
        handed: weights that a pass can receive by replacing stored tensors: weight name -> names
            of these tensors.
        spread: names of weights that are multiplied entry by entry before a sum.
        inventory: what is programmed and what stays digital.
        branches: whether the model reads values to decide which operations to run.
        overwrites: whether the model writes to its stored tensors.
        unused: whether the model holds parameters that it did not use.
    """

    weights: dict[str, Tensor]
    handed: dict[str, list[str]]
    spread: frozenset[str]
    inventory: Inventory
    branches: bool
    overwrites: bool
    unused: bool

    @property
    def followed(self) -> bool:
        """Whether a pass must follow its weights to where they are used.

        So it is where they are not all stored tensors, or another batch may use other ones.
        """
        return self.unused or self.branches or self.handed.keys() != self.weights.keys()


def _scripted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        label = name or "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedOperationError(
                f"{label!r} is a scripted or traced module, whose operations cannot be seen; pass "
                "the original nn.Module"
            )
        if any(nn.parameter.is_lazy(p) for p in module.parameters(recurse=False)):
            raise UnsupportedOperationError(
                f"{label!r} has parameters that take their shape from the first input; run the "
                "model once before"
            )
        if type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod"):
            raise UnsupportedOperationError(
                f"{label!r} is compiled by torch.compile, whose operations cannot be seen; pass "
                "the original nn.Module (._orig_mod)"
            )
        if any(isinstance(value, torch.ScriptObject) for value in vars(module).values()):
            raise UnsupportedOperationError(
                f"{label!r} ({type(module).__name__}) holds packed weights, which cannot be seen; "
                "pass the float network and quantise it with weight_bits"
            )


def trace(
    model: nn.Module,
    inputs: Any,
    *more: Any,
    state: Mapping[str, Tensor] | None = None,
    digital: Iterable[str] = (),
) -> Traced:
    """Run the model on ``inputs`` and find its weights; call it in eval mode.

    Args:
        model: the network.
        inputs: a batch of a few images; outputs of one image must not depend on the others.
        more: further batches. All of their images are traced if the model reads values to decide
            which operations to run, two of them if their shape is new, none otherwise.
        state: copies of its parameters and buffers to run with; made here if None.
        digital: names or patterns (``fnmatch``) of weights that stay digital on purpose.

    Raises:
        UnsupportedOperationError: a weight is used in a way that cannot be programmed, is computed
            from several parameters, or reaches the output unseen; or outputs depend on chance, on
            earlier calls or on the batch; or the model holds parts that cannot be watched.
        SettingError: a pattern of ``digital`` matches nothing.
    """
    _scripted(model)
    state = copies_of(model) if state is None else state
    stored = Stored(model, state, digital)
    before = {name: tensor._version for name, tensor in state.items()}
    tracer = Tracer(stored)
    outputs = _look(tracer, model, state, inputs)
    kinds = [inputs]
    for batch in more:
        if tracer.branches or not any(alike(batch, known) for known in kinds):
            kinds.append(batch)
            _look(tracer, model, state, batch if tracer.branches else few(batch))
    _check_outputs(outputs)
    # In another pass, what the model keeps unseen (a function's cache) is of unknown origin.
    _look(Tracer(stored), model, state, inputs)
    _check_accounted(tracer, stored)
    overwrites = any(tensor._version != before[name] for name, tensor in state.items())
    found = _traced(tracer, stored, overwrites)
    prove(model, inputs, state, found, digital, tracer.digital, tracer.quantised)
    _check_patterns(stored)
    return found


def _check_accounted(tracer: Tracer, stored: Stored) -> None:
    """Raise for a layer's weight that is made of activations too, or where there is no weight."""
    unaccounted = {
        n for n in tracer.dynamic - _programmed_sources(tracer)
        if n in stored.parameters and not stored.is_digital(n)
        and (n not in tracer.digital or sum(size > 1 for size in stored.values[n].shape) > 1)
    }  # fmt: skip
    if unaccounted:
        raise UnsupportedOperationError(
            f"a layer's weight is computed from {listed(unaccounted)} and from activations, so it "
            f"cannot be programmed; or {exact_on_purpose(unaccounted)}"
        )
    if not tracer.roots:
        raise UnsupportedOperationError(
            "the model has no linear or convolutional weights, nor others in products, to program"
        )


def _traced(tracer: Tracer, stored: Stored, overwrites: bool) -> Traced:
    """The result of all passes' notes."""
    handed = {
        name: sorted(root.sources)
        for name, root in tracer.roots.items()
        if root.handed and name not in tracer.elsewhere
    }
    weights = {name: root.tensor.detach() for name, root in tracer.roots.items()}
    inventory = _inventory(tracer, stored)
    unused = any(inventory.digital.get(name) == _UNUSED for name in stored.parameters)
    spread = frozenset(tracer.spread & set(tracer.roots))
    return Traced(weights, handed, spread, inventory, tracer.branches, overwrites, unused)


def _look(tracer: Tracer, model: nn.Module, state: Mapping[str, Tensor], inputs: Any) -> Any:
    """The outputs of one pass, whose notes are added to those of the tracer's earlier passes."""
    own = inputs.clone()
    afresh()
    tracer.begin(own)
    with shown(own), torch.no_grad(), SafeLayouts(), tracer:
        return call(model, state, arguments(own))


def _check_outputs(outputs: Any) -> None:
    found = list(tensors_in([outputs]))
    if found and all(behind_of(tensor) is None for tensor in found):
        raise UnsupportedOperationError(
            "the outputs do not depend on the inputs, as far as torch's functions show"
        )


def _check_patterns(stored: Stored) -> None:
    known = [*stored.values, *stored.names, "constant"]
    for pattern in stored.digital:
        if not any(fnmatchcase(name, pattern) for name in known):
            close = difflib.get_close_matches(pattern, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"digital: no weight is called {pattern!r}{hint}")


def _programmed_sources(tracer: Tracer) -> set[str]:
    return {source for root in tracer.roots.values() for source in root.sources}


def _inventory(tracer: Tracer, stored: Stored) -> Inventory:
    counts = {name: root.tensor.numel() for name, root in tracer.roots.items()}
    digital = dict(tracer.digital)
    inside = {s: name for name, root in tracer.roots.items() for s in root.sources}
    for name, tensor in stored.values.items():
        if name in digital or name in counts or not tensor.is_floating_point():
            continue
        if name in inside:
            if name != inside[name] and len(tracer.roots[inside[name]].sources) > 1:
                digital[name] = f"enters the computation of {inside[name]}"
        elif name in stored.handed:
            digital[name] = _UNUSED
    return Inventory(counts, digital)
