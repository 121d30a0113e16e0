"""A slow twin of the second-derivative recursion, in numpy, from the formulas.

Independent of autograd and of ``swim``. Each layer keeps what its forward saw; ``back`` takes
the second derivative of its output and gives that of its input, adding to ``second[name]``:

    o = J x:   h_x = (J∘J)^T h_o,   h_W = sum over uses of h_o x^2
    at a fan-out the branches add; ReLU and max-pool hand h to the unit that passed.

``Units`` does convolutions as loops over single connections, ``Conv`` over kernel offsets.
"""

import itertools

import numpy as np
import torch
from torch import nn

from tests.reference.layers import Gate, Layer, Reshape, layer_of, numbers


class Linear(Layer):
    def __init__(self, name, weight, bias):
        self.name, self.w, self.b = name, weight, bias

    def run(self, x):
        self.x = x
        return x @ self.w.T + (0 if self.b is None else self.b)

    def back(self, h):
        h_x = np.zeros_like(self.x)
        self.second = np.zeros_like(self.w)
        for n, o in np.ndindex(h.shape):
            h_x[n] += self.w[o] ** 2 * h[n, o]
            self.second[o] += h[n, o] * self.x[n] ** 2
        return h_x


class Conv(Layer):
    def __init__(self, name, weight, bias, stride, padding, dilation, groups):
        self.name, self.w, self.b = name, weight, bias
        self.s, self.p, self.d, self.g = stride, padding, dilation, groups

    def windows(self, padded):
        """Per kernel offset, the view of the padded input that it multiplies."""
        height, width = self.out
        for ky, kx in np.ndindex(self.w.shape[2:]):
            y, x = ky * self.d[0], kx * self.d[1]
            yield (
                (ky, kx),
                padded[
                    :,
                    :,
                    y : y + height * self.s[0] : self.s[0],
                    x : x + width * self.s[1] : self.s[1],
                ],
            )

    def pad(self, x):
        (top, bottom), (left, right) = self.p
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))

    def run(self, x):
        self.x, padded = x, self.pad(x)
        extent = [
            (padded.shape[2 + i] - self.d[i] * (self.w.shape[2 + i] - 1) - 1) // self.s[i] + 1
            for i in (0, 1)
        ]
        self.out = extent
        out = np.zeros((len(x), self.g, len(self.w) // self.g, *extent))
        for offset, view in self.windows(padded):
            view = self.grouped(view[:, :, : extent[0], : extent[1]])
            out += np.einsum("goi,ngihw->ngohw", self.at(offset), view)
        out = out.reshape(len(x), len(self.w), *extent)
        return out if self.b is None else out + self.b[:, None, None]

    def at(self, offset):
        """The weights of one kernel offset, (groups, outputs, inputs)."""
        return self.w[(..., *offset)].reshape(self.g, -1, self.w.shape[1])

    def grouped(self, x):
        return x.reshape(len(x), self.g, -1, *x.shape[2:])

    def back(self, h):
        padded, h = self.pad(self.x), self.grouped(h)
        h_padded, self.second = np.zeros_like(padded), np.zeros_like(self.w)
        for (offset, view), (_, h_view) in zip(
            self.windows(padded), self.windows(h_padded), strict=True
        ):
            share = np.einsum("goi,ngohw->ngihw", self.at(offset) ** 2, h)
            h_view += share.reshape(h_view.shape)
            uses = np.einsum("ngohw,ngihw->goi", h, self.grouped(view) ** 2)
            self.second[(..., *offset)] = uses.reshape(self.w.shape[:2])
        (top, _), (left, _) = self.p
        return h_padded[:, :, top : top + self.x.shape[2], left : left + self.x.shape[3]]


class Units(Conv):
    """The same, one connection between two units at a time."""

    def connections(self):
        outs, ins = len(self.w) // self.g, self.w.shape[1]
        (top, _), (left, _) = self.p
        sizes = (range(len(self.x)), range(len(self.w)), *map(range, self.out))
        for n, o, y, x in itertools.product(*sizes):
            for i, ky, kx in np.ndindex(self.w.shape[1:]):
                row = y * self.s[0] + ky * self.d[0] - top
                column = x * self.s[1] + kx * self.d[1] - left
                if 0 <= row < self.x.shape[2] and 0 <= column < self.x.shape[3]:
                    yield (n, o, y, x), (n, o // outs * ins + i, row, column), (o, i, ky, kx)

    def run(self, x):
        super().run(x)
        out = np.zeros((len(x), len(self.w), *self.out))
        for to, source, weight in self.connections():
            out[to] += self.w[weight] * x[source]
        return out if self.b is None else out + self.b[:, None, None]

    def back(self, h):
        h_x, self.second = np.zeros_like(self.x), np.zeros_like(self.w)
        for to, source, weight in self.connections():
            h_x[source] += self.w[weight] ** 2 * h[to]
            self.second[weight] += h[to] * self.x[source] ** 2
        return h_x


class Scale(Layer):
    def __init__(self, slope, offset):
        self.slope, self.offset = slope, offset

    def run(self, x):
        return self.slope * x + self.offset

    def back(self, h):
        return self.slope**2 * h


def batch_norm(gamma, beta, mean, var, eps):
    slope = gamma / np.sqrt(var + eps)
    shape = (-1, 1, 1)
    return Scale(slope.reshape(shape), (beta - slope * mean).reshape(shape))


class ReLU(Layer):
    def run(self, x):
        self.open = x > 0
        return np.where(self.open, x, 0)

    def back(self, h):
        return np.where(self.open, h, 0)


class Pool(Layer):
    """Max or average pooling: ``spans(size)`` lists the window of each output in a dimension.

    ``power`` 1 is the first release's average: by the coefficient, not by its square.
    """

    power = 2

    def __init__(self, kind, spans, divisor=None):
        self.kind, self.spans, self.divisor = kind, spans, divisor

    def windows(self):
        rows, columns = (self.spans(size) for size in self.x.shape[2:])
        for (i, (a, b)), (j, (c, d)) in itertools.product(enumerate(rows), enumerate(columns)):
            yield i, j, slice(a, b), slice(c, d)

    def run(self, x):
        self.x = x
        rows, columns = (len(self.spans(size)) for size in x.shape[2:])
        out = np.zeros((*x.shape[:2], rows, columns))
        for i, j, y, z in self.windows():
            window = x[:, :, y, z].reshape(*x.shape[:2], -1)
            count = self.divisor or window.shape[-1]
            out[:, :, i, j] = window.max(-1) if self.kind == "max" else window.sum(-1) / count
        return out

    def back(self, h):
        h_x = np.zeros_like(self.x)
        for i, j, y, z in self.windows():
            window = self.x[:, :, y, z]
            if self.kind == "average":
                count = self.divisor or window[0, 0].size
                h_x[:, :, y, z] += h[:, :, i, j, None, None] / count**self.power
                continue
            for n, c in np.ndindex(h.shape[:2]):
                row, column = np.unravel_index(window[n, c].argmax(), window[n, c].shape)
                h_x[n, c, y.start + row, z.start + column] += h[n, c, i, j]
        return h_x


def fixed_spans(kernel, stride, padding):
    def spans(size):
        count = (size + 2 * padding - kernel) // stride + 1
        starts = [i * stride - padding for i in range(count)]
        return [(max(start, 0), min(start + kernel, size)) for start in starts]

    return spans


def adaptive_spans(count):
    return lambda size: [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class Flatten(Layer):
    def run(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def back(self, h):
        return h.reshape(self.shape)


class Chain(Layer):
    def __init__(self, layers):
        self.layers = layers

    def parts(self):
        return self.layers

    def run(self, x):
        for layer in self.layers:
            x = layer.run(x)
        return x

    def back(self, h):
        for layer in reversed(self.layers):
            h = layer.back(h)
        return h


class Sum(Layer):
    """Branches from one input, added with factors."""

    def __init__(self, branches, factors=None):
        self.branches, self.factors = branches, factors or [1] * len(branches)

    def parts(self):
        return self.branches

    def run(self, x):
        return sum(f * b.run(x) for f, b in zip(self.factors, self.branches, strict=True))

    def back(self, h):
        return sum(b.back(f**2 * h) for f, b in zip(self.factors, self.branches, strict=True))


class Concat(Layer):
    def __init__(self, branches):
        self.branches = branches

    def parts(self):
        return self.branches

    def run(self, x):
        outs = [branch.run(x) for branch in self.branches]
        self.ends = np.cumsum([out.shape[1] for out in outs])[:-1]
        return np.concatenate(outs, 1)

    def back(self, h):
        pieces = np.split(h, self.ends, axis=1)
        return sum(b.back(piece) for b, piece in zip(self.branches, pieces, strict=True))


class Identity(Layer):
    def run(self, x):
        return x

    def back(self, h):
        return h


def start(outputs, loss):
    if loss == "mse":
        return np.full_like(outputs, 2.0)
    p = np.exp(outputs - outputs.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    # 1 - p as the sum of the others: a difference would lose the digits of a confident softmax.
    others = np.stack([np.delete(p, i, axis=1).sum(1) for i in range(p.shape[1])], axis=1)
    return p * others


def second_derivatives(twin, x, loss="cross_entropy"):
    """Outputs, and name -> second derivative of each weight summed over samples."""
    outputs = twin.run(x)
    twin.back(start(outputs, loss))
    found = {}

    def collect(layer):
        if layer.second is not None:
            found[layer.name] = layer.second
        for part in layer.parts():
            collect(part)

    collect(twin)
    return outputs, found


class AddBranches(nn.Module):
    """The torch side of ``Sum``."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        out = self.branches[0](x)
        for branch in self.branches[1:]:
            out = out + branch(x)
        return out


class ConcatBranches(AddBranches):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class GateBranches(AddBranches):
    """The torch side of ``Gate``."""

    def forward(self, x):
        return self.branches[0](x) * self.branches[1](x)


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def conv_of(name, m, kind):
    padding = m.padding
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
        padding = [(t // 2, t - t // 2) for t in totals]
    else:
        padding = [(p, p) for p in pair(0 if padding == "valid" else padding)]
    return kind(
        name, numbers(m.weight), numbers(m.bias), m.stride, padding, m.dilation, m.groups
    )  # fmt: skip


def twin_of(m, name="", conv=Conv):
    """The twin of a torch module made of the types below."""
    under = f"{name}." if name else ""
    match m:
        case nn.Sequential():
            return Chain([twin_of(part, f"{under}{i}", conv) for i, part in enumerate(m)])
        case GateBranches():
            a, b = (twin_of(part, f"{under}branches.{i}", conv)
                    for i, part in enumerate(m.branches))  # fmt: skip
            return Gate(a, b)
        case ConcatBranches() | AddBranches():
            kind = Concat if isinstance(m, ConcatBranches) else Sum
            parts = enumerate(m.branches)
            return kind([twin_of(part, f"{under}branches.{i}", conv) for i, part in parts])
        case nn.Conv2d():
            return conv_of(f"{under}weight", m, conv)
        case nn.Linear():
            return Linear(f"{under}weight", numbers(m.weight), numbers(m.bias))
        case nn.BatchNorm2d():
            values = (m.weight, m.bias, m.running_mean, m.running_var)
            return batch_norm(*map(numbers, values), m.eps)
        case nn.ReLU():
            return ReLU()
        case nn.MaxPool2d():
            return Pool("max", fixed_spans(m.kernel_size, m.stride, m.padding))
        case nn.AvgPool2d():
            divisor = m.kernel_size**2 if m.count_include_pad else None
            return Pool("average", fixed_spans(m.kernel_size, m.stride, m.padding), divisor)
        case nn.AdaptiveAvgPool2d():
            return Pool("average", adaptive_spans(pair(m.output_size)[0]))
        case nn.Flatten(start_dim=1):
            return Flatten()
        case nn.Flatten(start_dim=2):
            return Reshape(lambda shape: (shape[0], -1))
        case nn.Identity() | nn.Dropout():
            return Identity()
    return layer_of(m, f"{under}weight")


def twin_of_resnet(m):
    """Torchvision's ResNet of basic blocks, laid out by hand."""

    def block(b, name):
        main = [
            twin_of(b.conv1, f"{name}.conv1"), twin_of(b.bn1), ReLU(),
            twin_of(b.conv2, f"{name}.conv2"), twin_of(b.bn2),
        ]  # fmt: skip
        skip = twin_of(b.downsample, f"{name}.downsample") if b.downsample else Identity()
        return [Sum([Chain(main), skip]), ReLU()]

    layers = [twin_of(m.conv1, "conv1"), twin_of(m.bn1), ReLU(), twin_of(m.maxpool)]
    for i in range(1, 5):
        for j, b in enumerate(getattr(m, f"layer{i}")):
            layers += block(b, f"layer{i}.{j}")
    return Chain([*layers, twin_of(m.avgpool), Flatten(), twin_of(m.fc, "fc")])
