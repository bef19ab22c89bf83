"""Tables of text as the Census Bureau publishes them: members of a zip or files of their own, with a separator.

Opened, and read as text, whole or chunk by chunk; a file that is missing, cut short or of another layout is refused by name.
What a table says is the business of its reader.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from geocal_core.errors import InputError

_CHUNK_BYTES = 1 << 24


@contextmanager
def open_member(path: Path, name: str, *also: str) -> Iterator[IO[bytes]]:
    """A member of a zip under the first of its names that is there, opened for reading."""
    try:
        with zipfile.ZipFile(_there(path)) as archive:
            there = [member for member in (name, *also) if member in archive.namelist()]
            if not there:
                raise InputError(f"{path} has no member {name}, only {', '.join(archive.namelist()[:5])}")
            with archive.open(there[0]) as stream:
                yield stream
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole zip file ({error})", "fetch it again") from error


def members(path: Path) -> list[str]:
    """Names of the members of a zip."""
    try:
        with zipfile.ZipFile(_there(path)) as archive:
            return archive.namelist()
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a whole zip file ({error})", "fetch it again") from error


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """A file of its own, opened for reading."""
    with _there(path).open("rb") as stream:
        yield stream


def read_text(path: Path) -> str:
    """The whole text of a small file: UTF-8 or, where it is not that, Latin-1, the Bureau's older encoding."""
    with open_file(path) as stream:
        content = stream.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _there(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} is missing", "put it there as published, or collect the files of census_blocks again")
    return path


def chunks(stream: IO[bytes], where: str, columns: Sequence[str], separator: str) -> Iterator[list[pa.StringArray]]:
    """Some columns of a table with a header, as text, chunk by chunk: of a file of 1 GB a few megabytes are held at a time.

    Parameters
    ----------
    stream : file
        Open for reading bytes; UTF-8, with a byte order mark or without.
    where : str
        The table, for messages.
    columns : sequence of str
        Names in the header.
    separator : str

    Raises
    ------
    InputError
        If the header lacks a column, or a line has another number of fields.
    """
    options = csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    try:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=_CHUNK_BYTES),
            parse_options=csv.ParseOptions(delimiter=separator),
            convert_options=options,
        )
        for batch in reader:
            yield [batch.column(name) for name in columns]
    except (pa.ArrowInvalid, KeyError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise InputError(f"{where} is not a table of {', '.join(columns)} ({reason})", "fetch it again") from error


def pipes(path: Path, member: str, columns: Mapping[int, str]) -> pd.DataFrame:
    """Fields of a table without a header, separated by ``|``, by their positions from 0."""
    with open_member(path, member) as stream:
        try:
            table = pd.read_csv(
                stream, sep="|", header=None, dtype=str, usecols=list(columns), encoding="latin-1", na_filter=False
            )
        except ValueError as error:
            raise InputError(f"{path}: {member} cannot be read ({error})", "fetch it again") from error
    return table.rename(columns=dict(columns))


def refuse_repeated(keys: pd.Series[str], where: str) -> None:
    """Refuse a table that has one of its keys twice."""
    repeated = keys[keys.duplicated()]
    if len(repeated):
        raise InputError(f"{where} has {repeated.iloc[0]} twice", "fetch it again")
