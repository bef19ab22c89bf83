"""The demo nation's files of geographies: block assignment files, PUMAs, ZIP areas, counties and metropolitan areas.

In the layouts of the Census Bureau and, for metropolitan areas, of the NBER. Counties, their metropolitan areas, Connecticut's
towns and a few cities are real; legislative and voting districts, PUMAs, ZIP areas and all other places are made up of whole
tracts, and every state has them as it has them in truth (no lower chamber in Nebraska).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.demo.archives import csv_text, write_zip
from geocal_core.demo.blocks import NO_DISTRICT, Blocks, blocks_of
from geocal_core.demo.districts import rows_of, undistricted_state
from geocal_core.demo.towns import WATER_TRACT
from geocal_core.places.connecticut import counties as former_counties
from geocal_core.places.connecticut import planning_regions
from geocal_core.places.counties import county_names
from geocal_core.places.states import STATES, State, state_of_code
from geocal_core.settings import RawSettings

Texts = NDArray[np.str_]

_MARK = "\ufeff"  # the byte order mark that several of the Bureau's files begin with
_WITHOUT_LOWER_CHAMBER = ("DC", "NE")
_WITHOUT_VOTING_DISTRICTS = ("CA", "HI", "OR")
_LOS_ANGELES = "06037"
_LOS_ANGELES_PREFIXES = ("900", "902", "904", "907", "910", "913", "917", "935")
_PEOPLE_PER_PUMA = 150_000
_PLACE_SHARE = 0.55
_NO_ZCTA_SHARE = 0.2
_TRACT_DIGITS = 11

_ZCTA_COLUMNS = (
    *("OID_ZCTA5_20", "GEOID_ZCTA5_20", "NAMELSAD_ZCTA5_20", "AREALAND_ZCTA5_20", "AREAWATER_ZCTA5_20", "MTFCC_ZCTA5_20"),
    *("CLASSFP_ZCTA5_20", "FUNCSTAT_ZCTA5_20", "OID_TABBLOCK_20", "GEOID_TABBLOCK_20", "NAMELSAD_TABBLOCK_20"),
    *("AREALAND_TABBLOCK_20", "AREAWATER_TABBLOCK_20", "MTFCC_TABBLOCK_20", "FUNCSTAT_TABBLOCK_20", "AREALAND_PART"),
    "AREAWATER_PART",
)
_CBSA_COLUMNS = (
    *("cbsacode", "metropolitandivisioncode", "csacode", "cbsatitle", "metropolitanmicropolitanstatis"),
    *("metropolitandivisiontitle", "csatitle", "countycountyequivalent", "statename", "fipsstatecode", "fipscountycode"),
    "centraloutlyingcounty",
)
_TOWN_COLUMNS = (
    *('"STATEFP\n(INCITS38)"', '"OLD_COUNTYFP\n(INCITS31)"', "OLD_COUNTY_NAMELSAD", '"NEW_COUNTYFP\n(INCITS31)"'),
    *("NEW_COUNTY_NAMELSAD", "COUSUBFP", "OLD_COUSUB_GEOID", "NEW_COUSUB_GEOID", "COUSUB_NAMELSAD"),
    *('"COUSUBNS\n(INCITS446)"', "COUSUB_LSAD", "COUSUB_FUNCSTAT", "COUSUB_CLASSFP"),
)


@dataclass(frozen=True)
class Geographies:
    """Codes of the blocks of a state as they are published, each of shape (blocks,).

    Attributes
    ----------
    place, sldu, sldl, vtd, puma, zcta : ndarray of str
        Empty in no place and no ZIP area, ``ZZZ`` in no legislative and ``ZZZZZZ`` in no voting district.
    """

    place: Texts
    sldu: Texts
    sldl: Texts
    vtd: Texts
    puma: Texts
    zcta: Texts


def write(settings: RawSettings, folder: Path) -> None:
    """Write every file of geographies of ``settings.states``; counties and metropolitan areas are those of the nation."""
    water = undistricted_state(settings.states)
    pumas: dict[str, list[Texts]] = {"STATEFP": [], "COUNTYFP": [], "TRACTCE": [], "PUMA5CE": []}
    areas: list[str] = []
    for state in sorted((state_of_code(code) for code in settings.states), key=lambda state: state.fips):
        blocks = blocks_of(state, settings.seed, with_water=state == water)
        geographies = geographies_of(state, blocks, settings.seed)
        stem = f"BlockAssign_ST{state.fips:02d}_{state.code}"
        write_zip(folder / f"{stem}.zip", _assignments(stem, state, blocks, geographies))
        tract, first = np.unique(blocks.geoid.astype(f"U{_TRACT_DIGITS}"), return_index=True)
        for name, start, end in (("STATEFP", 0, 2), ("COUNTYFP", 2, 5), ("TRACTCE", 5, 11)):
            pumas[name].append(np.array([code[start:end] for code in tract.tolist()]))
        pumas["PUMA5CE"].append(geographies.puma[first])
        areas += _zcta_lines(blocks.geoid, geographies.zcta)
    table = csv_text({name: np.concatenate(codes) for name, codes in pumas.items()})
    _write_text(folder / "2020_Census_Tract_to_2020_PUMA.txt", _MARK + table)
    _write_text(folder / "tab20_zcta520_tabblock20_natl.txt", _MARK + _lines("|", [_ZCTA_COLUMNS]) + "".join(areas))
    _write_text(folder / "national_county2020.txt", _county_names())
    _write_text(folder / "cbsa2fipsxw_2023.csv", _core_areas())
    _write_text(folder / "ct_cou_to_cousub_crosswalk.txt", _MARK + _towns())


def geographies_of(state: State, blocks: Blocks, seed: int) -> Geographies:
    """The geographies of a state's blocks, all of whole tracts but for the voting districts."""
    tract, of_block = np.unique(blocks.geoid.astype(f"U{_TRACT_DIGITS}"), return_inverse=True)
    first = np.unique(of_block, return_index=True)[1]
    persons = np.bincount(of_block, weights=blocks.population)
    middle = np.cumsum(persons) - persons / 2
    count = max(int(persons.sum() // _PEOPLE_PER_PUMA), 1)
    puma = np.array([f"{100 * (1 + int(part)):05d}" for part in np.minimum(middle * count // persons.sum(), count - 1)])
    zcta = _zip_areas(state, tract)[of_block]
    draw = seeds.uniform(f"demo.geographies.zcta.{state.code}", np.arange(len(zcta)), seed=seed)
    outside = (blocks.population == 0) & (draw < _NO_ZCTA_SHARE) | np.char.endswith(tract, WATER_TRACT)[of_block]
    return Geographies(
        place=_places(state, tract, seed)[of_block],
        sldu=_chamber(blocks.district[first], 2)[of_block],
        sldl=_chamber(blocks.district[first], 4)[of_block],
        vtd=_voting_districts(blocks),
        puma=puma[of_block],
        zcta=np.where(outside, "", zcta),
    )


def _chamber(district: Texts, parts: int) -> Texts:
    """Legislative districts: so many parts of each congressional district, of successive tracts."""
    codes, of_tract = np.unique(district, return_inverse=True)
    chamber = np.full(len(district), "ZZZ")
    for position, code in enumerate(codes.tolist()):
        if code != NO_DISTRICT:
            here = np.flatnonzero(of_tract == position)
            part = parts * np.arange(len(here)) // len(here)
            chamber[here] = [f"{parts * position + one + 1:03d}" for one in part.tolist()]
    return chamber


def _voting_districts(blocks: Blocks) -> Texts:
    """Two successive blocks of a county each; codes begin again in every county, as in truth."""
    _, start, county = np.unique(blocks.geoid.astype("U5"), return_index=True, return_inverse=True)
    number = (np.arange(len(county)) - start[county]) // 2 + 1
    return np.where(blocks.district == NO_DISTRICT, "ZZZZZZ", [f"{one:06d}" for one in number.tolist()])


def _places(state: State, tract: Texts, seed: int) -> Texts:
    """Place of each tract: a city under its own code, else a made-up place of up to two tracts, or none."""
    number = np.arange(len(tract))
    inside = seeds.uniform(f"demo.geographies.place.{state.code}", number // 2, seed=seed) < _PLACE_SHARE
    place = np.where(inside, [f"{10 * (one // 2 + 1):05d}" for one in number.tolist()], "")
    for row in rows_of("cities.csv"):
        here = np.flatnonzero(tract.astype("U5") == row["county_fips"])
        place[here[: int(np.ceil(float(row["share"]) * len(here)))]] = row["place_fips"]
    place[np.char.endswith(tract, WATER_TRACT)] = ""
    return place


def _zip_areas(state: State, tract: Texts) -> Texts:
    """ZIP area of each tract, two tracts each; under real prefixes in Los Angeles County, where premiums go by them."""
    area = np.array([f"{state.fips:02d}{one // 2:03d}" for one in range(len(tract))])
    here = np.flatnonzero(tract.astype("U5") == _LOS_ANGELES)
    for position, one in enumerate(here.tolist()):
        prefix = _LOS_ANGELES_PREFIXES[position * len(_LOS_ANGELES_PREFIXES) // len(here)]
        area[one] = f"{prefix}{position // 2 % 100:02d}"
    return area


def _assignments(stem: str, state: State, blocks: Blocks, geographies: Geographies) -> Mapping[str, str]:
    """Members of a block assignment file."""
    counties = np.array([code[2:5] for code in blocks.geoid.tolist()])
    layers: dict[str, Mapping[str, Texts]] = {
        "INCPLACE_CDP": {"PLACEFP": geographies.place},
        "SLDU": {"DISTRICT": geographies.sldu},
        "SLDL": {"DISTRICT": geographies.sldl},
        "VTD": {"COUNTYFP": counties, "DISTRICT": geographies.vtd},
    }
    if state.code in _WITHOUT_LOWER_CHAMBER:
        del layers["SLDL"]
    if state.code in _WITHOUT_VOTING_DISTRICTS:
        del layers["VTD"]
    return {
        f"{stem}_{layer}.txt": _lines("|", [("BLOCKID", *columns), *zip(blocks.geoid, *columns.values(), strict=True)])
        for layer, columns in layers.items()
    }


def _zcta_lines(geoid: Texts, zcta: Texts) -> list[str]:
    """Rows of the relationship of ZIP areas and blocks; land and water areas are 0, a block in no ZIP area has empty fields."""
    lines: list[str] = []
    for block, area in zip(geoid.tolist(), zcta.tolist(), strict=True):
        of_area = f"27990{area}|{area}|ZCTA5 {area}|0|0|G6350|B5|S" if area else "|||||||"
        lines.append(f"{of_area}|20790{block}|{block}|Block {block[-4:]}|0|0|G5040|S|0|0\n")
    return lines


def _county_names() -> str:
    codes, regions = {state.fips: state.code for state in STATES}, planning_regions()
    rows = [
        (codes[int(code[:2])], code[:2], code[2:], "00000000", name, "H1", "A")
        for code, name in county_names().items()
        if code not in regions
    ]
    return _lines("|", [("STATE", "STATEFP", "COUNTYFP", "COUNTYNS", "COUNTYNAME", "CLASSFP", "FUNCSTAT"), *rows])


def _core_areas() -> str:
    """Counties with their metropolitan areas, and Connecticut's planning regions with theirs."""
    states, titles = {state.fips: state.name for state in STATES}, {r["cbsa_code"]: r["title"] for r in rows_of("metros.csv")}
    kind = "Metropolitan Statistical Area"
    rows = [
        (
            area,
            "",
            "",
            f'"{titles[area]}"',
            kind,
            "",
            "",
            county_names()[code],
            states[int(code[:2])],
            code[:2],
            code[2:],
            "Central",
        )
        for code, area in ((row["county_fips"], row["cbsa_code"]) for row in rows_of("county_metros.csv"))
    ]
    return _lines(",", [_CBSA_COLUMNS, *rows])


def _towns() -> str:
    """Connecticut's towns and, for each pair of a former county and a planning region, the water that lies in no town."""
    names, regions = former_counties(), planning_regions()
    towns = [(row["town"], row["name"] + " town", row["region"]) for row in rows_of("connecticut_towns.csv")]
    water = {(town[:5], region) for town, _, region in towns}
    towns += [(f"{county}00000", "County subdivisions not defined", region) for county, region in water]
    rows = [
        (
            *(town[:2], town[2:5], f"{names[town[:5]]} County", region[2:], f"{regions[region]} Planning Region", town[5:]),
            *(town, region + town[5:], name, "00000000", "43", "C", "T5"),
        )
        for town, name, region in sorted(towns)
    ]
    return _lines("|", [_TOWN_COLUMNS, *rows]) + "\n\nGLOSSARY\nSTATEFP = State FIPS Code / ANSI INCITS 38 Code\n"


def _lines(separator: str, rows: list[tuple[str, ...]]) -> str:
    return "".join(f"{separator.join(row)}\n" for row in rows)


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
