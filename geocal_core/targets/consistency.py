"""The consistency report: where the targets of a year contradict each other, by how much, and which figure is followed.

Three kinds. ``levels``: a whole against the sum of its parts in the hierarchy of places, before reconciliation. ``sources``:
two figures for one quantity, from two sources, or in two wordings that mean the same (``data/equivalences.csv``). ``parts``:
nested domains of one place whose part exceeds its whole, and partitions (age, income, children) that do not add up to it.
Differences below ``NOTICEABLE`` are the publishers' rounding.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.targets.constraints import Constraint, brackets
from geocal_core.targets.intervals import Domain, Interval, tilings
from geocal_core.targets.reconcile import BOUNDS, compare_levels, quantities, reconcile
from geocal_core.targets.select import uprated_targets
from geocal_core.targets.vocabulary import data_rows, sources

NOTICEABLE = 1e-3
"""Relative difference from which two figures contradict each other."""

_ALTERNATIVES = "SELECT target_id, value, source FROM alternative_figures WHERE value IS NOT NULL ORDER BY alternative_id"

# Amounts that may be negative, so that a part may exceed its whole.
_SIGNED = frozenset(
    {
        "adjusted_gross_income",
        "estate_income",
        "farm_operations_income",
        "farm_rent_income",
        "income_tax",
        "loss_limited_net_capital_gains",
        "net_capital_gains",
        "partnership_s_corp_income",
        "rental_income",
        "self_employment_income",
        "tax_unit_partnership_s_corp_income",
        "tax_unit_rental_income",
        "total_self_employment_income",
    }
)


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
    table = _Table(reconcile(uprated, places), rules, places)
    found = [
        *_levels(uprated, places),
        *_incomplete_levels(table),
        *_alternatives(db, uprated),
        *_equivalents(table),
        *_same_bounds(table),
        *_nested(table),
        *_partitions(table),
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
            quantity=f"{_words(row['quantity'])}: whole and sum of its {row['level']}s",
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


def _words(quantity: str) -> str:
    """A quantity of ``reconcile.quantities`` in words."""
    _, variable, constraints = quantity.split("/", 2)
    return variable if constraints == "[]" else f"{variable} {constraints}"


class _Table:
    """Reconciled targets as a grid of quantities by places, with the domain of each quantity."""

    def __init__(self, targets: pd.DataFrame, rules: dict[int, tuple[Constraint, ...]], places: frozenset[int]) -> None:
        codes, names = pd.factorize(quantities(targets))
        self.names: list[str] = list(names)
        self.places: list[int] = sorted(places)
        position = {place: index for index, place in enumerate(self.places)}
        columns = targets["geographic_id"].replace("US", "0").astype(int).map(position).to_numpy()
        self._row = np.full((len(names), len(position)), -1, dtype=np.int64)
        self._row[codes, columns] = np.arange(len(targets))
        self._values = np.append(targets["value"].to_numpy(np.float64), np.nan)
        self._source = targets["source"].to_numpy()
        first = targets.groupby(codes, sort=True).head(1).index.to_numpy()
        self.variable: list[str] = targets["variable"].to_numpy()[first].tolist()
        self.reform: list[int] = targets["reform_id"].to_numpy()[first].tolist()
        self.rules = [rules[stratum] for stratum in targets["stratum_id"].to_numpy()[first].tolist()]
        self.domain = [Domain.of(of_one) for of_one in self.rules]
        self._alike: dict[tuple[str, int, str], dict[Domain, list[int]]] = {}

    @cached_property
    def grid(self) -> NDArray[np.float64]:
        """Values, NaN where there is no target."""
        return np.asarray(self._values[self._row])

    def source(self, quantity: int, place: int) -> str:
        """Source of a quantity's target at a place (position of it)."""
        return str(self._source[self._row[quantity, place]])

    def signed(self, quantity: int) -> bool:
        """Whether it may be negative."""
        return self.reform[quantity] > 0 or self.variable[quantity] in _SIGNED

    def place(self, position: int) -> str:
        """Name of a place."""
        return "US" if self.places[position] == 0 else str(self.places[position])

    @cached_property
    def families(self) -> dict[tuple[str, int], list[int]]:
        """Quantities of one variable and reform."""
        found: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, key in enumerate(zip(self.variable, self.reform, strict=True)):
            found[key].append(index)
        return found

    @cached_property
    def partings(self) -> dict[tuple[str, int], list[_Parting]]:
        """Of each family: domains, there or not, that some of its quantities part by one variable."""
        return {key: _partings(self, family) for key, family in self.families.items()}

    @cached_property
    def parts_of(self) -> dict[int, list[int]]:
        """Positions of the parts of each place that has parts, by its position."""
        position = {place: index for index, place in enumerate(self.places)}
        found: dict[int, list[int]] = defaultdict(list)
        for place, index in position.items():
            if place:
                found[position[place // 100 if place >= 100 else 0]].append(index)
        return found

    def alike(self, family: Sequence[int], variable: str) -> Mapping[Domain, list[int]]:
        """Quantities of a family by their domains on other variables."""
        key = (self.variable[family[0]], self.reform[family[0]], variable)
        if key not in self._alike:
            found = self._alike[key] = defaultdict[Domain, list[int]](list)
            for q in family:
                found[self.domain[q].without(variable)].append(q)
        return self._alike[key]

    def filled(self, quantity: int) -> NDArray[np.float64]:
        """Values of a quantity, where a place has none the sum of all its parts (NaN if one is missing)."""
        values = self.grid[quantity].copy()
        for place in sorted(self.parts_of, key=lambda position: -self.places[position]):
            if np.isnan(values[place]):
                values[place] = values[self.parts_of[place]].sum()
        return values

    def sources_of(self, quantity: int) -> set[str]:
        """Sources of a quantity's targets."""
        return {str(self._source[row]) for row in self._row[quantity] if row >= 0}


def _incomplete_levels(table: _Table) -> Iterator[Contradiction]:
    """Wholes that some of their parts, not all being there, already exceed."""
    for place, parts in table.parts_of.items():
        of_parts = table.grid[:, parts]
        some = np.isnan(of_parts).any(axis=1) & ~np.isnan(of_parts).all(axis=1)
        sums, wholes = np.nansum(of_parts, axis=1), table.grid[:, place]
        for quantity in np.flatnonzero(some & (sums > wholes) & _differ(sums, wholes)).tolist():
            if table.signed(quantity):
                continue
            part = parts[int(np.flatnonzero(~np.isnan(of_parts[quantity]))[0])]
            whole, other = table.source(quantity, place), table.source(quantity, part)
            trusted, rule = _order(whole, other)
            yield Contradiction(
                kind="levels",
                quantity=f"{_words(table.names[quantity])}: whole and sum of those parts that are there",
                place=table.place(place),
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
                quantity=_words(named[position[target]]),
                place=row["geographic_id"],
                value=float(row["value"]),
                other=float(other),
                source=row["source"],
                other_source=source,
                follows=row["source"],
                why=f"{_order(row['source'], source)[1]}; the other is an alternative and no target",
                reconciled=True,
            )


def _equivalents(table: _Table) -> Iterator[Contradiction]:
    """Quantities in two wordings that mean the same, as declared in data."""
    for row in data_rows("equivalences.csv"):
        first = _declared(table, row["quantity"])
        second = _declared(table, row["equivalent"])
        if first is None or second is None:
            continue
        differ = _differ(first.values, second.values)
        for place in np.flatnonzero(differ).tolist():
            trusted, rule = _order(first.source, second.source)
            yield Contradiction(
                kind="sources",
                quantity=f"{row['quantity']} and {row['equivalent']}",
                place=table.place(place),
                value=float(first.values[place]),
                other=float(second.values[place]),
                source=first.source,
                other_source=second.source,
                follows=trusted,
                why=f"{row['why']}; {rule}; both stay targets",
                reconciled=False,
            )


def _same_bounds(table: _Table) -> Iterator[Contradiction]:
    """Quantities whose domains differ at most in whether a bound belongs to them."""
    for family in table.families.values():
        alike: dict[Domain, list[int]] = defaultdict(list)
        for quantity in family:
            alike[table.domain[quantity].loose].append(quantity)
        for first, *others in alike.values():
            for second in others:
                values, rivals = table.grid[first], table.grid[second]
                for place in np.flatnonzero(_differ(values, rivals)).tolist():
                    words = f"and {_words(table.names[second])}"
                    yield _of_parts(table, first, place, float(rivals[place]), second, words, "sources")


@dataclass(frozen=True)
class _Declared:
    """Values by place, and the least trusted of their sources."""

    values: NDArray[np.float64]
    source: str


def _declared(table: _Table, wording: str) -> _Declared | None:
    """Values by place of a wording: quantities joined by `` + ``, each ``variable [constraints]``; None if one is not there."""
    found = [_by_wording(table, term) for term in wording.split(" + ")]
    if any(not of_term for of_term in found):
        return None
    values = np.sum([np.sum([table.filled(q) for q in of_term], axis=0) for of_term in found], axis=0)
    every = set[str]().union(*(table.sources_of(q) for of_term in found for q in of_term))
    return _Declared(values, min(sorted(every), key=_trust))


def _by_wording(table: _Table, term: str) -> list[int]:
    """The quantity of a wording, or those of its finest partition."""
    named = [index for index, name in enumerate(table.names) if _words(name) == term]
    if named:
        return named[:1]
    variable, _, constraints = term.partition(" ")
    for parting in table.partings.get((variable, 0), ()):
        base = [rule for rule in table.rules[parting.pieces[0]] if rule.variable != parting.variable]
        if (brackets(base) if base else "") == constraints:
            laid = _tilings(table, parting, Interval())
            if laid:
                return max(laid, key=len)
    return []


@dataclass(frozen=True)
class _Parting:
    """Quantities that differ in one variable alone, and the domain that is left without it."""

    variable: str
    rest: Domain
    pieces: list[int]


def _partings(table: _Table, family: Sequence[int]) -> list[_Parting]:
    found: dict[tuple[str, Domain], list[int]] = defaultdict(list)
    for quantity in family:
        domain = table.domain[quantity]
        for name, _ in domain.parts:
            found[name, domain.without(name)].append(quantity)
    return [_Parting(name, rest, pieces) for (name, rest), pieces in found.items() if len(pieces) > 1]


def _tilings(table: _Table, parting: _Parting, whole: Interval) -> list[list[int]]:
    """Ways to make up an interval of the quantities of a parting."""
    laid = tilings(whole, [table.domain[quantity].on(parting.variable) for quantity in parting.pieces])
    return [[parting.pieces[position] for position in tiling] for tiling in laid]


def _nested(table: _Table) -> Iterator[Contradiction]:
    """Parts of a domain, at one place, that exceed it."""
    for family in table.families.values():
        by_names: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for quantity in family:
            by_names[tuple(name for name, _ in table.domain[quantity].parts)].append(quantity)
        for names, parts in by_names.items():
            fewer = [some for size in range(len(names) + 1) for some in combinations(names, size) if some in by_names]
            wholes = [quantity for some in fewer for quantity in by_names[some]]
            for part in parts:
                for whole in wholes if not table.signed(part) else ():
                    if table.domain[part].inside(table.domain[whole]):
                        yield from _exceeds(table, part, whole)


def _exceeds(table: _Table, part: int, whole: int) -> Iterator[Contradiction]:
    values, wholes = table.grid[part], table.grid[whole]
    for place in np.flatnonzero((values > wholes) & _differ(values, wholes)).tolist():
        words = f"is exceeded by its part {_words(table.names[part])}"
        yield _of_parts(table, whole, place, float(values[place]), part, words)


def _partitions(table: _Table) -> Iterator[Contradiction]:
    """Domains that a partition of them, at one place, does not add up to."""
    for key, family in table.families.items():
        alone = {table.domain[quantity]: quantity for quantity in family}
        for parting in table.partings[key]:
            wholes = [*parting.pieces, *([alone[parting.rest]] if parting.rest in alone else [])]
            for whole in wholes:
                laid = _tilings(table, parting, table.domain[whole].on(parting.variable))
                yield from _against(table, whole, laid, parting.variable)


def _against(table: _Table, whole: int, laid: list[list[int]], variable: str) -> Iterator[Contradiction]:
    """A whole against the finest of its partitions that each place has."""
    done = np.zeros(len(table.places), dtype=np.bool_)
    for tiling in sorted(laid, key=len, reverse=True):
        sums, wholes = table.grid[tiling].sum(axis=0), table.grid[whole]
        fresh = ~done & ~np.isnan(sums) & ~np.isnan(wholes)
        done |= fresh
        for place in np.flatnonzero(fresh & _differ(sums, wholes)).tolist():
            words = f"and the sum of {len(tiling)} parts by {variable}"
            yield _of_parts(table, whole, place, float(sums[place]), tiling[0], words)


def _of_parts(table: _Table, whole: int, place: int, other: float, part: int, words: str, kind: str = "parts") -> Contradiction:
    source, other_source = table.source(whole, place), table.source(part, place)
    trusted, rule = _order(source, other_source)
    return Contradiction(
        kind=kind,
        quantity=f"{_words(table.names[whole])} {words}",
        place=table.place(place),
        value=float(table.grid[whole, place]),
        other=other,
        source=source,
        other_source=other_source,
        follows=trusted,
        why=f"{rule}; both stay targets",
        reconciled=False,
    )
