"""Files of other projects, downloaded once and checked by their MD5 sums.

A download is written to ``{name}.part``. An interrupted download continues from there if the
server allows it (``Range``, RFC 9110, section 14), and otherwise starts over. The file appears
under its name when it is complete and its sum is correct. Of several processes that need a file,
one downloads it and the others wait.
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

TRIES = 10  # connections per address, each of which must receive something
SECONDS = 30  # until a connection without an answer is given up
BLOCK = 1 << 18


def obtain(path: Path, urls: Sequence[str], md5: str, *, allowed: bool, instead: str = "") -> Path:
    """Make sure that a file exists and is the original, by downloading it if necessary.

    Args:
        path: the file.
        urls: addresses of the file, tried in turn.
        md5: MD5 sum of its content.
        allowed: whether it may be downloaded.
        instead: files that the user may place instead, for the message.

    Returns:
        ``path``.

    Raises:
        DataError: the file is missing or is not the original, and could not be downloaded; the
            message says which file to place where.
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
        kept = " (the part received so far is kept)" if _part(path).exists() else ""
        remedy = f"Try again{kept}"
    raise DataError(
        f"{problem}\n{remedy}, or place this file yourself:\n  {path}\n  with the MD5 sum {md5}, "
        f"from {' or '.join(urls)}\n{instead}".rstrip()
    )


def is_original(path: Path, md5: str) -> bool:
    """Whether a file exists and has the MD5 sum."""
    return _sum(path) == md5


def unpack(source: IO[bytes] | GzipFile, path: Path) -> None:
    """Write an open member of an archive to a file, whole or not at all."""
    with writing.atomic(path) as temporary, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)


def _sum(path: Path) -> str:
    """MD5 sum of a file's content; an empty text if there is no file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Machines that forbid MD5 for security allow this use.
            md5 = functools.partial(hashlib.md5, usedforsecurity=False)
            return hashlib.file_digest(file, md5).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _fetch_alone(path: Path, urls: Sequence[str], md5: str) -> list[str]:
    """Download, unless another process does; returns the failure at each address, if any.

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
            # Without locks no process may continue a file that another process writes.
            part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            try:
                return _fetch(path, part, urls, md5)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise writing.unwritable(path, error) from error


def _fetch(path: Path, part: Path, urls: Sequence[str], md5: str) -> list[str]:
    """Download through ``part``; returns the failure at each address, if any."""
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
    """Download ``part`` and check its sum; returns the failure, or an empty text."""
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
            return f"the downloaded file has the MD5 sum {found}"
        # The kept part may be of another file: download once more from the beginning.


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _complete(url: str, part: Path) -> None:
    """Append the missing bytes, over several connections while each receives something."""
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
    """Append the missing bytes over one connection, or start over if the server cannot resume."""
    have = _size(part)
    headers = {"User-Agent": "swim"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(  # the addresses are ours: http and https
            urllib.request.Request(url, headers=headers), timeout=SECONDS
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # nothing is missing; the sum is checked next
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
        raise ConnectionError(f"the connection was closed after {_size(part):,} of {total:,} bytes")
