"""The towns of Connecticut: which planning region a block lies in, although its code carries a former county.

Towns did not change when nine planning regions took the place of eight counties in 2022, and none is divided: a block goes
from its town (the county subdivision in the header of PL 94-171) to the region by the Census Bureau's list of towns.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import InputError
from geocal_core.places.codes import as_bytes, as_numbers
from geocal_core.places.connecticut import planning_regions
from geocal_core.places.tables import pipes, read_text

_COLUMNS = ("STATEFP", "NEW_COUNTYFP", "OLD_COUSUB_GEOID", "COUSUBFP")
_NOT_DEFINED = "00000"
_BLOCK_LEVEL = "750"


def read_towns(path: Path) -> dict[str, str]:
    """Planning region of each town, by the ten digits of state, former county and town.

    The Bureau's list (``ct_cou_to_cousub_crosswalk.txt``) has a header whose names go on in a second line, a row for each town
    and each piece of water in none, and a glossary below an empty line.

    Raises
    ------
    InputError
        If the list is of another layout, cut short, or gives a town two regions.
    """
    rows = csv.reader(read_text(path).splitlines(keepends=True), delimiter="|")
    header = [name.split("\n")[0].strip() for name in next(rows, [])]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}", "fetch it again; it is the list of Connecticut's towns")
    at = [header.index(name) for name in _COLUMNS]
    towns: dict[str, str] = {}
    for row in rows:
        if len(row) != len(header):  # the empty line before the glossary
            break
        state, region, town, code = (row[place] for place in at)
        if code == _NOT_DEFINED:
            continue
        if towns.setdefault(town, state + region) != state + region:
            raise InputError(f"{path} has town {town} in {towns[town]} and in {state + region}", "fetch it again")
    if set(towns.values()) != set(planning_regions()):
        wrong = min(set(towns.values()) ^ set(planning_regions()))
        raise InputError(f"{path} does not have the nine planning regions: {wrong}", "fetch it again")
    return towns


def regions_of_blocks(path: Path, blocks: NDArray[np.int64], towns: Mapping[str, str]) -> NDArray[np.int64]:
    """Planning regions of blocks of Connecticut.

    Parameters
    ----------
    path : Path
        The state's PL 94-171 file.
    blocks : ndarray of int64
    towns : mapping of str to str
        As ``read_towns`` gives it.

    Raises
    ------
    InputError
        If a block is not in the file, or its town not among the towns.
    """
    header = pipes(path, "ctgeo2020.pl", {2: "level", 9: "block", 17: "town"})
    header = header[header["level"] == _BLOCK_LEVEL]
    known = as_numbers(as_bytes(header["block"]))
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, blocks, sorter=order), len(known) - 1)
    rows = order[place]
    if (known[rows] != blocks).any():
        raise InputError(f"{path} has no block {blocks[known[rows] != blocks][0]:015d}", "fetch it again")
    code = header["block"].str[:5].to_numpy(dtype=str)[rows].astype("U10")
    codes, back = np.unique(np.char.add(code, header["town"].to_numpy(dtype=str)[rows]), return_inverse=True)
    unknown = [text for text in codes.tolist() if text not in towns]
    if unknown:
        block = blocks[back == codes.tolist().index(unknown[0])][0]
        raise InputError(f"{path}: block {block:015d} lies in town {unknown[0]!r}, which is in no planning region")
    return np.array([int(towns[text]) for text in codes.tolist()], dtype=np.int64)[back]
