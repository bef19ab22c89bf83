"""The consistency report: where the targets of a year contradict each other, by how much, and which figure is followed.

Three kinds. ``levels``: a whole against the sum of its parts in the hierarchy of places, before reconciliation. ``sources``:
two figures for one quantity, from two sources, or in two wordings that mean the same (``data/equivalences.csv``). ``parts``:
nested domains of one place whose part exceeds its whole, and partitions (age, income, children) that do not add up to it.
Differences below ``NOTICEABLE`` are the publishers' rounding.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.targets.constraints import brackets
from geocal_core.targets.grid import Grid, words_of
from geocal_core.targets.intervals import Domain, Interval
from geocal_core.targets.partitions import close
from geocal_core.targets.reconcile import BOUNDS, compare_levels, quantities, reconcile
from geocal_core.targets.select import uprated_targets
from geocal_core.targets.vocabulary import data_rows, sources

NOTICEABLE = 1e-3
"""Relative difference from which two figures contradict each other."""

_ALTERNATIVES = "SELECT target_id, value, source FROM alternative_figures WHERE value IS NOT NULL ORDER BY alternative_id"


@dataclass(frozen=True)
class Contradiction:
    """Two figures that cannot both be right.

    Attributes
    ----------
    kind : str
        ``levels``, ``sources`` or ``parts``.
    quantity : str
        The quantity and, where there are two, the other: ``household_count [snap>0]``.
    place : str
        Where: ``US``, ``6``, ``601``.
    value, other : float
        The two values, uprated, in dollars or counts.
    source, other_source : str
        Their sources.
    follows : str
        Source of the figure that decides; empty if neither gives way.
    why : str
        By what rule.
    reconciled : bool
        Whether the targets that are handed out no longer contradict each other here.
    """

    kind: str
    quantity: str
    place: str
    value: float
    other: float
    source: str
    other_source: str
    follows: str
    why: str
    reconciled: bool

    @property
    def ratio(self) -> float:
        """The value by the other one; infinite or NaN where that is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.float64(self.value) / np.float64(self.other))

    @property
    def effect(self) -> float:
        """Relative size: the difference by the larger of the two, from 0 to 2."""
        return abs(self.value - self.other) / max(abs(self.value), abs(self.other))


def find_contradictions(db: Path, year: int) -> list[Contradiction]:
    """Contradictions among the targets of a year, those that remain first, the largest first.

    Parameters
    ----------
    db : Path
        A target database.
    year : int

    Raises
    ------
    ArtifactError, ConfigError
        As ``load_targets``.
    """
    uprated, rules, places = uprated_targets(db, year)
    leveled = reconcile(uprated, places)
    settled = close(leveled, rules, places)
    grid = Grid(settled, rules, places)
    found = [
        *_levels(uprated, places),
        *_closed(leveled, settled),
        *_incomplete_levels(grid),
        *_alternatives(db, uprated),
        *_equivalents(grid),
        *_same_bounds(grid),
        *_nested(grid),
        *_partitions(grid),
    ]
    return sorted(found, key=lambda c: (c.reconciled, -c.effect, c.kind, c.quantity, c.place))


def _differ(value: NDArray[np.float64] | float, other: NDArray[np.float64] | float) -> NDArray[np.bool_]:
    """Whether figures differ noticeably; not where one is missing (NaN)."""
    larger = np.maximum(np.abs(value), np.abs(other))
    return np.asarray(np.abs(np.subtract(value, other)) > NOTICEABLE * larger)


def _trust(source: str) -> int:
    return sources()[source].trust if source in sources() else -1


def _order(source: str, other: str) -> tuple[str, str]:
    """The more trusted of two sources, and the rule in words."""
    first, second = _trust(source), _trust(other)
    if first == second:
        return "", f"both have trust {first}"
    followed = source if first > second else other
    return followed, f"trust {max(first, second)} against {min(first, second)}"


def _levels(uprated: pd.DataFrame, places: frozenset[int]) -> Iterator[Contradiction]:
    compared = compare_levels(uprated, places)
    compared = compared[_differ(compared["whole"].to_numpy(), compared["parts"].to_numpy())]
    source, period = uprated["source"].to_numpy(), uprated["period"].to_numpy()
    for row in compared.to_dict("records"):
        whole, part = source[row["row"]], source[row["part"]]
        if not row["reconciled"]:
            follows, why = "", f"ratio beyond {BOUNDS[0]:.3g} to {BOUNDS[1]:.3g}: not the same quantity, nothing is scaled"
        elif row["follows_parts"]:
            follows, why = part, f"the whole takes the sum of its parts: {_rank_words(part, whole, period, row, reverse=True)}"
        else:
            follows, why = whole, f"the parts are scaled to the whole: {_rank_words(whole, part, period, row)}"
        yield Contradiction(
            kind="levels",
            quantity=f"{words_of(row['quantity'])}: whole and sum of its {row['level']}s",
            place=row["place"],
            value=row["whole"],
            other=row["parts"],
            source=whole,
            other_source=part,
            follows=follows,
            why=why,
            reconciled=bool(row["reconciled"]),
        )


def _rank_words(followed: str, other: str, period: NDArray[np.int64], row: dict[str, int], *, reverse: bool = False) -> str:
    years = (period[row["row"]], period[row["part"]])
    first, second = reversed(years) if reverse else years
    if _trust(followed) != _trust(other):
        return f"trust {_trust(followed)} against {_trust(other)}"
    return f"equal trust, {first} against {second}" if first != second else f"equal trust ({_trust(followed)})"


def _closed(leveled: pd.DataFrame, settled: pd.DataFrame) -> Iterator[Contradiction]:
    """Totals that took the sum of their parts after the levels were reconciled."""
    before, after = leveled["value"].to_numpy(), settled["value"].to_numpy()
    named = quantities(settled)
    for row in np.flatnonzero(_differ(before, after)).tolist():
        yield Contradiction(
            kind="parts",
            quantity=f"{words_of(named.iloc[row])} and the sum of its parts",
            place=settled["geographic_id"].iloc[row],
            value=float(before[row]),
            other=float(after[row]),
            source=settled["source"].iloc[row],
            other_source=settled["source"].iloc[row],
            follows=settled["hierarchy_follows"].iloc[row],
            why="the total takes the sum of its parts, which follow those of the nation",
            reconciled=True,
        )


def _incomplete_levels(grid: Grid) -> Iterator[Contradiction]:
    """Wholes that some of their parts, not all being there, already exceed."""
    for place, parts in grid.parts_of.items():
        of_parts = grid.values[:, parts]
        some = np.isnan(of_parts).any(axis=1) & ~np.isnan(of_parts).all(axis=1)
        sums, wholes = np.nansum(of_parts, axis=1), grid.values[:, place]
        for quantity in np.flatnonzero(some & (sums > wholes) & _differ(sums, wholes)).tolist():
            if grid.signed(quantity):
                continue
            part = parts[int(np.flatnonzero(~np.isnan(of_parts[quantity]))[0])]
            whole, other = grid.source(quantity, place), grid.source(quantity, part)
            trusted, rule = _order(whole, other)
            yield Contradiction(
                kind="levels",
                quantity=f"{words_of(grid.names[quantity])}: whole and sum of those parts that are there",
                place=grid.place(place),
                value=float(wholes[quantity]),
                other=float(sums[quantity]),
                source=whole,
                other_source=other,
                follows=trusted,
                why=f"{rule}; both stay as they are, because parts are missing",
                reconciled=False,
            )


def _alternatives(db: Path, uprated: pd.DataFrame) -> Iterator[Contradiction]:
    """Targets against what other sources publish for them."""
    with closing(sqlite3.connect(f"{db.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(_ALTERNATIVES).fetchall()
    position = {target: index for index, target in enumerate(uprated["target_id"].tolist())}
    named = quantities(uprated).to_numpy()
    for target, value, source in rows:
        if target not in position:
            continue
        row = uprated.iloc[position[target]]
        other = value * row["uprating_factor"]
        if _differ(row["value"], other):
            yield Contradiction(
                kind="sources",
                quantity=words_of(named[position[target]]),
                place=row["geographic_id"],
                value=float(row["value"]),
                other=float(other),
                source=row["source"],
                other_source=source,
                follows=row["source"],
                why=f"{_order(row['source'], source)[1]}; the other is an alternative and no target",
                reconciled=True,
            )


def _equivalents(grid: Grid) -> Iterator[Contradiction]:
    """Quantities in two wordings that mean the same, as declared in data."""
    for row in data_rows("equivalences.csv"):
        first = _declared(grid, row["quantity"])
        second = _declared(grid, row["equivalent"])
        if first is None or second is None:
            continue
        differ = _differ(first.values, second.values)
        for place in np.flatnonzero(differ).tolist():
            trusted, rule = _order(first.source, second.source)
            yield Contradiction(
                kind="sources",
                quantity=f"{row['quantity']} and {row['equivalent']}",
                place=grid.place(place),
                value=float(first.values[place]),
                other=float(second.values[place]),
                source=first.source,
                other_source=second.source,
                follows=trusted,
                why=f"{row['why']}; {rule}; both stay targets",
                reconciled=False,
            )


def _same_bounds(grid: Grid) -> Iterator[Contradiction]:
    """Quantities whose domains differ at most in whether a bound belongs to them."""
    for family in grid.families.values():
        alike: dict[Domain, list[int]] = defaultdict(list)
        for quantity in family:
            alike[grid.domain[quantity].loose].append(quantity)
        for first, *others in alike.values():
            for second in others:
                values, rivals = grid.values[first], grid.values[second]
                for place in np.flatnonzero(_differ(values, rivals)).tolist():
                    words = f"and {words_of(grid.names[second])}"
                    yield _of_parts(grid, first, place, float(rivals[place]), second, words, "sources")


@dataclass(frozen=True)
class _Declared:
    """Values by place, and the least trusted of their sources."""

    values: NDArray[np.float64]
    source: str


def _declared(grid: Grid, wording: str) -> _Declared | None:
    """Values by place of a wording: quantities joined by `` + ``, each ``variable [constraints]``; None if one is not there."""
    found = [_by_wording(grid, term) for term in wording.split(" + ")]
    if any(not of_term for of_term in found):
        return None
    values = np.sum([np.sum([grid.filled(q) for q in of_term], axis=0) for of_term in found], axis=0)
    every = set[str]().union(*(grid.sources_of(q) for of_term in found for q in of_term))
    return _Declared(values, min(sorted(every), key=_trust))


def _by_wording(grid: Grid, term: str) -> list[int]:
    """The quantity of a wording, or those of its finest partition."""
    named = [index for index, name in enumerate(grid.names) if words_of(name) == term]
    if named:
        return named[:1]
    variable, _, constraints = term.partition(" ")
    for parting in grid.partings.get((variable, 0), ()):
        base = [rule for rule in grid.rules[parting.pieces[0]] if rule.variable != parting.variable]
        if (brackets(base) if base else "") == constraints:
            laid = grid.tilings(parting, Interval())
            if laid:
                return max(laid, key=len)
    return []


def _nested(grid: Grid) -> Iterator[Contradiction]:
    """Parts of a domain, at one place, that exceed it."""
    for family in grid.families.values():
        by_names: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for quantity in family:
            by_names[tuple(name for name, _ in grid.domain[quantity].parts)].append(quantity)
        for names, parts in by_names.items():
            fewer = [some for size in range(len(names) + 1) for some in combinations(names, size) if some in by_names]
            wholes = [quantity for some in fewer for quantity in by_names[some]]
            for part in parts:
                for whole in wholes if not grid.signed(part) else ():
                    if grid.domain[part].inside(grid.domain[whole]):
                        yield from _exceeds(grid, part, whole)


def _exceeds(grid: Grid, part: int, whole: int) -> Iterator[Contradiction]:
    values, wholes = grid.values[part], grid.values[whole]
    for place in np.flatnonzero((values > wholes) & _differ(values, wholes)).tolist():
        words = f"is exceeded by its part {words_of(grid.names[part])}"
        yield _of_parts(grid, whole, place, float(values[place]), part, words)


def _partitions(grid: Grid) -> Iterator[Contradiction]:
    """Domains that a partition of them, at one place, does not add up to."""
    for key, family in grid.families.items():
        alone = {grid.domain[quantity]: quantity for quantity in family}
        for parting in grid.partings[key]:
            wholes = [*parting.pieces, *([alone[parting.rest]] if parting.rest in alone else [])]
            for whole in wholes:
                laid = grid.tilings(parting, grid.domain[whole].on(parting.variable))
                yield from _against(grid, whole, laid, parting.variable)


def _against(grid: Grid, whole: int, laid: list[list[int]], variable: str) -> Iterator[Contradiction]:
    """A whole against the finest of its partitions that each place has."""
    done = np.zeros(len(grid.places), dtype=np.bool_)
    for tiling in sorted(laid, key=len, reverse=True):
        sums, wholes = grid.values[tiling].sum(axis=0), grid.values[whole]
        fresh = ~done & ~np.isnan(sums) & ~np.isnan(wholes)
        done |= fresh
        for place in np.flatnonzero(fresh & _differ(sums, wholes)).tolist():
            words = f"and the sum of {len(tiling)} parts by {variable}"
            yield _of_parts(grid, whole, place, float(sums[place]), tiling[0], words)


def _of_parts(grid: Grid, whole: int, place: int, other: float, part: int, words: str, kind: str = "parts") -> Contradiction:
    source, other_source = grid.source(whole, place), grid.source(part, place)
    trusted, rule = _order(source, other_source)
    return Contradiction(
        kind=kind,
        quantity=f"{words_of(grid.names[whole])} {words}",
        place=grid.place(place),
        value=float(grid.values[whole, place]),
        other=other,
        source=source,
        other_source=other_source,
        follows=trusted,
        why=f"{rule}; both stay targets",
        reconciled=False,
    )
