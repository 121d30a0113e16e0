"""MNIST, CIFAR-10 and Tiny ImageNet from their original archives, downloaded or placed by hand."""

import gzip
import hashlib
import io
import pickle
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from swim.data.sources import cifar10, mnist, tinyimagenet
from swim.errors import DataError
from tests import ROOT
from tests.unit.data.test_image_files import prepared
from tests.unit.data.test_image_files import tiny_imagenet as write_tiny_imagenet
from tests.unit.data.test_prepare import idx


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(scope="module")
def digits():
    """The four archives of MNIST by name, with little in them."""
    files = {}
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 4] = np.arange(count) % 251
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(idx(images), 1)
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels), 1)
    return files


@pytest.fixture
def mnist_web(digits, server, monkeypatch):
    from torchvision.datasets import MNIST

    server.files = {f"mnist/{name}": content for name, content in digits.items()}
    monkeypatch.setattr(MNIST, "mirrors", [server.url + "down/", server.url + "mnist/"])
    resources = [(name, md5(content)) for name, content in digits.items()]
    monkeypatch.setattr(MNIST, "resources", resources)
    return server


def check_digits(arrays):
    assert arrays["train_images"].shape == (60_000, 1, 28, 28)
    assert arrays["test_images"][300, 0, 3, 4] == 300 % 251
    assert arrays["test_labels"].tolist() == [i % 10 for i in range(10_000)]


def test_mnist_is_downloaded_once_from_the_mirror_that_answers(mnist_web, tmp_path):
    mnist_web.drops = [100]
    check_digits(mnist.load(tmp_path, True))
    count = len(mnist_web.asked)
    check_digits(mnist.load(tmp_path, True))
    assert len(mnist_web.asked) == count


def test_mnist_from_archives_placed_by_hand(mnist_web, digits, tmp_path):
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    for name, content in digits.items():
        (folder / name).write_bytes(content)
    check_digits(mnist.load(tmp_path, False))
    # Unpacking was interrupted.
    unpacked = folder / "t10k-images-idx3-ubyte"
    unpacked.write_bytes(unpacked.read_bytes()[:5000])
    check_digits(mnist.load(tmp_path, False))
    # A download of torchvision's was, which has no name of its own for a part.
    unpacked.unlink()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b begun")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz is not the original"):
        mnist.load(tmp_path, False)
    check_digits(mnist.load(tmp_path, True))


@pytest.fixture
def cifar_web(server, monkeypatch):
    """An archive of CIFAR-10's layout with made-up pixels, at the address that torchvision has."""
    from torchvision.datasets import CIFAR10

    generator = np.random.default_rng(0)
    batches = {f"data_batch_{i}": 4 for i in range(1, 6)} | {"test_batch": 3}
    contents = {"batches.meta": pickle.dumps({"label_names": [str(i) for i in range(10)]})}
    for name, count in batches.items():
        pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        contents[name] = pickle.dumps({"data": pixels, "labels": list(range(count))})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    server.files["cifar.tar.gz"] = archive.getvalue()
    sums = [[name, md5(contents[name])] for name in batches]
    meta = {**CIFAR10.meta, "md5": md5(contents["batches.meta"])}
    for name, value in {
        "url": server.url + "cifar.tar.gz",
        "tgz_md5": md5(archive.getvalue()),
        "train_list": sums[:5],
        "test_list": sums[5:],
        "meta": meta,
    }.items():
        monkeypatch.setattr(CIFAR10, name, value)
    return server


def check_cifar(arrays):
    assert arrays["train_images"].shape == (20, 3, 32, 32)
    assert arrays["train_labels"].tolist() == [0, 1, 2, 3] * 5
    assert arrays["test_labels"].tolist() == [0, 1, 2]


def test_cifar_is_downloaded_once(cifar_web, tmp_path):
    cifar_web.drops = [2000]
    check_cifar(cifar10.load(tmp_path, True))
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
    check_cifar(cifar10.load(tmp_path, False))
    assert len(cifar_web.asked) == 2


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_cifar_half_unpacked_is_unpacked_again(cifar_web, tmp_path, spoil):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(cifar_web.files["cifar.tar.gz"])
    check_cifar(cifar10.load(tmp_path, False))
    spoil(tmp_path / "cifar-10-batches-py/data_batch_3")
    check_cifar(cifar10.load(tmp_path, False))
    # Without the archive too, where it may be had.
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    check_cifar(cifar10.load(tmp_path, False))
    spoil(tmp_path / "cifar-10-batches-py/test_batch")
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz is missing"):
        cifar10.load(tmp_path, False)
    check_cifar(cifar10.load(tmp_path, True))


def test_a_cifar_archive_that_is_cut_off(cifar_web, tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(cifar_web.files["cifar.tar.gz"][:3000])
    with pytest.raises(DataError, match="is not the original"):
        cifar10.load(tmp_path, False)
    check_cifar(cifar10.load(tmp_path, True))


@pytest.fixture
def tiny(server, tmp_path):
    """Tiny ImageNet with three classes: its files, its archive at an address, what to expect."""
    root = write_tiny_imagenet(tmp_path / "made" / tinyimagenet.NAME)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(root.rglob("*")):
            opened.write(path, path.relative_to(root.parent))
    server.files["tiny.zip"] = archive.getvalue()
    sum_ = md5(archive.getvalue())
    original = tinyimagenet.Original((server.url + "tiny.zip",), sum_, 3, 4, 2)
    return root, original


def same(arrays, others):
    assert set(arrays) == set(others)
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name])


def test_tiny_imagenet_is_downloaded_and_read_in_its_archive(tiny, server, tmp_path):
    files, original = tiny
    server.drops = [10_000]
    arrays = tinyimagenet.load(tmp_path / "data", True, original)
    assert arrays["train_images"].shape == (12, 3, 64, 64)
    assert arrays["test_labels"].tolist() == [0, 1, 2, 0, 1, 2]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny-imagenet-200.zip"]
    same(arrays, tinyimagenet.load(tmp_path / "data", False, original))
    assert len(server.asked) == 2
    # As the same images are where they are one's own.
    same(arrays, prepared(files)[1])


def test_tiny_imagenet_from_what_its_archive_unpacks_to(tiny, tmp_path):
    files, original = tiny
    root = tmp_path / "data"
    shutil.copytree(files, root / tinyimagenet.NAME)
    arrays = tinyimagenet.load(root, False, original)
    same(arrays, prepared(files)[1])
    # An archive that is cut off does not matter beside it.
    (root / "tiny-imagenet-200.zip").write_bytes(b"PK cut")
    same(arrays, tinyimagenet.load(root, False, original))
    next((root / tinyimagenet.NAME / "train").rglob("*.JPEG")).unlink()
    with pytest.raises(DataError, match=r"11 images for training in 3 classes, not 4 in each"):
        tinyimagenet.load(root, False, original)


def test_tiny_imagenet_that_is_not_there(tiny, tmp_path):
    _, original = tiny
    with pytest.raises(DataError) as caught:
        tinyimagenet.load(tmp_path / "data", False, original)
    for part in ("tiny-imagenet-200.zip is missing", original.md5, original.urls[0], "download",
                 str(tmp_path / "data" / tinyimagenet.NAME)):  # fmt: skip
        assert part in str(caught.value)


def test_tiny_imagenet_of_other_sizes_is_another_one(tiny, tmp_path):
    _, original = tiny
    write_tiny_imagenet(tmp_path / "data" / tinyimagenet.NAME, size=(32, 32))
    with pytest.raises(DataError, match="is 32x32 pixels, not 64x64"):
        tinyimagenet.load(tmp_path / "data", False, original)


def test_the_page_on_data_names_every_file_and_its_sum():
    from torchvision.datasets import CIFAR10, MNIST

    text = (ROOT / "docs/data.md").read_text()
    tiny = (f"{tinyimagenet.NAME}.zip", tinyimagenet.ORIGINAL.md5)
    for name, sum_ in (*MNIST.resources, (CIFAR10.filename, CIFAR10.tgz_md5), tiny):
        assert re.search(rf"{re.escape(name)}` \| `{sum_}`", text), name
    assert all(url in text for url in tinyimagenet.ORIGINAL.urls)
