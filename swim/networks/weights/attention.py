"""PyTorch's multi-head attention, opened so that a mode sees the calls inside it."""

import types
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F


def without_override_check(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a function of ``torch.nn.functional`` that always runs its own code.

    Such a function begins by asking ``has_torch_function`` whether somebody overrides it, and hands
    the whole call over if a mode is active. The copy has the same code, but reads its global names
    in a namespace where the answer is always no: its code runs, and the mode sees each call in it.
    """
    namespace = {**function.__globals__, "has_torch_function": lambda tensors: False}
    return types.FunctionType(
        function.__code__, namespace, argdefs=function.__defaults__, closure=function.__closure__
    )


# Its weights enter linear layers and matrix products, which can be followed one by one.
attention_in_steps = without_override_check(F.multi_head_attention_forward)
