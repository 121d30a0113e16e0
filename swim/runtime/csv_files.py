"""CSV files of ours, read by pandas."""

import os
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pandas as pd

from swim.errors import DataError
from swim.runtime import files


def read_table(
    path: str | os.PathLike[str], columns: Iterable[str] = (), **options: Any
) -> pd.DataFrame:
    """A CSV file of ours that has these columns, read by pandas with these options.

    Raises:
        DataError: the file is missing, damaged, without a digest, or lacks a column.
    """
    content, _ = files.read_table(path)
    table = parsed(path, content, **options)
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}")
    return table


def parsed(path: str | os.PathLike[str], content: bytes, **options: Any) -> pd.DataFrame:
    """A table's bytes as pandas reads them.

    Raises:
        DataError: they are no table.
    """
    try:
        result: pd.DataFrame = pd.read_csv(BytesIO(content), **options)
        return result
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again") from error
