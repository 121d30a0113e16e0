"""The recursion on transformers against a slow twin, written entry by entry in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from swim.curvature.estimate import second_derivative
from tests.reference import twin
from tests.reference.layers import Layer, LinearOverPositions, layer_of, numbers


class SelfAttention(Layer):
    """Multi-head self-attention of (N, T, E), one score at a time.

    Forward ``a = softmax(q kᵀ / sqrt(d) + mask)``, ``o = a v``; backward by squared Jacobians:
    ``h_a = h (v²)ᵀ``, ``h_v = (a²)ᵀ h``, softmax entry by entry, ``h_q = h_s k² / d`` and so on.
    """

    def __init__(self, name, m, mask=None):
        e = m.embed_dim
        self.name, self.heads, self.mask = f"{name}.in_proj_weight", m.num_heads, mask
        weight, bias = numbers(m.in_proj_weight), numbers(m.in_proj_bias)
        self.enter = [
            LinearOverPositions("", weight[i * e : (i + 1) * e], bias[i * e : (i + 1) * e])
            for i in range(3)
        ]
        out = m.out_proj
        self.leave = LinearOverPositions(
            f"{name}.out_proj.weight", numbers(out.weight), numbers(out.bias)
        )

    def parts(self):
        return [self.leave]

    def split(self, x):
        n, t, e = x.shape
        return x.reshape(n, t, self.heads, e // self.heads).transpose(0, 2, 1, 3)

    def join(self, x):
        n, heads, t, d = x.shape
        return x.transpose(0, 2, 1, 3).reshape(n, t, heads * d)

    def run(self, x):
        self.q, self.k, self.v = (self.split(layer.run(x)) for layer in self.enter)
        n, heads, t, d = self.q.shape
        self.a = np.zeros((n, heads, t, t))
        for image, head, i in np.ndindex(n, heads, t):
            seen = [j for j in range(t) if self.mask is None or self.mask(image, i, j)]
            scores = [self.q[image, head, i] @ self.k[image, head, j] / d**0.5 for j in seen]
            exps = np.exp(np.array(scores) - max(scores))
            self.a[image, head, i, seen] = exps / exps.sum()
        return self.leave.run(self.join(self.a @ self.v))

    def back(self, h):
        h = self.split(self.leave.back(h))
        n, heads, t, d = h.shape
        h_q, h_k, h_v = (np.zeros_like(self.q) for _ in range(3))
        for image, head, i in np.ndindex(n, heads, t):
            at = (image, head)
            a = self.a[*at, i]
            h_a = [(h[*at, i] * self.v[*at, j] ** 2).sum() for j in range(t)]
            for j in range(t):
                h_v[*at, j] += a[j] ** 2 * h[*at, i]
            for j in range(t):
                slopes = [a[other] * ((other == j) - a[j]) for other in range(t)]
                h_s = sum(slope**2 * h_a[other] for other, slope in enumerate(slopes)) / d
                h_q[*at, i] += h_s * self.k[*at, j] ** 2
                h_k[*at, j] += h_s * self.q[*at, i] ** 2
        shares = (self.join(part) for part in (h_q, h_k, h_v))
        h_x = sum(layer.back(share) for layer, share in zip(self.enter, shares, strict=True))
        self.second = np.concatenate([layer.second for layer in self.enter])
        return h_x


class MeanOverPositions(Layer):
    def run(self, x):
        self.count = x.shape[1]
        return x.mean(1)

    def back(self, h):
        return np.repeat(h[:, None] / self.count**2, self.count, axis=1)


class Plus(Layer):
    """A constant added: a table of positions."""

    def __init__(self, constant):
        self.constant = constant

    def run(self, x):
        return x + self.constant

    def back(self, h):
        return h


def linear(name, m):
    return LinearOverPositions(f"{name}.weight", numbers(m.weight), numbers(m.bias))


def residual(*layers):
    return twin.Sum([twin.Identity(), twin.Chain(list(layers))])


def encoder_twin(name, m, mask=None):
    """``nn.TransformerEncoderLayer``, with the norm after each sum or before each part."""
    mixing = SelfAttention(f"{name}.self_attn", m.self_attn, mask)
    curve = nn.GELU() if m.activation is nn.functional.gelu else nn.ReLU()
    curve = twin.ReLU() if isinstance(curve, nn.ReLU) else layer_of(curve, "")
    dense = [linear(f"{name}.linear1", m.linear1), curve, linear(f"{name}.linear2", m.linear2)]
    norms = [layer_of(m.norm1, ""), layer_of(m.norm2, "")]
    if m.norm_first:
        return twin.Chain([residual(norms[0], mixing), residual(norms[1], *dense)])
    return twin.Chain([residual(mixing), norms[0], residual(*dense), norms[1]])


def randomised(model):
    """Norms and biases too; in double precision."""
    generator = torch.Generator().manual_seed(8)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator) * (0.5 if p.dim() > 1 else 0.3)
    return model.double().eval()


class ViT(nn.Module):
    """Patches by a convolution, a table of positions, two blocks, a mean, a head."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 3, stride=3)
        self.positions = nn.Parameter(torch.zeros(1, 6, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))

    def twin(self):
        class Tokens(Layer):
            def run(self, x):
                self.shape = x.shape
                return x.reshape(len(x), x.shape[1], -1).transpose(0, 2, 1)

            def back(self, h):
                return h.transpose(0, 2, 1).reshape(self.shape)

        blocks = [encoder_twin(f"blocks.{i}", block) for i, block in enumerate(self.blocks)]
        return twin.Chain([
            twin.twin_of(self.patches, "patches"), Tokens(), Plus(numbers(self.positions)), *blocks,
            layer_of(self.norm, ""), MeanOverPositions(), linear("head", self.head),
        ])  # fmt: skip


class Encoder(nn.Module):
    """``nn.TransformerEncoder`` on sequences, some positions of them padding, or causal."""

    def __init__(self, causal, norm_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 3, 8, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.causal = nn.Linear(6, 5), causal

    def forward(self, x):
        if self.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x)
            return self.head(self.encoder(x, mask=mask, is_causal=True)).mean(1)
        return self.head(self.encoder(x, src_key_padding_mask=padding(x))).mean(1)

    def twin(self, x):
        hidden = padding(x).numpy()

        def mask(image, i, j):
            return j <= i if self.causal else not hidden[image, j]

        layers = [
            encoder_twin(f"encoder.layers.{i}", layer, mask)
            for i, layer in enumerate(self.encoder.layers)
        ]
        return twin.Chain([*layers, linear("head", self.head), MeanOverPositions()])


def padding(x):
    """Positions of padding, as data mark them: the last ones of some sequences."""
    return x[..., 0] > 1.0


def sequences():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    x[..., 0] = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 2, 2]])
    return x


def compare(model, chain, x, loss):
    outputs, expected = twin.second_derivatives(chain, x.numpy(), loss)
    np.testing.assert_allclose(model(x).detach().numpy(), outputs, rtol=1e-9)
    found = second_derivative(model, [(x, None)], loss=loss)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert value.max() > 0
        assert (found[name] >= 0).all()
        np.testing.assert_allclose(
            found[name].numpy(), value, rtol=1e-8, atol=1e-12 * value.max(), err_msg=name
        )


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_vit_has_the_scores_of_the_twin(loss):
    model = randomised(ViT())
    x = torch.randn(3, 2, 6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    compare(model, model.twin(), x, loss)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_an_encoder_with_masks_has_the_scores_of_the_twin(causal, norm_first):
    model, x = randomised(Encoder(causal, norm_first)), sequences()
    compare(model, model.twin(x), x, "cross_entropy")


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": False}])
def test_attention_that_returns_its_weights_has_the_same_scores(options):
    """With weights, torch takes other products (baddbmm, bmm) than without."""

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 5)

        def forward(self, x):
            return self.head(self.mix(x, x, x, key_padding_mask=padding(x), **options)[0]).mean(1)

    model, x = randomised(Mixing()), sequences()
    hidden = padding(x).numpy()
    mixing = SelfAttention("mix", model.mix, lambda image, i, j: not hidden[image, j])
    chain = twin.Chain([mixing, linear("head", model.head), MeanOverPositions()])
    compare(model, chain, x, "cross_entropy")
