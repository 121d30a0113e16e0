"""The graph that autograd leaves behind a tensor."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def graph_behind(tensor: Tensor) -> Iterator[Any]:
    """Every node of the graph that autograd would go through from a tensor, once."""
    seen, stack = set(), [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(parent for parent, _ in node.next_functions)
