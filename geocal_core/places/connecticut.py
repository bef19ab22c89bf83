"""Connecticut's former counties (09001 to 09015) against its planning regions (09110 to 09190).

The Census Bureau tabulates the nine planning regions in place of the eight counties from 2022 on; 2020 blocks and older files
still carry the counties. Figures go from one to the other by the people of 2020 who live in each pair of a county and a region
(``data/connecticut.csv``). Narrow in one thing: a share of people stands for a share of whatever is counted.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from geocal_core.errors import ConfigError


@cache
def people() -> Mapping[tuple[str, str], int]:
    """People of 2020 by former county and planning region, of each pair that has some."""
    return MappingProxyType({(row["county"], row["region"]): int(row["population"]) for row in _rows()})


@cache
def counties() -> Mapping[str, str]:
    """Names of the eight former counties, by five-digit code."""
    return MappingProxyType({row["county"]: row["county_name"] for row in _rows()})


@cache
def planning_regions() -> Mapping[str, str]:
    """Names of the nine planning regions, by five-digit code in ascending order."""
    return MappingProxyType(dict(sorted((row["region"], row["region_name"]) for row in _rows())))


def to_planning_regions(values: Mapping[str, float]) -> dict[str, float]:
    """Figures by planning region from those by former county.

    Parameters
    ----------
    values : mapping of str to float
        By five-digit county code, of all eight.

    Returns
    -------
    dict of str to float
        By five-digit region code, of all nine; the total is that of ``values``.

    Raises
    ------
    ConfigError
        If a county is missing or a code is not one of them.
    """
    return _share_out(values, counties(), people(), "former counties")


def to_counties(values: Mapping[str, float]) -> dict[str, float]:
    """Figures by former county from those by planning region: the reverse of ``to_planning_regions``, by the same people."""
    return _share_out(values, planning_regions(), {(r, c): n for (c, r), n in people().items()}, "planning regions")


def _share_out(
    values: Mapping[str, float], wanted: Mapping[str, str], pairs: Mapping[tuple[str, str], int], what: str
) -> dict[str, float]:
    wrong = sorted(set(values) ^ set(wanted))
    if wrong:
        amiss = "lack" if wrong[0] in wanted else "do not include"
        raise ConfigError(f"the {what} of Connecticut {amiss} {wrong[0]}", f"they are {', '.join(wanted)}")
    totals = dict.fromkeys(wanted, 0)
    for (of, _), number in pairs.items():
        totals[of] += number
    found = dict.fromkeys(sorted({to for _, to in pairs}), 0.0)
    for (of, to), number in pairs.items():
        found[to] += values[of] * (number / totals[of])
    return found


@cache
def _rows() -> tuple[dict[str, str], ...]:
    text = resources.files("geocal_core.places").joinpath("data", "connecticut.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
