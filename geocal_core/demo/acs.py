"""The demo nation as the Census Bureau's API answers for ACS 1-year subject tables: S0101 (age and sex) and S2201 (SNAP).

A header row of names and a row of texts for each area, estimates (E), margins (M) and their annotations (EA, MA); only the
columns that calibration reads. Puerto Rico and a row of water that lies in no district are there too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geocal_core.demo import truth
from geocal_core.demo.districts import Integers, undistricted_state
from geocal_core.places.states import DISTRICTS, State, state_of_code
from geocal_core.settings import RawSettings

_YEAR = 2024
_CONTROLLED = ("-555555555", "*****")
_Z_90 = 1.645
_SAMPLING = 60.0
# ACS 1-year 2024: Puerto Rico's total population; its shares by age are the demo nation's.
_PUERTO_RICO = 3_203_295


@dataclass(frozen=True)
class _Area:
    """An area of a table: its codes, its name, and its estimates from _001 on."""

    geo_id: str
    name: str
    codes: tuple[str, ...]
    estimates: Integers
    controlled: bool


def write(settings: RawSettings, folder: Path) -> None:
    """Write S0101 of the nation, the states and the districts, and S2201 of the districts, for ``settings.states``."""
    states = sorted((state_of_code(code) for code in settings.states), key=lambda state: state.fips)
    ages = {code: _with_total(row) for code, row in zip(DISTRICTS, _table(list(truth.AGES)), strict=True)}
    of_state = {state: np.sum([ages[code] for code in state.districts], axis=0) for state in states}
    nation = np.sum(list(of_state.values()), axis=0)
    elsewhere = _with_total(np.rint(_PUERTO_RICO * nation[1:] / nation[0]).astype(np.int64))
    national = [_Area("0100000US", "United States", ("1",), nation, True)]
    by_state = [_state_area(state.fips, state.name, estimates) for state, estimates in of_state.items()]
    by_state.append(_state_area(72, "Puerto Rico", elsewhere))
    _write(folder / f"acs_S0101_national_{_YEAR}.json", "S0101", national, ("us",))
    _write(folder / f"acs_S0101_state_{_YEAR}.json", "S0101", by_state, ("state",))
    _write_districts(folder, "S0101", settings, states, ages, elsewhere)
    counts = ("households", "snap_households")
    snap = dict(zip(DISTRICTS, _table(list(counts)), strict=True))
    _write_districts(folder, "S2201", settings, states, snap, elsewhere[[0, 1]] // 3)


def _table(columns: list[str]) -> Integers:
    values: Integers = truth.people().loc[list(DISTRICTS), columns].to_numpy(dtype=np.int64)
    return values


def _with_total(parts: Integers) -> Integers:
    return np.concatenate([[parts.sum()], parts])


def _state_area(fips: int, name: str, estimates: Integers) -> _Area:
    return _Area(f"0400000US{fips:02d}", name, (f"{fips:02d}",), estimates, True)


def _write_districts(
    folder: Path, table: str, settings: RawSettings, states: list[State], estimates: dict[int, Integers], elsewhere: Integers
) -> None:
    areas = []
    for state in states:
        areas += [_district_area(state, code, estimates[code]) for code in state.districts]
        if state == undistricted_state(settings.states):
            name = f"Congressional Districts not defined (119th Congress), {state.name}"
            areas.append(_Area(f"5001900US{state.fips:02d}ZZ", name, (f"{state.fips:02d}", "ZZ"), 0 * elsewhere, False))
    name = "Resident Commissioner District (at Large) (119th Congress), Puerto Rico"
    areas.append(_Area("5001900US7298", name, ("72", "98"), elsewhere, False))
    _write(folder / f"acs_{table}_district_{_YEAR}.json", table, areas, ("state", "congressional district"))


def _district_area(state: State, code: int, estimates: Integers) -> _Area:
    kinds = {0: ("98", "Delegate District (at Large)"), 1: ("00", "Congressional District (at Large)")}
    number, kind = kinds.get(state.seats, (f"{code % 100:02d}", f"Congressional District {code % 100}"))
    geo_id = f"5001900US{state.fips:02d}{number}"
    return _Area(geo_id, f"{kind} (119th Congress), {state.name}", (f"{state.fips:02d}", number), estimates, state.seats < 2)


def _write(path: Path, table: str, areas: list[_Area], code_names: tuple[str, ...]) -> None:
    names = _names(table)
    header = ["GEO_ID", "NAME", *(f"{name}{kind}" for name in names for kind in ("E", "EA", "M", "MA")), *code_names]
    rows: list[list[str | None]] = []
    for area in areas:
        cells: list[str | None] = []
        for place, estimate in enumerate(area.estimates.tolist()):
            exact = area.controlled and place == 0 and table == "S0101"
            margin, mark = _CONTROLLED if exact else (_margin(estimate), None)
            cells += [str(estimate), None, margin, mark]
        rows.append([area.geo_id, area.name, *cells, *area.codes])
    path.write_text("[" + ",\n".join(json.dumps(row) for row in [header, *rows]) + "]")


def _names(table: str) -> list[str]:
    if table == "S0101":
        return [f"S0101_C01_{number:03d}" for number in range(1, len(truth.AGES) + 2)]
    return ["S2201_C01_001", "S2201_C03_001"]


def _margin(estimate: int) -> str:
    """A 90 percent margin of error like that of a sample of one in ``_SAMPLING``."""
    return str(round(_Z_90 * float(np.sqrt(estimate * _SAMPLING))))
