"""The hidden truth of the demo: a larger population of the nation, simulated once by the engine and added up by district.

The published tables of the demo (ACS, USDA, IRS, CMS, SSA, state taxes) are aggregates of these files, which are shipped in
``data/`` and made again, byte for byte, by ``build``. Each state is drawn and simulated by itself, so one state can be checked
without the others.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.demo.districts import Floats, Integers, districts_of, rows_of, sums
from geocal_core.demo.nation import YEAR, Nation, draw_nation
from geocal_core.places.states import STATES, State
from geocal_core.population.population import Column, Population
from geocal_core.progress import Reporter
from geocal_core.store import atomic

HOUSEHOLDS_PER_DISTRICT = 400
AGES = tuple(f"age_{low:02d}" for low in range(0, 90, 5))
STUBS = 10
CHILDREN_LINES = ("59661", "59662", "59663", "59664")
PEOPLE_FILE, RETURNS_FILE, PROGRAMS_FILE = "truth_people.csv", "truth_returns.csv.xz", "truth_programs.csv"

_SEED = 2024
_LEAN = 1.6
_ID_SPACE = 1_000_000
# Lower bounds of AGI stubs 2 to 10 of the IRS tables by state, dollars.
_STUB_BOUNDS = (1, 10_000, 25_000, 50_000, 75_000, 100_000, 200_000, 500_000, 1_000_000)
_STATUS_COLUMNS = {"MARS1": "SINGLE", "MARS2": "JOINT", "MARS4": "HEAD_OF_HOUSEHOLD"}
_RETURNS_UNIT, _DOLLARS_UNIT = 10.0, 1_000.0

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]

Values = Mapping[str, Column]


@cache
def people() -> pd.DataFrame:
    """The shipped table of people and SNAP by district, indexed by district code.

    Columns: ``AGES`` (persons), ``households``, ``snap_households``, ``snap_persons``, ``snap_dollars`` (a year).
    """
    text = files("geocal_core.demo").joinpath("data", PEOPLE_FILE).read_text(encoding="utf-8")
    return pd.read_csv(io.StringIO(text), index_col="district")


@cache
def returns() -> pd.DataFrame:
    """The shipped table of tax returns, indexed by district code and AGI stub (1 to 10).

    Columns as the IRS names them: counts of returns and persons rounded to tens, amounts (A…) in thousands of dollars.
    """
    packed = files("geocal_core.demo").joinpath("data", RETURNS_FILE).read_bytes()
    by_column = pd.read_csv(io.BytesIO(lzma.decompress(packed)), header=None, index_col=0)
    return by_column.T.rename_axis(columns=None).set_index(["district", "stub"]).sort_index()


@cache
def programs() -> pd.DataFrame:
    """The shipped table of programs and taxes by state, indexed by FIPS code, in persons, families and dollars a year.

    Columns: those of ``data/programs.csv``.
    """
    text = files("geocal_core.demo").joinpath("data", PROGRAMS_FILE).read_text(encoding="utf-8")
    return pd.read_csv(io.StringIO(text), index_col="state")


def build(folder: Path, reporter: Reporter) -> None:
    """Simulate the hidden population of all states and write its tables into a folder.

    Takes about five minutes on one core. New York comes last, because the engine keeps a second tax system for it
    in memory.
    """
    order = sorted(STATES, key=lambda state: (state.code == "NY", state.code))
    tables: dict[int, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]] = {}
    for number, state in enumerate(order, start=1):
        reporter.progress(f"simulating {state.name} ({number} of {len(order)})")
        tables[state.fips] = state_tables(state)
    people_table = pd.concat([tables[fips][0] for fips in sorted(tables)])
    returns_table = pd.concat([tables[fips][1] for fips in sorted(tables)])
    programs_table = pd.concat([tables[fips][2] for fips in sorted(tables)])
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ((PEOPLE_FILE, people_table), (PROGRAMS_FILE, programs_table)):
        with atomic(folder / name) as temporary:
            temporary.write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    with atomic(folder / RETURNS_FILE) as temporary:
        # A line for each column and like stubs side by side: a fifth smaller than a line for each row.
        text = returns_table.sort_values(["stub", "district"]).T.to_csv(header=False, lineterminator="\n")
        temporary.write_bytes(lzma.compress(text.encode(), filters=_FILTERS))


def state_tables(state: State) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rows of one state in the tables of people, of returns and of programs."""
    from geocal_core.engine.simulate import simulate
    from geocal_core.engine.takeup import TakeUp

    districts = districts_of([state.code])
    counts = np.full(len(districts.code), HOUSEHOLDS_PER_DISTRICT)
    nation = draw_nation(districts, counts, stream=f"truth.{state.code}", seed=_SEED, lean=_LEAN, control="district")
    population = nation.population
    everyone = np.arange(population.count("household"))
    takeup = TakeUp.of(population, _SEED, household_id=state.fips * _ID_SPACE + everyone)
    population = takeup.draw(population, everyone, 0, state.fips)
    of_programs = {name for row in rows_of("programs.csv") for name in (row["amount"], *row["where"].split()) if name}
    variables = sorted({*(row["variable"] for row in rows_of("soi_lines.csv")), *_ALWAYS, *of_programs})
    values = simulate(population, variables, YEAR)
    return (
        _people_rows(nation, values, districts.code),
        _returns_rows(nation, values, districts.code),
        _program_row(nation, values, state),
    )


_ALWAYS = (
    *("adjusted_gross_income", "tax_unit_is_filer", "tax_unit_itemizes", "filing_status"),
    *("eitc", "eitc_child_count", "snap"),
)


def _people_rows(nation: Nation, values: Values, codes: Integers) -> pd.DataFrame:
    population, people = nation.population, nation.people
    weights = population.weights
    home = np.searchsorted(codes, nation.district)
    n = len(codes)
    snap = np.asarray(values["snap"], dtype=np.float64)
    of_unit = population.household_of("spm_unit")
    receives = population.to_household(snap > 0, "spm_unit") > 0
    fed = sums(of_unit, np.bincount(population.group_of_person("spm_unit")) * (snap > 0), len(weights))
    age_group = np.minimum(people.age // 5, len(AGES) - 1)
    cell = home[people.household] * len(AGES) + age_group
    ages = sums(cell, weights[people.household], n * len(AGES)).reshape(n, len(AGES))
    table = {"district": codes} | {name: _whole(ages[:, k]) for k, name in enumerate(AGES)}
    return pd.DataFrame(
        table
        | {
            "households": _whole(sums(home, weights, n)),
            "snap_households": _whole(sums(home, weights * receives, n)),
            "snap_persons": _whole(sums(home, weights * fed, n)),
            "snap_dollars": _whole(sums(home, weights * population.to_household(snap, "spm_unit"), n)),
        }
    )


def _returns_rows(nation: Nation, values: Values, codes: Integers) -> pd.DataFrame:
    """Rows by district and AGI stub: only tax units that file count."""
    population = nation.population
    household = population.household_of("tax_unit")
    weight = population.weights[household] * np.asarray(values["tax_unit_is_filer"], dtype=np.float64)
    agi = np.asarray(values["adjusted_gross_income"], dtype=np.float64)
    stub = np.searchsorted(_STUB_BOUNDS, agi, side="right")
    cell = np.searchsorted(codes, nation.district)[household] * STUBS + stub
    size = np.bincount(population.group_of_person("tax_unit"))
    status = np.asarray(values["filing_status"]).astype(str)

    def count(marked: Floats | Integers | NDArray[np.bool_]) -> Integers:
        return _whole(sums(cell, weight * marked, len(codes) * STUBS), _RETURNS_UNIT) * int(_RETURNS_UNIT)

    def amount(dollars: Floats) -> Integers:
        return _whole(sums(cell, weight * dollars, len(codes) * STUBS), _DOLLARS_UNIT)

    table: dict[str, Integers] = {
        "district": np.repeat(codes, STUBS),
        "stub": np.tile(np.arange(1, STUBS + 1), len(codes)),
        "N1": count(np.ones(len(agi))),
        **{column: count(status == name) for column, name in _STATUS_COLUMNS.items()},
        "N2": count(size),
        "A00100": amount(agi),
    }
    itemizes = np.asarray(values["tax_unit_itemizes"], dtype=np.bool_)
    for row in rows_of("soi_lines.csv"):
        dollars = _by_tax_unit(nation, values[row["variable"]]) * (itemizes if row["of"] == "itemizers" else 1.0)
        table |= {f"N{row['line']}": count(dollars != 0), f"A{row['line']}": amount(dollars)}
    credit = np.asarray(values["eitc"], dtype=np.float64)
    children = np.minimum(np.asarray(values["eitc_child_count"], dtype=np.int64), len(CHILDREN_LINES) - 1)
    for number, line in enumerate(CHILDREN_LINES):
        received = np.where(children == number, credit, 0.0)
        table |= {f"N{line}": count(received > 0), f"A{line}": amount(received)}
    return pd.DataFrame(table)


def _program_row(nation: Nation, values: Values, state: State) -> pd.DataFrame:
    """The one row of a state: for each program, its units that satisfy every condition, or their amounts."""
    population = nation.population
    totals: dict[str, int] = {"state": state.fips}
    for row in rows_of("programs.csv"):
        entity = row["entity"]
        met = np.ones(population.count(entity), dtype=np.bool_)
        for name in row["where"].split():
            met &= _of_units(population, values[name], entity) > 0
        amount = _of_units(population, values[row["amount"]], entity) if row["amount"] else np.ones(len(met))
        weights = population.weights[population.household_of(entity)]
        totals[row["column"]] = int(np.rint((weights * amount * met).sum()))
    return pd.DataFrame([totals])


def _of_units(population: Population, values: Column, entity: str) -> Floats:
    """Values of an entity's units; those of tax units are given to each of their persons."""
    found = np.asarray(values, dtype=np.float64)
    if entity == "person" and len(found) == population.count("tax_unit") != population.count("person"):
        return found[population.group_of_person("tax_unit")]
    return found


def _by_tax_unit(nation: Nation, values: Column) -> Floats:
    """Amounts of tax units; those of persons are added up."""
    population = nation.population
    amounts = np.asarray(values, dtype=np.float64)
    if len(amounts) == population.count("tax_unit"):
        return amounts
    return sums(population.group_of_person("tax_unit"), amounts, population.count("tax_unit"))


def _whole(values: Floats, unit: float = 1.0) -> Integers:
    """Values in a unit, rounded to whole numbers of it."""
    rounded: Integers = np.rint(values / unit).astype(np.int64)
    return rounded
