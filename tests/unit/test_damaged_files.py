"""Damaged files of every kind that a later step reads: refused, or read to the same values.

``SWIM_FLIPS`` is the number of single-bit flips of each file, 25 without it.
"""

import json
import os
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from swim.cli.inputs import curvature_of
from swim.cli.mask_file import mask_of
from swim.cli.weights_file import weights_of
from swim.data import image_digest, level_table
from swim.data.dataset import DataSet
from swim.data.sources import folder as image_folder
from swim.data.sources import npz
from swim.errors import DataError, SwimError
from swim.networks import checkpoint, quantisation
from swim.networks.integer_weights import pack
from swim.reports import accuracy_tables, cycles_to_accuracy
from swim.reports.correlation import MEASURED, measured
from swim.runtime import digests, files
from swim.runtime.digests import beside
from swim.runtime.finished_rows import Progress
from swim.runtime.unfinished import Unfinished
from swim.settings import ModelSettings, OwnDataSet

FLIPS = int(os.environ.get("SWIM_FLIPS", "25"))
CHIPS = ("chip", "accuracy", "loss", "nwc", "reads", "images")
ROWS = [(n, 0.9 + n / 100, 1.25, 0.1, 1.5, 100) for n in range(8)]
ORIGIN = {"made_from": {"model": "0" * 32, "data": "1" * 32}}


def data_at(path):
    data = DataSet(path)
    splits = [(s, data.inputs(s, slice(None)).numpy(), data.labels(s).numpy())
              for s in ("train", "test")]  # fmt: skip
    return data.name, data.classes, data.mean, data.std, data.augmentation, splits


def network_at(path):
    model, settings = checkpoint.load(path)
    return [(k, v.numpy()) for k, v in model.state_dict().items()], settings


def table_of(read):
    return lambda path: read(path).to_csv()


def write_data(path, digits):
    arrays, settings = files.load_arrays(digits.path)
    files.save_arrays(path, {name: array[:40] for name, array in arrays.items()}, settings)


def write_model(path, digits):
    settings = ModelSettings(name="mlp3", weight_bits=4)
    model = checkpoint.initial(settings, digits, 0)
    checkpoint.save(path, model, digits, {"model": settings.model_dump(mode="json"), "seed": 0})


def write_exported(path, digits):
    settings = ModelSettings(name="mlp3", weight_bits=4)
    model = checkpoint.initial(settings, digits, 0)
    quantisation.quantise(model, settings)
    quantisation.deploy(model)
    record = {"model": settings.model_dump(mode="json"), "seed": 0}
    checkpoint.save(path, model, digits, record)
    arrays, record = files.load_arrays(path)
    packed, integers = pack(arrays, record)
    assert len(integers) == 3
    files.save_arrays(path, packed, {**record, "integers": integers})


def exported_at(path):
    return network_at(path), list(weights_of(path).layers.items())


def write_scores(path, digits):
    write_model(path.with_name("model"), digits)
    weights = weights_of(path.with_name("model"))
    record = {"estimator": "recursion", "made_from": {"model": weights.record["digest"]}}
    files.save_arrays(path, {n: np.abs(w) for n, w in weights.layers.items()}, record)


def scores_at(path):
    return curvature_of(path, weights_of(path.with_name("model")))


def write_mask(path, digits):
    write_model(path.with_name("model"), digits)
    weights = weights_of(path.with_name("model"))
    record = {"method": "magnitude", "made_from": {"model": weights.record["digest"]}}
    files.save_mask(path, {n: w > 0 for n, w in weights.layers.items()}, record)


def mask_at(path):
    weights = weights_of(path.with_name("model"))
    return mask_of(path, weights.path, weights.record["digest"], weights.shapes)


def write_chips(path, digits):
    files.write_rows(path, CHIPS, ROWS, ORIGIN)


def chips_at(path):
    return accuracy_tables.read_chips(path).to_csv(), json.dumps(
        files.read_record(path), sort_keys=True
    )


def write_accuracy(path, digits):
    columns = accuracy_tables.COLUMNS
    frame = pd.DataFrame([["a"] * 8 + [0.5] * (len(columns) - 8)], columns=columns)
    files.write_table(path, frame.to_csv(index=False), ORIGIN)


def write_cycles(path, digits):
    frame = pd.DataFrame(
        [["e", "0.1", "1", "swim", *[0.1] * 17]], columns=cycles_to_accuracy.COLUMNS
    )
    files.write_table(path, frame.to_csv(index=False))


def write_where(path, digits):
    frame = pd.DataFrame([["swim", "fc", n, 100, 0.25, 2.5] for n in range(4)],
                         columns=accuracy_tables.WHERE)  # fmt: skip
    files.write_table(path, frame.to_csv(index=False), ORIGIN)


LAYERS = {"fc": np.arange(12.0)}


def write_perturbation(path, digits):
    rows = [("fc", n, float(n), 0.1, n / 7, 0.3, 0.4, 0.0) for n in range(12)]
    files.write_rows(path, MEASURED, rows, ORIGIN)


def perturbation_at(path):
    return measured([path], LAYERS, {"own": LAYERS}).to_csv()


def write_progress(path, digits):
    progress = Progress(path.with_name("x.csv"), "same")
    for row in ROWS:
        progress.add(row)
    progress.save()


def progress_at(path):
    return Progress(path.with_name("x.csv"), "same").rows


STATE = {"step": 3, "weights": {"a": torch.arange(40.0)}, "rows": [(1, 0.5)]}


def write_unfinished(path, digits):
    Unfinished(path.with_name("x.safetensors"), "same").write(STATE)


def unfinished_at(path):
    found = Unfinished(path.with_name("x.safetensors"), "same").read()
    return found and (found["step"], found["weights"]["a"].numpy(), found["rows"])


def write_images(path, digits):
    folder = path.with_name("images")
    for split in ("train", "test"):
        (folder / split / "a").mkdir(parents=True)
        pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
        Image.fromarray(pixels).save(folder / split / "a" / "1.png")
    image_digest.of_images(folder, path)


def images_at(path):
    return image_digest.of_images(path.with_name("images"), path)


def write_trained(path, digits):
    write_own(path, digits)
    digests.write_beside(path)


def write_own(path, digits):
    torch.save({"fc.weight": torch.arange(120.0).view(10, 12), "fc.bias": torch.ones(10)}, path)


def trained_at(path):
    digests.require_intact(path)
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # as swim.networks.import_weights does
        raise DataError(str(path)) from error
    return [(name, value.numpy()) for name, value in state.items()]


# Kind -> (name, how it is written, how a step reads it).
KINDS = {
    "data set": ("data.safetensors", write_data, data_at),
    "checkpoint": ("model.safetensors", write_model, network_at),
    "exported checkpoint": ("kept.safetensors", write_exported, exported_at),
    "scores": ("scores.safetensors", write_scores, scores_at),
    "mask": ("mask.npz", write_mask, mask_at),
    "chips": ("d/sigma-0.3/swim/0.1.csv", write_chips, chips_at),
    "accuracy": ("accuracy.csv", write_accuracy, table_of(accuracy_tables.read_accuracy)),
    "cycles": ("cycles.csv", write_cycles, table_of(cycles_to_accuracy.read)),
    "where": ("d/sigma-0.3/0.1.csv", write_where, table_of(accuracy_tables.read_where)),
    "perturbation": ("d/sigma-0.3.csv", write_perturbation, perturbation_at),
    "progress": (".x.progress.json", write_progress, progress_at),
    "training state": (".x.unfinished.pt", write_unfinished, unfinished_at),
    "trained network": ("saved_B_own.pt", write_trained, trained_at),
    "a user's own": ("own.pt", write_own, trained_at),
    "digest of images": (".images.json", write_images, images_at),
}
TABLES = ("chips", "accuracy", "cycles", "where", "perturbation")


@pytest.fixture(params=[*KINDS, *(f"{kind}, beside" for kind in (*TABLES, "trained network"))])
def case(request, digits, tmp_path):
    """A file, what reads it, and whether what is read is right."""
    kind, _, record = request.param.partition(", ")
    name, write, read = KINDS[kind]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, digits)
    right = read(path)
    assert right

    def check(what):
        try:
            found = read(path)
        except SwimError as error:
            assert str(path) in str(error), what  # noqa: PT017
            return "refused"
        if kind == "progress":  # rows that are lost are made again
            assert found == right[: len(found)], what
            return "read" if len(found) == len(right) else "refused"
        if kind == "training state" and found is None:  # training starts over
            return "refused"
        assert pickle.dumps(found) == pickle.dumps(right), what
        return "read"

    assert check("as it was written") == "read"
    return beside(path) if record else path, check


def test_flipped_bits(case):
    path, check = case
    whole, generator = path.read_bytes(), random.Random(0)
    outcomes = []
    for _ in range(FLIPS):
        place, bit = generator.randrange(len(whole)), generator.randrange(8)
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        outcomes.append(check(f"bit {bit} of byte {place} of {path}"))
    path.write_bytes(whole)
    assert check("as it was") == "read"
    print(f"{path.name}: {outcomes.count('refused')} of {FLIPS} refused")


def test_cut_off_and_longer_files(case):
    path, check = case
    whole, generator = path.read_bytes(), random.Random(0)
    lengths = {0, 1, 8, 9, len(whole) - 1, *(generator.randrange(len(whole)) for _ in range(12))}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        check(f"the first {length} bytes of {path}")
    for more in (b"\0", b"\n", b"0,0.5,1,0,0,100\n", whole):
        path.write_bytes(whole + more)
        check(f"{path} and {more[:20]!r}")
    path.write_bytes(generator.randbytes(len(whole)))
    check(f"noise in {path}")


def test_repeated_lost_and_exchanged_lines(case):
    path, check = case
    lines = path.read_bytes().splitlines(keepends=True)
    generator = random.Random(0)
    for _ in range(12):
        changed = list(lines)
        one, other = generator.randrange(len(lines)), generator.randrange(len(lines))
        match generator.randrange(3):
            case 0:
                changed.insert(other, lines[one])
            case 1:
                del changed[one]
            case 2:
                changed[one], changed[other] = lines[other], lines[one]
        path.write_bytes(b"".join(changed))
        check(f"lines of {path}")


def test_a_repeated_row_of_progress_is_not_taken_twice(tmp_path):
    write_progress(tmp_path / "x", None)
    path = tmp_path / ".x.progress.json"
    content = json.loads(path.read_text())
    for key in ("rows", "sums"):
        content[key].insert(3, content[key][2])
    path.write_text(json.dumps(content))
    assert progress_at(path) == [list(row) for row in ROWS[:3]]


LEVELS = "level,sigma\n0,0.01\n0.333,0.1\n0.667,0.2\n1,0.05\n"


@pytest.mark.parametrize("kind", ["levels", "npz", "png", "jpeg"])
def test_the_users_own_damaged_files_end_in_no_error_of_a_library(tmp_path, kind):
    """They carry no digest, so values may change; what cannot be read is named."""
    path, read = tmp_path / "file", None
    if kind == "levels":
        path.write_text(LEVELS)
        read = level_table.read
    elif kind == "npz":
        split = {"x": np.zeros((6, 8, 8), np.uint8), "y": np.arange(6) % 3}
        arrays = {f"{k}_{s}": v for s in ("train", "test") for k, v in split.items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)
        read = lambda path: npz.load(OwnDataSet(file=str(path)))  # noqa: E731
    else:
        for split in ("train", "test"):
            (tmp_path / "images" / split / "a").mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / "a" / "1.bmp")
        path = tmp_path / "images/train/a" / f"2.{kind}"
        Image.fromarray(pixels).save(path)
        read = lambda _: image_folder.load(OwnDataSet(folder=str(tmp_path / "images")))  # noqa: E731
    whole, generator = path.read_bytes(), random.Random(0)
    read(path)
    for _ in range(8 * FLIPS):
        changed = bytearray(whole)
        if generator.random() < 0.5:
            changed[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        else:
            changed = changed[: generator.randrange(len(whole))]
        path.write_bytes(changed)
        try:
            read(path)
        except SwimError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017


def test_bytes_that_no_csv_has_are_named(tmp_path):
    path = tmp_path / "levels.csv"
    for text in ("level,sigma\n0,\x000.1\n1,0.1\n", "level,sigma\n0,0_1\n1,0.1\n",
                 "level,sigma\n0," + "1" * 200_000 + "\n1,0.1\n", "", "\n\n"):  # fmt: skip
        path.write_text(text)
        with pytest.raises(SwimError, match=r"levels\.csv"):
            level_table.read(path)
