"""Figures: what an agency's table yields, and what a table is.

A module per agency (``agencies/``) declares its ``TABLES``; each reads published files and yields figures for the places in
scope. Nothing here knows an agency or the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.states import STATES, State, state_of_code
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.files import RawFiles
from geocal_core.targets.vocabulary import COUNT

NATION = 0
LEVELS = ("national", "state", "district")

# American Samoa, Guam, Northern Mariana Islands, Puerto Rico, Virgin Islands: published beside the states, outside of the
# population that is calibrated.
TERRITORIES = frozenset({60, 66, 69, 72, 78})

Domain = tuple[tuple[Constraint, ...], ...]
Family = tuple[str, Domain, int, int]
"""Variable, domain, period and reform."""


def level_of(place: int) -> str:
    """Level of a place: ``national`` for 0, ``state`` for a FIPS code, ``district`` for a district's code."""
    return LEVELS[0] if place == NATION else LEVELS[1] if place < 100 else LEVELS[2]


def parent_of(place: int) -> int:
    """The place that a state or a district directly lies in."""
    return place // 100 if place >= 100 else NATION


@dataclass(frozen=True)
class Figure:
    """One published total.

    Attributes
    ----------
    variable : str
        What is counted or added up.
    value : float or None
        In persons, households, returns or dollars. None where the publisher withholds it or says that it does not apply
        (suppressed, ``X``): then ``notes`` says which mark stands where, and the figure becomes an inactive target.
    period : int
        Year of the publication's data.
    place : int
        0 for the nation, FIPS code of a state, ``100 * fips + number`` of a district.
    source : str
        Source as listed in ``data/sources.csv``.
    domain : tuple of tuples of Constraint
        Strata below the place, from the outermost in: each adds its constraints to those before.
    tolerance : float or None
        The publisher's 90 percent margin of error, in the unit of the value.
    notes : str or None
        Where exactly it stands in the publication.
    reform_id : int
        Above 0: the change in income tax when ``variable`` is neutralised.
    """

    variable: str
    value: float | None
    period: int
    place: int
    source: str
    domain: Domain = ()
    tolerance: float | None = None
    notes: str | None = None
    reform_id: int = 0

    @property
    def family(self) -> Family:
        """What figures of other places must share with it to be added up or compared."""
        return self.variable, self.domain, self.period, self.reform_id


@dataclass(frozen=True)
class Scope:
    """The year wanted and the states (in the order of their FIPS codes) that make up the nation."""

    year: int
    states: tuple[State, ...]

    @classmethod
    def of(cls, year: int, codes: tuple[str, ...]) -> Scope:
        """The scope of some postal codes; an unknown, repeated or absent code is an error."""
        wanted = {state_of_code(code) for code in codes}
        if not codes or len(wanted) != len(codes):
            raise ConfigError("states of the targets are none or repeated", "give each postal code once")
        return cls(year, tuple(state for state in STATES if state in wanted))

    @property
    def places(self) -> tuple[int, ...]:
        """The nation, the states, their districts."""
        return (NATION, *(s.fips for s in self.states), *(d for s in self.states for d in s.districts))

    def at(self, level: str) -> frozenset[int]:
        """Places of one level."""
        return frozenset(place for place in self.places if level_of(place) == level)

    @property
    def whole(self) -> bool:
        """Whether every state is in it."""
        return self.states == STATES

    def check_states(self, found: set[int], where: str) -> None:
        """Refuse a file that does not hold exactly the states in scope: its national total would not be theirs.

        Parameters
        ----------
        found : set of int
            FIPS codes of the states in the file, territories left out.
        where : str
            The file, for the message.
        """
        wanted = {state.fips: state for state in self.states}
        lacking = [state.name for fips, state in wanted.items() if fips not in found]
        if lacking:
            raise InputError(f"{where} lacks {_some(lacking)}", "get the whole file, or narrow the states in scope")
        beyond = [state.name for state in STATES if state.fips in found and state.fips not in wanted]
        if beyond:
            raise InputError(
                f"{where} covers {_some(beyond)} beyond the states in scope, so its national total is not theirs",
                "put all its states in scope",
            )


@dataclass(frozen=True)
class PlaceGrowth:
    """Growth of a series in one place between two years: a row of the table ``place_uprating``.

    Attributes
    ----------
    series : str
        What grows, by the name under which a variable asks for it.
    place : int
        0 for the nation, FIPS code of a state.
    from_period, to_period : int
        Years.
    factor : float
        Value of the later year by that of the earlier.
    source : str
        Source as listed in ``data/sources.csv``.
    """

    series: str
    place: int
    from_period: int
    to_period: int
    factor: float
    source: str


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class Table:
    """One table of an agency.

    Attributes
    ----------
    name : str
        Name by which it can be left out.
    levels : tuple of str
        Levels at which each of its variables has a figure for every place (if ``complete``), or for some.
    read : callable
        From the raw files and the scope to its figures.
    count_rounding, dollar_rounding : float
        What the publisher rounds counts and dollars to; parts may differ from their whole by that much each.
    unplaced : float
        Share of a whole that the publisher may leave out of all its parts, because it could not be placed in one.
    net : frozenset of str
        Variables of which profits and losses are set off, so that a share of the whole does not bound what is unplaced.
    complete : bool
        Whether it has a figure for every place of its levels; not so where a program runs in some states only.
    whole_nation : bool
        Whether its figures are of the whole nation and cannot be had for a scope of some states: then it is skipped.
    growth : callable or None
        From the raw files and the scope to the growth, by place, of series that other tables are uprated by.
    """

    name: str
    levels: tuple[str, ...]
    read: Callable[[RawFiles, Scope], list[Figure]]
    count_rounding: float = 0.0
    dollar_rounding: float = 0.0
    unplaced: float = 0.0
    net: frozenset[str] = frozenset()
    complete: bool = True
    whole_nation: bool = False
    growth: Callable[[RawFiles, Scope], list[PlaceGrowth]] | None = None

    def slack(self, unit: str) -> float:
        """How much one figure in this unit may be off by rounding."""
        return self.count_rounding if unit == COUNT else self.dollar_rounding
