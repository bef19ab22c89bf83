"""The demo nation as the Census Bureau publishes the CPS ASEC: a zip of csv files of persons, families and households.

Codes and column names are those of the 2025 data dictionary (income year 2024); ages are topcoded at 80 and 85, weights
carry two implied decimals, counties of less than 100,000 residents are not told.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geocal_core import seeds
from geocal_core.demo import asec_money, asec_people, asec_units
from geocal_core.demo.archives import csv_text, write_zip
from geocal_core.demo.districts import Integers, county_parts, districts_of, sums
from geocal_core.demo.nation import YEAR, Nation, draw_nation, share_out
from geocal_core.demo.structure import CHILD, SPOUSE
from geocal_core.population.population import Column
from geocal_core.settings import RawSettings

_LEAN = 1.5
_TOLD_FROM = 100_000


def write(settings: RawSettings, folder: Path) -> None:
    """Write ``asecpub25csv.zip`` with a sample of ``settings.households`` households into an existing folder.

    Weights add up to the residents of each of ``settings.states``.

    Raises
    ------
    ConfigError
        If there are fewer households than districts.
    """
    districts = districts_of(settings.states)
    counts = share_out(settings.households, districts)
    nation = draw_nation(districts, counts, stream="asec", seed=settings.seed, lean=_LEAN, control="state")
    rng = seeds.generator("demo.asec.codes", settings.seed)
    suffix = f"{(YEAR + 1) % 100:02d}.csv"
    members = {
        f"pppub{suffix}": csv_text(_persons(nation, rng)),
        f"ffpub{suffix}": csv_text(_families(nation)),
        f"hhpub{suffix}": csv_text(_households(nation, rng)),
    }
    write_zip(folder / f"asecpub{(YEAR + 1) % 100:02d}csv.zip", members)


def _persons(nation: Nation, rng: np.random.Generator) -> dict[str, Column]:
    lines = asec_people.lines_of(nation)
    columns: dict[str, Integers] = asec_people.identity(nation, lines)
    columns |= asec_people.traits(nation, rng)
    columns |= asec_people.work(nation, rng)
    columns |= asec_people.coverage(nation, rng)
    columns |= asec_money.incomes(nation, rng)
    taxes = asec_units.modelled_taxes(nation, columns)
    columns |= taxes
    columns |= asec_units.spm_columns(nation, columns, taxes, rng)
    identifiers = [f"{sequence:020d}{line:02d}" for sequence, line in zip(lines.sequence, lines.line, strict=True)]
    return {"PERIDNUM": np.array(identifiers), **columns}


def _families(nation: Nation) -> dict[str, Column]:
    people, population = nation.people, nation.population
    family = population.group_of_person("family")
    n = population.count("family")
    household = population.household_of("family")
    first = np.unique(family, return_index=True)[1]
    married = sums(family, people.with_role(SPOUSE), n) > 0
    return {
        "FH_SEQ": household + 1,
        "FFPOS": population.ordinal_in_household("family") + 1,
        "FKIND": np.select([married, ~people.female[first]], [1, 2], 3),
        "FPERSONS": np.bincount(family, minlength=n),
        "FOWNU18": sums(family, people.with_role(CHILD), n).astype(np.int64),
        "FSUP_WGT": np.rint(100 * population.weights).astype(np.int64)[household],
    }


def _households(nation: Nation, rng: np.random.Generator) -> dict[str, Column]:
    population = nation.population
    n = population.count("household")
    rent = population.to_household(population["pre_subsidy_rent"], "person")
    owned = nation.spending.tenure != "RENTED"
    return {
        "H_SEQ": np.arange(n) + 1,
        "H_YEAR": np.full(n, YEAR + 1),
        "H_NUMPER": np.bincount(nation.people.household, minlength=n),
        "HSUP_WGT": np.rint(100 * population.weights).astype(np.int64),
        "H_TENURE": np.select([owned, rent > 0], [1, 2], 3),
        "HPROP_VAL": nation.spending.home_value.astype(np.int64),
        "GESTFIPS": np.asarray(population["state_fips"], dtype=np.int64),
        "GTCO": _county_codes(nation.district, rng),
    }


def _county_codes(district: Integers, rng: np.random.Generator) -> Integers:
    """GTCO: the county in three digits, drawn by population within the district; 0 where the county is small."""
    parts = county_parts()
    names, whole = np.unique(parts.county, return_inverse=True)
    county_size = sums(whole, parts.population, len(names))[whole]
    ends = np.cumsum(parts.population)
    first, last = np.searchsorted(parts.district, district), np.searchsorted(parts.district, district, side="right")
    before = np.where(first > 0, ends[first - 1], 0)
    mark = before + rng.random(len(district)) * (ends[last - 1] - before)
    part = np.searchsorted(ends, mark, side="right")
    code = parts.county.astype(np.int64) % 1000
    return np.where(county_size[part] >= _TOLD_FROM, code[part], 0)
