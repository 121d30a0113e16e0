"""Files of different experiments are not used together; those of earlier versions are stamped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from swim.cli import cli, stamping
from swim.data.dataset import DataSet
from swim.errors import DataError
from swim.networks import checkpoint
from swim.runtime import code_digest, digests, provenance
from swim.runtime.files import (
    load_arrays,
    load_mask,
    read_packed,
    read_settings,
    read_table,
    save_arrays,
    save_mask,
)
from swim.settings import ModelSettings, layout
from tests.unit.conftest import run

FEW = ["--chips", 2, "--test-images", 40]


def refusal(*arguments):
    """What a command says to files that it refuses."""
    with pytest.raises(DataError) as caught:
        cli.main([str(a) for a in arguments], standalone_mode=False)
    return str(caught.value)


def experiment(at, digits, seed=0):
    """A data set, checkpoint, second derivatives, mask and chips of one experiment."""
    (at / "results/data").mkdir(parents=True)
    (at / "results/mine/sensitivity").mkdir(parents=True)
    arrays, settings = load_arrays(digits.path)
    for name in ("train_images", "test_images"):
        arrays[name] = arrays[name] + np.uint8(seed)
    files = {
        "data": at / "results/data/squares.safetensors",
        "model": at / "results/mine/model.safetensors",
        "second": at / "results/mine/sensitivity/recursion.safetensors",
        "mask": at / "results/mine/masks/d/swim/0.1.npz",
        "chips": at / "results/mine/chips/d/sigma-0.1/swim/0.1.csv",
        "all": at / "results/mine/chips/d/sigma-0.1/all/1.csv",
        "perturbation": at / "results/mine/perturbation/d/sigma-0.1.csv",
    }
    save_arrays(files["data"], arrays, settings)
    data, model = DataSet(files["data"]), ModelSettings(name="mlp3")
    record = {"model": model.model_dump(mode="json"), "seed": seed, "dataset": data.name}
    checkpoint.save(files["model"], checkpoint.initial(model, data, seed), data, record)
    both = ["--model", files["model"], "--data", files["data"]]
    run("sensitivity", *both, "--out", files["second"])
    run("select", "--model", files["model"], "--sensitivity", files["second"], "--out",
        files["mask"])  # fmt: skip
    run("evaluate", *both, "--mask", files["mask"], "--out", files["chips"], *FEW)
    run("evaluate", *both, "--verify", "all", "--out", files["all"], *FEW)
    run("perturb", *both, "--out", files["perturbation"], "--weights", 4, "--images", 20)
    return files


@pytest.fixture(scope="module")
def two(digits, tmp_path_factory):
    """The files of two experiments whose networks have the same shapes."""
    folder = tmp_path_factory.mktemp("two")
    return experiment(folder / "a", digits), experiment(folder / "b", digits, seed=1)


# Command, and which of its files is the other experiment's; the message names both of these.
STEPS = {
    "sensitivity": ("data", "model"),
    "select": ("model", "second"),
    "evaluate data": ("data", "model"),
    "evaluate mask": ("model", "mask"),
    "program data": ("data", "model"),
    "program second": ("model", "second"),
    "in-situ": ("data", "model"),
    "perturb": ("data", "model"),
    "where mask": ("model", "mask"),
    "where second": ("model", "second"),
    "correlate second": ("model", "second"),
    "correlate measured": ("model", "perturbation"),
}


def command(step, files, out):
    name = step.partition(" ")[0]
    flags = {
        "sensitivity": "model data",
        "select": "model second",
        "evaluate": "model data mask",
        "program": "model data second",
        "in-situ": "model data",
        "perturb": "model data",
        "where": "model second mask",
        "correlate": "model second",
    }[name].split()
    arguments = [name]
    for flag in flags:
        arguments += [f"--{'sensitivity' if flag == 'second' else flag}", files[flag]]
    if name in ("evaluate", "program", "in-situ"):
        arguments += FEW
    if name == "where":
        arguments += ["--policy", "swim_device", "--chips", 1]
    if name == "perturb":
        arguments += ["--weights", 4, "--images", 20]
    if name == "correlate":
        arguments += [files["perturbation"], "--method", "swim", "--experiment", "e", "--label",
                      "l", "--dataset", "d"]  # fmt: skip
    return [*arguments, "--out", out]


@pytest.mark.parametrize("step", STEPS)
def test_each_step_takes_files_of_one_experiment_only(two, tmp_path, step):
    """Replaced is what the step's other files were made from, or what is made from it."""
    one, other = two
    run(*command(step, one, tmp_path / "right.csv"))
    source, made = STEPS[step]
    for exchanged in (source, made):
        files = {**one, exchanged: other[exchanged]}
        if exchanged == "model" and source == "model":  # the data go with the checkpoint
            files["data"] = other["data"]
        text = refusal(*command(step, files, tmp_path / "never.csv"))
        named = [str(files[key]) for key in (source, made) if key in (source, made)]
        assert any(name in text for name in named), text
        assert "another" in text
    assert not (tmp_path / "never.csv").exists()


def summarise(files, out):
    return ["summarise", *files, "--experiment", "e", "--model", "m", "--dataset", "d", "--out",
            out]  # fmt: skip


def copy(source, target):
    """A table and its record."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    shutil.copy(digests.beside(source), digests.beside(target))
    return target


def test_tables_of_two_experiments_are_not_joined(two, tmp_path):
    one, other = two
    at = tmp_path / "chips/d/sigma-0.1"
    mine, others = copy(one["chips"], at / "swim/0.1.csv"), copy(other["all"], at / "all/1.csv")
    text = refusal(*summarise([mine, others], tmp_path / "never.csv"))
    assert "different experiments: their checkpoint differs" in text
    assert str(mine) in text
    assert str(others) in text
    for step in (
        ["cycles", tmp_path / "chips", "--experiment", "e"],
        ["budget", tmp_path / "chips"],
    ):
        assert "different experiments" in refusal(*step, "--out", tmp_path / "never.csv")
    copy(one["all"], at / "all/1.csv")
    run(*summarise([mine, others], tmp_path / "accuracy.csv"))


@pytest.mark.parametrize("place", ["d/sigma-0.1/swim/0.2", "d/sigma-0.2/swim/0.1",
                                   "d/sigma-0.1/random/0.1", "d/sigma-0.1/all/1",
                                   "d/sigma-0.1/read_first/0.1"])  # fmt: skip
def test_a_chips_file_in_another_points_place_is_refused(two, tmp_path, place):
    moved = copy(two[0]["chips"], tmp_path / f"{place}.csv")
    text = refusal(*summarise([moved], tmp_path / "never.csv"))
    assert str(moved) in text
    assert "it was made for" in text


def test_a_folder_of_a_name_of_ones_own_may_hold_any_methods_chips(two, tmp_path):
    moved = copy(two[0]["chips"], tmp_path / "d/sigma-0.1/swim at 20 epochs/0.1.csv")
    run(*summarise([moved], tmp_path / "accuracy.csv"))


@pytest.mark.parametrize("changed", [["--seed", 1], ["--test-images", 30], ["--device-K", 2]],
                         ids=str)  # fmt: skip
def test_points_of_other_settings_are_not_joined(two, tmp_path, changed):
    one = two[0]
    other = tmp_path / "d/sigma-0.1/all/1.csv"
    run("evaluate", "--model", one["model"], "--data", one["data"], "--verify", "all", "--out",
        other, *FEW, *changed)  # fmt: skip
    mine = copy(one["chips"], tmp_path / "d/sigma-0.1/swim/0.1.csv")
    assert "differs" in refusal(*summarise([mine, other], tmp_path / "never.csv"))


def unstamped(files):
    """Take the digests away, as an earlier version wrote files."""
    for path in files.values():
        if path.suffix == ".safetensors":
            record = read_settings(path)
            for key in ("digest", "arrays", "made_from"):
                record.pop(key, None)
            save_file(load_file(path), path, {"swim": json.dumps(record)})
        elif path.suffix == ".npz":
            packed, record = read_packed(path)
            for key in ("digest", "arrays", "made_from"):
                record.pop(key, None)
            with path.open("wb") as file:
                np.savez(file, **packed, **{"settings.json": np.array(json.dumps(record))})
        else:
            digests.beside(path).unlink()


@pytest.fixture
def earlier(two, tmp_path):
    """An experiment of an earlier version, and the same one of this."""
    whole = shutil.copytree(two[0]["data"].parents[2], tmp_path / "earlier")
    files = {key: whole / path.relative_to(two[0]["data"].parents[2])
             for key, path in two[0].items()}  # fmt: skip
    unstamped(files)
    return whole, files, two[0]


def test_files_of_an_earlier_version_are_refused_with_the_command_that_stamps_them(earlier):
    _, files, _ = earlier
    for key, path in files.items():
        read = {".csv": read_table, ".npz": load_mask}.get(path.suffix, load_arrays)
        with pytest.raises(DataError) as caught:
            read(path)
        assert f"swim stamp {path}" in str(caught.value), key


def test_stamped_files_are_those_that_this_version_writes(earlier):
    """Numbers and origins are the same; of tables the stamp does not know the settings."""
    whole, files, right = earlier
    contents = {key: path.read_bytes() for key, path in files.items() if path.suffix == ".csv"}
    lines = run("stamp", whole / "results").splitlines()
    assert len(lines) == len(files)
    assert all("stamped" in line for line in lines)
    for key, path in files.items():
        if path.suffix == ".csv":
            assert path.read_bytes() == contents[key]
            made, known = (read_table(p)[1]["made_from"] for p in (path, right[key]))
            assert made == {k: v for k, v in known.items() if k in ("model", "data")}
        elif path.suffix == ".npz":
            made, known = (load_mask(p) for p in (path, right[key]))
            assert made[1]["made_from"]["model"] == known[1]["made_from"]["model"]
            for name, layer in known[0].items():
                assert np.array_equal(made[0][name], layer)
        else:
            assert path.read_bytes() == right[key].read_bytes(), key
    assert all("has its digest" in line for line in run("stamp", whole).splitlines())
    run("evaluate", "--model", files["model"], "--data", files["data"], "--mask", files["mask"],
        "--out", whole / "again.csv", *FEW)  # fmt: skip
    assert (whole / "again.csv").read_bytes() == files["chips"].read_bytes()
    run(*summarise([files["chips"], files["all"]], whole / "accuracy.csv"))


def test_one_file_is_stamped_after_what_it_was_made_from(earlier):
    _, files, _ = earlier
    assert f"swim stamp {files['data'].resolve()}" in refusal("stamp", files["model"])
    run("stamp", files["data"])
    assert f"swim stamp {files['model'].resolve()}" in refusal("stamp", files["second"])
    run("stamp", files["model"])
    assert "as made from the checkpoint" in run("stamp", files["second"])


def test_what_is_damaged_is_not_stamped(two, earlier, tmp_path):
    _, files, _ = earlier
    run("stamp", files["data"], files["model"])
    text = files["chips"].read_text().splitlines(keepends=True)
    faults = {
        "there twice": [*text, text[-1]],
        "missing or out of order": [text[0], text[2]],
        "accuracy has a value": [text[0], "0,1.5,0.1,0.1,0,40\n", text[2]],
        "not a complete chips file": text[:1],
    }
    for fault, lines in faults.items():
        files["chips"].write_text("".join(lines))
        assert fault in refusal("stamp", files["chips"])
    # Damaged after it had its digest: that is no earlier version's file.
    content = bytearray(files["data"].read_bytes())
    content[-20] ^= 1
    files["data"].write_bytes(content)
    assert "is not what it was" in refusal("stamp", files["data"])
    mask = shutil.copy(two[1]["mask"], tmp_path / "other.npz")
    assert "has its digest" in run("stamp", mask)
    save_mask(files["mask"], {"layer": np.ones(3, bool)}, {"method": "swim"})
    unstamped({"mask": files["mask"]})
    assert "is of another network than" in refusal("stamp", files["mask"])
    (tmp_path / "notes.txt").write_text("no file of ours")
    assert "carry digests" in refusal("stamp", tmp_path / "notes.txt")
    assert "no such file" in refusal("stamp", tmp_path / "nothing.csv")


def test_kinds_are_stamped_in_the_order_in_which_they_are_made():
    assert stamping.KINDS.index("data set") < stamping.KINDS.index("checkpoint")
    assert stamping.KINDS.index("checkpoint") < stamping.KINDS.index("mask")


def test_a_digest_depends_on_content_alone(two, tmp_path):
    """Written again, by other code or later, a file has the same bytes."""
    for key in ("data", "model", "second"):
        arrays, record = load_arrays(two[0][key])
        save_arrays(tmp_path / key, arrays, record)
        assert (tmp_path / key).read_bytes() == two[0][key].read_bytes()
    mask, record = load_mask(two[0]["mask"])
    save_mask(tmp_path / "mask", mask, record)
    assert (tmp_path / "mask").read_bytes() == two[0]["mask"].read_bytes()
    for path in two[0].values():
        text = path.read_bytes() + (
            digests.beside(path).read_bytes() if path.suffix == ".csv" else b""
        )
        assert b"torch" not in text
        assert b"version" not in text


def test_a_table_outside_any_sigmas_folder_is_named(two, tmp_path):
    with pytest.raises(DataError, match=r"expected .*sigma-SIGMA"):
        provenance.of_one_experiment([copy(two[0]["chips"], tmp_path / "a/b.csv")])


def test_the_folder_of_a_custom_method_holds_no_other_methods_chips(two, tmp_path):
    moved = copy(two[0]["chips"], tmp_path / "d/sigma-0.1/mine/0.1.csv")
    provenance.of_one_experiment([moved])  # a folder may have a name of its own
    with pytest.raises(DataError, match="its place says method mine, but it was made for method"):
        provenance.of_one_experiment([moved], custom=["mine"])


@pytest.mark.parametrize(("path", "place"), [
    ("x/four_bit/sigma-0.3/swim/0.1.csv",
     {"device": "four_bit", "sigma": "0.3", "method": "swim", "fraction": "0.1"}),
    ("x/four_bit/sigma-0.3/clean.csv",
     {"device": "four_bit", "sigma": "0.3", "method": "clean", "fraction": ""}),
    ("x/four_bit/sigma-0.3.csv", {"device": "four_bit", "sigma": "0.3"}),
])  # fmt: skip
def test_names_of_folders_say_which_point_a_file_is(path, place):
    assert provenance.point_of(Path(path)) == place
    if "method" in place:
        assert provenance.place_of(path) == place


@pytest.mark.parametrize("path", ["x/four_bit/0.3/swim/0.1.csv", "0.1.csv"])
def test_a_file_that_lies_at_no_point_is_refused_by_name(path):
    with pytest.raises(DataError, match=f"{path}: expected .*/DEVICE/sigma-SIGMA"):
        provenance.point_of(Path(path))


def test_a_point_is_read_as_the_layout_writes_it():
    names = {"experiment": "e", "device": "d", "sigma": "0.15", "method": "m", "fraction": "0.5"}
    place = provenance.place_of(layout.CHIPS.format(**names))
    assert place == {key: names[key] for key in ("device", "sigma", "method", "fraction")}


def test_code_that_reads_points_from_paths_is_in_digests():
    assert provenance.__name__ not in code_digest.INERT
    assert not {"place_of", "point_of", "sigma_of"} & vars(layout).keys()
