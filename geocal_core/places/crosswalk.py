"""The blocks artifact opened for looking up: what geographies a block lies in, and which blocks a geography has.

Counties and tracts are the head of a block's code, all else is a column of the artifact. How those columns came about is the
business of ``geographies``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.codes import (
    BLOCK_DIGITS,
    COUNTY_DIGITS,
    STATE_DIGITS,
    TRACT_DIGITS,
    as_bytes,
    as_numbers,
    as_text,
    heads,
)
from geocal_core.places.states import state_of_code

_HEADS = {"tract_geoid": TRACT_DIGITS, "county_fips": COUNTY_DIGITS}
_NOT_GEOGRAPHIES = ("block_geoid", "district", "population")


@dataclass(frozen=True)
class Crosswalk:
    """Populated blocks, ascending by their codes, with all of their geographies.

    Attributes
    ----------
    block : ndarray of int64, shape (n,)
    district : ndarray of int32
        100 * FIPS + number.
    population : ndarray of int64
        Residents of 2020.
    codes : mapping of str to (ndarray of int32, ndarray of str)
        For each column of ``read_geographies``, a number for each block, and the text that each number stands for.
    """

    block: NDArray[np.int64]
    district: NDArray[np.int32]
    population: NDArray[np.int64]
    codes: Mapping[str, tuple[NDArray[np.int32], NDArray[np.str_]]]

    @classmethod
    def open(cls, path: Path) -> Crosswalk:
        """Read the artifact.

        Raises
        ------
        ArtifactError
            If it is damaged, of another layout or not sorted.
        """
        try:
            names = pq.read_schema(path).names
            geographies = [name for name in names if name not in _NOT_GEOGRAPHIES]
            table = pq.read_table(path, read_dictionary=geographies)
            block = as_numbers(as_bytes(table.column("block_geoid")))
            district = table.column("district").to_numpy().astype(np.int32)
            population = table.column("population").to_numpy().astype(np.int64)
            codes = {name: _codes(table.column(name)) for name in geographies}
        except (OSError, pa.ArrowInvalid, KeyError, AttributeError) as error:
            raise ArtifactError(f"{path} is not a whole file of blocks ({error})", "materialise blocks again") from error
        if not (np.diff(block) > 0).all():
            raise ArtifactError(f"{path} is not sorted by block", "materialise blocks again")
        return cls(block, district, population, codes)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that ``values`` and ``holding`` know."""
        return (*_HEADS, *self.codes)

    def rows(self, geoid: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Positions of blocks, given by their 15 digits.

        Raises
        ------
        ArtifactError
            If one of them is not there.
        """
        wanted = as_numbers(geoid)
        rows = np.minimum(np.searchsorted(self.block, wanted), len(self.block) - 1)
        absent = self.block[rows] != wanted
        if absent.any():
            raise ArtifactError(
                f"block {wanted[absent][0]:015d} is not among the blocks of the crosswalk",
                "materialise blocks and geography again, for the same states",
            )
        return rows

    def values(self, field: str, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Codes of a geography for blocks at some positions; the empty text where there is none."""
        if field in _HEADS:
            return as_text(heads(self.block[rows], _HEADS[field]), _HEADS[field])
        codes, texts = self.codes[field]
        return texts[codes[rows]]

    def units(self, field: str) -> tuple[NDArray[np.int64], int]:
        """The counties, tracts, districts or places that there are, numbered from 0, and their number.

        Of each block its unit's, -1 where it lies in none. Codes of places and the like count as the same within a state only.
        """
        if field in _HEADS:
            head = heads(self.block, _HEADS[field])  # in ascending order, as the blocks are
            unit = np.cumsum(np.diff(head, prepend=head[:1]) != 0)
            return unit, int(unit[-1]) + 1
        if field == "district":
            return _numbered(self.district.astype(np.int64))
        codes, texts = self.codes[field]
        empty = np.flatnonzero(texts == "")
        number = heads(self.block, STATE_DIGITS) * len(texts) + codes
        return _numbered(np.where(np.isin(codes, empty), -1, number))

    def holding(self, field: str, values: Sequence[str], state: str | None) -> NDArray[np.bool_]:
        """Which blocks lie in any of some geographies, within a state if one is given.

        Raises
        ------
        ConfigError
            If a field is unknown, or a value is that of no block.
        """
        if field not in self.fields:
            raise ConfigError(f"blocks have no field {field!r}", f"its fields are {', '.join(self.fields)}")
        inside = np.ones(len(self.block), dtype=np.bool_)
        if state is not None:
            inside = heads(self.block, STATE_DIGITS) == state_of_code(state).fips
        chosen = np.zeros(len(self.block), dtype=np.bool_)
        for value in values:
            here = inside & self._equal(field, value)
            if not here.any():
                where = f" of {state}" if state else ""
                raise ConfigError(
                    f"no populated block{where} has {field} {value!r}", "is the code right, and its state in scope?"
                )
            chosen |= here
        return chosen

    def _equal(self, field: str, value: str) -> NDArray[np.bool_]:
        if field in _HEADS:
            known = value.isdecimal() and len(value) == _HEADS[field]
            equal: NDArray[np.bool_] = heads(self.block, _HEADS[field]) == (int(value) if known else -1)
            return equal
        codes, texts = self.codes[field]
        same: NDArray[np.bool_] = (texts == value)[codes]
        return same

    def geoid(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """The 15 digits of blocks at some positions."""
        return as_text(self.block[rows], BLOCK_DIGITS)


@dataclass(frozen=True)
class ColumnPlaces:
    """Where the columns of the calibration matrix lie, in all geographies.

    Attributes
    ----------
    crosswalk : Crosswalk
    row : ndarray of int64, shape (n_columns,)
        Position of each column's block.
    """

    crosswalk: Crosswalk
    row: NDArray[np.int64]

    @classmethod
    def of(cls, crosswalk: Crosswalk, block: NDArray[np.bytes_]) -> ColumnPlaces:
        """The places of columns, given their blocks.

        Raises
        ------
        ArtifactError
            If a block is not in the crosswalk.
        """
        return cls(crosswalk, crosswalk.rows(block))

    def values(self, field: str, columns: NDArray[np.int64]) -> NDArray[np.str_]:
        """Codes of a geography for some columns."""
        return self.crosswalk.values(field, self.row[columns])

    def inside(self, field: str, values: Sequence[str], state: str | None) -> NDArray[np.bool_]:
        """Which columns lie in any of some geographies, within a state if one is given."""
        return self.crosswalk.holding(field, values, state)[self.row]


def _numbered(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Small whole numbers replaced by their ranks among those that there are, and how many there are; -1 stays."""
    there = np.zeros(int(values.max()) + 2, dtype=np.bool_)
    there[values] = True
    there[-1] = False
    rank = np.cumsum(there) - 1
    rank[-1] = -1
    return rank[values], int(there.sum())


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.str_]]:
    whole = column.unify_dictionaries().combine_chunks()
    return whole.indices.to_numpy().astype(np.int32), np.array(whole.dictionary.to_pylist(), dtype=np.str_)
