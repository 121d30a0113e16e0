"""A digest of a folder of images, which is quick to compute again."""

import json
from pathlib import Path

from swim.data import image_files
from swim.errors import DataError
from swim.runtime import digests
from swim.runtime.files import write_json
from swim.runtime.finished_rows import digest_of


def of_images(folder: Path, cache: Path) -> str:
    """A digest of the names and contents of a folder's image files.

    Contents are read again only if a name, a size or a time has changed since ``cache`` was
    written. A folder that was only copied or touched has the same digest.

    Raises:
        DataError: there is no such folder, or a file in it cannot be read.
    """
    files = image_files.in_folder(folder)
    try:
        status = [(name, (folder / name).stat()) for name in files.names]
        state = digest_of(f"{name}\n{s.st_size}\n{s.st_mtime_ns}".encode() for name, s in status)
        content = _known(cache, state)
        if content is None:
            content = digest_of(
                part for name in files.names for part in (name.encode(), files.read(name))
            )
            write_json(cache, digests.sealed({"state": state, "content": content}))
        return content
    except OSError as error:
        raise DataError(f"{folder}: {error}") from error


def _known(cache: Path, state: str) -> str | None:
    try:
        stored = json.loads(cache.read_text())
        whole = digests.is_sealed(stored) and stored["state"] == state
        return str(stored["content"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # missing or damaged: it is made again
