"""Prepare a data set once, as one file of arrays that every later step maps into memory."""

import os
from pathlib import Path

from swim import io, registry


def prepare(
    name: str, path: str | os.PathLike[str], *, data_root: str = "data", download: bool = True
) -> None:
    """Write a data set to ``path`` as one safetensors file.

    Args:
        name: a key of ``swim.registry.DATASETS``.
        path: the file to write.
        data_root: folder in which the original files are, or are put.
        download: whether files that are missing there may be downloaded.

    Raises:
        SettingError: there is no such data set.
        DataError: its files are missing or incomplete.
    """
    source = registry.find("data set", name)
    arrays = source.load(Path(data_root), download)
    settings = {"dataset": name, "classes": source.CLASSES, "mean": source.MEAN, "std": source.STD}
    io.save_arrays(path, arrays, settings)
