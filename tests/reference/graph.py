"""The slow twin of a whole torchvision network: its graph, as torch.fx lists it, walked in numpy.

Each node is a layer of the twin; forward in the order of the graph, second derivatives in the
reverse order, adding at every fan-out.
"""

import operator

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torchvision.ops.stochastic_depth import stochastic_depth

from tests.reference.layers import Layer, LinearOverPositions, Reshape, fitted, numbers, over_last
from tests.reference.twin import Identity, Scale, start, twin_of


class Moved(Layer):
    def __init__(self, order):
        self.order = order

    def run(self, x):
        return x.transpose(self.order)

    def back(self, h):
        return h.transpose(np.argsort(self.order))


class Added(Layer):
    def run(self, a, b):
        return a + b

    def back(self, h):
        return h, h


class Multiplied(Layer):
    def run(self, a, b):
        self.a, self.b = a, b
        return a * b

    def back(self, h):
        return fitted(h * self.b**2, self.a.shape), fitted(h * self.a**2, self.b.shape)


def layer_of_call(node, constants):
    """The twin's layer of a function's node, and the nodes that are its inputs."""
    target, args = node.target, list(node.args)
    inputs = [a for a in args if isinstance(a, torch.fx.Node) and a not in constants]
    others = [constants[a] for a in args if isinstance(a, torch.fx.Node) and a in constants]
    if target in (operator.add, operator.iadd, torch.add):
        return Added(), inputs
    if target in (operator.mul, torch.mul):
        return Scale(numbers(others[0]), 0) if others else Multiplied(), inputs
    if target in (torch.flatten, F.dropout, stochastic_depth):
        flat = Reshape(lambda shape: (int(np.prod(shape)),))
        return flat if target is torch.flatten else Identity(), inputs
    if target is F.adaptive_avg_pool2d:
        return twin_of(nn.AdaptiveAvgPool2d(args[1])), inputs
    if target is torch.permute or (node.op == "call_method" and target == "permute"):
        order = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
        return Moved(list(order)), inputs
    if target is F.layer_norm:
        given = dict(zip(("normalized_shape", "weight", "bias", "eps"), args[1:], strict=False))
        given |= node.kwargs
        values = [numbers(constants[given[name]]) for name in ("weight", "bias")]
        return over_last(len(given["normalized_shape"]), *values, given["eps"]), inputs[:1]
    raise TypeError(f"no twin of {target}")


def second_derivatives(model, x, loss="cross_entropy"):
    """Outputs, and name -> second derivative of each weight summed over samples."""
    graph = torch.fx.symbolic_trace(model).graph
    modules, values, constants, tape = dict(model.named_modules()), {}, {}, []
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = x
        elif node.op == "get_attr":
            constants[node] = operator.attrgetter(node.target)(model)
        elif node.op == "output":
            last = node.args[0]
        else:
            if node.op == "call_module":
                m = modules[node.target]
                name = f"{node.target}.weight"
                if isinstance(m, nn.Linear):
                    layer = LinearOverPositions(name, numbers(m.weight), numbers(m.bias))
                else:
                    layer = twin_of(m, node.target)
                inputs = [node.args[0]]
            else:
                layer, inputs = layer_of_call(node, constants)
            values[node] = layer.run(*[values[i] for i in inputs])
            tape.append((node, layer, inputs))
    outputs = values[last]
    h, found = {last: start(outputs, loss)}, {}
    for node, layer, inputs in reversed(tape):
        shares = layer.back(h.pop(node))
        for i, share in zip(inputs, shares if isinstance(shares, tuple) else [shares], strict=True):
            h[i] = h[i] + share if i in h else share
        if layer.second is not None:
            found[layer.name] = layer.second
    return outputs, found
