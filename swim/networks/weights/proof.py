"""The proof that ends a trace: no weight reaches the outputs in a way that the trace did not see.

The programmed weights are handed to the uses that the trace found, and every stored tensor that is
not listed as digital is poisoned (NaN; other integers). If an output changes, a weight reaches it
in another way, and the model is refused by that weight's name.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swim.data.batches import arguments, each_tensor
from swim.errors import UnsupportedOperationError
from swim.networks.isolation import afresh, call
from swim.networks.layouts import SafeLayouts
from swim.networks.weights.expressions import Stored, Weights
from swim.networks.weights.interception import Handed
from swim.networks.weights.operations import tensors_in

if TYPE_CHECKING:
    from swim.networks.weights.tracing import Traced

# How far outputs of one image may differ when the other images of its batch do, by whether the
# model quantises: by rounding, which quantisers amplify. Batch statistics change outputs more.
_COMPANY = {False: 1e-3, True: 0.05}
# The other images are made this many times brighter, so that batch statistics change much.
_BRIGHT = 16
_NEAR = 1e-3

Poison = Callable[[Tensor], Tensor]


class _Passes:
    """Passes of one model over the same few images, with stored tensors that the caller chooses."""

    def __init__(
        self, model: nn.Module, images: Any, found: "Traced", digital: Iterable[str]
    ) -> None:
        self._model, self._images = model, images
        self._found, self._digital = found, tuple(digital)

    def plain(self, state: Weights, images: Any = None, keep: bool = False) -> list[Tensor]:
        """Outputs of the model as it is.

        Args:
            state: the stored tensors.
            images: others than the few, if given.
            keep: whether the pass meets the attributes that an earlier pass has set.
        """
        return self._run(self._copied(state), contextlib.nullcontext(), images, keep)

    def handed(self, state: Weights) -> list[Tensor]:
        """Outputs with the traced weights put in where the trace saw them used."""
        own = self._copied(state)
        stored = Stored(self._model, own, self._digital)
        return self._run(own, Handed(stored, self._found.weights, self._found.spread))

    def _copied(self, state: Weights) -> Weights:
        """Copies for a model that writes to its stored tensors."""
        if not self._found.overwrites:
            return state
        return {name: tensor.clone() for name, tensor in state.items()}

    def _run(
        self,
        state: Weights,
        mode: contextlib.AbstractContextManager[Any],
        images: Any = None,
        keep: bool = False,
    ) -> list[Tensor]:
        if not keep:
            afresh()
        images = (self._images if images is None else images).clone()  # the model may write to them
        with torch.no_grad(), SafeLayouts(), mode:
            outputs = call(self._model, state, arguments(images))
        return [tensor.clone() for tensor in tensors_in([outputs])]


def prove(
    model: nn.Module,
    inputs: Any,
    state: Weights,
    found: "Traced",
    digital: Iterable[str],
    listed: Iterable[str],
    quantised: bool,
) -> None:
    """Check what a trace found, by further passes on the same images.

    Args:
        model: the network, in eval mode.
        inputs: a few images.
        state: what its parameters and buffers are replaced by.
        found: the result of the trace.
        digital: the user's patterns.
        listed: stored tensors that are known to reach outputs digitally.
        quantised: whether the model rounds values.

    Raises:
        UnsupportedOperationError: naming what is not as the trace has it.
    """
    passes = _Passes(model, inputs, found, digital)
    plain = passes.plain(state)
    if not _same(plain, passes.plain(state, keep=True)):
        raise UnsupportedOperationError(
            "the model gives other outputs when it runs again on the same images: it draws random "
            "numbers (dropout left on, torch.randn in the forward) or counts its calls; make it "
            "deterministic in eval mode"
        )
    _check_company(inputs, lambda images: passes.plain(state, images), _COMPANY[quantised])
    exact = passes.handed(state)
    if not all(_near(a, b, _NEAR) for a, b in zip(exact, plain, strict=True)):
        raise UnsupportedOperationError(
            "with its own weights handed to the calls that use them the model gives other outputs; "
            "its weights cannot be told apart"
        )
    _check_poisoned(passes, state, frozenset(listed), exact)


def _check_poisoned(
    passes: _Passes, state: Weights, listed: frozenset[str], exact: list[Tensor]
) -> None:
    """Raise if an output changes when all stored tensors but the listed ones are poisoned.

    Args:
        passes: of the model.
        state: its stored tensors.
        listed: names of those that may reach the outputs.
        exact: the outputs without poison.
    """
    for poison in (_spoilt, _changed):
        try:
            spoilt = {n: t if n in listed else poison(t) for n, t in state.items()}
            if _same(exact, passes.handed(spoilt)):
                return
        except Exception:  # a model that cannot run on NaN: the next poison are finite numbers
            continue
        suspects = [name for name in state if name not in listed]
        raise _unseen(
            name
            for name in suspects
            if not _same(exact, passes.handed({**state, name: poison(state[name])}))
        )
    raise _unseen(())


def _unseen(names: Iterable[str]) -> UnsupportedOperationError:
    found = sorted(names)
    return UnsupportedOperationError(
        f"{', '.join(map(repr, found)) or 'a weight'} reaches the outputs in a way that cannot be "
        "seen (an operation outside torch's functions, or a value read by Python), so it cannot be "
        f"programmed; write that part with torch's functions, or keep it exact on purpose: "
        f"digital={found!r}"
    )


def _check_company(inputs: Any, outputs: Callable[[Any], list[Tensor]], bound: float) -> None:
    """Raise if an image's outputs depend on the image beside it."""
    images = len(inputs)
    if images < 2:
        return
    bright = each_tensor(inputs, _next_to_a_bright_one)
    try:
        alone, together = outputs(inputs[:1]), outputs(bright)
    except Exception:  # a model that does not take one image: nothing to compare
        return
    for a, b in zip(alone, together, strict=False):
        rows = len(a) if a.dim() else 0
        if b.dim() and len(b) == images * rows and not _near(a, b[:rows], bound):
            raise UnsupportedOperationError(
                "predictions depend on which images share a batch: an image alone gives other "
                "outputs than beside another one. Such a network has no accuracy of its own; make "
                "each image's outputs depend on that image alone (in eval mode)"
            )


def _next_to_a_bright_one(images: Tensor) -> Tensor:
    if not images.is_floating_point():
        return images
    return torch.cat([images[:1], images[1:] * _BRIGHT])


def _spoilt(tensor: Tensor) -> Tensor:
    """Values that show in any result computed from them."""
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.full_like(tensor, float("nan"))
    return ~tensor if tensor.dtype == torch.bool else tensor + 1


def _changed(tensor: Tensor) -> Tensor:
    """Other finite numbers, for a model that cannot run on NaN."""
    if tensor.is_floating_point() or tensor.is_complex():
        return tensor * 1.25 + 0.0625 * (1 + tensor.abs().max() if tensor.numel() else 0)
    return ~tensor if tensor.dtype == torch.bool else tensor + 1


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Bit for bit, NaN included."""
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num())
        and torch.equal(x.isnan(), y.isnan()) for x, y in zip(a, b, strict=True)
    )  # fmt: skip


def _near(a: Tensor, b: Tensor, bound: float) -> bool:
    if a.shape != b.shape:
        return False
    if a.is_floating_point():
        bound = max(bound, 8 * torch.finfo(a.dtype).eps)
    a, b = a.double(), b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        return bool(torch.equal(a.isfinite(), b.isfinite()))
    return bool((a - b).abs().mean() <= bound * b.abs().mean() + 1e-30)
