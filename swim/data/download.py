"""Files of others, fetched once and checked by their MD5 sums.

A download is written to ``{name}.part``; one that was interrupted goes on from there if the
server allows it (``Range``, RFC 9110, section 14) and starts over if not. The file appears under
its name when it is whole and its sum is right. Of several processes that want a file, one fetches
it and the others wait.
"""

import functools
import hashlib
import http.client
import os
import secrets
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from gzip import GzipFile
from pathlib import Path
from typing import IO

from swim.errors import DataError
from swim.runtime import locks, writing
from swim.runtime.progress_bar import meter

TRIES = 10  # per address, each of which must bring something
SECONDS = 30  # without an answer
BLOCK = 1 << 18


def obtain(path: Path, urls: Sequence[str], md5: str, *, allowed: bool, instead: str = "") -> Path:
    """See to it that a file is there and is the original.

    Args:
        path: where it is, or is put.
        urls: where it can be had, tried in turn.
        md5: of its content.
        allowed: whether it may be downloaded.
        instead: what else the user may place, for the message.

    Returns:
        ``path``.

    Raises:
        DataError: it is missing or is not the original, and was not to be had; the message says
            which file to place where.
    """
    found = _sum(path)
    if found == md5:
        return path
    if found:
        problem = f"{path} is not the original file: its MD5 sum is {found}"
    else:
        problem = f"{path} is missing"
    remedy = "Allow the download (`download: true`)"
    if allowed:
        failures = _fetch_alone(path, urls, md5)
        if not failures:
            return path
        problem = "\n".join([f"{path.name} could not be downloaded", *failures])
        kept = " (what has come so far is kept)" if _part(path).exists() else ""
        remedy = f"Try again{kept}"
    raise DataError(
        f"{problem}\n{remedy}, or place this file yourself:\n  {path}\n  with the MD5 sum {md5}, "
        f"from {' or '.join(urls)}\n{instead}".rstrip()
    )


def is_original(path: Path, md5: str) -> bool:
    """Whether a file is there and has the sum."""
    return _sum(path) == md5


def unpack(source: IO[bytes] | GzipFile, path: Path) -> None:
    """Write an open member of an archive to a file, whole or not at all."""
    with writing.atomic(path) as temporary, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)


def _sum(path: Path) -> str:
    """MD5 of a file's content; nothing if there is no file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Machines that forbid MD5 for security allow it so.
            md5 = functools.partial(hashlib.md5, usedforsecurity=False)
            return hashlib.file_digest(file, md5).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _fetch_alone(path: Path, urls: Sequence[str], md5: str) -> list[str]:
    """Download, unless another process does; what went wrong at each address, or nothing.

    Raises:
        DataError: the folder cannot be written to.
    """

    def waiting() -> None:
        print(f"{path.name}: another process fetches it; waiting", file=sys.stderr)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locks.only_one(path, waiting) as alone:
            if _sum(path) == md5:
                return []
            if alone:
                return _fetch(path, _part(path), urls, md5)
            # Without locks nobody may go on with what another one writes.
            part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            try:
                return _fetch(path, part, urls, md5)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise writing.unwritable(path, error) from error


def _fetch(path: Path, part: Path, urls: Sequence[str], md5: str) -> list[str]:
    """Download by way of ``part``; what went wrong at each address, or nothing."""
    failures = []
    for url in urls:
        failure = _fetch_from(url, part, md5)
        if not failure:
            writing.to_disk(part)
            os.replace(part, path)
            writing.to_disk(path.parent)
            return []
        failures.append(f"  {url}: {failure}")
    return failures


def _fetch_from(url: str, part: Path, md5: str) -> str:
    """What went wrong, or nothing: ``part`` is whole and right."""
    while True:
        resumed = _size(part) > 0
        try:
            _complete(url, part)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and writing.is_ours(error):
                raise
            return str(error) or type(error).__name__
        found = _sum(part)
        if found == md5:
            return ""
        part.unlink()
        if not resumed:
            return f"what came has the MD5 sum {found}"
        # Its beginning may have been another file's: once more from nothing.


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _complete(url: str, part: Path) -> None:
    """Add what is missing, over as many connections as it takes, while each brings something."""
    for _ in range(TRIES):
        before = _size(part)
        try:
            _append(url, part)
            return
        except (OSError, http.client.HTTPException) as error:
            broken = error
            if _size(part) <= before:
                break
    raise broken


def _append(url: str, part: Path) -> None:
    """Add what is missing over one connection, or start over if the server cannot go on."""
    have = _size(part)
    headers = {"User-Agent": "swim"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(  # the addresses are ours: http and https
            urllib.request.Request(url, headers=headers), timeout=SECONDS
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # nothing is missing; the sum will tell
            raise
    with answer:
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        done = have if goes_on else 0
        total = None if answer.length is None else done + answer.length
        name = part.name.removesuffix(".part")
        with part.open("ab" if goes_on else "wb") as file, meter(name, total, "B", done) as count:
            while block := answer.read(BLOCK):
                file.write(block)
                count(len(block))
    if total is not None and _size(part) < total:
        raise ConnectionError(f"the connection broke off after {_size(part):,} of {total:,} bytes")
