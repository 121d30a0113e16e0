"""More layers of the slow twin: curved functions, norms, gates, connections in any dimensions.

From the formulas, in numpy: derivatives by hand, Jacobians of norms in full.
"""

import itertools

import numpy as np
from scipy.special import erf
from torch import nn


class Layer:
    second: np.ndarray | None = None

    def parts(self):
        return []


def numbers(tensor):
    return None if tensor is None else tensor.detach().numpy().astype(np.float64)


class Curve(Layer):
    """Element by element, with its first derivative: ``h_x = f'(x)^2 h``."""

    def __init__(self, f, slope):
        self.f, self.slope = f, slope

    def run(self, x):
        self.x = x
        return self.f(x)

    def back(self, h):
        return self.slope(self.x) ** 2 * h


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def phi(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def gelu_by_tanh(x):
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return x * (1 + np.tanh(u)) / 2


def slope_of_gelu_by_tanh(x):
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    du = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return (1 + np.tanh(u)) / 2 + x * du / np.cosh(u) ** 2 / 2


def curve_of(m):
    """A module's function and derivative; None if it is no element-wise module."""
    match m:
        case nn.GELU(approximate="tanh"):
            return gelu_by_tanh, slope_of_gelu_by_tanh
        case nn.GELU():
            normal = lambda x: (1 + erf(x / np.sqrt(2))) / 2  # noqa: E731
            return lambda x: x * normal(x), lambda x: normal(x) + x * phi(x)
        case nn.SiLU():
            return (
                lambda x: x * sigmoid(x),
                lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
            )
        case nn.Mish():
            return (
                lambda x: x * np.tanh(softplus(x)),
                lambda x: np.tanh(softplus(x)) + x * sigmoid(x) / np.cosh(softplus(x)) ** 2,
            )
        case nn.Sigmoid():
            return sigmoid, lambda x: sigmoid(x) * sigmoid(-x)
        case nn.LogSigmoid():
            return lambda x: -softplus(-x), lambda x: sigmoid(-x)
        case nn.Tanh():
            return np.tanh, lambda x: 1 / np.cosh(x) ** 2
        case nn.Tanhshrink():
            return lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2
        case nn.Softplus():
            return (
                lambda x: softplus(m.beta * x) / m.beta,
                lambda x: sigmoid(m.beta * x),
            )
        case nn.Softsign():
            return lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2.0
        case nn.Hardtanh():
            low, high = m.min_val, m.max_val
            return lambda x: np.clip(x, low, high), lambda x: (low < x) & (x < high)
        case nn.Hardsigmoid():
            sixth = float(np.float32(1 / 6))  # torch's own constant, in float64 too
            return lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: (abs(x) < 3) * sixth
        case nn.Hardswish():
            return (
                lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
                lambda x: np.where(abs(x) < 3, x / 3 + 0.5, x > 0),
            )
        case nn.Softshrink():
            return (
                lambda x: np.sign(x) * np.maximum(abs(x) - m.lambd, 0),
                lambda x: abs(x) > m.lambd,
            )
        case nn.LeakyReLU() | nn.PReLU():
            leak = m.negative_slope if isinstance(m, nn.LeakyReLU) else numbers(m.weight)
            leak = np.reshape(leak, (-1, 1, 1))
            return lambda x: np.where(x > 0, x, leak * x), lambda x: np.where(x > 0, 1, leak)
        case nn.ELU() | nn.SELU() | nn.CELU():
            alpha, width, scale = {
                nn.ELU: lambda: (m.alpha, 1, 1),
                nn.CELU: lambda: (m.alpha, m.alpha, 1),
                nn.SELU: lambda: (1.6732632423543772, 1, 1.0507009873554805),
            }[type(m)]()
            return (
                lambda x: scale * np.where(x > 0, x, alpha * np.expm1(x / width)),
                lambda x: scale * np.where(x > 0, 1, alpha / width * np.exp(x / width)),
            )


class Norm(Layer):
    """Each group normalised by its own statistics, with the Jacobian written out.

    ``groups(x)`` brings x to (groups, n), by a reshape; gamma and beta are given per (group, n).
    """

    def __init__(self, rows, gamma, beta, eps, centred=True):
        self.rows, self.gamma, self.beta = rows, gamma, beta
        self.eps, self.centred = eps, centred

    def run(self, x):
        self.shape, values = x.shape, self.rows(x)
        n = values.shape[1]
        out, self.jacobians = np.empty_like(values), np.empty((*values.shape, n))
        gamma = np.broadcast_to(1.0 if self.gamma is None else self.gamma(x), values.shape)
        beta = np.broadcast_to(0.0 if self.beta is None else self.beta(x), values.shape)
        for g, row in enumerate(values):
            off = row - row.mean() if self.centred else row
            deviation = np.sqrt((off**2).mean() + self.eps)
            out[g] = gamma[g] * off / deviation + beta[g]
            # d off_i / d x_j and d deviation / d x_j
            d_off = np.eye(n) - (1 / n if self.centred else 0)
            d_deviation = off @ d_off / n / deviation
            self.jacobians[g] = gamma[g][:, None] * (
                d_off / deviation - np.outer(off, d_deviation) / deviation**2
            )
        return out.reshape(x.shape)

    def back(self, h):
        rows = self.rows(h)
        return np.einsum("gij,gi->gj", self.jacobians**2, rows).reshape(self.shape)


def over_last(dims, gamma, beta, eps, centred=True):
    """Over the last dimensions, as layer-norm has it."""

    def rows(x):
        return x.reshape(-1, int(np.prod(x.shape[-dims:])))

    spread = [None if v is None else (lambda x, v=v: rows(np.broadcast_to(v, x.shape)))
              for v in (gamma, beta)]  # fmt: skip
    return Norm(rows, *spread, eps, centred)


def over_channels(count, gamma, beta, eps):
    """Groups of channels of (N, C, ...), as group-norm has it; every channel if ``count`` is 0."""

    def rows(x):
        return x.reshape(len(x) * (count or x.shape[1]), -1)

    def spread(v):
        if v is None:
            return None
        return lambda x: rows(np.broadcast_to(v.reshape(-1, *[1] * (x.ndim - 2)), x.shape))

    return Norm(rows, spread(gamma), spread(beta), eps)


class Gate(Layer):
    """The product of two branches from one input: each gets the other's square times h."""

    def __init__(self, a, b):
        self.branches = [a, b]

    def parts(self):
        return self.branches

    def run(self, x):
        self.a, self.b = (branch.run(x) for branch in self.branches)
        return self.a * self.b

    def back(self, h):
        h_a, h_b = fitted(h * self.b**2, self.a.shape), fitted(h * self.a**2, self.b.shape)
        return self.branches[0].back(h_a) + self.branches[1].back(h_b)


def fitted(h, shape):
    """Summed over the dimensions along which an operand was repeated."""
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return h.sum(axis=axes, keepdims=True).reshape(shape) if axes else h


class Connected(Layer):
    """A convolution or transposed one in any dimensions, one connection of units at a time."""

    def __init__(self, name, m):
        self.name, self.w, self.b = name, numbers(m.weight), numbers(m.bias)
        self.m, self.transposed = m, m.transposed
        padding = m.padding
        if padding == "same":  # of odd kernels
            padding = [d * (k - 1) // 2 for d, k in zip(m.dilation, m.kernel_size, strict=True)]
        self.padding = padding

    def sizes(self, inside):
        m = self.m
        for i, size in enumerate(inside):
            reach = m.dilation[i] * (m.kernel_size[i] - 1)
            if self.transposed:
                yield (
                    (size - 1) * m.stride[i] - 2 * self.padding[i] + reach + m.output_padding[i] + 1
                )
            else:
                yield (size + 2 * self.padding[i] - reach - 1) // m.stride[i] + 1

    def connections(self, x):
        """(output unit, input unit, weight), without the sample."""
        m, groups = self.m, self.m.groups
        ins, outs = m.in_channels // groups, m.out_channels // groups
        # The side that takes steps of the stride, and the other.
        stepping = x.shape[2:] if self.transposed else self.out
        other = self.out if self.transposed else x.shape[2:]
        for step in np.ndindex(*stepping):
            for k in np.ndindex(*m.kernel_size):
                place = tuple(
                    s * stride - p + j * d
                    for s, stride, p, j, d in zip(
                        step, m.stride, self.padding, k, m.dilation, strict=True
                    )
                )
                if not all(0 <= q < size for q, size in zip(place, other, strict=True)):
                    continue
                for g, i, o in itertools.product(range(groups), range(ins), range(outs)):
                    source, target = g * ins + i, g * outs + o
                    if self.transposed:
                        yield (target, *place), (source, *step), (source, o, *k)
                    else:
                        yield (target, *step), (source, *place), (target, i, *k)

    def run(self, x):
        self.x, self.out = x, tuple(self.sizes(x.shape[2:]))
        out = np.zeros((len(x), self.m.out_channels, *self.out))
        for to, source, weight in self.connections(x):
            out[:, *to] += self.w[weight] * x[:, *source]
        return out if self.b is None else out + self.b.reshape(-1, *[1] * len(self.out))

    def back(self, h):
        h_x, self.second = np.zeros_like(self.x), np.zeros_like(self.w)
        for to, source, weight in self.connections(self.x):
            h_x[:, *source] += self.w[weight] ** 2 * h[:, *to]
            self.second[weight] += (h[:, *to] * self.x[:, *source] ** 2).sum()
        return h_x


class LinearOverPositions(Layer):
    """A linear layer over any leading dimensions."""

    def __init__(self, name, weight, bias):
        self.name, self.w, self.b = name, weight, bias

    def run(self, x):
        self.x = x
        return x @ self.w.T + (0 if self.b is None else self.b)

    def back(self, h):
        inputs = self.x.reshape(-1, self.x.shape[-1])
        self.second = h.reshape(-1, h.shape[-1]).T @ inputs**2
        return h @ self.w**2


class Reshape(Layer):
    """Values as they are, in a shape given without the number of samples."""

    def __init__(self, shape):
        self.to = shape

    def run(self, x):
        self.shape = x.shape
        return x.reshape(len(x), *self.to(x.shape[1:]))

    def back(self, h):
        return h.reshape(self.shape)


class WindowMeans(Layer):
    """Average pooling in any dimensions; ``windows`` gives each one's slices, and its divisor."""

    def __init__(self, windows):
        self.windows = windows

    def run(self, x):
        self.x = x
        sizes, self.found = self.windows(x.shape[2:])
        out = np.zeros((*x.shape[:2], *sizes))
        for to, where, divisor in self.found:
            out[:, :, *to] = x[:, :, *where].sum(tuple(range(2, x.ndim))) / divisor
        return out

    def back(self, h):
        h_x = np.zeros_like(self.x)
        for to, where, divisor in self.found:
            share = h[:, :, *to] / divisor**2
            h_x[:, :, *where] += share.reshape(*share.shape, *[1] * (h_x.ndim - 2))
        return h_x


def each(value, dims):
    return (value,) * dims if isinstance(value, int) else tuple(value)


def fixed_windows(m, dims):
    def windows(sizes):
        kernel, stride, padding = (each(v, dims) for v in (m.kernel_size, m.stride, m.padding))
        geometry = zip(sizes, kernel, stride, padding, strict=True)
        counts = [(size + 2 * p - k) // s + 1 for size, k, s, p in geometry]
        found = []
        for to in np.ndindex(*counts):
            starts = [i * s - p for i, s, p in zip(to, stride, padding, strict=True)]
            where = tuple(slice(max(a, 0), min(a + k, size))
                          for a, k, size in zip(starts, kernel, sizes, strict=True))  # fmt: skip
            inside = int(np.prod([part.stop - part.start for part in where]))
            found.append((to, where, int(np.prod(kernel)) if m.count_include_pad else inside))
        return counts, found

    return windows


def adaptive_windows(m, dims):
    def windows(sizes):
        counts, found = each(m.output_size, dims), []
        for to in np.ndindex(*counts):
            where = tuple(slice(i * size // n, -(-(i + 1) * size // n))
                          for i, size, n in zip(to, sizes, counts, strict=True))  # fmt: skip
            inside = int(np.prod([part.stop - part.start for part in where]))
            found.append((to, where, inside))
        return counts, found

    return windows


def layer_of(m, name):
    """The twin's layer of a torch module of the types above."""
    curve = curve_of(m)
    if curve:
        return Curve(*curve)
    match m:
        case nn.LayerNorm():
            values = numbers(m.weight), numbers(m.bias)
            return over_last(len(m.normalized_shape), *values, m.eps)
        case nn.RMSNorm():
            eps = np.finfo(np.float64).eps if m.eps is None else m.eps
            return over_last(len(m.normalized_shape), numbers(m.weight), None, eps, False)
        case nn.GroupNorm():
            return over_channels(m.num_groups, numbers(m.weight), numbers(m.bias), m.eps)
        case nn.InstanceNorm1d() | nn.InstanceNorm2d() | nn.InstanceNorm3d():
            return over_channels(0, numbers(m.weight), numbers(m.bias), m.eps)
        case nn.modules.conv._ConvNd():
            return Connected(name, m)
        case nn.Unflatten():
            return Reshape(lambda shape: (*m.unflattened_size, *shape[1:]))
        case nn.AvgPool1d():
            return WindowMeans(fixed_windows(m, 1))
        case nn.AvgPool3d():
            return WindowMeans(fixed_windows(m, 3))
        case nn.AdaptiveAvgPool1d():
            return WindowMeans(adaptive_windows(m, 1))
        case nn.AdaptiveAvgPool3d():
            return WindowMeans(adaptive_windows(m, 3))
    raise TypeError(f"no twin of {type(m).__name__}")
