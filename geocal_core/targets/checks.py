"""Checks on the figures of all tables together: complete in their scope, and adding up from level to level.

A gap, a repetition or a sum that does not hold is an ``InputError``: the files contradict themselves or each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from geocal_core.errors import InputError
from geocal_core.targets.constraints import brackets
from geocal_core.targets.figures import LEVELS, NATION, Family, Figure, Scope, Table, level_of, parent_of
from geocal_core.targets.vocabulary import variables


def check_complete(table: Table, figures: Iterable[Figure], scope: Scope) -> None:
    """Refuse a table's figures unless every family has each place of its levels exactly once, or, where the table is not
    complete, at most once.
    """
    found: dict[Family, list[int]] = defaultdict(list)
    for figure in figures:
        found[figure.family].append(figure.place)
    if not found:
        raise InputError(f"the table {table.name} has no figures")
    wanted = frozenset[int]().union(*(scope.at(level) for level in table.levels))
    for family, places in found.items():
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
        added = sum(values)
        if abs(added - whole) > table.slack(unit) * (len(of_place) + 1) + table.unplaced * abs(whole):
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
