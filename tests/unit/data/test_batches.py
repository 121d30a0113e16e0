"""Batches as people have them: read, or named with the way out."""

import copy
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import swim
from swim.curvature.estimate import second_derivative
from swim.data.batches import Several, read
from swim.data.dataset import DataSet
from swim.errors import DataError, UnsupportedOperationError
from swim.evaluation import monte_carlo, perturbation
from swim.programming.in_situ import InSitu
from swim.settings import registry

EXACT = swim.Device(sigma=1e-9)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def data(count=60):
    torch.manual_seed(1)
    x = torch.randn(count, 8)
    y = network()(x).argmax(1)
    y[::7] = (y[::7] + 1) % 4
    return x, y


class Pairs(IterableDataset):
    """A data set that gives batches."""

    def __iter__(self):
        x, y = data()
        yield from zip(x.split(25), y.split(25), strict=True)


class Lazy:
    """A sequence that reads a batch when it is asked for one."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        x, y = data()
        return x[index * 20 : index * 20 + 20], y[index * 20 : index * 20 + 20]


Batch = namedtuple("Batch", "image, label")
x, y = data()
READ = {
    "numpy": lambda: [(x.numpy(), y.numpy())],
    "numpy, doubles": lambda: [(x.double().numpy(), y.numpy().astype(np.int32))],
    "numpy, backwards and read-only": lambda: [(frozen(x.numpy()[::-1]), frozen(y.numpy()[::-1]))],
    "numpy, the other order of bytes": lambda: [
        (x.numpy().astype(">f4"), y.numpy().astype(">i8"))],
    "lists of labels": lambda: [(x, y.tolist())],
    "lists": lambda: [[x[:9], y[:9]], [x[9:], y[9:]]],
    "a tuple of batches": lambda: ((x[:9], y[:9]), (x[9:], y[9:])),
    "named tuples": lambda: [Batch(x, y)],
    "an empty batch first": lambda: [(x[:0], y[:0]), (x, y)],
    "an empty batch last": lambda: [(x, y), (x[:0], y[:0])],
    "empty batches between": lambda: [(x[:5], y[:5]), (x[:0], y[:0]), (x[5:], y[5:])],
    "batches of one": lambda: list(zip(x.split(1), y.split(1), strict=True)),
    "batches of all sizes": lambda: list(zip(x.split([1, 2, 7, 50]), y.split([1, 2, 7, 50]),
                                             strict=True)),
    "a generator": lambda: (pair for pair in zip(x.split(25), y.split(25), strict=True)),
    "a DataLoader": lambda: DataLoader(TensorDataset(x, y), batch_size=16),
    "a data set of batches": Pairs,
    "a sequence without an end of its own": Lazy,
    "labels in a column": lambda: [(x, y[:, None])],
    "inputs that need gradients": lambda: [(x.clone().requires_grad_(), y)],
    "a tuple of one input": lambda: [((x,), y)],
    "a subclass of tensors": lambda: [(Image(x), y)],
    "tensors made in inference mode": lambda: [inferred()],
    "an array of which nothing is masked": lambda: [(np.ma.masked_array(x.numpy()), y)],
}  # fmt: skip


class Image(torch.Tensor):
    """As torchvision's tv_tensors: some operations keep the class, others refuse it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            raise AssertionError("a subclass reached a layer")
        return super().__torch_function__(func, types, args, kwargs or {})


def inferred():
    with torch.inference_mode():
        return x * 1, y * 1


def frozen(array):
    array.setflags(write=False)
    return array


def plain(model=None):
    with torch.no_grad():
        outputs = (model or network())(x)
    loss = nn.functional.cross_entropy(outputs, y)
    return float((outputs.argmax(1) == y).double().mean()), float(loss)


@pytest.mark.parametrize("kind", READ)
def test_batches_are_read_the_same_whatever_their_kind(kind):
    accuracy, loss = plain()
    found = swim.evaluate(network(), READ[kind](), device=EXACT, chips=2)
    assert found.accuracy.tolist() == pytest.approx([accuracy] * 2)
    assert found.loss.tolist() == pytest.approx([loss] * 2, rel=1e-5)
    expected = swim.sensitivity(network(), [(x, y)], estimator="gradient")
    scores = swim.sensitivity(network(), READ[kind](), estimator="gradient")
    for name, value in expected.items():
        torch.testing.assert_close(scores[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
@pytest.mark.parametrize("kind", ["numpy, doubles", "a generator", "a tuple of one input"])
def test_every_estimator_reads_them(estimator, kind):
    found = second_derivative(network(), READ[kind](), estimator=estimator)
    plain_batches = [(x, y)] if kind != "a generator" else [(x[:25], y[:25]), (x[25:50], y[25:50]),
                                                            (x[50:], y[50:])]  # fmt: skip
    expected = second_derivative(network(), plain_batches, estimator=estimator)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)


class Strange:
    pass


def samples():
    return [(x[i], int(y[i])) for i in range(5)]


REFUSED = {
    "no batches": (lambda: [], "batches is empty"),
    "a used generator": (lambda: iter(()), "an iterator gives its batches only once"),
    "a lone empty batch": (lambda: [(x[:0], y[:0])], "batches is empty"),
    "two empty batches": (lambda: [(x[:0], y[:0])] * 2, "batches is empty"),
    "one pair": (lambda: (x, y), r"put it into a list: \[\(inputs, labels\)\]"),
    "one pair of arrays": (lambda: [x.numpy(), y.numpy()], "put it into a list"),
    "a tensor": (lambda: x, r"batches is a tensor float32 \(60, 8\)"),
    "a batch that is a tensor": (lambda: [x, x, x], r"not a tensor float32 \(60, 8\)"),
    "a dict": (lambda: {"x": x, "y": y}, "batches is a dict with the keys x, y"),
    "dicts": (lambda: [{"image": x, "label": y}], r"keys image, label: say under which"),
    "dicts inside": (lambda: [({"image": x}, y)], r"dict with the keys image.*inputs='...'"),
    "a third entry": (lambda: [(x, y, y)], r"tuple of 3 .*\(batch\[0\], batch\[1\]\)"),
    "one entry": (lambda: DataLoader(TensorDataset(x), batch_size=8), "list of 1"),
    "a data set": (lambda: TensorDataset(x, y), "DataLoader"),
    "samples": (samples, "look like samples.*DataLoader"),
    "samples with tensors": (lambda: [(x[0], y[0])], "look like samples"),
    "samples of arrays": (lambda: [(x[0].numpy(), np.int64(1))], "look like samples"),
    "nothing to iterate over": (lambda: Strange(), "a Strange, which cannot be iterated over"),
    "None": (lambda: None, "a NoneType, which cannot"),
    "text": (lambda: "data.csv", "batches is str"),
    "lists of numbers": (lambda: [([[1.0] * 8], [1])], r"inputs are a list of 1 \(list\)"),
    "strings": (lambda: [(np.array([["a"] * 8]), np.array([1]))], "must be numbers"),
    "sparse inputs": (lambda: [(x.to_sparse(), y)], r"sparse_coo tensors.*to_dense"),
    "inputs without data": (lambda: [(x.to("meta"), y)], "on meta"),
    "a list of samples": (
        lambda: [(list(x), y)], r"8 inputs \(8,\), \(8,\), .*\.\.\. and 60 labels"),
    "masked values": (
        lambda: [(np.ma.masked_less(x.numpy(), 0), y)], r"float32 \(60, 8\), some of whose values"),
    "no labels": (lambda: [(x, None)], "this needs labels, not None"),
    "objects": (lambda: [(np.array([[None] * 8]), np.array([1]))], "must be numbers"),
    "strange inputs": (lambda: [(Strange(), y)], "must be tensors or numpy arrays, not Strange"),
    "strange labels": (lambda: [(x, Strange())], "labels must be one tensor.*Strange"),
    "two labels": (lambda: [(x, (y, y))], r"labels must be one tensor.*tuple of 2"),
    "labels in a dict": (lambda: [(x, {"label": y})], "labels must be one tensor.*keys label"),
    "fewer labels": (lambda: [(x, y[:50])], r"60 inputs \(60, 8\) and 50 labels \(50,\)"),
    "more labels": (lambda: [(x[:3], y)], "3 inputs .* and 60 labels"),
    "single numbers": (lambda: [(torch.tensor(1.0), y[:1])], "single numbers"),
    "tuple inputs of two sizes": (lambda: [((x, x[:3]), y)], r"\(60, 8\), \(3, 8\); each needs"),
    "an empty tuple": (lambda: [((), y)], "inputs are a tuple of 0"),
    "tuples in a tuple": (lambda: [((x, (x, x)), y)], r"tuple of 2 \(Tensor, tuple\)"),
    "another width": (lambda: [(x[:, :5], y)], r"does not take the inputs \(.*\(2, 5\)\)"),
    "bytes": (lambda: [(x.to(torch.uint8), y)], r"does not take the inputs \(a tensor uint8"),
    "doubles": (lambda: [(x.double(), y)], r"does not take the inputs \(a tensor float64"),
    "two inputs for a network of one": (lambda: [((x, x), y)], r"tuple of 2 tensors, as model\(\*"),
    "a later batch of another width": (
        lambda: [(x, y), (x[:, :5], y)], r"does not take the inputs \(.*5\)\)"),
    "a later batch of another kind": (lambda: [(x, y), x], "not a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named(kind):
    made, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        swim.evaluate(network(), made(), device=EXACT, chips=1)
    with pytest.raises(DataError, match=message):
        swim.sensitivity(network(), made(), estimator="gradient")
    if kind != "doubles":  # which it makes of all inputs
        with pytest.raises(DataError, match=message):
            list(perturbation.stream(network(), made(), std=0.1, weights=2))


def test_our_own_data_set_says_how_its_batches_are_had(digits):
    assert isinstance(digits, DataSet)
    with pytest.raises(DataError, match=r"a DataSet, which cannot be iterated over"):
        swim.evaluate(network(), digits, device=EXACT, chips=1)


# --- several inputs, dicts -----------------------------------------------------------------------


class Two(nn.Module):
    """Two inputs, one of them whole numbers, with a part for each."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 5)
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(5, 16), nn.Linear(16, 4)

    def forward(self, image, kind):
        return self.c(torch.relu(self.a(image) + self.b(self.table(kind))))


class Joined(Two):
    """The same with one input."""

    def forward(self, both):
        return super().forward(both[:, :8], both[:, 8].long())


def two(kind=Two):
    torch.manual_seed(5)
    return kind().eval()


k = torch.arange(60) % 9
both = torch.cat([x, k[:, None]], 1)
SEVERAL = {
    "a tuple": ([((x, k), y)], None),
    "a list": ([([x, k], y)], None),
    "numpy": ([((x.numpy(), k.numpy()), y)], None),
    "batches": ([((x[:25], k[:25]), y[:25]), ((x[25:], k[25:]), y[25:])], None),
    "a dict": ([({"kind": k, "image": x, "name": ["?"] * 60}, y)], ("image", "kind")),
    "a dict with its labels": ([{"label": y, "kind": k, "image": x}], ["image", "kind"]),
    "a dict of arrays": ([{"y": y.numpy(), "kind": k.numpy(), "image": x}], ["image", "kind"]),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_inputs_give_what_one_input_of_both_gives(kind):
    batches, inputs = SEVERAL[kind]
    device = swim.Device(sigma=0.2)
    one = swim.evaluate(two(Joined), [(both, y)], device=device, chips=9)
    found = swim.evaluate(two(), batches, device=device, chips=9, inputs=inputs)
    torch.testing.assert_close(found.accuracy, one.accuracy, rtol=0, atol=0.02)
    torch.testing.assert_close(found.loss, one.loss, rtol=1e-5, atol=1e-6)
    assert found.loss.std() > 0
    assert monte_carlo.clean(two(), batches, inputs=inputs) == pytest.approx(
        monte_carlo.clean(two(Joined), [(both, y)]), rel=1e-5
    )


@pytest.mark.parametrize("estimator", registry.ESTIMATORS)
def test_estimators_take_several_inputs(estimator):
    expected = second_derivative(two(), [((x, k), y)], estimator=estimator)
    assert set(expected) == {"a.weight", "b.weight", "c.weight"}
    batches, inputs = SEVERAL["a dict with its labels"]
    found = second_derivative(two(), batches, estimator=estimator, inputs=inputs)
    for name, value in expected.items():
        assert torch.equal(found[name], value)
    if estimator in ("gradient", "empirical_fisher"):
        model, total = two(), 0
        if estimator == "gradient":
            loss = nn.functional.cross_entropy(model(x, k), y, reduction="sum")
            total = torch.autograd.grad(loss, model.a.weight)[0]
        else:
            for i in range(60):
                loss = nn.functional.cross_entropy(model(x[i : i + 1], k[i : i + 1]), y[i : i + 1])
                total = total + torch.autograd.grad(loss, model.a.weight)[0].square()
        torch.testing.assert_close(found["a.weight"], total.double(), rtol=1e-4, atol=1e-6)


def test_what_else_measures_takes_several_inputs():
    batches, inputs = SEVERAL["a dict with its labels"]
    options = {"std": 0.1, "weights": 6}
    rows = list(perturbation.stream(two(), batches, inputs=inputs, **options))
    for row, one in zip(rows, perturbation.stream(two(), [((x, k), y)], **options), strict=True):
        assert row == one
    device = swim.Device(sigma=0.2)
    policy = InSitu(two(), batches, 2, inputs=inputs, learning_rate=0.1)
    trained = swim.evaluate(two(), batches, policy=policy, device=device, chips=2, inputs=inputs)
    plain_policy = InSitu(two(), [((x, k), y)], 2, learning_rate=0.1)
    expected = swim.evaluate(two(), [((x, k), y)], policy=plain_policy, device=device, chips=2)
    assert torch.equal(trained.loss, expected.loss)
    noisy = [
        swim.sensitivity(two(), b, inputs=i, noise=0.05) for b, i in (SEVERAL["a tuple"],
                                                                     (batches, inputs))
    ]  # fmt: skip
    assert torch.equal(noisy[0]["a.weight"], noisy[1]["a.weight"])


@pytest.mark.parametrize(
    ("batch", "inputs", "message"),
    [
        (
            ({"image": x}, y),
            "picture",
            "'picture' is missing; inputs are a dict with the keys image",
        ),
        ({"image": x, "label": y}, ("image", "kind"), "'kind' is missing"),
        ({"image": x, "answer": y}, "image", "labels must be under one of labels, label, targets"),
        ({"image": x, "label": y, "target": y}, "image", "under one of"),
        (((x, k), y), "image", "inputs are no dict but a tuple of 2"),
    ],
)
def test_keys_that_do_not_fit_are_named(batch, inputs, message):
    with pytest.raises(DataError, match=message):
        swim.evaluate(network(), [batch], device=EXACT, chips=1, inputs=inputs)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_callers_modes_change_nothing(mode):
    expected = swim.sensitivity(network(), [(x, y)])["0.weight"]
    model = network()
    with mode():
        batches = [(x * 1, y * 1)]
        assert swim.evaluate(model, batches, device=EXACT, chips=1).mean == pytest.approx(
            plain()[0]
        )
        assert torch.equal(swim.sensitivity(model, batches)["0.weight"], expected)
        policy = InSitu(model, batches, 1)
        trained = swim.evaluate(
            model, batches, policy=policy, device=swim.Device(sigma=0.2), chips=1
        )
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
        assert not torch.is_grad_enabled()
    policy = InSitu(model, [(x, y)], 1)
    outside = swim.evaluate(model, [(x, y)], policy=policy, device=swim.Device(sigma=0.2), chips=1)
    assert torch.equal(trained.loss, outside.loss)


def test_a_model_made_in_inference_mode_is_named():
    with torch.inference_mode():
        model = network()
    with pytest.raises(UnsupportedOperationError, match=r"copy\.deepcopy\(model\)"):
        swim.sensitivity(model, [(x, y)])
    found = swim.evaluate(copy.deepcopy(model), [(x, y)], device=EXACT, chips=1)
    assert found.mean == pytest.approx(plain()[0])


@pytest.mark.parametrize("form", ["inside", "whole"])
def test_inputs_names_one_key_of_a_batch_as_the_input(form):
    batch = ({"image": x, "id": k}, y) if form == "inside" else {"image": x, "target": y, "id": k}
    found = swim.evaluate(network(), [batch], device=EXACT, chips=1, inputs="image")
    assert found.mean == pytest.approx(plain()[0])
    scores = swim.sensitivity(network(), [batch], inputs="image")
    assert torch.equal(scores["0.weight"], swim.sensitivity(network(), [(x, y)])["0.weight"])


def test_samples_of_images_need_one_shape():
    model = nn.Sequential(nn.AdaptiveAvgPool1d(8), nn.Flatten(), *network())
    batches = [(torch.randn(30, 1, 8), y[:30]), (torch.randn(30, 1, 9), y[30:])]
    assert swim.evaluate(model, batches, device=EXACT, chips=2).accuracy.isfinite().all()
    made = monte_carlo.stream(model, batches, device=EXACT, images=20)
    with pytest.raises(DataError, match="different shapes"):
        [next(made) for _ in range(17)]


def test_samples_of_images_with_several_inputs():
    options = {"device": swim.Device(sigma=0.2), "images": 40}
    made = monte_carlo.stream(two(), [((x[:9], k[:9]), y[:9]), ((x[9:], k[9:]), y[9:])], **options)
    one = monte_carlo.stream(two(Joined), [(both, y)], **options)
    for _ in range(20):
        found, expected = next(made), next(one)
        assert found[:1] + found[3:] == expected[:1] + expected[3:]
        assert found[2] == pytest.approx(expected[2], rel=1e-4)


# --- models that run another one -----------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_data_parallel_names_the_module_inside(inside):
    model = nn.DataParallel(network())
    message = r"'the model' is a DataParallel.*model\.module"
    if inside:
        model = nn.Sequential(nn.DataParallel(nn.Linear(8, 8)), network())
        message = r"'0' is a DataParallel.*0\.module"
    for run in (
        lambda: swim.evaluate(model, [(x, y)], device=EXACT, chips=1),
        lambda: swim.sensitivity(model, [(x, y)]),
        lambda: next(perturbation.stream(model, [(x, y)], std=0.1)),
        lambda: InSitu(model, [(x, y)], 1),
    ):
        with pytest.raises(UnsupportedOperationError, match=message):
            run()


def test_a_compiled_model_names_the_module_inside():
    with pytest.raises(UnsupportedOperationError, match=r"OptimizedModule.*model\._orig_mod"):
        swim.evaluate(torch.compile(network()), [(x, y)], device=EXACT, chips=1)


# --- on-device training ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a generator", "a DataLoader", "numpy", "an empty batch first"])
def test_on_device_training_reads_the_same_batches(kind):
    device = swim.Device(sigma=0.2)
    runs = []
    for batches in (READ[kind](), [(a, b) for a, b in read(network(), READ[kind]())]):
        policy = InSitu(network(), batches, 5, learning_rate=0.01)
        runs.append(swim.evaluate(network(), [(x, y)], policy=policy, device=device, chips=2).loss)
    assert torch.equal(*runs)


@pytest.mark.parametrize("kind", ["a data set", "one pair", "a tensor", "a lone empty batch"])
def test_on_device_training_refuses_what_is_no_batches_at_once(kind):
    made, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        InSitu(network(), made(), 1)


def test_a_users_sequence_is_asked_batch_by_batch():
    asked = []

    class Counting(Lazy):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    policy = InSitu(network(), Counting(), 5, learning_rate=0.01)
    assert not asked
    swim.evaluate(network(), [(x, y)], policy=policy, device=swim.Device(sigma=0.2), chips=1)
    assert asked[:4] == [0, 1, 2, 0]


# --- the reader itself ----------------------------------------------------------------------------


def test_reading_twice_is_reading_once():
    once = list(read(two(), [((x, k), y), ((x[:0], k[:0]), y[:0])]))
    twice = list(read(two(), once))
    assert len(once) == len(twice) == 1
    assert isinstance(twice[0][0], Several)
    assert all(torch.equal(a, b) for a, b in zip(once[0][0].tensors, twice[0][0].tensors,
                                                 strict=True))  # fmt: skip


def test_what_was_given_is_left_as_it_was():
    arrays = x.numpy().copy(), y.numpy().copy()
    kept = copy.deepcopy(arrays)
    swim.evaluate(network(), [arrays], device=EXACT, chips=2)
    swim.sensitivity(network(), [arrays])
    assert np.array_equal(arrays[0], kept[0])
    assert np.array_equal(arrays[1], kept[1])


def test_arrays_become_tensors_of_the_networks_type():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        ((inputs, labels),) = read(network().to(dtype), [(np.ones((2, 8)), np.ones(2, "uint8"))])
        assert (inputs.dtype, labels.dtype) == (dtype, torch.uint8)
    ((inputs, _),) = read(network(), [(np.ones((2, 8), "int32"), None)])
    assert inputs.dtype == torch.int32
