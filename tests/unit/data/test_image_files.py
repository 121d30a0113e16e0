"""Folders of image files: both layouts, all kinds of images, and what is wrong with some."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from swim.data import dataset, image_digest, image_files
from swim.data.prepare import prepare
from swim.errors import DataError
from swim.settings import OwnDataSet

RANDOM = np.random.default_rng(0)


def save(path, mode="RGB", size=(8, 6), **options):
    """A made-up image of a mode; what is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if len(mode) == 1 else (*size[::-1], len(mode))
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def image_folder(root, mode="RGB", test="test", size=(8, 6)):
    for split, count in (("train", 3), (test, 2)):
        for name, more in (("dog", 0), ("cat", 1), ("Emu", 0)):
            for number in range(count + more):
                save(root / split / name / f"{number}.png", mode, size)
    return root


def tiny_imagenet(root, classes=("n03", "n01", "n02"), train=4, test=2, size=(64, 64)):
    """The original layout; the first training image of each class is gray."""
    lines = []
    for number, name in enumerate(classes):
        for image in range(train):
            path = root / "train" / name / "images" / f"{name}_{image}.JPEG"
            save(path, "RGB" if image else "L", size)
        for image in range(test):
            file = f"val_{image * len(classes) + number}.JPEG"
            save(root / "val/images" / file, "RGB", size)
            lines.append(f"{file}\t{name}\t0\t3\t63\t57\n")
    (root / "val/val_annotations.txt").write_text("".join(reversed(lines)))
    (root / "wnids.txt").write_text("\n".join(classes))
    return root


def prepared(root, **settings):
    out = root.parent / "out.safetensors"
    prepare("mine", out, own=OwnDataSet(folder=str(root), **settings))
    images = dataset.DataSet(out)
    arrays = {name: tensor.numpy() for name, tensor in images._tensors.items()}
    return images, arrays


def pairs(images, labels):
    return sorted((int(y), np.ascontiguousarray(x).tobytes()) for x, y in
                  zip(images, labels, strict=True))  # fmt: skip


@pytest.mark.parametrize("test", ["test", "val"])
def test_an_image_folder_is_read_as_torchvision_reads_it(tmp_path, test):
    from torchvision.datasets import ImageFolder

    root = image_folder(tmp_path / "own", test=test)
    images, arrays = prepared(root)
    assert (images.classes, images.channels, images.augmentation) == (3, 3, "none")
    for split, place in (("train", "train"), ("test", test)):
        twin = ImageFolder(str(root / place))
        pixels = [np.asarray(image).transpose(2, 0, 1) for image, _ in twin]
        found = pairs(arrays[f"{split}_images"], arrays[f"{split}_labels"])
        assert found == pairs(pixels, twin.targets)


def test_extensions_are_torchvisions():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(image_files.EXTENSIONS) == set(IMG_EXTENSIONS)


def test_images_of_a_folder_alternate_between_classes(tmp_path):
    """So that the first 2,000 images, which fix ranges, are not of four classes only."""
    _, arrays = prepared(image_folder(tmp_path / "own"))
    assert arrays["train_labels"].tolist() == [0, 1, 2] * 3 + [1]
    assert arrays["test_labels"].tolist() == [0, 1, 2] * 2 + [1]


def test_tiny_imagenets_own_layout(tmp_path):
    root = tiny_imagenet(tmp_path / "tiny")
    images, arrays = prepared(root, augmentation="crop_flip")
    assert (images.classes, images.channels, images.augmentation) == (3, 3, "crop_flip")
    for name, label in (("n01", 0), ("n02", 1), ("n03", 2)):
        for number in range(4):
            path = root / "train" / name / "images" / f"{name}_{number}.JPEG"
            expected = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
            place = np.flatnonzero(arrays["train_labels"] == label)[number]
            np.testing.assert_array_equal(arrays["train_images"][place], expected)
    gray = arrays["train_images"][:3]
    assert (gray[:, 0] == gray[:, 1]).all()
    assert (gray[:, 0] == gray[:, 2]).all()
    expected = []
    for line in (root / "val/val_annotations.txt").read_text().splitlines():
        file, name = line.split("\t")[:2]
        pixels = np.asarray(Image.open(root / "val/images" / file)).transpose(2, 0, 1)
        expected.append((pixels, sorted(("n01", "n02", "n03")).index(name)))
    found = pairs(arrays["test_images"], arrays["test_labels"])
    assert found == pairs(*zip(*expected, strict=True))


def test_validation_images_that_someone_sorted(tmp_path):
    root = tiny_imagenet(tmp_path / "tiny")
    _, before = prepared(root)
    for line in (root / "val/val_annotations.txt").read_text().splitlines():
        file, name = line.split("\t")[:2]
        (root / "val" / name / "images").mkdir(parents=True, exist_ok=True)
        (root / "val/images" / file).rename(root / "val" / name / "images" / file)
    save(root / "test/images/test_0.JPEG", size=(64, 64))  # without labels
    _, after = prepared(root)
    for split in ("train", "test"):
        one, two = (pairs(a[f"{split}_images"], a[f"{split}_labels"]) for a in (before, after))
        assert one == two


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(["L", "1", "LA"], 1), (["L", "RGB"], 3), (["RGBA"], 3), (["P"], 3), (["CMYK"], 3)],
)
def test_gray_only_if_all_images_are(tmp_path, modes, channels):
    root = image_folder(tmp_path / "own", "L")
    suffix = "tif" if "CMYK" in modes else "png"
    paths = [save(root / f"train/dog/x{mode}.{suffix}", "RGB") for mode in modes]
    for path, mode in zip(paths, modes, strict=True):
        transparent = {"transparency": bytes(range(256))} if mode == "P" else {}
        Image.open(path).convert(mode).save(path, **transparent)
    images, arrays = prepared(root)
    assert images.channels == channels
    dogs = arrays["train_images"][arrays["train_labels"] == 2][3:]
    for found, path in zip(dogs, sorted(paths), strict=True):
        with Image.open(path) as image:
            image.load()
            expected = np.asarray(image.convert("RGBA" if image.mode == "P" else image.mode))
        if image.mode in ("P", "RGBA", "RGB"):
            np.testing.assert_array_equal(found, expected[..., :3].transpose(2, 0, 1))


def test_images_of_different_sizes_need_a_size(tmp_path):
    from torchvision.transforms import CenterCrop, Compose, Resize

    root = image_folder(tmp_path / "own")
    odd = save(root / "train/dog/9.png", size=(20, 14))
    with pytest.raises(DataError) as caught:
        prepared(root)
    for part in ("train/Emu/0.png is 8x6", "train/dog/9.png 20x14", "size: 64"):
        assert part in str(caught.value)
    _, arrays = prepared(root, size=5)
    assert arrays["train_images"].shape == (11, 3, 5, 5)
    twin = Compose([Resize(5), CenterCrop(5)])(Image.open(odd))
    np.testing.assert_array_equal(arrays["train_images"][-1], np.asarray(twin).transpose(2, 0, 1))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def deep(path):
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(path.with_suffix(".png"))
    path.unlink()


BROKEN = {
    "cut off": (cut, "n01_2.JPEG is no whole image: .*truncated"),
    "empty": (lambda path: path.write_bytes(b""), "n01_2.JPEG is no whole image"),
    "text": (lambda path: path.write_bytes(b"no image" * 9), "n01_2.JPEG is no whole image"),
    "16 bits": (deep, "n01_2.png has more than 8 bits"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named(tmp_path, name):
    spoil, match = BROKEN[name]
    root = tiny_imagenet(tmp_path / "tiny")
    spoil(root / "train/n01/images/n01_2.JPEG")
    with pytest.raises(DataError, match=match):
        prepared(root)
    assert not (tmp_path / "out.safetensors").exists()


def append(path, text):
    path.write_text(path.read_text() + text)


WRONG = {
    "no folder": (shutil.rmtree, "own: no such folder"),
    "nothing to test": (lambda r: shutil.rmtree(r / "test"), "no image for testing.*val/CLASS"),
    "nothing to train": (lambda r: shutil.rmtree(r / "train"), "no image for training"),
    "a class for testing alone": (
        lambda r: shutil.rmtree(r / "train/cat"), "no class 'cat' for training; there are Emu, dog"
    ),
    "an image in no class": (
        lambda r: save(r / "train/a.png"), "train/a.png is in no class's folder"
    ),
}  # fmt: skip

WRONG_TINY = {
    "nothing to train": (lambda r: shutil.rmtree(r / "train"), "no image for training"),
    "no annotations": (
        lambda r: (r / "val/val_annotations.txt").unlink(), "val_annotations.txt is missing"
    ),
    "an image too few": (
        lambda r: (r / "val/images/val_3.JPEG").unlink(), r"'val_3.JPEG\\tn03.*is not an image of"
    ),
    "an image too many": (
        lambda r: save(r / "val/images/val_9.JPEG"), "does not name val/images/val_9.JPEG"
    ),
    "a class too many": (
        lambda r: append(r / "val/val_annotations.txt", "val_0.JPEG\tn09\n"), r"val_0.JPEG\\tn09"
    ),
    "an image named twice": (
        lambda r: append(r / "val/val_annotations.txt", "val_0.JPEG\tn03\n"), "a second time"
    ),
    "an unlisted class": (
        lambda r: (r / "wnids.txt").write_text("n02\nn03"), "no class 'n01' for training"
    ),
    "classes that are no text": (
        lambda r: (r / "wnids.txt").write_bytes(b"\xff\xfe"), "wnids.txt: 'utf-8'"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "spoil", "match"),
    [(make, *case) for make, cases in ((image_folder, WRONG), (tiny_imagenet, WRONG_TINY))
     for case in cases.values()],
    ids=[*WRONG, *WRONG_TINY],
)  # fmt: skip
def test_an_incomplete_layout_says_what_is_wrong(tmp_path, make, spoil, match):
    root = make(tmp_path / "own")
    spoil(root)
    with pytest.raises(DataError, match=match):
        prepared(root)


def test_hidden_files_and_others_are_passed_over(tmp_path):
    root = image_folder(tmp_path / "own")
    _, before = prepared(root)
    for name in ("train/dog/._0.png", "train/.cache/0.png", "train/dog/notes.txt", ".DS_Store"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0")
    _, after = prepared(root)
    assert all((before[key] == after[key]).all() for key in before)


def test_mean_and_deviation_are_those_of_all_pixels(tmp_path):
    images, arrays = prepared(image_folder(tmp_path / "own", size=(30, 20)))
    pixels = arrays["train_images"] / 255
    np.testing.assert_allclose(images.mean, pixels.mean((0, 2, 3)), atol=5.1e-5)
    np.testing.assert_allclose(images.std, pixels.std((0, 2, 3)), atol=5.1e-5)


def test_a_fingerprint_is_of_the_contents(tmp_path):
    root, cache = image_folder(tmp_path / "own"), tmp_path / "cache.json"

    def ask():
        return image_digest.of_images(root, cache)

    first = ask()
    os.utime(root / "train/dog/0.png")
    (root / "train/notes.txt").write_text("no image")
    assert ask() == first
    cache.write_text("{")
    assert ask() == first
    copied = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy)
    assert image_digest.of_images(copied, tmp_path / "other.json") == first

    seen = {first}
    image = root / "train/dog/0.png"
    content = bytearray(image.read_bytes())
    content[-20] ^= 1
    for edit in (
        lambda: image.write_bytes(content),  # as many bytes as before
        lambda: image.rename(image.with_name("7.png")),
        lambda: save(root / "test/cat/8.png"),
        lambda: (root / "test/cat/8.png").rename(root / "test/dog/8.png"),
        lambda: (root / "test/dog/0.png").unlink(),
    ):
        edit()
        assert ask() not in seen
        seen.add(ask())


def test_a_fingerprint_of_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="own: no such folder"):
        image_digest.of_images(tmp_path / "own", tmp_path / "cache.json")
    root = image_folder(tmp_path / "own")
    (root / "train/dog/link.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"link\.png"):
        image_digest.of_images(root, tmp_path / "cache.json")


def test_a_fingerprint_reads_images_once(tmp_path, monkeypatch):
    root, cache = image_folder(tmp_path / "own"), tmp_path / "cache.json"
    first = image_digest.of_images(root, cache)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert image_digest.of_images(root, cache) == first
