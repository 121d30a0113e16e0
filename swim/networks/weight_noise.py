"""Noise-aware training: every step computes with weights as freshly written devices hold them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from swim.networks.weights.expressions import Operand, Stored
from swim.networks.weights.interception import Follow
from swim.networks.weights.operations import put


class WeightNoise(Follow):
    """While active, the weights of a model carry a Gaussian error where they are used.

    Noise is added to the effective weight, after any quantiser, and has no gradient, so the
    optimiser updates the clean weights. A weight that is used twice has the same error twice.
    """

    def __init__(self, std: float, seed: int, model: nn.Module, digital: Iterable[str] = ()):
        """Noise of one forward pass.

        Args:
            std: standard deviation in units of ``max|W_layer|``; with 0 nothing is watched.
            seed: of the draws, on the device where the weights are.
            model: the network.
            digital: names or patterns of weights that no device holds.
        """
        state = dict([*model.named_parameters(), *model.named_buffers()]) if std else {}
        super().__init__(Stored(model, state, digital))
        self._std, self._seed = std, seed
        self._generator: torch.Generator | None = None
        self._noisy: dict[str, Tensor] = {}

    def __enter__(self) -> "WeightNoise":
        if self._std:
            super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        if self._std:
            super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _weighted(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: tuple[Operand, ...],
    ) -> Any:
        made = {}
        for operand in operands:
            for root, name in zip(operand.expression.roots, operand.roots, strict=True):
                if name not in self._noisy:
                    self._noisy[name] = root.tensor + self._error(root.tensor.detach())
            noisy = operand.of(self._noisy)
            made[operand.path] = noisy if operand.tensor.requires_grad else noisy.detach()
        positional, named = put(args, kwargs, made)
        return func(*positional, **named)

    def _error(self, clean: Tensor) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(clean.device).manual_seed(self._seed)
        draw = torch.empty(clean.shape, dtype=clean.dtype, device=clean.device)
        draw.normal_(0.0, self._std, generator=self._generator)
        return draw.mul_(clean.abs().max())
