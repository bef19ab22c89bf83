"""Checks on the figures of all tables together: complete in their scope, adding up from level to level, the known totals.

A gap, a repetition or a sum that does not hold is an ``InputError``: the files contradict themselves or each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from geocal_core.errors import ArtifactError, InputError
from geocal_core.targets.constraints import brackets
from geocal_core.targets.figures import LEVELS, NATION, Family, Figure, Scope, Table, level_of, parent_of
from geocal_core.targets.vocabulary import data_rows, variables

_FLOATING = 1e-12  # of a sum of cents that is stored as a float


def check_complete(table: Table, figures: Iterable[Figure], scope: Scope) -> None:
    """Refuse a table's figures unless every family of a source has each place of its levels exactly once, or, where the
    table is not complete, at most once.
    """
    found: dict[tuple[str, Family], list[int]] = defaultdict(list)
    for figure in figures:
        found[figure.source, figure.family].append(figure.place)
    if not found:
        raise InputError(f"the table {table.name} has no figures")
    wanted = frozenset[int]().union(*(scope.at(level) for level in table.levels))
    for (_, family), places in found.items():
        lacking = sorted(wanted - set(places)) if table.complete else []
        beyond = sorted(set(places) - wanted)
        twice = sorted({place for place in places if places.count(place) > 1}) if len(places) > len(set(places)) else []
        for what, amiss in (("lacks", lacking), ("is outside of its scope for", beyond), ("is there twice for", twice)):
            if amiss:
                raise InputError(f"the table {table.name}: {_called(family)} {what} {_place_called(amiss[0])}")


def check_sums(tables: Mapping[Table, list[Figure]]) -> None:
    """Refuse figures whose districts do not add up to their state, or whose states do not to the nation.

    Within one source, and where no figure is withheld. Each part and the whole may be off by the rounding of the parts' table,
    and the parts together by the share that it leaves unplaced; of a net amount that share bounds nothing.
    """
    families: dict[tuple[str, Family], dict[int, tuple[float | None, Table]]] = defaultdict(dict)
    for table, figures in tables.items():
        for figure in figures:
            families[figure.source, figure.family][figure.place] = (figure.value, table)
    for (source, family), by_place in families.items():
        _check_family(source, family, by_place)


def _check_family(source: str, family: Family, by_place: Mapping[int, tuple[float | None, Table]]) -> None:
    parts: dict[int, list[tuple[float | None, Table]]] = defaultdict(list)
    for place, figure in by_place.items():
        if place != NATION:
            parts[parent_of(place)].append(figure)
    unit = variables()[family[0]].unit
    for place, of_place in parts.items():
        if place not in by_place or not of_place[0][1].complete:
            continue
        whole, table = by_place[place][0], of_place[0][1]
        if table.unplaced and family[0] in table.net:
            continue
        values = [value for value, _ in of_place if value is not None]
        if whole is None or len(values) < len(of_place):  # a figure is withheld, so nothing can be said
            continue
        added = fsum(values)
        rounding = table.slack(unit) * (len(of_place) + 1) + _FLOATING * abs(whole)
        if abs(added - whole) > rounding + table.unplaced * abs(whole):
            raise InputError(
                f"{source}: {_called(family)} adds up to {added:.15g} over the parts of {_place_called(place)}, "
                f"which itself has {whole:.15g}",
                "get all files of one release",
            )


def counts_by_level(figures: Iterable[Figure]) -> dict[str, int]:
    """How many figures each level has."""
    levels = [level_of(figure.place) for figure in figures]
    return {level: levels.count(level) for level in LEVELS}


def _called(family: Family) -> str:
    variable, domain, period, reform_id = family
    what = f"{variable} (reform {reform_id})" if reform_id else variable
    return f"{what} {brackets(c for constraints in domain for c in constraints)} of {period}"


def _place_called(place: int) -> str:
    return "the nation" if place == NATION else f"{level_of(place)} {place}"


def check_counts(stored: Mapping[str, int], figures: Iterable[Figure], alternatives: int) -> None:
    """Refuse a database whose targets, by level, are not all figures but the alternatives to them.

    Parameters
    ----------
    stored : mapping of str to int
        Targets in the database by level, inactive ones counted.
    figures : iterable of Figure
        What was read.
    alternatives : int
        Alternative figures in the database.
    """
    read = counts_by_level(figures)
    if sum(stored.values()) + alternatives != sum(read.values()) or any(stored[level] > read[level] for level in LEVELS):
        raise ArtifactError(f"the database holds {dict(stored)} targets and {alternatives} alternatives of {read} figures")


@dataclass(frozen=True)
class KnownTotal:
    """A total that the agencies' own files are known to give, from ``data/known_totals.csv``."""

    total: str
    table: str
    variable: str
    constraints: str
    level: str
    period: int
    value: float
    within: float
    source: str


def known_totals() -> list[KnownTotal]:
    """All known totals."""
    return [
        KnownTotal(
            **{name: row[name] for name in ("total", "table", "variable", "constraints", "level", "source")},
            period=int(row["period"]),
            value=float(row["value"]),
            within=float(row["within"]),
        )
        for row in data_rows("known_totals.csv")
    ]


def check_known_totals(tables: Mapping[Table, list[Figure]]) -> int:
    """Refuse figures that miss a known total of their table, level and period; the number of totals that were met.

    A total's constraints are those of one stratum, or ``*`` for all strata of the variable together.
    """
    met = 0
    by_name = {table.name: figures for table, figures in tables.items()}
    for known in known_totals():
        values = [
            figure.value
            for figure in by_name.get(known.table, ())
            if (figure.variable, figure.period, level_of(figure.place)) == (known.variable, known.period, known.level)
            and known.constraints in ("*", brackets(c for constraints in figure.domain for c in constraints))
            and figure.reform_id == 0
        ]
        if not values:  # the table is left out, or its files are of another year
            continue
        added = fsum(value for value in values if value is not None)
        if abs(added - known.value) > known.within:
            raise InputError(
                f"{known.total}: the table {known.table} gives {added:.15g}, and {known.source} has {known.value:.15g}",
                "get the files again from their publisher, or build without the setting known_totals",
            )
        met += 1
    return met
