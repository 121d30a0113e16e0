"""Noise-aware training: every step sees the weights as freshly programmed devices would."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swim.tracing import WEIGHTED, Watch, weight_argument, with_weight


class WeightNoise(Watch):
    """While active, weights of linear and convolution calls carry a Gaussian error.

    Noise is added to the weight that reaches the call, after any quantiser, and passes no
    gradient of its own, so that the optimiser moves the clean weights. A parameter that is
    used twice has one error.
    """

    def __init__(self, std: float, seed: int):
        """Noise of one forward pass.

        Args:
            std: standard deviation in units of ``max|W_layer|``; with 0 nothing is watched.
            seed: of the draws, on the device where the weights are.
        """
        super().__init__()
        self._std, self._seed = std, seed
        self._generator: torch.Generator | None = None
        self._errors: dict[int, tuple[Tensor, Tensor]] = {}  # by weight, which stays alive

    def __enter__(self) -> "WeightNoise":
        if self._std:
            super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._std:
            super().__exit__(*error)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func in WEIGHTED:
            weight = weight_argument(args, kwargs)
            if weight.requires_grad:
                args, kwargs = with_weight(args, kwargs, weight + self._error(weight))
        return func(*args, **kwargs)

    def _error(self, weight: Tensor) -> Tensor:
        if id(weight) not in self._errors:
            if self._generator is None:
                self._generator = torch.Generator(weight.device).manual_seed(self._seed)
            clean = weight.detach()
            draw = torch.empty(clean.shape, dtype=clean.dtype, device=clean.device)
            draw.normal_(0.0, self._std, generator=self._generator)
            self._errors[id(weight)] = weight, draw.mul_(clean.abs().max())
        return self._errors[id(weight)][1]
