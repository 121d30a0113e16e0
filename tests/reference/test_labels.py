"""Labels that are many a sample, or do not count: every estimator and evaluate, against PyTorch."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swim
from swim.curvature.estimate import second_derivative
from swim.engine.evaluator import Network
from swim.errors import DataError
from swim.evaluation import monte_carlo, perturbation
from swim.programming.chip import Programmed
from swim.programming.in_situ import InSitu
from swim.runtime import rng
from swim.settings import registry

EXACT = swim.Device(sigma=1e-9)
CLASSES = 5


class Tagger(nn.Module):
    """A class for each token: each position by itself, classes last."""

    def __init__(self):
        super().__init__()
        self.table, self.a, self.b = nn.Embedding(50, 6), nn.Linear(6, 7), nn.Linear(7, CLASSES)

    def forward(self, tokens):
        return self.b(torch.relu(self.a(self.table(tokens))))


class Turned(Tagger):
    """The same with the classes at dimension 1."""

    def forward(self, tokens):
        return super().forward(tokens).movedim(-1, 1)


def tagger(kind=Tagger):
    torch.manual_seed(3)
    return kind().double().eval()


def tokens(count=12, length=4, ignored=0.3):
    """Tokens and labels, some of which do not count: all of the second sample, among others."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(0, 50, (count, length), generator=generator)
    y = torch.randint(0, CLASSES, (count, length), generator=generator)
    y[torch.rand(y.shape, generator=generator) < ignored] = -100
    if ignored:
        y[1] = -100
    return x, y


def close(found, expected, rtol=1e-9):
    assert set(found) == set(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=rtol * scale, msg=name)


# --- estimators --------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
@pytest.mark.parametrize("ignored", [0, 0.3])
def test_where_the_classes_are_changes_nothing(estimator, ignored):
    x, y = tokens(ignored=ignored)
    first, last = tagger(Turned), tagger()
    expected = second_derivative(first, [(x, y)], estimator=estimator, seed=1, samples=2)
    close(second_derivative(last, [(x, y)], estimator=estimator, seed=1, samples=2), expected)
    assert all(float(value.abs().max()) > 0 for value in expected.values())


@pytest.mark.parametrize(
    "estimator", ["recursion", "recursion_coherent", "gauss_newton", "gradient", "release"]
)
@pytest.mark.parametrize("kind", [Tagger, Turned])
def test_tokens_add_as_samples_do_and_those_that_do_not_count_are_not_there(estimator, kind):
    x, y = tokens()
    kept = y != -100
    alone = second_derivative(tagger(), [(x[kept], y[kept])], estimator=estimator)
    close(second_derivative(tagger(kind), [(x, y)], estimator=estimator), alone)


@pytest.mark.parametrize(
    "estimator", sorted({*registry.ESTIMATORS} - {"release", "hutchinson", "gauss_newton_probe"})
)
def test_the_split_into_batches_changes_nothing(estimator):
    x, y = tokens()
    whole = second_derivative(tagger(), [(x, y)], estimator=estimator)
    parts = [(x[:1], y[:1]), (x[1:2], y[1:2]), (x[2:2], y[2:2]), (x[2:9], y[2:9]), (x[9:], y[9:])]
    close(second_derivative(tagger(), parts, estimator=estimator), whole)


def labelled(model, x, y):
    return F.cross_entropy(model(x).movedim(-1, 1), y, reduction="sum")


def test_empirical_fisher_squares_the_gradient_of_a_samples_labels_that_count():
    model, (x, y) = tagger(), tokens()
    weights = {"a.weight": model.a.weight, "b.weight": model.b.weight}
    expected = {name: torch.zeros_like(w) for name, w in weights.items()}
    for n in range(len(x)):
        loss = labelled(model, x[n : n + 1], y[n : n + 1])
        for name, g in zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True):
            expected[name] += g.square()
    close(second_derivative(model, [(x, y)], estimator="empirical_fisher"), expected)


def test_release_adds_twice_the_gradient_of_the_mean_over_labels_that_count():
    model, (x, y) = tagger(), tokens()
    weights = {"a.weight": model.a.weight, "b.weight": model.b.weight}
    loss = F.cross_entropy(model(x).movedim(-1, 1), y)
    gradients = torch.autograd.grad(loss, [*weights.values()])
    base = second_derivative(model, [(x, y)], estimator="recursion_coherent")
    expected = {name: base[name] + 2 * g for name, g in zip(weights, gradients, strict=True)}
    close(second_derivative(model, [(x, y)], estimator="release"), expected)


def test_hutchinson_multiplies_its_probes_with_the_hessian_of_the_labels_that_count():
    model, (x, y) = tagger(), tokens()
    weights = [model.a.weight, model.b.weight]
    names = ["a.weight", "b.weight"]
    signs = []
    for name, weight in zip(names, weights, strict=True):
        stream = rng.generator(4, "hutchinson", 0, 0, name)
        bits = stream.integers(0, 2, weight.numel(), dtype=np.int8)
        signs.append(torch.from_numpy(2 * bits - 1).view(weight.shape).double())
    first = torch.autograd.grad(labelled(model, x, y), weights, create_graph=True)
    along = sum((g * z).sum() for g, z in zip(first, signs, strict=True))
    second = torch.autograd.grad(along, weights)
    expected = {n: z * h for n, z, h in zip(names, signs, second, strict=True)}
    close(second_derivative(model, [(x, y)], estimator="hutchinson", seed=4), expected)


def test_monte_carlo_fisher_draws_for_the_labels_that_count():
    """Means of 4,000 draws miss by a normal error of known size, in each of 77 weights.

    A correct estimate is refused with a probability below 1e-5 (5.5 standard deviations).
    """
    model, (x, y) = tagger(), tokens(count=6)
    exact = second_derivative(model, [(x, y)], estimator="gauss_newton")
    runs = [
        second_derivative(model, [(x, y)], estimator="monte_carlo_fisher", seed=s, samples=100)
        for s in range(40)
    ]
    for name, expected in exact.items():
        found = torch.stack([run[name] for run in runs])
        error = found.std(0) / len(runs) ** 0.5 + 1e-12
        assert float(((found.mean(0) - expected) / error).abs().max()) < 5.5


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_labels_that_do_not_fit_are_refused_by_each_estimator(estimator):
    model, (x, y) = tagger(), tokens()
    for labels, message in (
        (y[:, :3], r"labels have shape \(N, 3\), not \(N, 5\) or \(N, 4\)"),
        (y[:7], "12 inputs .* and 7 labels"),
        (y.clamp_min(0) + 1, "label 5 is out of range"),
        (torch.full_like(y, -100), "no label counts: all are -100"),
        (y.double(), "integers below 5"),
        (F.one_hot(y.clamp_min(0), CLASSES), "one-hot"),
    ):
        with pytest.raises(DataError, match=message):
            second_derivative(model, [(x, labels)], estimator=estimator)


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_mse_of_a_column_and_a_vector_is_that_of_two_columns(estimator):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    x, y = torch.randn(9, 4).double(), torch.randn(9).double()
    options = {"estimator": estimator, "loss": "mse"}
    expected = second_derivative(model, [(x, y[:, None])], **options)
    close(second_derivative(model, [(x, y)], **options), expected)
    if estimator == "gradient":
        loss = (model(x)[:, 0] - y).square().sum()
        close(expected, {"0.weight": torch.autograd.grad(loss, model[0].weight)[0],
                         "2.weight": expected["2.weight"]})  # fmt: skip


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_batch_in_which_no_label_counts_adds_nothing(noise):
    x, y = tokens()
    empty = (x[:3], torch.full((3, 4), -100))
    found = second_derivative(tagger(), [(x, y), empty], noise=noise)
    close(found, second_derivative(tagger(), [(x, y)], noise=noise))


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_outputs_that_are_not_finite_name_the_layer(estimator):
    model, (x, y) = tagger(), tokens()
    with torch.no_grad():
        model.b.weight[2, 3] = float("inf")
    with pytest.raises(DataError, match=r"not finite.*first layer .* is 'b.weight'"):
        second_derivative(model, [(x, y)], estimator=estimator)


# --- evaluate and what else measures -----------------------------------------------------------


class Pixels(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, CLASSES, 1))


def pixels():
    torch.manual_seed(1)
    model, x = Pixels().eval(), torch.randn(7, 3, 6, 4)
    y = model(x).argmax(1)
    wrong = torch.rand(y.shape) < 0.3
    y[wrong] = (y[wrong] + 1) % CLASSES
    y[torch.rand(y.shape) < 0.4] = -100
    y[2] = -100
    y[5, :5] = -100
    return model, x, y


def plain(model, x, y, axis=1):
    """Accuracy and loss over the labels that count."""
    with torch.no_grad():
        outputs = model(x).double().movedim(axis, 1)
    kept = y != -100
    accuracy = (outputs.argmax(1) == y)[kept].double().mean()
    return float(accuracy), float(F.cross_entropy(outputs, y))


SPLITS = [[7], [3, 4], [1, 1, 1, 4], [2, 1, 4]]


@pytest.mark.parametrize("sizes", SPLITS)
def test_accuracy_and_loss_are_means_over_the_pixels_that_count(sizes):
    model, x, y = pixels()
    batches = list(zip(x.split(sizes), y.split(sizes), strict=True))
    accuracy, loss = plain(model, x, y)
    found = swim.evaluate(model, batches, device=EXACT, chips=2)
    assert found.accuracy.tolist() == pytest.approx([accuracy] * 2)
    assert found.loss.tolist() == pytest.approx([loss] * 2, rel=1e-5)
    assert monte_carlo.clean(model, batches) == pytest.approx((accuracy, loss), rel=1e-5)


@pytest.mark.parametrize("kind", [Tagger, Turned])
def test_accuracy_of_tokens_wherever_the_classes_are(kind):
    model, (x, y) = tagger(kind).float(), tokens(count=30)
    expected = plain(model, x, y, -1 if kind is Tagger else 1)
    found = monte_carlo.clean(model, [(x[:11], y[:11]), (x[11:], y[11:])])
    assert found == pytest.approx(expected, rel=1e-5)


def test_images_that_do_not_count_are_not_there():
    """One label an image, as classification has it, in the engine's groups of chips."""
    torch.manual_seed(2)
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(90, 8)
    y = torch.randint(0, 4, (90,))
    y[torch.rand(90) < 0.3] = -100
    kept, device = y != -100, swim.Device(sigma=0.3)
    found = swim.evaluate(model, [(x[:50], y[:50]), (x[50:], y[50:])], device=device, chips=10)
    alone = swim.evaluate(model, [(x[kept], y[kept])], device=device, chips=10)
    torch.testing.assert_close(found.accuracy, alone.accuracy)
    torch.testing.assert_close(found.loss, alone.loss, rtol=1e-5, atol=1e-6)


def test_samples_of_images_are_unbiased_where_images_have_different_numbers_of_labels():
    """Chips on 20 of 60 images against the same chips on all: the mean difference is noise.

    A correct estimate is refused with a probability below 1e-5 (4.5 standard errors, 184 chips).
    """
    torch.manual_seed(7)
    model, x = tagger().float(), torch.randint(0, 50, (60, 6))
    y = model(x).argmax(-1)
    y[torch.rand(y.shape) < 0.25] = 0
    y[torch.rand(y.shape) < torch.linspace(0, 1, 60)[:, None]] = -100
    options = {"device": swim.Device(sigma=0.3), "seed": 3}
    exact = np.array(list(itertools.islice(monte_carlo.stream(model, [(x, y)], **options), 200)))
    made = monte_carlo.stream(model, [(x, y)], images=20, **options)
    sampled = np.array(list(itertools.islice(made, 200)))
    # All 60 are fewer than a pilot chip is shown.
    assert exact[:16, 1:3] == pytest.approx(sampled[:16, 1:3], rel=1e-6)
    assert set(sampled[16:, 5]) <= {18, 19, 20, 21, 22, 23, 24}
    for column in (1, 2):
        difference = (sampled - exact)[16:, column]
        assert np.abs(difference).max() > 0
        assert abs(difference.mean()) < 4.5 * difference.std(ddof=1) / len(difference) ** 0.5


@pytest.mark.parametrize("kind", [Tagger, Turned])
def test_programmed_taggers_agree_with_plain_pytorch(kind):
    """300 chips against 300 of other noise, by hand: means differ by noise alone.

    A correct result is refused with a probability below 1e-4 (4 standard errors).
    """
    model, (x, _) = tagger(kind).float(), tokens(count=60)
    axis = -1 if kind is Tagger else 1
    y = model(x).argmax(axis)
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(8)) < 0.3] = -100
    found = swim.evaluate(model, [(x, y)], device=swim.Device(0.2, M=4, K=4), chips=300)
    rows, generator = [], torch.Generator().manual_seed(1)
    for _ in range(300):
        noisy = tagger(kind).float()
        with torch.no_grad():
            for weight in (noisy.a.weight, noisy.b.weight):
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(0.2 * weight.abs().max() * noise)
        rows.append(plain(noisy, x, y, axis))
    expected = torch.tensor(rows, dtype=torch.float64)
    for mine, theirs in zip((found.accuracy, found.loss), expected.T, strict=True):
        error = (mine.var() / 300 + theirs.var() / 300).sqrt()
        assert abs(mine.mean() - theirs.mean()) < 4 * error
    assert found.mean < 0.95


def test_perturbation_measures_the_mean_loss_of_a_label_that_counts():
    model, (x, y) = tagger(), tokens()
    for name, index, _, delta, increase, plus, *_ in perturbation.stream(
        model, [(x[:5], y[:5]), (x[5:], y[5:])], std=0.1, weights=6
    ):
        losses = []
        for change in (0, delta, -delta):
            moved = {k: v.clone() for k, v in model.named_parameters()}
            moved[name].detach().view(-1)[index] += change
            outputs = torch.func.functional_call(model, moved, (x,)).movedim(-1, 1)
            losses.append(float(F.cross_entropy(outputs, y).detach()))
        assert plus == pytest.approx(losses[1] - losses[0], rel=1e-6, abs=1e-12)
        expected = (losses[1] + losses[2]) / 2 - losses[0]
        assert increase == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_on_device_training_takes_the_mean_over_labels_that_count():
    """A step with labels that do not count is the step without them."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = torch.randn(40, 8), torch.randint(0, 4, (40,))
    y[::3] = -100
    kept, device = y != -100, swim.Device(sigma=0.2)
    runs = [
        swim.evaluate(
            model, [(x[kept], y[kept])], policy=InSitu(model, steps, 2, learning_rate=0.1),
            device=device, chips=2,
        )
        for steps in ([(x, y)], [(x[kept], y[kept])])
    ]  # fmt: skip
    torch.testing.assert_close(runs[0].loss, runs[1].loss, rtol=1e-4, atol=1e-6)
    nothing = [(x, torch.full_like(y, -100)), (x, y)]
    still = swim.evaluate(model, [(x, y)], policy=InSitu(model, nothing, 2), device=device, chips=1)
    assert still.loss.isfinite().all()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_engine_refuses_labels_that_do_not_fit(loss):
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(20, 8)
    y = torch.zeros(20, dtype=torch.long)
    refused = {
        "cross_entropy": [
            (y + 4, "label 4 is out of range"), (y - 1, "label -1 "), (y.float(), "integers below"),
            (F.one_hot(y, 4), "one-hot"), (y[:3], "20 inputs .* and 3 labels"),
            (None, "needs labels"), (y - 100, "no label counts"), (y.reshape(4, 5), "4 labels"),
        ],
        "mse": [(y, r"labels have shape \(N,\), outputs \(N, 4\)"), (None, "needs labels"),
                (torch.randn(20, 3), r"\(N, 3\)")],
    }  # fmt: skip
    for labels, message in refused[loss]:
        with pytest.raises(DataError, match=message):
            swim.evaluate(model, [(x, labels)], device=EXACT, chips=1, loss=loss)


def test_a_label_out_of_range_in_a_later_batch_is_named_too():
    model, x = nn.Sequential(nn.Linear(8, 4)), torch.randn(20, 8)
    y = torch.zeros(20, dtype=torch.long)
    later = [(x, y), (x, y + 7)]
    with pytest.raises(DataError, match="label 7 is out of range"):
        swim.evaluate(model, later, device=EXACT, chips=1)
    for estimator in registry.ESTIMATORS:
        with pytest.raises(DataError, match="label 7 is out of range"):
            second_derivative(model, later, estimator=estimator)


# --- outputs that are not finite ---------------------------------------------------------------


class Deep(nn.Module):
    """Hidden values grow; a chip whose errors make them overflow has infinite outputs."""

    def __init__(self, factor=1.0, together=True):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.factor, self.together = factor, together

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x)) * self.factor)) * self.factor
        return self.c(x) if self.together else self.c(x[:, None])[:, 0]


@pytest.mark.parametrize("together", [True, False])
def test_a_chip_that_overflows_is_named_with_its_layer(together):
    torch.manual_seed(0)
    model, x = Deep(together=together), torch.rand(50, 8)
    y = torch.zeros(50, dtype=torch.long)
    assert Network(model, [(x, y)], "cross_entropy").group == (8 if together else 1)

    class Odd:
        """Chip 5 holds a weight beyond all bounds, as no device of ours would."""

        def program(self, chip):
            weights = {name: target.clone() for name, target in chip.targets.items()}
            if chip.index == 5:
                weights["b.weight"][0, :] = 3e38
            return Programmed(weights, nwc=0.0)

    with pytest.raises(DataError, match=r"chip 5: .*not finite.*first layer .* is 'b.weight'"):
        swim.evaluate(model, [(x * 10, y)], policy=Odd(), device=EXACT, chips=8)
    before = swim.evaluate(model, [(x * 10, y)], policy=Odd(), device=EXACT, chips=5)
    assert torch.equal(before.loss, swim.evaluate(model, [(x * 10, y)], device=EXACT, chips=5).loss)
    after = swim.evaluate(model, [(x * 10, y)], policy=Odd(), device=EXACT, chips=2, first_chip=6)
    assert after.loss.isfinite().all()


class Sorting(nn.Module):
    """Runs for several chips at once, but not on long images."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        long = x.shape[-1] > 8
        x = self.a(x)
        return self.b(torch.relu(x.sort(2)[0] if long else x).mean(2))


def test_the_chip_is_named_where_chips_cannot_run_together_on_these_images():
    torch.manual_seed(0)
    model, y = Sorting(), torch.zeros(10, dtype=torch.long)
    batches = [(torch.rand(10, 1, 8), y), (torch.rand(10, 1, 9), y)]
    assert Network(model, batches, "cross_entropy").group == 8

    class Odd:
        def program(self, chip):
            weights = {name: target.clone() for name, target in chip.targets.items()}
            if chip.index == 11:
                weights["b.weight"].fill_(float("inf"))
            return Programmed(weights, nwc=0.0)

    assert len(swim.evaluate(model, batches, policy=Odd(), device=EXACT, chips=11).loss) == 11
    with pytest.raises(DataError, match=r"^chip 11: .* is 'b.weight'"):
        swim.evaluate(model, batches, policy=Odd(), device=EXACT, chips=12)


def test_an_operation_that_overflows_behind_the_last_layer_is_named():
    class Divides(nn.Sequential):
        def forward(self, x):
            return super().forward(x).abs().neg().log()

    model, y = Divides(nn.Linear(8, 4)), torch.zeros(20, dtype=torch.long)
    with pytest.raises(DataError, match=r"before it is programmed: .*not finite is log"):
        swim.evaluate(model, [(torch.randn(20, 8), y)], device=EXACT, chips=1)


@pytest.mark.parametrize("place", ["0.weight", "0.bias", "2.weight"])
def test_a_network_that_is_not_finite_itself_is_said_to_be(place):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        dict(model.named_parameters())[place].view(-1)[0] = float("nan")
    batches = [(torch.randn(20, 8), torch.zeros(20, dtype=torch.long))]
    for run in (
        lambda: swim.evaluate(model, batches, device=EXACT, chips=1),
        lambda: monte_carlo.clean(model, batches),
        lambda: next(perturbation.stream(model, batches, std=0.1)),
    ):
        with pytest.raises(DataError, match=r"^the network.* not finite"):
            run()


def test_a_weight_that_a_quantiser_would_hide_is_named():
    class Quantised(nn.Sequential):
        def forward(self, x):
            x = torch.fake_quantize_per_tensor_affine(self[0](x), 0.1, 8, 0, 15)
            return self[1](x)

    model = Quantised(nn.Linear(8, 16), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].weight[3, 3] = float("nan")
    batches = [(torch.randn(20, 8), torch.zeros(20, dtype=torch.long))]
    with pytest.raises(DataError, match=r"weight '0.weight' is not finite"):
        swim.evaluate(model, batches, device=EXACT, chips=1)


def test_only_the_first_images_are_finite():
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(20, 8)
    x[13, 2] = float("nan")
    batches = [(x, torch.zeros(20, dtype=torch.long))]
    with pytest.raises(DataError, match=r"before it is programmed: .* is '0.weight'"):
        swim.evaluate(model, batches, device=EXACT, chips=9)


def test_on_device_training_that_diverges_names_the_chip():
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(20, 8)
    batches = [(x, torch.zeros(20, dtype=torch.long))]
    x[3] = float("inf")
    policy = InSitu(model, batches, 5)
    with pytest.raises(DataError, match=r"chip 0, after 0 steps of on-device training"):
        swim.evaluate(
            model, [(x[:3], batches[0][1][:3])], policy=policy, device=swim.Device(0.2), chips=1
        )


def test_a_squared_error_that_overflows_is_no_number():
    model, x = nn.Sequential(nn.Linear(4, 1)), torch.rand(10, 4)
    with torch.no_grad():
        model[0].weight.fill_(1e30)
    with pytest.raises(DataError, match="loss of an image is not finite"):
        swim.evaluate(model, [(x, torch.zeros(10))], device=EXACT, chips=1, loss="mse")
