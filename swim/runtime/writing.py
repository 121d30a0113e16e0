"""Files that appear whole or not at all, and stay; or an error that says what to do."""

import contextlib
import errno
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from swim.errors import DataError, SwimError

# Told apart on a file system that machines share; only letters that a pattern takes literally.
_HOST = re.sub(r"\W", "_", socket.gethostname())


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block succeeds.

    The temporary name is unique per process, and keeps the suffix, from which some writers
    take the format. What killed processes of this machine left under such names is removed.
    """
    target = Path(path)
    temporary = target.with_name(
        f".{target.stem}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        yield temporary
        to_disk(temporary)
        os.replace(temporary, target)
        to_disk(target.parent)
    except Exception as error:
        # Writers of libraries pass on what the system said as text, if at all.
        reason = error if isinstance(error, OSError) else _said_by_system(error)
        if reason is None or not is_ours(reason) or _elsewhere(reason, target):
            raise
        raise unwritable(target, reason) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


# What keeps a file from being written, and what to do.
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your quota of the disk is used up; free some space",
    errno.EFBIG: "the file is larger than this file system or this process may have",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "you may not write there; choose another folder, or change its permissions",
    errno.EPERM: "you may not write there; choose another folder, or change its permissions",
    errno.ENOTDIR: "a part of its path is a file, no folder; choose another folder",
    errno.EISDIR: "there is a folder of that name; choose another name",
    errno.EEXIST: "a part of its path is a file, no folder; choose another folder",
    errno.ENAMETOOLONG: "its name is too long; choose another",
    errno.EIO: "the disk reports a fault",
    errno.ESTALE: "the network's file system has lost the folder; run this again",
}


def is_ours(reason: OSError) -> bool:
    """Whether it is a fault of a disk or a folder, which the user can do something about."""
    return reason.errno in _REMEDIES


def unwritable(path: str | os.PathLike[str], reason: OSError) -> DataError:
    """The error for a file that the system does not let us write."""
    remedy = _REMEDIES.get(reason.errno or 0, "")
    return DataError(f"{path}: cannot be written: {remedy or reason.strerror or reason}")


def _elsewhere(reason: OSError, target: Path) -> bool:
    """Whether an error is of another file, which is read to write this one."""
    if not isinstance(reason.filename, str | os.PathLike):
        return False
    named = Path(reason.filename)
    return named.parent != target.parent and named not in target.parents


def _said_by_system(error: Exception) -> OSError | None:
    text = "" if isinstance(error, SwimError) else str(error)
    for number in _REMEDIES:
        if os.strerror(number) in text:
            return OSError(number, os.strerror(number))
    return None


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have none
            raise
    finally:
        os.close(handle)


def _sweep(target: Path) -> None:
    """Remove the temporary files of this machine's ended processes."""
    name = re.compile(
        rf"\.{re.escape(target.stem)}\.{_HOST}-(\d+)-[0-9a-f]{{8}}{re.escape(target.suffix)}"
    )
    for path in target.parent.glob(".*"):
        found = name.fullmatch(path.name)
        if found and not _runs(int(found[1])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
