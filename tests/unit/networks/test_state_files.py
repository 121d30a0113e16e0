"""Checkpoints as people have them: the same weights whatever is around them, or a refusal."""

import argparse
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file, save_model
from torch import nn

from swim.data.dataset import DataSet
from swim.errors import DataError
from swim.networks.import_weights import adopt
from swim.networks.state_files import states
from swim.networks.state_match import matched
from swim.networks.zoo.lenet import LeNet
from swim.runtime import files
from swim.settings import ModelSettings


class Block(nn.Module):
    """A basic block of the CIFAR ResNets: its shortcut pads channels with zeros."""

    def __init__(self, inside, width, step):
        super().__init__()
        self.step, self.more = step, width - inside
        self.conv1 = nn.Conv2d(inside, width, 3, step, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            half = self.more // 2
            x = F.pad(x[:, :, :: self.step, :: self.step], (0, 0, 0, 0, half, self.more - half))
        return F.relu(x + y)


class Net(nn.Module):
    """A ResNet of two blocks, with batch-norms of one size."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 8, 2))
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.linear(x.mean((2, 3)))


class Renamed(Net):
    """The same with other names, which the modules have in the same order; it is not run."""

    def __init__(self):
        super().__init__()
        parts = dict(self.named_children())
        self._modules.clear()
        for old, new in (("conv1", "stem"), ("bn1", "norm"), ("layer1", "one"), ("layer2", "two"),
                         ("linear", "head")):  # fmt: skip
            self._modules[new] = parts[old]
        for block in (self.one[0], self.two[0]):
            inner = dict(block.named_children())
            block._modules.clear()
            for old, new in (("conv1", "a"), ("bn1", "na"), ("conv2", "b"), ("bn2", "nb")):
                block._modules[new] = inner[old]


def net(kind=Net, seed=0):
    torch.manual_seed(seed)
    model = kind()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval()


def take(path, model=None):
    """What a file gives a network, and what is said about it."""
    lines = []
    model = model or net(seed=9)
    state = matched(model, states(Path(path)), f"{path} does not fit", lines.append)
    model.load_state_dict(state)
    return model, "\n".join(lines)


def written(folder, content, name="my.pt"):
    path = folder / name
    save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path)
    return path


def with_prefix(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def trained_with_adam():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    return model, optimizer


def lightning(state):
    return {
        "epoch": 9, "global_step": 100, "pytorch-lightning_version": "2.4.0",
        "state_dict": {
            **with_prefix("model.", state),
            "criterion.weight": torch.ones(5),
            "val_accuracy.tp": torch.tensor(3),
            "teacher.weight": torch.ones(2, 2),
        },
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(1.0),
                                                             "best_k_models": {}}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [], "hyper_parameters": argparse.Namespace(lr=0.1),
    }  # fmt: skip


def averaged(state):
    model = net(seed=4)
    model.load_state_dict(state)
    return torch.optim.swa_utils.AveragedModel(model).state_dict()


def compiled(state):
    model = net(seed=4)
    model.load_state_dict(state)
    return torch.compile(model).state_dict()


KINDS = {
    "net and acc": lambda s: {"net": s, "acc": 93.1, "epoch": 7},
    "acc as a tensor": lambda s: {"net": s, "acc": torch.tensor(93.1)},
    "state_dict": lambda s: {"state_dict": s},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.1},
    "a key of its own": lambda s: {"my weights": s, "history": [1.0, 2.0]},
    "nested": lambda s: {"checkpoint": {"best": {"model": s}}},
    "numpy's numbers beside": lambda s: {"net": s, "acc": np.float64(93.1), "n": np.int64(3),
                                         "best": np.float32(1), "ok": np.bool_(True)},
    "an array beside": lambda s: {"net": s, "curve": np.arange(5.0)},
    "arguments beside": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, out=Path("/x"))},
    "DataParallel": lambda s: nn.DataParallel(loaded(s)).state_dict(),
    "DataParallel, in a checkpoint": lambda s: {"state_dict": with_prefix("module.", s)},
    "compiled": compiled,
    "compiled, DataParallel": lambda s: with_prefix("module.", compiled(s)),
    "AveragedModel": averaged,
    "Lightning": lightning,
    "Lightning, compiled": lambda s: {"state_dict": {
        **with_prefix("model._orig_mod.", s), "loss.weight": torch.ones(5)}},
    "another prefix": lambda s: {"state_dict": with_prefix("student.net.", s)},
    "a wrapped part": lambda s: {n.replace("layer1.", "layer1.module."): v for n, v in s.items()},
    "a compiled part": lambda s: {n.replace("conv1.", "conv1._orig_mod."): v for n, v in s.items()},
    "an average that is the same": lambda s: {"model": s, "model_ema": copy.deepcopy(s)},
    "doubles": lambda s: {n: v.double() if v.is_floating_point() else v for n, v in s.items()},
    "no counters": lambda s: {n: v for n, v in s.items() if "num_batches" not in n},
    "a profiler's counters": lambda s: {**s, "conv1.total_ops": torch.zeros(1),
                                        "total_params": torch.zeros(1)},
    "an ordered dict in another order": lambda s: dict(reversed(list(s.items()))),
    "arrays of numpy": lambda s: {n: v.numpy() for n, v in s.items()},
    "parameters": lambda s: {n: nn.Parameter(v) if v.is_floating_point() else v
                             for n, v in s.items()},
}  # fmt: skip


def loaded(state):
    model = net(seed=4)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_network_from_every_kind_of_checkpoint(tmp_path, kind):
    model = net()
    found, _ = take(written(tmp_path, KINDS[kind](model.state_dict())))
    x = torch.randn(4, 3, 6, 6)
    assert torch.equal(found(x), model(x))


def test_what_is_left_out_and_where_weights_are_from_is_said(tmp_path):
    _, said = take(written(tmp_path, lightning(net().state_dict())))
    assert "weights taken from the entry 'state_dict'" in said
    assert "left out, since not under 'model.': criterion.weight, val_accuracy.tp" in said


def test_the_optimizer_beside_is_no_network(tmp_path):
    model, optimizer = trained_with_adam()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}
    found, _ = take(written(tmp_path, content))
    x = torch.randn(4, 3, 6, 6)
    assert torch.equal(found(x), model(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["my.pt", "my.safetensors"])
def test_shorter_floats_are_taken_at_their_value(tmp_path, dtype, name):
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in net().state_dict().items()}
    found, _ = take(written(tmp_path, state, name))
    assert found.linear.weight.dtype == torch.float32
    assert torch.equal(found.linear.weight, state["linear.weight"].float())


def test_numbers_that_numpy_1_and_2_wrote(tmp_path):
    """Numpy 1 knew its scalar by another module, whose name stands in the file as text."""
    content = {"net": net().state_dict(), "acc": np.float64(93.1)}
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    take(tmp_path / "old.pt")
    raw = (tmp_path / "old.pt").read_bytes()
    assert b"numpy._core.multiarray" in raw
    raw = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "old.pt").write_bytes(raw)
    take(tmp_path / "old.pt")


# --- several states, other networks --------------------------------------------------------------


def shadow(state):
    return {n: v + 0.01 if v.is_floating_point() else v for n, v in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"model": s, "ema": shadow(s)},
        lambda s: {"state_dict": s, "state_dict_ema": shadow(s)},
        lambda s: {"model": s, "ema": {"decay": 0.99, "shadow": shadow(s)}},
        lambda s: {"state_dict": {**with_prefix("model.", s),
                                  **with_prefix("ema_model.module.", shadow(s))}},
        lambda s: {**with_prefix("teacher.", shadow(s)), **with_prefix("student.", s)},
        lambda s: {"model": {n: v.half() if v.is_floating_point() else v for n, v in s.items()},
                   "ema": s},
    ],
)  # fmt: skip
def test_a_trained_state_and_its_average_are_not_chosen_between(tmp_path, content):
    with pytest.raises(DataError, match="several states that fit and differ"):
        take(written(tmp_path, content(net().state_dict())))


def in_eighths():
    return torch.quantize_per_tensor(torch.ones(5, 8), 0.125, 0, torch.qint8)


def changed(**changes):
    def change(state):
        for name, value in changes.items():
            state.pop(name.replace("__", "."), None)
            if value is not None:
                state[name.replace("__", ".")] = value() if callable(value) else value
        return state

    return change


@pytest.mark.parametrize("around", [lambda s: s, lambda s: {"net": s, "acc": 1}, lightning])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(linear__bias=None), r"missing: linear.bias \(5,\)"),
        (changed(bn1__running_mean=None), r"missing: bn1.running_mean \(4,\)"),
        (changed(fc__bias=torch.ones(5)), r"not in the network: fc.bias \(5,\)"),
        (changed(linear__weight=torch.ones(8, 5)),
         r"linear.weight: the file has \(8, 5\), the network \(5, 8\)"),
        (changed(linear__weight=torch.ones(5, 8, dtype=torch.int8)),
         "linear.weight: the file has int8, the network float32"),
        (changed(linear__weight=torch.ones(5, 8, dtype=torch.int64)), "int64"),
        (changed(linear__weight=torch.ones(5, 8).to(torch.float8_e4m3fn)), "float8_e4m3fn"),
        (changed(linear__weight=torch.ones(5, 8, dtype=torch.complex64)), "complex64"),
        (changed(linear__weight=in_eighths),
         "qint8"),
        (changed(linear__weight=lambda: torch.ones(5, 8).to_sparse()), "linear.weight"),
        (changed(bn1__running_var=torch.full((4,), float("nan"))), "bn1.running_var: not finite"),
        (changed(linear__bias=torch.full((5,), float("inf"))), "linear.bias: not finite"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*(quantize|Sparse|TypedStorage)")
def test_what_differs_is_named(tmp_path, around, change, message):
    state = change(dict(net().state_dict()))
    with pytest.raises(DataError, match=message):
        take(written(tmp_path, around(state)))


def test_a_mask_of_infinities_is_the_networks_own(tmp_path):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    model = Masked()
    found, _ = take(written(tmp_path, {"model": model.state_dict()}), Masked())
    assert torch.equal(found.mask, model.mask)


# --- shared weights ------------------------------------------------------------------------------


class Tied(nn.Module):
    """A language model whose last layer is its table of words."""

    def __init__(self, tied=True):
        super().__init__()
        self.table, self.middle = nn.Embedding(9, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 9, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.middle(self.table(tokens))))


@pytest.mark.parametrize("kept", ["table.weight", "head.weight"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_shared_weight_is_found_under_any_of_its_names(tmp_path, kept, prefix):
    torch.manual_seed(1)
    model, lost = Tied(), {"table.weight": "head.weight", "head.weight": "table.weight"}[kept]
    state = {prefix + n: v.clone() for n, v in model.state_dict().items() if n != lost}
    for name in ("my.pt", "my.safetensors"):
        found, _ = take(written(tmp_path, state, name), Tied())
        assert found.head.weight is found.table.weight
        assert torch.equal(found.head.weight, model.head.weight)


def test_names_that_safetensors_notes(tmp_path):
    torch.manual_seed(1)
    model = Tied()
    save_model(model, str(tmp_path / "my.safetensors"))
    for other in (Tied(), Tied(tied=False)):
        found, _ = take(tmp_path / "my.safetensors", other)
        assert torch.equal(found.head.weight, model.head.weight)
        assert torch.equal(found.table.weight, model.head.weight)


def test_weights_that_are_one_in_the_network_and_two_in_the_file(tmp_path):
    torch.manual_seed(1)
    state = Tied(tied=False).state_dict()
    with pytest.raises(DataError, match=r"table.weight and head.weight are one weight"):
        take(written(tmp_path, state), Tied())
    del state["head.weight"]
    with pytest.raises(DataError, match=r"missing: head\.weight"):
        take(written(tmp_path, state), Tied(tied=False))


# --- in order ------------------------------------------------------------------------------------


def test_other_names_with_the_same_ends_are_taken_in_order(tmp_path):
    """As of a foreign ResNet: DataParallel, batch-norms of one shape, names of another."""
    model = net()
    values = model.state_dict().values()
    state = dict(zip(Renamed().state_dict(), values, strict=True))
    content = {"state_dict": with_prefix("module.", state), "best_prec1": 91.7}
    found, said = take(written(tmp_path, content))
    x = torch.randn(4, 3, 6, 6)
    assert torch.equal(found(x), model(x))
    assert "taken in order: module.stem.weight as conv1.weight, module.norm.weight as bn1" in said


def test_tensors_whose_shapes_all_differ_are_taken_in_order(tmp_path):
    torch.manual_seed(1)
    model = LeNet()
    state = {f"array {i}": v for i, v in enumerate(model.state_dict().values())}
    found, _ = take(written(tmp_path, state), LeNet())
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(found(x), model(x))


def greek(state):
    """A batch-norm's names as other frameworks have them, in their order: beta before gamma."""
    made = {}
    for name, value in state.items():
        module, _, last = name.rpartition(".")
        if last == "weight" and module + ".running_var" in state:
            made[f"x.{module}.beta"] = state[f"{module}.bias"]
            made[f"x.{module}.gamma"] = value
        elif not (last == "bias" and module + ".running_var" in state):
            made[f"x.{name}"] = value
    return made


def swapped(first, second):
    """Two entries under each other's places in the order of the file."""

    def swap(state):
        names = [{first: second, second: first}.get(n, n) for n in state]
        return {f"y.{n}" if n in (first, second) else n: state[n] for n in names}

    return swap


def renamed(state, rename):
    return {rename(name): value for name, value in state.items()}


AMBIGUOUS = {
    "beta before gamma": greek,
    "numbers": lambda s: {str(i): v for i, v in enumerate(s.values())},
    "gamma and beta": lambda s: renamed(
        s, lambda n: "x." + n.replace(".weight", ".gamma").replace(".bias", ".beta")),
    "bias before weight": lambda s: {
        "x." + n.replace("bn1.bias", "bn1.w").replace("bn1.weight", "bn1.bias").replace(
            "bn1.w", "bn1.weight"): v for n, v in s.items()},
    "mean and variance swapped": lambda s: {
        f"x.{n.replace('mean', '?').replace('var', 'mean').replace('?', 'var')}": v
        for n, v in s.items()},
    "two modules for one": lambda s: renamed(
        s, lambda n: "x." + n.replace("bn2.bias", "shift.bias")),
}  # fmt: skip


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_an_order_that_may_be_wrong_is_refused_with_both_sides(tmp_path, kind):
    state = {n: v for n, v in net().state_dict().items() if "num_batches" not in n}
    content = AMBIGUOUS[kind](state)
    assert len(content) == len(state)
    with pytest.raises(DataError, match="may be swapped") as caught:
        take(written(tmp_path, content), net(Renamed, 9))
    assert "stem.weight (4, 3, 3, 3) <- " in str(caught.value)


def test_modules_in_another_order_are_seen_by_their_own_names(tmp_path):
    class Two(nn.Module):
        def __init__(self, names=("first", "second")):
            super().__init__()
            for name in names:
                setattr(self, name, nn.Linear(4, 4))

    state = with_prefix("part.", Two(("second", "first")).state_dict())
    assert next(iter(state)) == "part.second.weight"
    found, _ = take(written(tmp_path, state), Two())  # by name, whatever the order
    assert torch.equal(found.first.weight, state["part.first.weight"])
    other = {n.replace("part.", f"part{i // 2}."): v for i, (n, v) in enumerate(state.items())}
    with pytest.raises(DataError, match="may be swapped"):
        take(written(tmp_path, other), Two())


def test_names_that_agree_in_part_are_no_case_for_the_order(tmp_path):
    state = {n.replace("linear", "fc"): v for n, v in net().state_dict().items()}
    with pytest.raises(DataError) as caught:
        take(written(tmp_path, state))
    for line in ("missing: linear.weight (5, 8)", "not in the network: fc.weight (5, 8)"):
        assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 5


# --- files that are no state dict ----------------------------------------------------------------


class Own(nn.Linear):
    pass


class Evil:
    """Reading it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("content", [nn.Linear(2, 2), Own(2, 2), {"model": Own(2, 2)}])
def test_a_pickled_module_is_refused_with_the_way_out(tmp_path, content):
    with pytest.raises(DataError, match=r"pickled \S+Linear|pickled \S+Own") as caught:
        states(written(tmp_path, content))
    assert "torch.save(content.state_dict(), new_path)" in str(caught.value)


def test_no_code_of_a_file_is_run(tmp_path):
    path = written(tmp_path, {"net": net().state_dict(), "acc": Evil(tmp_path / "made")})
    with pytest.raises(DataError, match=r"pickled \S*open"):
        states(path)
    assert not (tmp_path / "made").exists()


def test_a_scripted_module_is_refused_with_the_way_out(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "my.pt"))
    with pytest.raises(DataError, match=r"scripted module.*torch.jit.load"):
        states(tmp_path / "my.pt")


def test_files_of_other_kinds_are_named(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        states(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        states(tmp_path / "none.pt")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="neither safetensors nor a state dict"):
        states(tmp_path / "list.pkl")
    for content in ([torch.ones(2)], {"shadow_params": [torch.ones(2)]}, {1: torch.ones(2)}):
        with pytest.raises(DataError, match="holds no state dict"):
            states(written(tmp_path, content))
    (tmp_path / "half.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    with pytest.raises(DataError, match=r"half.safetensors: neither"):
        states(tmp_path / "half.safetensors")


# --- through adopt, with images ------------------------------------------------------------------


def squares(tmp_path, **changes):
    generator = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = generator.integers(0, 255, (60, 1, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(60) % 10
    settings = {"dataset": "squares", "classes": 10, "mean": [0.1], "std": [0.3],
                "augmentation": "none", **changes}  # fmt: skip
    files.save_arrays(tmp_path / "data", arrays, settings)
    return DataSet(tmp_path / "data")


def test_a_network_whose_outputs_are_not_finite_is_not_adopted(tmp_path):
    torch.manual_seed(1)
    state = LeNet().state_dict()
    state["conv2.weight"].fill_(3e38)
    path = written(tmp_path, {"net": state})
    with pytest.raises(
        DataError, match=r"my.pt: on images of squares .*not finite.*'conv2.weight'"
    ):
        adopt(path, ModelSettings(), squares(tmp_path), calibration_images=50)


@pytest.mark.parametrize("kind", ["net and acc", "DataParallel, in a checkpoint", "Lightning"])
def test_adopt_reads_checkpoints_of_training_code(tmp_path, kind):
    torch.manual_seed(1)
    model = LeNet()
    path = written(tmp_path, KINDS[kind](model.state_dict()))
    lines = []
    found = adopt(path, ModelSettings(), squares(tmp_path), calibration_images=50,
                  report=lines.append)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters(),
                                                 strict=True))  # fmt: skip
    assert lines[-1].startswith("accuracy on 50 training images")
