"""Writes figures into a target database: strata from the nation down, each figure below its place.

The same figures give the same bytes: ids count up in a fixed order, nothing in the file depends on time, and the file is
compacted at the end. Rows are inserted in bulk, so the rules that a session holds at flush are held here by the same functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.states import state_of_fips
from geocal_core.targets.constraints import Constraint, brackets, place_constraints
from geocal_core.targets.figures import NATION, Domain, Family, Figure, PlaceGrowth, Scope, parent_of
from geocal_core.targets.schema import (
    Alternative,
    Base,
    PlaceUprating,
    Source,
    Stratum,
    StratumConstraint,
    Target,
    create,
    identity,
)
from geocal_core.targets.vocabulary import sources


@dataclass(frozen=True)
class Provenance:
    """A file that a source's figures were read from: a row of the table ``sources``."""

    source: str
    agency: str
    file: str
    url: str
    digest: str
    vintage: int
    retrieved: str | None = None


def write_database(
    path: Path,
    figures: Sequence[Figure],
    scope: Scope,
    provenance: Sequence[Provenance] = (),
    growth: Sequence[PlaceGrowth] = (),
) -> int:
    """Make a database of the strata of a scope and of these figures, in their order.

    Of two figures for the same variable, stratum, period and reform the one of the more trusted source is the target, the
    other an alternative of it. A figure without a value is an inactive target.

    Parameters
    ----------
    path : Path
    figures : sequence of Figure
    scope : Scope
    provenance : sequence of Provenance
        Files that the figures were read from.
    growth : sequence of PlaceGrowth
        Growth of series by place.

    Returns
    -------
    int
        How many figures are alternatives.

    Raises
    ------
    ConfigError
        If the constraints of a figure contradict each other or do not nest, or the same source (or two of equal trust) gives
        two figures for one target.
    ArtifactError
        If the disk is full or the file cannot be written.
    """
    strata = _Strata()
    for place in scope.places:
        strata.at(place, ())
    followed, others = _by_trust(figures)
    targets = [_target(index, figure, strata.at(figure.place, figure.domain)) for index, figure in enumerate(followed, 1)]
    rows: list[tuple[type[Base], list[dict[str, Any]]]] = [
        (Stratum, strata.rows),
        (StratumConstraint, strata.constraint_rows),
        (Target, targets),
        (Source, [asdict(row) for row in provenance]),
        (Alternative, [_alternative(1 + position, figure) for position, figure in others]),
        (PlaceUprating, [asdict(row) for row in growth]),
    ]
    try:
        _write(path, rows)
    except (OperationalError, sqlite3.OperationalError) as error:
        reason = error.orig if isinstance(error, OperationalError) else error
        raise ArtifactError(
            f"the target database cannot be written ({reason})", "free space on its disk and run again"
        ) from error
    return len(others)


def _by_trust(figures: Sequence[Figure]) -> tuple[list[Figure], list[tuple[int, Figure]]]:
    """Figures to follow, and the others with the position of the one that is followed instead."""
    followed: list[Figure] = []
    others: list[tuple[int, Figure]] = []
    position: dict[tuple[int, Family], int] = {}
    for figure in figures:
        at = position.setdefault((figure.place, figure.family), len(followed))
        if at == len(followed):
            followed.append(figure)
            continue
        rival = followed[at]
        if _trust(rival) == _trust(figure):
            raise ConfigError(
                f"{figure.source} and {rival.source} both give {figure.variable} {brackets(_rules(NATION, figure.domain))} of "
                f"{figure.period} for {_called(figure.place, ())}",
                "give one of them a higher trust in data/sources.csv",
            )
        less = figure if _trust(figure) < _trust(rival) else rival
        followed[at] = rival if less is figure else figure
        others.append((at, less))
    return followed, others


def _trust(figure: Figure) -> tuple[bool, int]:
    """A figure that is not withheld goes before one that is."""
    return figure.value is not None, sources()[figure.source].trust


def _write(path: Path, rows: list[tuple[type[Base], list[dict[str, Any]]]]) -> None:
    engine = create(path)
    with engine.begin() as connection:
        for model, of_model in rows:
            if of_model:
                connection.execute(insert(model), of_model)
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
        "reform_id": figure.reform_id,
        "value": figure.value,
        "active": figure.value is not None,
        "tolerance": figure.tolerance,
        "source": figure.source,
        "notes": figure.notes,
    }


def _alternative(target_id: int, figure: Figure) -> dict[str, Any]:
    return {
        "target_id": target_id,
        "value": figure.value,
        "tolerance": figure.tolerance,
        "source": figure.source,
        "notes": figure.notes,
    }
