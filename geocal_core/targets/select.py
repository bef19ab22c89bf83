"""Targets as a calibration takes them: active rows of a database, one period each, uprated to a year, reconciled, sorted.

Reads with sqlite3 alone, so that a matrix can be built without the packages that make the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.targets.constraints import GEOGRAPHIC, Constraint, brackets
from geocal_core.targets.figures import LEVELS
from geocal_core.targets.partitions import settle
from geocal_core.targets.reading import reading
from geocal_core.targets.uprating import factor, series_of

_TARGETS = """
SELECT o.target_id, o.stratum_id, o.variable, COALESCE(o.reform_id, 0) AS reform_id, o.value, o.period, o.geo_level,
  o.geographic_id, COALESCE(o.domain_variable, '') AS domain_variable, COALESCE(t.source, '') AS source, t.tolerance
FROM target_overview o JOIN targets t ON t.target_id = o.target_id WHERE o.active = 1 ORDER BY o.target_id
"""
_GROWTH = "SELECT series, place, from_period, to_period, factor FROM place_uprating"
_CONSTRAINTS = "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints"
_COLUMNS = [
    *("target_id", "stratum_id", "variable", "reform_id", "value", "period", "geo_level", "geographic_id", "domain_variable"),
    *("original_value", "uprating_factor", "uprating_series", "source", "tolerance", "name"),
    *("hierarchy_factor", "hierarchy_follows"),
]
_PREFIX = {"national": "", "state": "state_", "district": "cd_"}


def load_targets(db: Path, year: int) -> tuple[pd.DataFrame, dict[int, tuple[Constraint, ...]]]:
    """The targets of a year, and what their strata demand besides place.

    Of each (stratum, variable, reform) the latest period not after ``year`` counts, else the earliest; its value is uprated
    to ``year``, and then the levels are reconciled (``reconcile.py``) and totals are made the sums of their parts
    (``partitions.py``): value is original_value times uprating_factor times hierarchy_factor.

    Parameters
    ----------
    db : Path
        A target database.
    year : int

    Returns
    -------
    targets : DataFrame
        A row per target, sorted by level (national, state, district), variable, reform, place and constraints. Columns:
        target_id, stratum_id, variable, reform_id, value (dollars or counts of ``year``), period, geo_level, geographic_id
        (text: ``US``, ``6``, ``601``), domain_variable, original_value (as published for ``period``), uprating_factor,
        uprating_series (empty if none), source, tolerance (NaN if none, of the published value), name (unique, such as
        ``cd_601/person_count/[age<5,age>-1]``), hierarchy_factor (1.0 if none), hierarchy_follows (source of the figure
        that decided, empty if none).
    constraints : dict of int to tuple of Constraint
        Of every stratum in ``targets``: its constraints other than place, sorted.

    Raises
    ------
    ArtifactError
        If the database cannot be read, a target has no value or two have one name.
    ConfigError
        If there is no active target or a series does not reach a year.
    """
    uprated, rules, places = uprated_targets(db, year)
    return settle(uprated, rules, places)[_COLUMNS], rules


def uprated_targets(db: Path, year: int) -> tuple[pd.DataFrame, dict[int, tuple[Constraint, ...]], frozenset[int]]:
    """What ``load_targets`` gives, before reconciliation, and all places that the database has strata of."""
    stored = _read(db)
    targets, rules = _best_period(stored.targets, year), stored.rules
    places = [place_number(place, db) for place in targets["geographic_id"]]
    applied = _Uprating(stored.growth, year).factors(targets, places)
    targets["original_value"] = targets["value"]
    targets["uprating_factor"] = np.array([f for f, _ in applied], dtype=np.float64)
    targets["uprating_series"] = [series for _, series in applied]
    targets["value"] = targets["original_value"] * targets["uprating_factor"]
    targets["name"] = [
        target_name(level, place, variable, reform, rules[stratum])
        for level, place, variable, reform, stratum in zip(
            *(targets[c] for c in ("geo_level", "geographic_id", "variable", "reform_id", "stratum_id")), strict=True
        )
    ]
    twice = targets.loc[targets["name"].duplicated(), "name"]
    if len(twice):
        raise ArtifactError(f"{db.name} has two active targets called {twice.iloc[0]}", "make one of them inactive")
    order = pd.DataFrame(
        {
            "level": targets["geo_level"].map({level: index for index, level in enumerate(LEVELS)}),
            "variable": targets["variable"],
            "reform": targets["reform_id"],
            "place": places,
            "name": targets["name"],
        }
    ).sort_values(["level", "variable", "reform", "place", "name"])
    ordered = targets.loc[order.index].reset_index(drop=True)
    return ordered, {stratum: rules[stratum] for stratum in sorted(set(ordered["stratum_id"].tolist()))}, stored.places


@dataclass(frozen=True)
class _Stored:
    """What a database holds: active targets, constraints by stratum, growth by series, place and years, and its places."""

    targets: pd.DataFrame
    rules: dict[int, tuple[Constraint, ...]]
    growth: Mapping[tuple[str, int, int, int], float]
    places: frozenset[int]


class _Uprating:
    """Factors to one year: by the state's own growth where the database has it, else by the nation's series."""

    def __init__(self, growth: Mapping[tuple[str, int, int, int], float], year: int) -> None:
        self._growth = growth
        self._spans = {(series, first, last) for series, _, first, last in growth}
        self._year = year
        self._known: dict[tuple[str, int, str, int], tuple[float, str]] = {}

    def factors(self, targets: pd.DataFrame, places: list[int]) -> list[tuple[float, str]]:
        """Factor and name of the series of every target."""
        columns = (targets[c] for c in ("variable", "period", "domain_variable"))
        states = (place // 100 if place >= 100 else place for place in places)
        return [self._factor(*key) for key in zip(*columns, states, strict=True)]

    def _factor(self, variable: str, period: int, domain: str, state: int) -> tuple[float, str]:
        key = (variable, period, domain, state)
        if key not in self._known:
            self._known[key] = self._find(variable, period, domain.split(","), state)
        return self._known[key]

    def _find(self, variable: str, period: int, domain: list[str], place: int) -> tuple[float, str]:
        """By the place as far as its growth reaches, by the nation's series from there on."""
        name, year = series_of(variable, domain), self._year
        reached = self._reached(name, period)
        if reached == period:
            return factor(variable, period, year, domain)
        forward = reached > period
        first, last = (period, reached) if forward else (reached, period)
        grown = self._of_place(name, place, first, last)
        return (grown if forward else 1 / grown) * factor(variable, reached, year, domain)[0], name

    def _reached(self, name: str, period: int) -> int:
        """The year nearest to the one wanted, on the way to it, to which a place's growth leads from a period."""
        ends = {
            last if first == period else first
            for series, first, last in self._spans
            if series == name and period in (first, last)
        }
        way = range(min(period, self._year), max(period, self._year) + 1)
        return min((end for end in ends if end in way), key=lambda end: abs(end - self._year), default=period)

    def _of_place(self, name: str, place: int, first: int, last: int) -> float:
        found = self._growth.get((name, place, first, last))
        if found is None:
            where = "the nation" if place == 0 else f"state {place}"
            raise ConfigError(
                f"the series {name} has growth by state from {first} to {last}, and none for {where}",
                "add it to the table place_uprating",
            )
        return found


def _read(db: Path) -> _Stored:
    with reading(db) as connection:
        cursor = connection.execute(_TARGETS)
        columns = [description[0] for description in cursor.description]
        targets = pd.DataFrame(cursor.fetchall(), columns=columns)
        constraints = connection.execute(_CONSTRAINTS).fetchall()
        growth = {tuple(row[:4]): row[4] for row in connection.execute(_GROWTH)}
    if targets.empty:
        raise ConfigError(f"{db} has no active target", "build it again with at least one table")
    missing = targets.loc[targets["value"].isna(), "target_id"]
    if len(missing):
        raise ArtifactError(f"target {missing.iloc[0]} of {db.name} is active and has no value", "make it inactive")
    targets = targets.astype({"value": np.float64, "tolerance": np.float64})
    rules: dict[int, list[Constraint]] = {stratum: [] for stratum in targets["stratum_id"].tolist()}
    places = {0}
    for stratum, variable, operation, value in constraints:
        if variable in GEOGRAPHIC:
            places.add(int(value))
        elif stratum in rules:
            rules[stratum].append(Constraint(variable, operation, value))
    by_stratum = {stratum: tuple(sorted(of_one)) for stratum, of_one in rules.items()}
    return _Stored(targets, by_stratum, growth, frozenset(places))


def _best_period(targets: pd.DataFrame, year: int) -> pd.DataFrame:
    """One row per (stratum, variable, reform): the latest period not after the year, else the earliest."""
    late = targets["period"] > year
    ranked = targets.assign(_late=late, _distance=(targets["period"] - year).abs()).sort_values(
        ["_late", "_distance"], kind="stable"
    )
    best = ranked.drop_duplicates(["stratum_id", "variable", "reform_id"]).index
    return targets.loc[sorted(best)].copy()


def place_number(geographic_id: str, db: Path) -> int:
    """Code of a place from its ``geographic_id``, by which places are sorted; a place in another code is an error."""
    if geographic_id == "US":
        return 0
    if not geographic_id.isdecimal():
        raise ArtifactError(
            f"{db.name} has a target for the place {geographic_id!r}", "give places by state_fips or district code"
        )
    return int(geographic_id)


def target_name(level: str, place: str, variable: str, reform: int, constraints: Iterable[Constraint]) -> str:
    """Name of a target from its level, ``geographic_id``, variable, reform and its constraints other than place."""
    area = "national" if level == "national" else f"{_PREFIX[level]}{place}"
    what = f"{variable}_expenditure" if reform > 0 else variable
    return f"{area}/{what}/{brackets(constraints)}"
