"""Writes figures into a target database: strata from the nation down, each figure below its place.

The same figures give the same bytes: ids count up in a fixed order, nothing in the file depends on time, and the file is
compacted at the end. Rows are inserted in bulk, so the rules that a session holds at flush are held here by the same functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from geocal_core.errors import ArtifactError
from geocal_core.places.states import state_of_fips
from geocal_core.targets.constraints import Constraint, brackets, place_constraints
from geocal_core.targets.figures import NATION, Domain, Figure, Scope, parent_of
from geocal_core.targets.schema import Stratum, StratumConstraint, Target, create, identity


def write_database(path: Path, figures: Sequence[Figure], scope: Scope) -> None:
    """Make a database of the strata of a scope and of these figures, in their order.

    Raises
    ------
    ConfigError
        If the constraints of a figure contradict each other or do not nest.
    ArtifactError
        If the disk is full or the file cannot be written.
    """
    strata = _Strata()
    for place in scope.places:
        strata.at(place, ())
    targets = [_target(index, figure, strata.at(figure.place, figure.domain)) for index, figure in enumerate(figures, 1)]
    try:
        _write(path, strata, targets)
    except (OperationalError, sqlite3.OperationalError) as error:
        reason = error.orig if isinstance(error, OperationalError) else error
        raise ArtifactError(
            f"the target database cannot be written ({reason})", "free space on its disk and run again"
        ) from error


def _write(path: Path, strata: _Strata, targets: list[dict[str, Any]]) -> None:
    engine = create(path)
    with engine.begin() as connection:
        connection.execute(insert(Stratum), strata.rows)
        if strata.constraint_rows:
            connection.execute(insert(StratumConstraint), strata.constraint_rows)
        if targets:
            connection.execute(insert(Target), targets)
    engine.dispose()
    with closing(sqlite3.connect(path)) as compacted:
        compacted.execute("VACUUM")


class _Strata:
    """Rows of the strata by place and domain, each made once, below its parent, with the next id."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.constraint_rows: list[dict[str, Any]] = []
        self._ids: dict[tuple[int, Domain], int] = {}

    def at(self, place: int, domain: Domain) -> int:
        """Id of the stratum of a domain at a place."""
        key = (place, domain)
        if key not in self._ids:
            parent = _parent(place, domain)
            parent_id = None if parent is None else self.at(*parent)
            rules = _rules(place, domain)
            definition = identity(rules, parent_id, None if parent is None else _rules(*parent))
            self._ids[key] = stratum_id = len(self._ids) + 1
            self.rows.append(
                {
                    "stratum_id": stratum_id,
                    "definition_hash": definition,
                    "parent_stratum_id": parent_id,
                    "notes": _called(place, domain),
                }
            )
            self.constraint_rows += [
                {"stratum_id": stratum_id, "constraint_variable": r.variable, "operation": r.operation, "value": r.value}
                for r in rules
            ]
        return self._ids[key]


def _parent(place: int, domain: Domain) -> tuple[int, Domain] | None:
    if domain:
        return place, domain[:-1]
    return None if place == NATION else (parent_of(place), ())


def _rules(place: int, domain: Domain) -> tuple[Constraint, ...]:
    return (*place_constraints(place), *(c for constraints in domain for c in constraints))


def _called(place: int, domain: Domain) -> str:
    if place == NATION:
        where = "United States"
    elif place < 100:
        where = state_of_fips(place).name
    else:
        where = f"{state_of_fips(place // 100).name} district {place % 100}"
    return f"{where} {brackets(_rules(NATION, domain))}" if domain else where


def _target(target_id: int, figure: Figure, stratum_id: int) -> dict[str, Any]:
    return {
        "target_id": target_id,
        "variable": figure.variable,
        "period": figure.period,
        "stratum_id": stratum_id,
        "reform_id": 0,
        "value": figure.value,
        "active": True,
        "tolerance": figure.tolerance,
        "source": figure.source,
        "notes": figure.notes,
    }
