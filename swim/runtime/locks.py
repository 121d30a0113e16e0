"""One process at a time: what several may begin at once, and only one should do."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What file systems say that have no locks.
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@contextmanager
def only_one(path: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock of a file, ``.{name}.lock`` beside it; a killed process holds it no longer.

    Args:
        path: what the lock is for; its folder is there.
        waiting: called once if another process has the lock.

    Yields:
        Whether it is held; False where the file system has no locks.

    Raises:
        OSError: the lock's file cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle, locked = _taken(lock, waiting)
    try:
        yield locked
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _taken(lock: Path, waiting: Callable[[], None]) -> tuple[int, bool]:
    """An open file that is the lock's, and whether it is held."""
    while True:
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it has removed the file: then this is a lock that nobody else will see.
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(handle)):
                return handle, True
        except OSError as error:
            if error.errno in _NONE:
                return handle, False
            if error.errno != errno.ENOENT:  # removed between two looks
                os.close(handle)
                raise
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
