"""What keeps a file from being written is named, with what to do; nothing half is left."""

import errno
import os
import resource
import subprocess
import sys
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from swim.data import download
from swim.errors import DataError
from swim.runtime import files, locks, writing
from swim.runtime.unfinished import Unfinished
from tests.unit.data.test_download import CONTENT, MD5

WRITERS = {
    "text": lambda path: files.write_text(path, "x" * 10_000),
    "table": lambda path: files.write_table(path, "x\n" * 10_000),
    "arrays": lambda path: files.save_arrays(path, {"a": np.zeros(10_000)}, {}),
    "mask": lambda path: files.save_mask(path, {"a": np.zeros(100_000, bool)}, {}),
    "training state": lambda path: Unfinished(path, "d").write({"a": torch.zeros(10_000)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_is_cut_off_by_a_limit_is_named_and_not_left(tmp_path, write):
    """A real limit of the system, of 4 KiB a file."""
    out = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DataError, match=r"out.*: cannot be written: the file is larger than"):
            write(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    # The record of a table comes before it, is small, and fits nothing that is there.
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".digest.json")]
    write(out)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk is full; free some"), (errno.EDQUOT, "quota"),
     (errno.EROFS, "read-only; choose another folder"), (errno.EIO, "reports a fault")],
)  # fmt: skip
def test_what_the_system_says_as_a_file_reaches_the_disk_is_told(
    tmp_path, monkeypatch, write, code, words
):
    def full(handle):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=f"cannot be written: .*{words}"):
            write(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_libraries_that_tell_of_a_full_disk_as_text_are_understood(tmp_path):
    with pytest.raises(DataError, match="the disk is full"), writing.atomic(tmp_path / "out"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="else"), writing.atomic(tmp_path / "out"):
        raise RuntimeError("something else")
    with pytest.raises(FileNotFoundError), writing.atomic(tmp_path / "out"):
        (tmp_path / "input").read_text()
    with pytest.raises(PermissionError), writing.atomic(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/input")


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no folder; choose another folder"):
        files.write_text(tmp_path / "file" / "out", "x")
    with pytest.raises(DataError, match="too long"):
        files.write_text(tmp_path / ("x" * 300), "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="a folder of that name"):
        files.write_text(tmp_path / "folder", "x")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(DataError, match="you may not write there"):
        files.write_text(tmp_path / "closed" / "out", "x")
    with pytest.raises(DataError, match="you may not write there"):
        download.obtain(tmp_path / "closed" / "x", ["http://127.0.0.1:9/"], "0", allowed=True)


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_before_it_is_told(
    tmp_path, monkeypatch
):
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda h: (fsync(h), done.append(os.readlink(f"/proc/self/fd/{h}")))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), done.append("renamed")))
    files.write_text(tmp_path / "out", "x")
    first, second, third = done
    assert os.path.dirname(first) == str(tmp_path)
    assert (second, third) == ("renamed", str(tmp_path))


def test_a_file_system_without_fsync_is_no_fault(tmp_path, monkeypatch):
    def none(handle):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", none)
    files.write_text(tmp_path / "out", "x")
    assert (tmp_path / "out").read_text() == "x"


def _hold(path, order, number):
    with locks.only_one(path, lambda: None) as held:
        assert held
        order.append(f"{number} in")
        order.append(f"{number} out")


@pytest.mark.long
def test_one_holds_a_lock_at_a_time_and_leaves_nothing(tmp_path):
    context = get_context("spawn")
    with context.Manager() as manager:
        order = manager.list()
        processes = [context.Process(target=_hold, args=(tmp_path / "x", order, n))
                     for n in range(4)]  # fmt: skip
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        told = list(order)
    assert [t.split()[0] for t in told[::2]] == [t.split()[0] for t in told[1::2]]
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_no_lock(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from swim.runtime import locks\n"
        "with locks.only_one(Path(sys.argv[1]), print): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "x"])
    assert len(list(tmp_path.iterdir())) == 1
    waited = []
    with locks.only_one(tmp_path / "x", lambda: waited.append(1)) as held:
        assert held
    assert not waited
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_locks", [True, False])
def test_several_processes_that_want_one_file_get_it_whole(tmp_path, server, has_locks):
    """Connections break off in the middle; one fetches, or each by a name of its own."""
    server.files["big.zip"] = CONTENT
    server.drops = [300_000, 200_000, 100_000]
    code = (
        "import errno, fcntl, sys; from pathlib import Path; from swim.data import download\n"
        + ("" if has_locks else
           "def none(*a): raise OSError(errno.ENOLCK, 'none')\nfcntl.flock = none\n")
        + "download.obtain(Path(sys.argv[1]), [sys.argv[2]], sys.argv[3], allowed=True)\n"
        "assert Path(sys.argv[1]).read_bytes()[-3:]"
    )  # fmt: skip
    command = [sys.executable, "-c", code, str(tmp_path / "big.zip"), server.url + "big.zip", MD5]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        _, text = process.communicate()
        assert process.returncode == 0, text
    assert (tmp_path / "big.zip").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == ["big.zip"]
    if has_locks:
        assert server.sent == len(CONTENT)


def test_a_full_disk_ends_a_download_with_what_to_do(tmp_path, server):
    server.files["big.zip"] = CONTENT
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"big\.zip: cannot be written: the file is larger"):
            download.obtain(tmp_path / "big.zip", [server.url + "big.zip"], MD5, allowed=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    download.obtain(tmp_path / "big.zip", [server.url + "big.zip"], MD5, allowed=True)
    assert (tmp_path / "big.zip").read_bytes() == CONTENT
