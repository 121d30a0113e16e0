import os
import subprocess
import sys

import numpy as np
import pytest

from swim.errors import DataError
from swim.runtime import files, rng

ARRAYS = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1, 2])}


def fail_midway(path):
    with files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(RuntimeError):
        fail_midway(path)
    assert not list(path.parent.iterdir())
    files.write_text(path, "old")
    with pytest.raises(RuntimeError):
        fail_midway(path)
    assert [p.read_text() for p in path.parent.iterdir()] == ["old"]


def test_temporary_names_differ(tmp_path):
    with files.atomic(tmp_path / "x.png") as one, files.atomic(tmp_path / "x.png") as other:
        assert one != other
        assert one.suffix == ".png"
        one.write_text("1")
        other.write_text("2")
    assert os.listdir(tmp_path) == ["x.png"]


def test_what_a_killed_process_left_is_swept_away_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "half.csv"
    code = (
        "import os, sys; from swim.runtime import files\n"
        "with files.atomic(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    for _ in range(2):  # the second sweeps what the first left
        subprocess.run([sys.executable, "-c", code, path])
        assert len(os.listdir(tmp_path)) == 1
    with files.atomic(path) as living:
        living.write_text("first")
        files.write_text(path, "second")
        assert sorted(os.listdir(tmp_path)) == sorted([living.name, "half.csv"])
    assert os.listdir(tmp_path) == ["half.csv"]
    assert path.read_text() == "first"


def test_arrays_come_back_in_order_with_their_settings(tmp_path):
    path = tmp_path / "a.safetensors"
    files.save_arrays(path, ARRAYS, {"seed": 3})
    arrays, settings = files.load_arrays(path)
    assert list(arrays) == ["b.weight", "a"]
    np.testing.assert_array_equal(arrays["b.weight"], ARRAYS["b.weight"])
    assert settings["seed"] == 3
    tensors, _ = files.load_tensors(path)
    assert tensors["b.weight"].tolist() == ARRAYS["b.weight"].tolist()


def test_equal_content_gives_equal_bytes(tmp_path):
    names = [tmp_path / f"{i}" for i in range(2)]
    for name, settings in zip(names, ({"a": 1, "b": 2}, {"b": 2, "a": 1}), strict=True):
        files.save_arrays(name, ARRAYS, settings)
    assert names[0].read_bytes() == names[1].read_bytes()
    mask = {"w": np.array([[True, False, True]])}
    for name in names:
        files.save_mask(name, mask, {})
    assert names[0].read_bytes() == names[1].read_bytes()


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (3, 5, 2), (0,)])
def test_saved_mask_loads_to_the_same_values(tmp_path, shape):
    mask = {"x.weight": np.random.default_rng(0).random(shape) < 0.5, "y": np.ones(3, bool)}
    files.save_mask(tmp_path / "m.npz", mask, {"method": "swim"})
    found, settings = files.load_mask(tmp_path / "m.npz")
    assert list(found) == list(mask)
    assert settings["method"] == "swim"
    for name in mask:
        assert found[name].dtype == bool
        np.testing.assert_array_equal(found[name], mask[name])


def test_masks_are_packed_bits(tmp_path):
    files.save_mask(tmp_path / "m.npz", {"w": np.zeros(80_000, bool)}, {})
    assert (tmp_path / "m.npz").stat().st_size < 11_500


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_cut_off_files_are_named(tmp_path, keep):
    tensors, mask = tmp_path / "a.safetensors", tmp_path / "m.npz"
    files.save_arrays(tensors, ARRAYS, {})
    files.save_mask(mask, {"w": np.ones(9, bool)}, {})
    for path, read in (
        (tensors, files.load_arrays),
        (tensors, files.load_tensors),
        (mask, files.load_mask),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=path.name):
            read(path)
        path.write_bytes(whole)


def test_missing_and_foreign_files_are_named(tmp_path):
    from safetensors.numpy import save_file

    for read in (files.load_arrays, files.load_mask):
        with pytest.raises(DataError, match="no such file"):
            read(tmp_path / "nothing")
    save_file({"w": np.ones(2)}, tmp_path / "foreign")
    with pytest.raises(DataError, match="no SWIM settings"):
        files.load_arrays(tmp_path / "foreign")


def test_random_generators_differ_by_every_part_of_their_key():
    def draw(*key):
        return rng.normals(rng.generator(*key), 4).tolist()

    assert draw(0, "chip", 1, "a") == draw(0, "chip", 1, "a")
    different = [(0, "chip", 1, "a"), (1, "chip", 1, "a"), (0, "chip", 2, "a"), (0, "chip", 1, "b"),
                 (0, "chip", 1), (0, "chip", "1", "a")]  # fmt: skip
    assert len({tuple(draw(*key)) for key in different}) == len(different)


def test_streams_stay_what_they_were():
    """The draws are part of every published result: these numbers must never change."""
    found = rng.normals(rng.generator(0, "chip", 0, "conv1.weight"), 3)
    expected = np.float32([0.1694767326, 0.3043444455, 0.7359594107])
    np.testing.assert_array_equal(found, expected)


def test_tensors_are_as_readable_as_any_new_file(tmp_path):
    files.save_arrays(tmp_path / "a.safetensors", {"a": np.ones(2)}, {})
    files.write_text(tmp_path / "b.txt", "b")
    modes = [(tmp_path / name).stat().st_mode for name in ("a.safetensors", "b.txt")]
    assert modes[0] == modes[1]
