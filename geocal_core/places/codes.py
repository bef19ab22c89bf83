"""Codes of blocks as numbers and as bytes: 15 digits, of which the first 2, 5 and 11 are the state, the county and the tract.

Six million blocks are compared as numbers, not as text; nothing here knows what a code stands for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from geocal_core.errors import InputError

BLOCK_DIGITS = 15
TRACT_DIGITS = 11
COUNTY_DIGITS = 5
STATE_DIGITS = 2


def as_bytes(texts: pd.Series[str] | pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Codes of blocks as an array of ``S15``.

    Raises
    ------
    InputError
        If one is not of 15 characters.
    """
    array = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    try:
        fixed = array.cast(pa.binary()).cast(pa.binary(BLOCK_DIGITS))
    except pa.ArrowInvalid as error:
        raise InputError(f"a block has not {BLOCK_DIGITS} digits ({error})") from error
    return np.frombuffer(fixed.buffers()[1], dtype=f"S{BLOCK_DIGITS}", count=len(fixed), offset=fixed.offset * BLOCK_DIGITS)


def as_numbers(codes: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Codes of digits as whole numbers.

    Raises
    ------
    InputError
        If a character is not a digit.
    """
    width = codes.dtype.itemsize
    digits = np.ascontiguousarray(codes).view(np.uint8).reshape(-1, width)
    numbers = np.zeros(len(codes), dtype=np.int64)
    for place in range(width):
        digit = digits[:, place] - np.uint8(ord("0"))
        if (digit > 9).any():
            wrong = codes[int(np.argmax(digit > 9))]
            raise InputError(f"{wrong.decode('latin-1')!r} is not a code of {width} digits")
        numbers *= 10
        numbers += digit
    return numbers


def as_text(numbers: NDArray[np.int64], digits: int) -> NDArray[np.str_]:
    """Whole numbers as codes of that many digits."""
    characters = np.empty((len(numbers), digits), dtype=np.uint32)
    rest = numbers
    for place in reversed(range(digits)):
        rest, digit = np.divmod(rest, 10)
        characters[:, place] = digit + ord("0")
    return characters.view(f"U{digits}").ravel()


def heads(blocks: NDArray[np.int64], digits: int) -> NDArray[np.int64]:
    """The first digits of blocks' codes: states, counties or tracts."""
    return blocks // 10 ** (BLOCK_DIGITS - digits)
