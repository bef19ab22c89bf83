"""Wanted columns of a csv file as numbers, or one line that says which column and line are not usable.

The rows are streamed: the hundreds of columns that nobody wants take no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

import numpy as np
import pandas as pd

from geocal_core.errors import InputError


def read_columns(opened: Callable[[], IO[bytes]], label: str, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a csv file with a header, int64 where all values are whole, else float64.

    Parameters
    ----------
    opened : callable
        Opens the file from its start, as bytes.
    label : str
        Name of the file for messages.
    columns : sequence of str
        Wanted columns; repeats are read once.

    Raises
    ------
    InputError
        If a column is missing, there is no row, a row is cut off, or a wanted value is missing or no number.
    """
    wanted = list(dict.fromkeys(columns))
    with opened() as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace").strip().replace('"', "").split(",")
    missing = [name for name in wanted if name not in header]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{label} lacks the column {missing[0]}{more}", "use the file as it was published")
    try:
        with opened() as stream:
            frame = pd.read_csv(stream, usecols=wanted, low_memory=False, encoding="utf-8-sig")[wanted]
    except ValueError as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise InputError(f"{label} cannot be read as csv ({str(error).splitlines()[0]})", "fetch the file again") from error
    if frame.empty:
        raise InputError(f"{label} holds no record", "fetch the file again")
    return pd.DataFrame({name: _numbers(frame[name], label) for name in wanted})


def _numbers(column: pd.Series, label: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64).to_numpy()
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        value = column.iloc[wrong[0]]
        shown = "no value" if pd.isna(value) else f"the value {value!r}"
        raise InputError(f"{label} has {shown} in column {column.name}, line {wrong[0] + 2}", "a number is needed there")
    return pd.Series(numbers.astype(np.int64) if (numbers == np.floor(numbers)).all() else numbers)
