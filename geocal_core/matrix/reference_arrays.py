"""Arrays, sparse matrices and tables of the inert records that ``reference_pickle`` reads.

Made with public constructors of numpy, scipy, pandas and pyarrow from bytes, shapes and names that are checked first. What
is laid out otherwise than numpy, scipy and pandas 1.3 to 3 do is refused.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.matrix import reference_pickle as kinds
from geocal_core.matrix.reference_pickle import Name, Record

_PLAIN = (str, bytes, bool, int, float, type(None))


def array_of(value: Any) -> NDArray[Any]:
    """An array of numbers, truth values, text or plain objects.

    Raises
    ------
    ValueError
        If the record is no such array.
    """
    if isinstance(value, list):
        return _objects((len(value),), value)
    record = _record(value, kinds.ARRAY, kinds.BUFFER, kinds.STRINGS)
    if record.kind == kinds.STRINGS:
        return _strings(record)
    if record.kind == kinds.BUFFER:
        content, dtype, shape, order = record.arguments
        return _numbers(bytes_of(content), _dtype(dtype), _shape(shape), str(order))
    _, shape, dtype_record, fortran, content = record.state
    dtype, order = _dtype(dtype_record), "F" if fortran else "C"
    if dtype.kind == "O":
        return _objects(_shape(shape), content, order)
    return _numbers(bytes_of(content), dtype, _shape(shape), order)


def plain_of(value: Any) -> Any:
    """A text, number, truth value or None, or a flat list of them."""
    if isinstance(value, Record):
        record = _record(value, kinds.SCALAR)
        dtype, content = record.arguments
        return _numbers(bytes_of(content), _dtype(dtype), (1,), "C")[0].item()
    if isinstance(value, (list, tuple)):
        return [_simple(one) for one in value]
    return _simple(value)


def csr_of(value: Any) -> sparse.csr_matrix:
    """A sparse matrix in CSR form, checked to be sound."""
    state = _state(_record(value, kinds.CSR))
    n_rows, n_columns = _shape(state["_shape"])
    data, indices, indptr = (array_of(state[part]) for part in ("data", "indices", "indptr"))
    if data.dtype.kind not in "biuf" or indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        raise ValueError("a sparse matrix is not of numbers")
    if len(indptr) != n_rows + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError("indptr of the sparse matrix does not rise from 0 row by row")
    if not len(data) == len(indices) == indptr[-1]:
        raise ValueError(f"the sparse matrix has {len(data)} values where its rows have {indptr[-1]}")
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_columns):
        raise ValueError("the sparse matrix names a column that it has not")
    matrix = sparse.csr_matrix((data, indices, indptr), shape=(n_rows, n_columns))
    matrix.sum_duplicates()
    return matrix


def table_of(value: Any) -> pd.DataFrame:
    """A table with its columns by name and rows numbered from 0."""
    manager = _record(_state(_record(value, kinds.FRAME))["_mgr"], kinds.MANAGER)
    blocks, (columns, _) = manager.arguments
    names = _index(columns)
    found: dict[int, NDArray[Any]] = {}
    for block in blocks:
        values, placement, _ = _record(block, kinds.BLOCK).arguments
        held = array_of(values)
        rows = held if held.ndim == 2 else held[np.newaxis]
        for position, row in zip(_placement(placement, len(names)), rows, strict=True):
            found[position] = row
    if sorted(found) != list(range(len(names))):
        raise ValueError("a table lacks some of its columns")
    return pd.DataFrame({name: found[position] for position, name in enumerate(names)})


def bytes_of(value: Any) -> bytes | bytearray:
    """Bytes, which protocol 2 writes as text."""
    if isinstance(value, Record):
        record = _record(value, kinds.BYTES, kinds.BYTE_ARRAY)
        if record.kind == kinds.BYTE_ARRAY:
            return bytes_of(record.arguments[0]) if record.arguments else b""
        text, encoding = record.arguments
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError("bytes are not written as text in latin1")
        return text.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise ValueError(f"{type(value).__name__} stands where bytes should")
    return value


def _record(value: Any, *wanted: str) -> Record:
    if not isinstance(value, Record) or value.kind not in wanted:
        found = value.kind if isinstance(value, (Record, Name)) else type(value).__name__
        raise ValueError(f"{found} stands where {' or '.join(wanted)} should")
    return value


def _state(record: Record) -> dict[Any, Any]:
    """What the attributes of an object were to be."""
    state = record.state
    if not isinstance(state, dict):
        raise ValueError(f"a {record.kind} has no attributes")
    return state


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(size) is int and size >= 0 for size in value):
        raise ValueError(f"{value!r:.40} is no shape")
    return value


def _dtype(value: Any) -> np.dtype[Any]:
    record = _record(value, kinds.DTYPE)
    code, state = record.arguments[0], record.state
    if not isinstance(code, str) or code[:1] not in tuple("biufSUO") or not (code[1:].isdecimal() or code == "O"):
        raise ValueError(f"arrays of the type {code!r:.40} are not read")
    if state is not None and (state[2], state[3], state[4]) != (None, None, None):
        raise ValueError("arrays of structures are not read")
    swapped = state is not None and state[1] == (">" if sys.byteorder == "little" else "<")
    return np.dtype(code).newbyteorder("S") if swapped else np.dtype(code)


def _numbers(content: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if dtype.kind == "O" or len(content) != math.prod(shape) * dtype.itemsize or order not in ("C", "F"):
        raise ValueError(f"an array of the shape {shape} has {len(content):,} bytes")
    if not content:
        return np.zeros(shape, dtype=dtype)
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _objects(shape: tuple[int, ...], content: Any, order: str = "C") -> NDArray[Any]:
    if not isinstance(content, list) or len(content) != math.prod(shape):
        raise ValueError("an array of objects has not as many as its shape")
    flat = np.empty(len(content), dtype=object)
    for position, value in enumerate(content):
        flat[position] = plain_of(value) if isinstance(value, Record) else _simple(value)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _simple(value: Any) -> Any:
    if type(value) not in _PLAIN:
        raise ValueError(f"{type(value).__name__} stands where text or a number should")
    return value


def _placement(value: Any, most: int) -> list[int]:
    """Columns of a table that a block holds."""
    if isinstance(value, Record) and value.kind == kinds.SLICE:
        return list(range(most))[slice(*value.arguments)]
    return array_of(value).tolist()


def _index(value: Any) -> list[str]:
    """Names of the columns of a table."""
    maker, attributes = _record(value, kinds.NEW_INDEX).arguments
    if not isinstance(maker, Name) or maker.kind != kinds.INDEX:
        raise ValueError("the columns of a table have no names")
    names = array_of(attributes["data"]).tolist()
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("the columns of a table are not named by text, each by its own")
    return names


def _strings(record: Record) -> NDArray[Any]:
    """Text as pyarrow keeps it for pandas, None where there is none."""
    arrow = _state(record)["_pa_array"]
    pieces = arrow.arguments[0] if _record(arrow, kinds.ARROW, kinds.ARROW_CHUNKS).kind == kinds.ARROW_CHUNKS else [arrow]
    texts = [text for piece in pieces for text in _arrow_array(piece).to_pylist()]
    return _objects((len(texts),), texts)


def _arrow_array(value: Any) -> pa.Array:
    kind, length, nulls, offset, buffers, children, *dictionary = _record(value, kinds.ARROW).arguments[0]
    (alias,) = _record(kind, kinds.ARROW_TYPE).arguments
    if alias not in ("string", "large_string") or children or any(dictionary):
        raise ValueError("a column of text is not of text")
    parts = [
        None if part is None else pa.py_buffer(bytes_of(_record(part, kinds.ARROW_BUFFER).arguments[0])) for part in buffers
    ]
    array = pa.Array.from_buffers(pa.large_string() if alias == "large_string" else pa.string(), length, parts, nulls, offset)
    array.validate(full=True)
    return array
