"""The demo nation's census blocks: the 119th Congress block file and PL 94-171 populations, thinned.

A few tracts and blocks stand for each part of a county in a district; they hold the part's published population of 2020.
Counties and the towns of Connecticut are real, tracts and blocks are made up. Blocks without people are there too, and blocks
of water in no district. The places that blocks lie in are the business of ``geographies``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.demo.archives import csv_text, write_zip
from geocal_core.demo.districts import Floats, Integers, county_parts, districts_of, undistricted_state
from geocal_core.demo.towns import WATER_TRACT, subdivisions
from geocal_core.places.states import State, state_of_code
from geocal_core.settings import RawSettings

_PEOPLE_PER_TRACT = 60_000
_TRACTS = (2, 12)
_BLOCKS = (2, 5)
_EMPTY_SHARE = 0.4
NO_DISTRICT = "ZZ"
"""Published code of blocks that lie in no district."""

# Fields of the geographic header of the 2020 PL 94-171 files up to the last one that is filled, then the rest by number.
_HEADER = (
    *(
        "FILEID",
        "STUSAB",
        "SUMLEV",
        "GEOVAR",
        "GEOCOMP",
        "CHARITER",
        "CIFSN",
        "LOGRECNO",
        "GEOID",
        "GEOCODE",
        "REGION",
        "DIVISION",
    ),
    *("STATE", "STATENS", "COUNTY", "COUNTYCC", "COUNTYNS", "COUSUB", *(f"18_{k}" for k in range(14))),
    *("TRACT", "BLKGRP", "BLOCK"),
    *(f"35_{k}" for k in range(51)),
    *("BASENAME", "NAME", "FUNCSTAT", "GCUNI", "POP100", "HU100", "INTPTLAT", "INTPTLON", "LSADC", "PARTFLAG", "UGA"),
)
# Cells of tables P1 and P2, which segment 1 holds.
_P1, _P2 = 71, 73
_COUNTY_LEVEL, _BLOCK_LEVEL, _STATE_LEVEL = "050", "750", "040"


@dataclass(frozen=True)
class Blocks:
    """Blocks of a state, sorted by their code.

    Attributes
    ----------
    geoid : ndarray of str
        15 digits: state, county, tract, block.
    district : ndarray of str
        Two digits as published: ``00`` at large, ``98`` the District of Columbia, ``ZZ`` none.
    population : ndarray of int64
        Residents of 2020.
    race : ndarray of float64, shape (blocks, 6)
        Shares of ``Districts.race``.
    """

    geoid: NDArray[np.str_]
    district: NDArray[np.str_]
    population: Integers
    race: Floats


def write(settings: RawSettings, folder: Path) -> None:
    """Write ``cd119.zip`` and a ``<st>2020.pl.zip`` for each of ``settings.states``."""
    water = undistricted_state(settings.states)
    geoid: list[NDArray[np.str_]] = []
    district: list[NDArray[np.str_]] = []
    for state in sorted((state_of_code(code) for code in settings.states), key=lambda state: state.fips):
        blocks = blocks_of(state, settings.seed, with_water=state == water)
        geoid.append(blocks.geoid)
        district.append(blocks.district)
        stem = state.code.lower()
        write_zip(folder / f"{stem}2020.pl.zip", _redistricting_files(state, stem, blocks))
    table = csv_text({"GEOID": np.concatenate(geoid), "CDFP": np.concatenate(district)})
    write_zip(folder / "cd119.zip", {"NationalCD119.txt": table})


def blocks_of(state: State, seed: int, with_water: bool) -> Blocks:
    """The blocks of a state; with ``with_water``, two of them lie in no district."""
    rng = seeds.generator(f"demo.blocks.{state.code}", seed)
    parts = county_parts()
    rows: list[tuple[str, str, int, int]] = []
    tracts_so_far: dict[str, int] = {}
    for part in np.flatnonzero(parts.district // 100 == state.fips).tolist():
        county, people = str(parts.county[part]), int(parts.population[part])
        first = tracts_so_far.get(county, 0)
        tracts = _tracts(people, first, rng)
        tracts_so_far[county] = first + len(tracts)
        number = _published_number(state, int(parts.district[part]))
        sizes = _split(people, sum(len(blocks) for _, blocks in tracts), rng)
        codes = [f"{county}{tract}{block}" for tract, blocks in tracts for block in blocks]
        rows += [(code, number, size, int(parts.district[part])) for code, size in zip(codes, sizes, strict=True)]
        rows += [
            (f"{county}{tract}{2000 + k}", number, 0, int(parts.district[part]))
            for k, (tract, _) in enumerate(tracts)
            if rng.random() < _EMPTY_SHARE
        ]
    if with_water:
        county, district = rows[0][0][:5], rows[0][3]
        rows += [(f"{county}{WATER_TRACT}{number}", NO_DISTRICT, 0, district) for number in ("0001", "0002")]
    rows.sort()
    districts = districts_of([state.code])
    place = np.searchsorted(districts.code, [row[3] for row in rows])
    return Blocks(
        geoid=np.array([row[0] for row in rows]),
        district=np.array([row[1] for row in rows]),
        population=np.array([row[2] for row in rows]),
        race=districts.race[place],
    )


def _tracts(people: int, first: int, rng: np.random.Generator) -> list[tuple[str, list[str]]]:
    """Codes of the tracts of a part of a county with the codes of their populated blocks."""
    low, high = _TRACTS
    count = int(np.clip(people // _PEOPLE_PER_TRACT, low, high))
    numbers = rng.integers(_BLOCKS[0], _BLOCKS[1], count).tolist()
    return [
        (f"{100 + first + k + 1:04d}00", [f"{1000 + block}" for block in range(blocks)]) for k, blocks in enumerate(numbers)
    ]


def _published_number(state: State, district: int) -> str:
    return {0: "98", 1: "00"}.get(state.seats, f"{district % 100:02d}")


def _split(people: int, blocks: int, rng: np.random.Generator) -> list[int]:
    """People over blocks, at least one in each, adding up."""
    shares = rng.dirichlet(np.full(blocks, 2.5))
    sizes: list[int] = (1 + rng.multinomial(people - blocks, shares)).tolist()
    return sizes


def _redistricting_files(state: State, stem: str, blocks: Blocks) -> dict[str, str]:
    """Geographic header and data segment 1: the state, its counties, its blocks. Adults, housing and group quarters (segments
    2 and 3) are left out.
    """
    counties, place = np.unique(np.array([code[:5] for code in blocks.geoid]), return_inverse=True)
    of_block = _by_race(blocks)
    of_county = np.zeros((len(counties), of_block.shape[1]), dtype=np.int64)
    np.add.at(of_county, place, of_block)
    levels = [_STATE_LEVEL, *[_COUNTY_LEVEL] * len(counties), *[_BLOCK_LEVEL] * len(blocks.geoid)]
    codes = [f"{state.fips:02d}", *counties.tolist(), *blocks.geoid.tolist()]
    towns = [*[""] * (1 + len(counties)), *subdivisions(blocks.geoid, blocks.population).tolist()]
    figures = np.vstack([of_block.sum(axis=0), of_county, of_block])
    return {
        f"{stem}geo2020.pl": "".join(_header_lines(state, levels, codes, towns, figures[:, 0])),
        f"{stem}000012020.pl": "".join(_segment_lines(state, figures)),
    }


def _by_race(blocks: Blocks) -> Integers:
    """The filled cells: of table P1 all, of one race, white, black, Native, Asian, Pacific, other, of several races; of table
    P2 all, Hispanic, not Hispanic.
    """
    hispanic, white, black, native, asian, several = (np.rint(blocks.population * share) for share in blocks.race.T)
    rest = blocks.population - white - black - native - asian - several - hispanic
    white = white + np.floor(hispanic / 2) + rest
    other = np.ceil(hispanic / 2)
    none = np.zeros(len(white))
    everyone = blocks.population
    first = [everyone, everyone - several, white, black, native, asian, none, other, several]
    return np.column_stack([*first, everyone, hispanic, everyone - hispanic]).astype(np.int64)


@cache
def _field() -> dict[str, int]:
    return {name: place for place, name in enumerate(_HEADER)}


def _header_lines(state: State, levels: list[str], codes: list[str], towns: list[str], people: Integers) -> Iterator[str]:
    rows = zip(levels, codes, towns, people.tolist(), strict=True)
    for record, (level, code, town, population) in enumerate(rows, start=1):
        cells = [""] * len(_HEADER)
        known = {
            "FILEID": "PLST",
            "STUSAB": state.code,
            "SUMLEV": level,
            "GEOVAR": "00",
            "GEOCOMP": "00",
            "CHARITER": "000",
            "CIFSN": "00",
            "LOGRECNO": f"{record:07d}",
            "GEOID": f"{level}0000US{code}",
            "GEOCODE": code,
            "STATE": code[:2],
            "COUNTY": code[2:5],
            "COUSUB": town,
            "TRACT": code[5:11],
            "BLKGRP": code[11:12],
            "BLOCK": code[11:15],
            "POP100": str(population),
        }
        for name, value in known.items():
            cells[_field()[name]] = value
        yield "|".join(cells) + "\n"


def _segment_lines(state: State, figures: Integers) -> Iterator[str]:
    """Record number and the cells of tables P1 and P2; cells that are not filled are 0."""
    of_p2 = 3
    rest_1, rest_2 = "|0" * (_P1 - figures.shape[1] + of_p2), "|0" * (_P2 - of_p2)
    for record, row in enumerate(figures.tolist(), start=1):
        first = "".join(f"|{value}" for value in row[:-of_p2])
        second = "".join(f"|{value}" for value in row[-of_p2:])
        yield f"PLST|{state.code}|000|01|{record:07d}{first}{rest_1}{second}{rest_2}\n"
