"""The geographies that blocks lie in besides their district, each from the file that says so.

Block assignment files give the place, the state legislative districts and the voting district of 2020; relationship files the
Public Use Microdata Area of a tract and the ZIP Code Tabulation Area of a block; the delineation of July 2023 the core based
statistical area of a county. Connecticut is delineated by planning regions: its blocks get there through their towns
(``towns``). A state without a lower chamber (Nebraska, the District of Columbia) or without voting districts has no such
member in its file, and its blocks have none; the columns are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geocal_core.errors import InputError
from geocal_core.places.codes import BLOCK_DIGITS, COUNTY_DIGITS, STATE_DIGITS, TRACT_DIGITS, as_text, heads
from geocal_core.places.states import State, state_of_code, state_of_fips
from geocal_core.places.tables import chunks, members, open_file, open_member, read_text
from geocal_core.places.towns import read_towns, regions_of_blocks

Blocks = NDArray[np.int64]

PUMA_FILE = "2020_Census_Tract_to_2020_PUMA.txt"
ZCTA_FILE = "tab20_zcta520_tabblock20_natl.txt"
CBSA_FILE = "cbsa2fipsxw_2023.csv"
COUNTY_FILE = "national_county2020.txt"
TOWN_FILE = "ct_cou_to_cousub_crosswalk.txt"

# Of a block assignment file: the member's ending, the column that it gives, its header, whether every state has it, and
# whether it lists every block of the state.
_ASSIGNMENTS = (
    ("INCPLACE_CDP", "place_fips", "PLACEFP", True, True),
    ("SLDU", "sldu", "DISTRICT", True, False),
    ("SLDL", "sldl", "DISTRICT", False, False),
    ("VTD", "vtd", "DISTRICT", False, False),
)

_UNASSIGNED = "Z"  # ZZZ, ZZZZZZ: in no district


def block_assignment_file(state: State) -> str:
    """Name of a state's block assignment file."""
    return f"BlockAssign_ST{state.fips:02d}_{state.code}.zip"


def read_geographies(folder: Path, blocks: Blocks, states: Sequence[str]) -> dict[str, pa.DictionaryArray]:
    """Codes of the geographies of some blocks, the empty text where a block lies in none.

    Parameters
    ----------
    folder : Path
        Holds the files under their published names.
    blocks : ndarray of int64, shape (n,)
        Populated blocks of all of ``states``, ascending.
    states : sequence of str
        Postal codes.

    Returns
    -------
    dict of str to DictionaryArray, each of length n
        ``county_name``, ``place_fips``, ``sldu``, ``sldl``, ``vtd``, ``puma``, ``zcta``, ``planning_region`` (of Connecticut
        only) and ``cbsa_code``.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another layout, or a block is not in a file that must hold all of them.
    """
    regions = _planning_regions(folder, blocks, states)
    return {
        "county_name": _county_names(folder / COUNTY_FILE, blocks).column(),
        **_block_assignments(folder, blocks, [state_of_code(code) for code in states]),
        "puma": _pumas(folder / PUMA_FILE, blocks).column(),
        "zcta": _zctas(folder / ZCTA_FILE, blocks).column(),
        "planning_region": _texts_of(regions),
        "cbsa_code": _core_areas(folder / CBSA_FILE, np.where(regions > 0, regions, heads(blocks, COUNTY_DIGITS))),
    }


class _Codes:
    """Codes of one geography for keys in ascending order, filled chunk by chunk in any order of the file."""

    def __init__(self, keys: Blocks) -> None:
        self.keys = keys
        self.code = np.zeros(len(keys), dtype=np.int32)
        self.found = np.zeros(len(keys), dtype=np.bool_)
        self.known = {"": 0}

    def fill(self, keys: Blocks, values: pa.StringArray) -> None:
        """Take over the values of the keys that are wanted; of a key that is there twice, the last one."""
        if not len(self.keys):
            return
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        wanted = self.keys[place] == keys
        encoded = values.dictionary_encode()
        texts = [text.strip() for text in encoded.dictionary.to_pylist()]
        codes = [self.known.setdefault(text if text.strip(_UNASSIGNED) else "", len(self.known)) for text in texts]
        self.code[place[wanted]] = np.array(codes, dtype=np.int32)[encoded.indices.to_numpy()][wanted]
        self.found[place[wanted]] = True

    def refuse_absent(self, where: str, digits: int) -> None:
        """Refuse a file that lacks a key which it must hold."""
        if not self.found.all():
            absent = as_text(self.keys[~self.found][:1], digits)[0]
            raise InputError(
                f"{where} lacks {absent} and {int((~self.found).sum()) - 1} others that people live in",
                "fetch it again; it must be the one of the 2020 census",
            )

    def column(self) -> pa.DictionaryArray:
        """The codes in use, sorted, and which of them each key has."""
        texts = np.array(list(self.known))
        used = np.unique(np.append(self.code, 0))
        order = used[np.argsort(texts[used])]
        rank = np.zeros(len(texts), dtype=np.int32)
        rank[order] = np.arange(len(order))
        return pa.DictionaryArray.from_arrays(pa.array(rank[self.code]), pa.array(texts[order].tolist(), pa.string()))


def _numbers(texts: pa.StringArray, where: str) -> Blocks:
    try:
        numbers: Blocks = pc.cast(texts, pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise InputError(f"{where} has a code that is no number ({error})", "fetch it again") from error
    return numbers


def _joined(*parts: pa.StringArray) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "")


def _spread(codes: _Codes, keys: Blocks) -> _Codes:
    """Codes of distinct keys given to all of the blocks that have them."""
    spread = _Codes(keys)
    place = np.searchsorted(codes.keys, keys)
    spread.code, spread.known = codes.code[place], codes.known
    return spread


def _county_names(path: Path, blocks: Blocks) -> _Codes:
    codes = _Codes(np.unique(heads(blocks, COUNTY_DIGITS)))
    stream = BytesIO(read_text(path).encode())
    for state, county, name in chunks(stream, str(path), ("STATEFP", "COUNTYFP", "COUNTYNAME"), "|"):
        codes.fill(_numbers(_joined(state, county), str(path)), name)
    _refuse_blocks(codes, blocks, COUNTY_DIGITS, path)
    return _spread(codes, heads(blocks, COUNTY_DIGITS))


def _pumas(path: Path, blocks: Blocks) -> _Codes:
    codes = _Codes(np.unique(heads(blocks, TRACT_DIGITS)))
    with open_file(path) as stream:
        for state, county, tract, puma in chunks(stream, str(path), ("STATEFP", "COUNTYFP", "TRACTCE", "PUMA5CE"), ","):
            codes.fill(_numbers(_joined(state, county, tract), str(path)), puma)
    _refuse_blocks(codes, blocks, TRACT_DIGITS, path)
    return _spread(codes, heads(blocks, TRACT_DIGITS))


def _refuse_blocks(codes: _Codes, blocks: Blocks, digits: int, path: Path) -> None:
    """Refuse a file that lacks the county or tract of a block, and name the block."""
    if not codes.found.all():
        absent = codes.keys[~codes.found]
        block = as_text(blocks[np.isin(heads(blocks, digits), absent)][:1], BLOCK_DIGITS)[0]
        raise InputError(
            f"block {block} has people, and {path} does not have its first {digits} digits",
            "fetch it again; it must be the one of the 2020 census",
        )


def _zctas(path: Path, blocks: Blocks) -> _Codes:
    """ZIP Code Tabulation Areas, from a file that lists every block of the nation, those outside of any with an empty one."""
    codes = _Codes(blocks)
    states = pa.array(as_text(np.unique(heads(blocks, STATE_DIGITS)), STATE_DIGITS).tolist())
    with open_file(path) as stream:
        for block, zcta in chunks(stream, str(path), ("GEOID_TABBLOCK_20", "GEOID_ZCTA5_20"), "|"):
            here = pc.is_in(pc.utf8_slice_codeunits(block, 0, STATE_DIGITS), value_set=states)
            codes.fill(_numbers(block.filter(here), str(path)), zcta.filter(here))
    codes.refuse_absent(str(path), BLOCK_DIGITS)
    return codes


def _block_assignments(folder: Path, blocks: Blocks, states: Sequence[State]) -> dict[str, pa.DictionaryArray]:
    columns = {column: _Codes(blocks) for _, column, *_ in _ASSIGNMENTS}
    for state in states:
        path = folder / block_assignment_file(state)
        first, last = np.searchsorted(blocks, [state.fips * 10**13, (state.fips + 1) * 10**13])
        there = members(path)
        for layer, column, header, everywhere, complete in _ASSIGNMENTS:
            member = f"{path.stem}_{layer}.txt"
            if not everywhere and member not in there:
                continue
            codes, where = columns[column], f"{path}: {member}"
            with open_member(path, member) as stream:
                for block, value in chunks(stream, where, ("BLOCKID", header), "|"):
                    codes.fill(_numbers(block, where), value)
            found = codes.found[first:last]
            if not found.any() or (complete and not found.all()):
                block = as_text(blocks[first:last][~found][:1], BLOCK_DIGITS)[0]
                raise InputError(f"{where} lacks block {block}, where people live", "is it the one of the 2020 census?")
    return {column: codes.column() for column, codes in columns.items()}


def _planning_regions(folder: Path, blocks: Blocks, states: Sequence[str]) -> NDArray[np.int64]:
    """Planning region of each block of Connecticut, 0 elsewhere."""
    regions = np.zeros(len(blocks), dtype=np.int64)
    if "CT" in states:
        here = heads(blocks, STATE_DIGITS) == state_of_code("CT").fips
        towns = read_towns(folder / TOWN_FILE)
        regions[here] = regions_of_blocks(folder / "ct2020.pl.zip", blocks[here], towns)
    return regions


def _texts_of(regions: NDArray[np.int64]) -> pa.DictionaryArray:
    known = np.unique(np.concatenate([[0], regions]))
    texts = ["", *as_text(known[1:], COUNTY_DIGITS).tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(np.searchsorted(known, regions).astype(np.int32)), pa.array(texts))


def _core_areas(path: Path, counties: NDArray[np.int64]) -> pa.DictionaryArray:
    """Core based statistical areas of counties, and of Connecticut's planning regions; none outside of any.

    Every state has some, so a file without any of a state is refused: it would pass for a countryside.
    """
    codes = _Codes(np.unique(counties))
    with open_file(path) as stream:
        for state, county, area in chunks(stream, str(path), ("fipsstatecode", "fipscountycode", "cbsacode"), ","):
            filled = pc.and_(pc.not_equal(county, ""), pc.not_equal(area, ""))
            number = _numbers(state.filter(filled), str(path)) * 1000 + _numbers(county.filter(filled), str(path))
            codes.fill(number, area.filter(filled))
    absent = np.setdiff1d(codes.keys // 1000, codes.keys[codes.found] // 1000)
    if len(absent):
        missing = state_of_fips(int(absent[0]))
        what = "planning region of Connecticut" if missing.code == "CT" else f"county of {missing.name}"
        raise InputError(f"{path} has no {what}", "fetch it again; it must be the delineation of July 2023")
    return _spread(codes, counties).column()
