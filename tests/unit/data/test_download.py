"""Downloads that break off, start over, or cannot be had."""

import hashlib

import numpy as np
import pytest

from swim.data import download
from swim.errors import DataError

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def web(server):
    server.files["big.zip"] = CONTENT
    return server


def obtain(web, folder, allowed=True, urls=None):
    urls = urls or [web.url + "big.zip"]
    return download.obtain(folder / "big.zip", urls, MD5, allowed=allowed)


def check(folder):
    """The file is there and whole, and nothing else is."""
    assert [path.name for path in folder.iterdir()] == ["big.zip"]
    assert (folder / "big.zip").read_bytes() == CONTENT


def test_a_file_is_fetched_once(web, tmp_path, capsys):
    obtain(web, tmp_path / "new")
    obtain(web, tmp_path / "new", allowed=False)
    check(tmp_path / "new")
    assert len(web.asked) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "big.zip: 1,000,000 of 1,000,000 B"


def test_a_dropped_connection_goes_on_where_it_was(web, tmp_path):
    web.drops = [300_000, 500_000]
    obtain(web, tmp_path)
    check(tmp_path)
    assert [wanted for _, wanted in web.asked] == [None, "bytes=300000-", "bytes=800000-"]
    assert web.sent == len(CONTENT)


def test_a_later_run_goes_on_where_it_was(web, tmp_path):
    web.drops = [300_000, 0]
    with pytest.raises(DataError) as caught:
        obtain(web, tmp_path)
    for part in (web.url, str(tmp_path / "big.zip"), MD5, "was closed after 300,000", "is kept"):
        assert part in str(caught.value)
    assert not (tmp_path / "big.zip").exists()
    obtain(web, tmp_path)
    check(tmp_path)
    assert web.sent == len(CONTENT)


def test_it_starts_over_where_the_server_cannot_go_on(web, tmp_path):
    web.ranges, web.drops = False, [300_000]
    obtain(web, tmp_path)
    check(tmp_path)
    assert web.sent == len(CONTENT) + 300_000


@pytest.mark.parametrize("length", [400_000, 1_000_000, 1_200_000])
def test_a_beginning_of_another_file_is_thrown_away(web, tmp_path, length):
    (tmp_path / "big.zip.part").write_bytes(bytes(length))
    obtain(web, tmp_path)
    check(tmp_path)


def test_what_was_complete_but_not_yet_in_its_place(web, tmp_path):
    (tmp_path / "big.zip.part").write_bytes(CONTENT)
    obtain(web, tmp_path)
    check(tmp_path)
    assert web.sent == 0


def test_a_wrong_file_is_not_kept(web, tmp_path):
    web.files["big.zip"] = b"<html>log in first</html>"
    with pytest.raises(DataError, match=f"{web.url}big.zip: the downloaded file has the MD5 sum"):
        obtain(web, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_replaced_if_it_may_be(web, tmp_path):
    (tmp_path / "big.zip").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"big.zip is not the original file.*\nAllow"):
        obtain(web, tmp_path, allowed=False)
    assert not web.asked
    obtain(web, tmp_path)
    check(tmp_path)


def test_addresses_are_tried_in_turn(web, tmp_path):
    web.drops = [300_000, 0]
    web.files["other"] = CONTENT
    obtain(web, tmp_path, urls=[web.url + "gone", web.url + "big.zip", web.url + "other"])
    check(tmp_path)
    assert web.asked[-1] == ("other", "bytes=300000-")


def test_without_a_network_the_message_says_what_to_place_where(web, tmp_path):
    with pytest.raises(DataError) as caught:
        obtain(web, tmp_path, urls=["http://127.0.0.1:9/x", web.url + "gone"])
    for part in ("Connection refused", "404", "place this file", str(tmp_path / "big.zip"), MD5):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"is missing\nAllow the download .*, or place"):
        obtain(web, tmp_path, allowed=False)


def test_a_download_that_never_ends_is_given_up(web, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 3)
    web.drops = [1] * 20
    with pytest.raises(DataError, match="was closed after 3 of"):
        obtain(web, tmp_path)
    assert len(web.asked) == 3
