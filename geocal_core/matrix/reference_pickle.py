"""The file format of the reference's calibration package: a pickle, read as inert records.

No pickle is loaded here. Its operations are followed one by one, and where it asks for an object to be made, a ``Record`` of
the request is kept instead: the name of what was to be called, and with what. Nothing is called, whatever the file holds, and
a name other than those of arrays, sparse matrices and tables ends the reading. ``reference_arrays`` makes arrays of records.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from geocal_core.errors import ArtifactError

ARRAY, BUFFER, NDARRAY, DTYPE, SCALAR, BYTES, SLICE = "array", "buffer", "ndarray", "dtype", "scalar", "bytes", "slice"
CSR, FRAME, MANAGER, BLOCK = "sparse matrix", "table", "manager", "block"
NEW_INDEX, INDEX, RANGE = "new index", "index", "range"
STRINGS, STRING_TYPE, ARROW, ARROW_CHUNKS, ARROW_TYPE, ARROW_BUFFER, BYTE_ARRAY = (
    *("strings", "string type", "arrow", "arrow chunks", "arrow type"),
    *("arrow buffer", "byte array"),
)

_ADMITTED: Mapping[str, str] = {
    **{f"{core}.multiarray _reconstruct": ARRAY for core in ("numpy.core", "numpy._core")},
    **{f"{core}.multiarray scalar": SCALAR for core in ("numpy.core", "numpy._core")},
    **{f"{core}.numeric _frombuffer": BUFFER for core in ("numpy.core", "numpy._core")},
    "numpy ndarray": NDARRAY,
    "numpy dtype": DTYPE,
    "_codecs encode": BYTES,
    **{f"{module} slice": SLICE for module in ("builtins", "__builtin__")},
    **{f"{module} bytearray": BYTE_ARRAY for module in ("builtins", "__builtin__")},
    **{f"scipy.sparse.{module} {kind}": CSR for module in ("_csr", "csr") for kind in ("csr_matrix", "csr_array")},
    **{f"{module} DataFrame": FRAME for module in ("pandas.core.frame", "pandas")},
    "pandas.core.internals.managers BlockManager": MANAGER,
    "pandas._libs.internals _unpickle_block": BLOCK,
    "pandas.core.indexes.base _new_Index": NEW_INDEX,
    **{f"{module} Index": INDEX for module in ("pandas.core.indexes.base", "pandas")},
    **{f"{module} RangeIndex": RANGE for module in ("pandas.core.indexes.range", "pandas")},
    **{
        f"{module} {kind}": STRINGS
        for module in ("pandas.arrays", "pandas.core.arrays.string_arrow")
        for kind in ("ArrowStringArray", "ArrowStringArrayNumpySemantics")
    },
    **{f"{module} StringDtype": STRING_TYPE for module in ("pandas", "pandas.core.arrays.string_")},
    "pyarrow.lib _restore_array": ARROW,
    "pyarrow.lib chunked_array": ARROW_CHUNKS,
    "pyarrow.lib type_for_alias": ARROW_TYPE,
    "pyarrow.lib py_buffer": ARROW_BUFFER,
}
"""What may be named in a file, as module and name, and what a record of it stands for."""

_PROTOCOL = 4  # of protocol 5, numpy 2 writes names that numpy 1 does not know
_MOST_BYTES = 64 << 30
_OTHER_FILE = "give the calibration_package.pkl of the reference"


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a file names, and that nobody looks up."""

    kind: str
    full: str


@dataclass(eq=False)
class Record:
    """An object that a file asks for, and that nobody makes.

    Attributes
    ----------
    kind : str
        What it stands for: one of the constants of this module.
    arguments : tuple
        What its maker was to be given.
    state : object
        What it was to be given afterwards, None if nothing.
    """

    kind: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_records(path: Path) -> Any:
    """What a file holds: lists, tuples, dicts by text or number, text, bytes, numbers, and a ``Record`` for any other object.

    Raises
    ------
    ArtifactError
        If the file is missing, cut short, too large or no such file, or names anything that is not admitted; the message has
        the name.
    """
    if not path.is_file():
        raise ArtifactError(f"there is no file {path}", _OTHER_FILE)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ArtifactError(f"{path} has {size / 2**30:.0f} GiB, and at most {_MOST_BYTES >> 30} are read")
    with path.open("rb") as stream:
        machine = _Machine(path.name)
        try:
            for operation, argument, _ in pickletools.genops(cast(IO[bytes], _Measured(stream, size))):
                machine.step(operation.name, argument)
            return machine.result()
        except (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError, UnicodeError) as error:
            reason = printable(str(error) or type(error).__name__)
            raise ArtifactError(f"{path.name} is cut short, damaged or no pickle ({reason})", _OTHER_FILE) from error


def printable(text: str) -> str:
    """A text of a file as it can stand in a message: on one line, without control characters, not long."""
    return text[:120].encode("unicode_escape").decode("ascii")


def write_pickle(path: Path, content: Mapping[str, Any]) -> None:
    """Write what the reference's loader reads: the one place of geocal that writes this format, for the other side alone."""
    with path.open("wb") as stream:
        pickle.dump(dict(content), stream, protocol=_PROTOCOL)


class _Measured:
    """A file that is never asked for more than is left of it: a length in a damaged file is no reason to reserve memory."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise ValueError(f"{size:,} bytes are wanted and {self._left:,} are left")
        self._left -= size
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline(min(self._left, 10_000))
        self._left -= len(line)
        return line

    def tell(self) -> int:
        return self._stream.tell()


_MARK = object()
_CONSTANTS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)


class _Machine:
    """The stack and the memo that operations work on. Knows the operations of protocols 2 to 5 that tables and arrays take."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps: Mapping[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "STOP": lambda _: None,
            "MARK": lambda _: self._push(_MARK),
            "NONE": lambda _: self._push(None),
            "NEWTRUE": lambda _: self._push(True),
            "NEWFALSE": lambda _: self._push(False),
            "EMPTY_LIST": lambda _: self._push([]),
            "EMPTY_DICT": lambda _: self._push({}),
            "EMPTY_TUPLE": lambda _: self._push(()),
            "TUPLE1": lambda _: self._push(self._last(1)),
            "TUPLE2": lambda _: self._push(self._last(2)),
            "TUPLE3": lambda _: self._push(self._last(3)),
            "TUPLE": lambda _: self._push(tuple(self._marked())),
            "APPEND": lambda _: self._append(list(self._last(1))),
            "APPENDS": lambda _: self._append(self._marked()),
            "SETITEM": lambda _: self._set(list(self._last(2))),
            "SETITEMS": lambda _: self._set(self._marked()),
            "POP": lambda _: self._drop(),
            "POP_MARK": lambda _: self._drop_marked(),
            "DUP": lambda _: self._push(self._stack[-1]),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "BINGET": lambda key: self._push(self._memo[key]),
            "LONG_BINGET": lambda key: self._push(self._memo[key]),
            "GLOBAL": lambda name: self._name(*name.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._last(2)),
            "REDUCE": lambda _: self._request(),
            "NEWOBJ": lambda _: self._request(),
            "BUILD": lambda _: self._state(),
        }

    def step(self, operation: str, argument: Any) -> None:
        """Follow one operation."""
        if operation in _CONSTANTS:
            self._push(argument)
        elif operation in self._steps:
            self._steps[operation](argument)
        else:
            raise ArtifactError(
                f"{self._file} uses the operation {operation}, which no array or table takes", "write it with protocol 2 to 5"
            )

    def result(self) -> Any:
        """The one thing that is left."""
        (only,) = self._stack
        return only

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _last(self, count: int) -> tuple[Any, ...]:
        found = tuple(self._stack[-count:])
        if len(found) < count or any(one is _MARK for one in found):
            raise ValueError("an operation lacks its operands")
        del self._stack[-count:]
        return found

    def _marked(self) -> list[Any]:
        found: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def _drop(self) -> None:
        self._stack.pop()

    def _drop_marked(self) -> None:
        self._marked()

    def _append(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("an element is added to what is no list")
        self._stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not dict or len(values) % 2:
            raise ValueError("an entry is set in what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError(f"a dict has a key of the type {type(key).__name__}")
            self._stack[-1][key] = value

    def _remember(self, key: int) -> None:
        if self._stack[-1] is _MARK:
            raise ValueError("a mark is kept")
        self._memo[key] = self._stack[-1]

    def _name(self, module: Any, name: Any) -> None:
        full = f"{module} {name}"
        if type(module) is not str or type(name) is not str or full not in _ADMITTED:
            named = ".".join(printable(part) if type(part) is str else type(part).__name__ for part in (module, name))
            raise ArtifactError(
                f"{self._file} names {named}, and only arrays, sparse matrices and tables are read", "nothing of it was run"
            )
        self._push(Name(_ADMITTED[full], full))

    def _request(self) -> None:
        maker, arguments = self._last(2)
        if type(maker) is not Name or type(arguments) is not tuple:
            raise ValueError("something is called that is no class or function")
        self._push(Record(maker.kind, arguments))

    def _state(self) -> None:
        (state,) = self._last(1)
        if type(self._stack[-1]) is not Record:
            raise ValueError("a state is given to what is no object")
        self._stack[-1].state = state
