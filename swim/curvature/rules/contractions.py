"""Products that are linear in each of two tensors, however they are written."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swim.curvature.rules.base import RULES, active, owned, refuse, rule
from swim.networks.weights.operations import Path, at, operation_name, places, put

# Products of two tensors that are linear in each.
_PRODUCTS = {
    "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner", "tensordot",
    "einsum", "linalg_matmul", "mul", "multiply", "__mul__", "__rmul__",
}  # fmt: skip
# Sums of a tensor and a product: what the product is alone.
_WITH_SUM = {"addmm": torch.mm, "addmv": torch.mv, "baddbmm": torch.bmm}


class SquaredProduct(Function):
    """``o = f(A, B)``, linear in both: the gradients of ``f(A∘A, B∘B)``.

    For ``C = A B`` that is ``h_A = h (B∘B)ᵀ`` and ``h_B = (A∘A)ᵀ h``.
    """

    @staticmethod
    def forward(ctx: Any, run: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.run = run
        return owned(run(x, w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, w = (t.square().detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            out = ctx.run(x, w)
        return None, *torch.autograd.grad(out, (x, w), h)


def contraction(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], weights: list[Path]
) -> Tensor:
    """A contraction with one weight.

    Args:
        func: the torch function.
        args: its arguments.
        kwargs: those by name.
        weights: where weights lie among them.

    Raises:
        UnsupportedOperationError: there is no rule for the function, or for several weights.
    """
    name = operation_name(func)
    if name in _WITH_SUM and not kwargs and len(args) == 3 and weights[0][0] in (1, 2):
        product = contraction(_WITH_SUM[name], args[1:], {}, [(int(weights[0][0]) - 1,)])
        return RULES[torch.add](torch.add, args[0], product)
    others = [path for path, _ in places(args, kwargs) if path not in weights]
    if name not in _PRODUCTS or len(weights) != 1 or len(others) != 1:
        raise refuse(func, "there is no rule for it")

    def run(x: Tensor, w: Tensor) -> Tensor:
        positional, named = put(args, kwargs, {others[0]: x, weights[0]: w})
        made: Tensor = func(*positional, **named)
        return made

    result: Tensor = SquaredProduct.apply(
        run, at(args, kwargs, others[0]), at(args, kwargs, weights[0])
    )
    return result


@rule(
    torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.linalg.matmul,
    torch.mm, Tensor.mm, torch.bmm, Tensor.bmm, torch.mv, Tensor.mv, torch.dot, Tensor.dot,
    torch.inner, Tensor.inner, torch.tensordot, torch.einsum,
)  # fmt: skip
def product(func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """A product of two activations, or of an activation and a constant.

    Raises:
        UnsupportedOperationError: of more than two tensors.
    """
    paths = [path for path, _ in places(args, kwargs)]
    if len(paths) != 2:
        raise refuse(func, "it multiplies more than two tensors; write products of two")

    def run(a: Tensor, b: Tensor) -> Tensor:
        positional, named = put(args, kwargs, dict(zip(paths, (a, b), strict=True)))
        made: Tensor = func(*positional, **named)
        return made

    result: Tensor = SquaredProduct.apply(run, *(at(args, kwargs, path) for path in paths))
    return result


@rule(
    torch.baddbmm, Tensor.baddbmm, torch.addbmm, Tensor.addbmm, torch.addmm, Tensor.addmm,
    torch.addmv, Tensor.addmv,
)  # fmt: skip
def sum_and_product(
    func: Any, input: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta C + alpha A B``."""
    made = input
    if beta != 1:
        made = RULES[torch.mul](torch.mul, input, beta) if active(input) else input * beta
    name = operation_name(func)
    whole = (
        RULES[torch.matmul](torch.matmul, a, b) if active(a) or active(b) else torch.matmul(a, b)
    )
    if name == "addbmm":
        whole = whole.sum(0)
    return RULES[torch.add](torch.add, made, whole, alpha=alpha)
