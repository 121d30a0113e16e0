"""Labels and outputs compared: what is read as what, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swim.data.labels import counted, each_loss, fit
from swim.errors import DataError, SettingError


class Answer:
    def __init__(self, logits):
        self.logits = logits


def logits(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def classes(count, *shape):
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(2))


# outputs, labels, and the same outputs as PyTorch's cross-entropy takes them with these labels
READ = {
    "one a sample": (logits(6, 4), classes(4, 6), lambda o, y: (o, y)),
    "a column": (logits(6, 4), classes(4, 6, 1), lambda o, y: (o, y[:, 0])),
    "tokens, classes last": (logits(6, 3, 4), classes(4, 6, 3), lambda o, y: (o.mT, y)),
    "tokens, classes first": (logits(6, 4, 3), classes(4, 6, 3), lambda o, y: (o, y)),
    "pixels": (logits(6, 4, 2, 5), classes(4, 6, 2, 5), lambda o, y: (o, y)),
    "pixels of a mask with a channel": (
        logits(6, 4, 2, 5), classes(4, 6, 1, 2, 5), lambda o, y: (o, y[:, 0])),
    "pixels, classes last": (
        logits(6, 2, 5, 4), classes(4, 6, 2, 5), lambda o, y: (o.permute(0, 3, 1, 2), y)),
    "a square image": (logits(6, 4, 5, 5), classes(4, 6, 5, 5), lambda o, y: (o, y)),
    "one position, classes first": (
        logits(6, 4, 1, 1), classes(4, 6), lambda o, y: (o[:, :, 0, 0], y)),
    "one position, classes last": (logits(6, 1, 4), classes(4, 6), lambda o, y: (o[:, 0], y)),
    "square tokens told apart by a dimension": (
        logits(6, 4, 4, 1), classes(4, 6, 4, 1), lambda o, y: (o[..., 0], y[..., 0])),
    "square tokens told apart, classes last": (
        logits(6, 4, 1, 4), classes(4, 6, 4, 1), lambda o, y: (o[:, :, 0].mT, y[..., 0])),
    "one sample": (logits(1, 4), classes(4, 1, 1), lambda o, y: (o, y[:, 0])),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("ignored", [False, True])
def test_cross_entropy_is_what_pytorch_has_in_its_own_layout(kind, ignored):
    outputs, labels, plain = READ[kind]
    labels = labels.clone()
    if ignored:
        labels[0] = -100
        labels.view(-1)[-1] = -100
    right, losses = each_loss("cross_entropy", outputs, labels)
    own, y = plain(outputs, labels)
    assert right.shape == losses.shape == (len(outputs),)
    expected = F.cross_entropy(own, y, reduction="none").flatten(1 if y.dim() > 1 else 0)
    hits = (own.argmax(1) == y).double()
    if y.dim() > 1:
        expected, hits = expected.sum(1), hits.flatten(1).sum(1)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(right, hits)
    n = counted("cross_entropy", labels)
    assert n.tolist() == (labels != -100).reshape(len(labels), -1).sum(1).tolist()
    if n.sum():
        torch.testing.assert_close(losses.sum() / n.sum(), F.cross_entropy(own, y))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16])
def test_labels_of_any_integer_type(dtype):
    outputs, labels = logits(6, 4), classes(4, 6)
    for found, expected in zip(
        each_loss("cross_entropy", outputs, labels.to(dtype)),
        each_loss("cross_entropy", outputs, labels),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_true_and_false_are_labels_of_two_classes():
    labels = torch.tensor([True, False, True])
    found = each_loss("cross_entropy", logits(3, 2), labels)[1]
    assert torch.equal(found, each_loss("cross_entropy", logits(3, 2), labels.long())[1])
    with pytest.raises(DataError, match=r"True and False.*4 classes"):
        fit("cross_entropy", logits(3, 4), labels)


REFUSED = {
    "square: classes first or last": (logits(6, 4, 4), classes(4, 6, 4), "dimension 1 or the last"),
    "cube": (logits(6, 3, 3, 3), classes(3, 6, 3, 3), "unsqueeze"),
    "one-hot": (logits(6, 4), F.one_hot(classes(4, 6)), r"labels.argmax\(1\)"),
    "one-hot floats": (logits(6, 4), F.one_hot(classes(4, 6)).float(), r"labels.argmax\(1\)"),
    "one-hot tokens": (logits(6, 3, 4), F.one_hot(classes(4, 6, 3)), r"labels.argmax\(-1\)"),
    "probabilities": (logits(6, 4), torch.full((6, 4), 0.25), "probabilities"),
    "floats": (logits(6, 4), classes(4, 6).float(), r"integers below 4.*float32 \(6,\)"),
    "another count": (logits(6, 4), classes(4, 5), r"outputs \(6, 4\) for labels \(5,\)"),
    "a label a token, flat": (logits(6, 3, 4), classes(4, 18), r"labels \(18,\)"),
    "flat outputs": (logits(18, 4), classes(4, 6, 3), r"outputs \(18, 4\)"),
    "a row, not a column": (logits(6, 4), classes(4, 1, 6), "one row for each"),
    "a single number": (logits(6, 4), torch.tensor(1), "one row for each"),
    "two labels a sample": (logits(6, 4), classes(4, 6, 2), r"shape \(N, 2\), not \(N,\)"),
    "a label of one-based classes": (logits(6, 4), classes(4, 6) + 1, "label 4 .*labels - 1"),
    "255 for nothing": (logits(6, 4), torch.tensor([0, 1, 2, 3, 255, 0]), "label 255 .*-100"),
    "negative": (logits(6, 4), torch.tensor([0, 1, 2, 3, -1, 0]), "label -1 is out of range"),
    "out of range, not counting": (
        logits(6, 4), torch.tensor([-100, 9, 2, 3, -100, 0]), "label 9 is out of range"),
    "one logit": (logits(6), classes(2, 6), "return both"),
    "one logit in a column": (logits(6, 1), classes(1, 6), "hold one class.*return both"),
    "one logit a pixel": (logits(6, 1, 5, 5), classes(1, 6, 5, 5), "hold one class"),
    "answers, not logits": (logits(6, 4).argmax(1), classes(4, 6), r"floating point.*int64 \(6,\)"),
    "a mean": (logits(6, 4).mean(), classes(4, 6), "before argmax or a mean"),
    "no labels, several dimensions": (logits(6, 4, 3), None, "without labels"),
    "NaN": (logits(6, 4).fill_(float("nan")), classes(4, 6), "not finite"),
    "minus infinity": (
        logits(6, 4).masked_fill(torch.eye(6, 4) > 0, -torch.inf), classes(4, 6),
        "not finite.*-1e4"),
    "infinity": (logits(6, 4).fill_(torch.inf), classes(4, 6), "not finite.*infinity$"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cross_entropy_does_not_take_is_named(kind):
    outputs, labels, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        fit("cross_entropy", outputs, labels)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [((6, 1), (6,)), ((6,), (6, 1)), ((6, 1, 3), (6, 3)), ((6, 2, 3), (6, 2, 1, 3)), ((1, 1), (1,)),
     ((6, 3), (6, 3)), ((6,), (6,))],
)  # fmt: skip
def test_squared_errors_pair_each_output_with_its_own_target(outputs, labels):
    x, y = logits(*outputs), logits(*labels) + 1
    _, losses = each_loss("mse", x, y)
    for n in range(len(x)):
        pairs = zip(x[n].reshape(-1).tolist(), y[n].reshape(-1).tolist(), strict=True)
        assert float(losses[n]) == pytest.approx(sum((a - b) ** 2 for a, b in pairs))
    whole = each_loss("mse", x, (10 * y).long())[1]
    assert torch.equal(whole, each_loss("mse", x, (10 * y).long().double())[1])


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (logits(6, 4), classes(4, 6), "class numbers are labels of cross_entropy"),
        (logits(6, 4), logits(6), r"labels have shape \(N,\), outputs \(N, 4\)"),
        (logits(6, 2, 3), logits(6, 3, 2), r"\(N, 3, 2\), outputs \(N, 2, 3\)"),
        (logits(6, 1), logits(1, 6), "one row for each sample"),
        (logits(6, 1), torch.full((6,), float("inf")), "labels are not finite"),
        (logits(6, 1), torch.zeros(6, dtype=torch.complex64), "real numbers"),
    ],
)
def test_targets_of_another_shape_are_named(outputs, labels, message):
    with pytest.raises(DataError, match=message):
        fit("mse", outputs, labels)


def test_minus_100_is_a_number_like_others_for_mse():
    _, losses = each_loss("mse", torch.zeros(2, 1), torch.tensor([-100.0, 1.0]))
    assert losses.tolist() == [10_000, 1]
    assert counted("mse", torch.tensor([-100, 1])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((logits(6, 4), None), r"tuple of 2.*return self.model\(\*inputs\)\[0\]"),
        ({"loss": 1, "logits": logits(6, 4)}, r"dict of loss, logits.*\['logits'\]"),
        ({"out": logits(6, 4)}, r"\['out'\]"),
        (np.zeros((6, 4)), "ndarray"),
        (Answer(logits(6, 4)), r"not Answer.*\.logits"),
        (None, "NoneType"),
    ],
)
def test_outputs_that_are_no_tensor_are_named_with_the_way_out(outputs, message):
    with pytest.raises(DataError, match=message):
        fit("cross_entropy", outputs, classes(4, 6))


def test_an_unknown_loss():
    with pytest.raises(SettingError, match="unknown loss 'nll'; known: cross_entropy, mse"):
        fit("nll", logits(6, 4), classes(4, 6))
