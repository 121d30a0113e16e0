"""Weights of attention are found and programmed; tables that are read stay digital."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swim
from swim.curvature.estimate import second_derivative
from swim.engine.evaluator import Network


class Attending(nn.Module):
    def __init__(self, cross=False, weights=False, sizes=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **(sizes or {}))
        self.cross, self.weights = cross, weights

    def forward(self, x):
        x = self.first(x)
        other = torch.cat([x, x.flip(1)], 1) if self.cross else x
        out, weights = self.attention(x, other, other, need_weights=self.weights)
        return self.last(out.sum(1)) + (
            weights.square().sum((1, 2))[:, None] if self.weights else 0
        )


ATTENTION = {
    "self": ({}, "in_proj_weight"),
    "with weights": ({"weights": True}, "in_proj_weight"),
    "of others": ({"cross": True}, "in_proj_weight"),
    "extra keys": ({"sizes": {"add_bias_kv": True, "add_zero_attn": True}}, "in_proj_weight"),
    "separate": ({"sizes": {"kdim": 8, "vdim": 8}}, "in_proj_weight"),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_weights_are_programmed_and_ranked(name):
    settings, weight = ATTENTION[name]
    model, x = Attending(**settings).eval(), torch.randn(20, 3, 8)
    labels = torch.arange(20) % 5
    names = ["first.weight", f"attention.{weight}", "attention.out_proj.weight", "last.weight"]
    scores = swim.sensitivity(model, [(x, None)], estimator="recursion")
    assert {*names} <= scores.keys()
    assert all((scores[name] >= 0).all() and scores[name].any() for name in names)
    same_answers(model, x, labels, names)


def same_answers(model, x, labels, names):
    """All verified without error, the network answers as it does itself; else it does not."""
    exact = swim.Device(sigma=0.2, verified_sigma=0)
    everything = {n: torch.ones_like(model.get_parameter(n), dtype=torch.bool) for n in names}
    found = swim.evaluate(model, [(x, labels)], everything, device=exact, chips=2)
    with torch.no_grad():
        expected = F.cross_entropy(model(x), labels)
    torch.testing.assert_close(found.loss, expected.double().expand(2).to(found.loss))
    for name in names:  # each of them is programmed
        others = {n: m for n, m in everything.items() if n != name}
        noisy = swim.evaluate(model, [(x, labels)], others, device=exact, chips=2)
        assert (noisy.loss - found.loss).abs().min() > 1e-5


def test_attention_of_projections_of_other_sizes():
    class Separate(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True)

        def forward(self, x):
            return self.attention(x, x[..., :4], x[..., 2:])[0].flatten(1)

    parts = [f"attention.{part}_proj_weight" for part in "qkv"]
    x, labels = torch.randn(20, 3, 8), torch.arange(20) % 5
    same_answers(Separate().eval(), x, labels, [*parts, "attention.out_proj.weight"])


def test_a_parameter_in_another_product_is_programmed():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 5))

        def forward(self, x):
            return x @ self.w

    x = torch.randn(20, 8)
    assert list(swim.sensitivity(Own(), [(x, None)])) == ["w"]
    same_answers(Own(), x, torch.arange(20) % 5, ["w"])


class Reader(nn.Module):
    """Words to classes: an embedding, a convolution over the words, a linear layer."""

    def __init__(self, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6)
        self.conv, self.norm = nn.Conv1d(6, 6, 3), nn.LayerNorm(6)
        self.last = nn.Linear(6, 11, bias=False)
        if tied:
            self.last.weight = self.table.weight

    def forward(self, words):
        x = F.gelu(self.conv(self.table(words).transpose(1, 2))).mean(2)
        return self.last(self.norm(x))


def test_an_embedding_is_digital():
    model = Reader().eval()
    words = torch.randint(0, 11, (30, 7), generator=torch.Generator().manual_seed(1))
    found = second_derivative(model, [(words, None)])
    assert list(found) == ["conv.weight", "last.weight"]

    class Rest(Reader):
        table = staticmethod(lambda x: x)

        def __init__(self):
            nn.Module.__init__(self)
            self.conv, self.norm, self.last = model.conv, model.norm, model.last

    expected = second_derivative(Rest().eval(), [(model.table(words).detach(), None)])
    for name in found:
        assert found[name].max() > 0
        torch.testing.assert_close(found[name], expected[name])
    same_answers(model, words, words[:, 0], list(found))


def test_a_table_that_is_also_a_layers_weight_stays_digital_where_it_is_read():
    model = Reader(tied=True).eval()
    words = torch.randint(0, 11, (30, 7), generator=torch.Generator().manual_seed(1))
    name = "table.weight"
    assert list(second_derivative(model, [(words, None)])) == ["conv.weight", name]
    network = Network(model, [(words, words[:, 0])], "cross_entropy")
    other = {"conv.weight": model.conv.weight, name: torch.randn(11, 6)}
    with torch.no_grad():
        _, losses = network.measure([other])
        x = F.gelu(model.conv(model.table(words).transpose(1, 2))).mean(2)
        expected = F.cross_entropy(model.norm(x) @ other[name].T, words[:, 0], reduction="none")
    torch.testing.assert_close(losses[0], expected)
