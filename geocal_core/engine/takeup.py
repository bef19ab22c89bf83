"""Who takes up which program: seeded draws, each a function of variable, household, clone and unit alone.

``data/takeup.csv`` lists every take-up input of the engine with its rate and source, or with the reason why it keeps the
engine's default; rates by state, number of children or category of WIC stand in ``data/takeup_rates.csv``. A unit takes a
program up if its draw (``draws.py``) is below its probability: 1 where the program is anchored on what the survey reports
and the unit reports it (``anchors.py``), else the rate. ``TakeUp`` fixes all of this once for a base file and then draws for
any copies of its households.

Narrow: what decides on a rate is counted from ages (children under 19 beside an older member for the EITC; infants and
children under 5 for WIC), because the engine's own counts would need a simulation first. Does not import the engine.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core.engine.anchors import adjusted, anchors, reporters, share_of_reporters, without_reports
from geocal_core.engine.draws import Scheme, scheme_of
from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES, state_of_fips
from geocal_core.population import Population

EITC_CHILD_AGE_LIMIT = 19  # 26 U.S.C. 152(c)(3)(A)(i); students and the disabled, who qualify longer, are left out
WIC_CATEGORIES = ("INFANT", "CHILD", "PREGNANT", "BREASTFEEDING", "POSTPARTUM")
WIC_CHILD_AGE_LIMIT = 5  # 42 U.S.C. 1786(b)(2); infants are under 1

_STATE_COLUMNS = 1 + max(state.fips for state in STATES)
_BLOCK = 8_192  # copies drawn at a time: their keys and states stay in the cache
_DEFAULT, _NATION, _STATE, _CHILDREN, _WIC = "default", "nation", "state", "children", "wic_category"

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Program:
    """A take-up input of the engine.

    Attributes
    ----------
    variable, entity : str
        The input and the entity that it belongs to.
    default : bool
        What the engine assumes where it is not told.
    by : str
        What the rate depends on: ``nation`` (nothing), ``state``, ``children``, ``wic_category``; or ``default`` if there is no
        rate and the input is left out; or another take-up variable, with which this one is taken up.
    values : ndarray of float64, shape (groups, 1) or (1, 57)
        Rate by group (number of children, the last for all greater numbers too; ``WIC_CATEGORIES``) or by FIPS code (NaN where
        no state has it). Empty without a rate of its own.
    source : str
        The publication, or the reason.
    """

    variable: str
    entity: str
    default: bool
    by: str
    values: NDArray[np.float64]
    source: str


@cache
def programs() -> Mapping[str, Program]:
    """Every take-up input of the engine by name, in the order of ``data/takeup.csv``."""
    return programs_of(_rows("takeup.csv"), _rows("takeup_rates.csv"))


def rates() -> tuple[Program, ...]:
    """The programs that are drawn: all but those that keep the engine's default."""
    return tuple(program for program in programs().values() if program.by != _DEFAULT)


def programs_of(rows: Iterable[Mapping[str, str]], rates_by_group: Iterable[Mapping[str, str]]) -> Mapping[str, Program]:
    """Programs from the rows of both tables.

    Raises
    ------
    ConfigError
        If a rate does not lie between 0 and 1, a state, category or number of children has no rate, or it is not known what
        a rate depends on.
    """
    grouped: dict[str, dict[str, str]] = {}
    for row in rates_by_group:
        grouped.setdefault(row["variable"], {})[row["group"]] = row["rate"]
    found = {}
    for row in rows:
        values = _table(row["variable"], row["by"], row["rate"], grouped.get(row["variable"], {}))
        found[row["variable"]] = Program(
            row["variable"], row["entity"], row["default"] == "true", row["by"], values, row["source"]
        )
    for program in found.values():
        governing = found.get(program.by)
        alone = program.by in _GROUPS or program.by == _DEFAULT
        if not alone and (governing is None or governing.entity != program.entity or governing.by not in _GROUPS):
            raise ConfigError(
                f"the take-up of {program.variable} depends on {program.by!r}",
                f"it may depend on {', '.join(_GROUPS)} or a drawn program of its entity",
            )
    return found


def _table(variable: str, by: str, rate: str, grouped: Mapping[str, str]) -> NDArray[np.float64]:
    if by == _NATION:
        return np.array([[_rate(variable, rate)]])
    if by not in _GROUPS:
        return np.empty((0, 1))
    numbers = [str(number) for number in range(len(grouped))]
    wanted = {_STATE: [state.code for state in STATES], _WIC: list(WIC_CATEGORIES)}.get(by, numbers)
    if not wanted or set(wanted) != set(grouped):
        odd = sorted(set(wanted) ^ set(grouped)) or ["0"]
        raise ConfigError(
            f"the rates of {variable} lack or do not know {odd[0]!r}", f"give one for each of {', '.join(wanted)}"
        )
    values = [_rate(variable, grouped[group]) for group in wanted]
    if by != _STATE:
        return np.array(values)[:, np.newaxis]
    table = np.full((1, _STATE_COLUMNS), np.nan)
    table[0, [state.fips for state in STATES]] = values
    return table


def _rate(variable: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = np.nan
    if not 0 <= rate <= 1:
        raise ConfigError(f"{text!r} is no take-up rate of {variable}", "a rate lies between 0 and 1")
    return rate


@dataclass(frozen=True)
class _Units:
    """The units of an entity in a base file: first unit and number of units of each household, ordinal of each unit."""

    first: Integers
    size: Integers
    ordinal: Integers

    def of(self, households: Integers) -> tuple[Integers, Integers]:
        """Positions in the base file of the units of copies, and the position of each unit's copy."""
        size = self.size[households]
        owner = np.repeat(np.arange(len(households)), size)
        start = np.cumsum(size) - size
        return np.arange(len(owner)) - start[owner] + self.first[households][owner], owner


@dataclass(frozen=True)
class _Probability:
    """Probabilities of a program: a row for each group of records and the last for those who report it, by state or not."""

    group: NDArray[np.intp]
    table: NDArray[np.float64]

    def of(self, rows: Integers, state_fips: Integers) -> NDArray[np.float64]:
        columns = self.table.shape[1]
        at = self.group[rows] * columns + state_fips if columns > 1 else self.group[rows]
        return self.table.ravel()[at]


@dataclass(frozen=True)
class TakeUp:
    """Take-up of every program by copies of the households of one base file.

    Attributes
    ----------
    seed : int
    reported : mapping of str to float
        Anchored programs with the share of reporters among the units that could be eligible; without those whose report the
        base file does not hold, which are drawn by their rates alone.
    """

    seed: int
    reported: Mapping[str, float]
    _household_id: Integers
    _units: Mapping[str, _Units]
    _probability: Mapping[str, _Probability]
    _draw: Scheme

    @classmethod
    def of(
        cls, base: Population, seed: int = 0, scheme: str = "counter", household_id: NDArray[np.int64] | None = None
    ) -> TakeUp:
        """Take-up for a base file.

        Parameters
        ----------
        base : Population
            The surveyed households with their weights: shares of reporters are counted over all of them, once.
        seed : int
        scheme : str
            ``counter`` or ``reference`` (``draws.py``).
        household_id : ndarray of int64, shape (households,), optional
            Identifiers that key the draws; those of the base file if not given.

        Raises
        ------
        ConfigError
            If the scheme is unknown, or the file lacks ages, or what tells who could be eligible for an anchored program that
            it reports.
        """
        probability, reported = {}, {}
        for program in rates():
            if program.by in programs():
                continue
            group, table = _GROUPS[program.by](base, program), program.values
            anchor = anchors().get(program.variable)
            if anchor is not None and anchor.report in base:
                reported[program.variable] = share_of_reporters(base, anchor, program.entity)
                table = adjusted(table, reported[program.variable])
                group = np.where(reporters(base, anchor, program.entity), len(table), group)
            certain = np.ones((1, table.shape[1]))
            probability[program.variable] = _Probability(group, np.concatenate([table, certain]))
        entities = {program.entity for program in rates()}
        identifiers = base.ids("household") if household_id is None else np.asarray(household_id, dtype=np.int64)
        units = {entity: _units_of(base, entity) for entity in sorted(entities)}
        return cls(seed, reported, identifiers, units, probability, scheme_of(scheme))

    def draw(self, copies: Population, households: ArrayLike, clones: ArrayLike, state_fips: ArrayLike) -> Population:
        """Copies of households with every drawn take-up variable, and without the reports that anchor draws.

        Parameters
        ----------
        copies : Population
            ``base.take(households)``, whatever else its variables say.
        households : array_like of int, shape (n,)
            Position in the base file of each copy's household.
        clones, state_fips : array_like of int, shape (n,) or scalar
            Number of each copy, and where it lives: decides the rate, not the draw.
        """
        own = {program.variable for program in rates() if program.by not in programs()}
        taken = {variable: self.units(variable, households, clones, state_fips) for variable in sorted(own)}
        copies = without_reports(copies)
        for program in rates():
            values = taken[self._drawn(program.variable).variable]
            copies = copies.with_variables(program.entity, {program.variable: values})
        return copies

    def units(self, variable: str, households: ArrayLike, clones: ArrayLike, state_fips: ArrayLike) -> Flags:
        """Whether each unit of copies of households takes up one program, in the order of ``base.take(households)``.

        Parameters
        ----------
        variable : str
            One of ``rates()``.
        households, clones, state_fips : array_like of int
            As for ``draw``.

        Raises
        ------
        ConfigError
            If the variable is not drawn, a household is not of the base file, or a state is unknown.
        """
        program = self._drawn(variable)
        probability, units = self._probability[program.variable], self._units[program.entity]
        blocks = [
            self._draw(program.variable, self.seed, self._household_id[own], clone, owner, units.ordinal[rows])
            < probability.of(rows, state[owner])
            for own, clone, state, rows, owner in self._blocks(units, households, clones, state_fips)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)

    def probability(self, variable: str, state_fips: int) -> NDArray[np.float64]:
        """Probability that each unit of the base file takes up a program when it lives in a state, shape (units,)."""
        program = self._drawn(variable)
        state_of_fips(state_fips)
        units = np.arange(len(self._units[program.entity].ordinal))
        return self._probability[program.variable].of(units, np.full(len(units), state_fips))

    def _drawn(self, variable: str) -> Program:
        """The program by whose draws and probabilities a variable is taken up."""
        program = programs().get(variable)
        if program is None:
            raise ConfigError(f"{variable!r} is no take-up variable", f"they are {', '.join(programs())}")
        if program.by == _DEFAULT:
            raise ConfigError(f"{variable} is not drawn: it keeps the engine's default ({program.source})")
        return programs().get(program.by, program)

    def _blocks(
        self, units: _Units, households: ArrayLike, clones: ArrayLike, state_fips: ArrayLike
    ) -> Iterator[tuple[Integers, Integers, Integers, Integers, Integers]]:
        """Household, clone and state of each copy, and base position and owner of each unit, some copies at a time."""
        positions = np.asarray(households, dtype=np.int64)
        count = len(self._household_id)
        if len(positions) and not 0 <= positions.min() <= positions.max() < count:
            raise ConfigError(f"household positions lie between 0 and {count - 1}")
        clone, state = (np.broadcast_to(np.asarray(keys, dtype=np.int64), positions.shape) for keys in (clones, state_fips))
        for start in range(0, len(positions), _BLOCK):
            part = slice(start, start + _BLOCK)
            for fips in np.unique(state[part]).tolist():
                state_of_fips(fips)
            rows, owner = units.of(positions[part])
            yield positions[part], clone[part], state[part], rows, owner


def _units_of(base: Population, entity: str) -> _Units:
    owner = base.household_of(entity)
    size = np.bincount(owner, minlength=base.count("household")).astype(np.int64)
    return _Units(np.cumsum(size) - size, size, base.ordinal_in_household(entity))


def _all_alike(base: Population, program: Program) -> NDArray[np.intp]:
    return np.zeros(base.count(program.entity), dtype=np.intp)


def _children(base: Population, program: Program) -> NDArray[np.intp]:
    """Members under 19 of each unit; where nobody is older, the unit's filer is one of them and all but one count."""
    member = base.group_of_person(program.entity)
    young = _ages(base, program) < EITC_CHILD_AGE_LIMIT
    units = base.count(program.entity)
    children = np.bincount(member[young], minlength=units)
    older = np.bincount(member[~young], minlength=units)
    counted = np.where(older > 0, children, np.maximum(children - 1, 0))
    return np.minimum(counted, len(program.values) - 1)


def _wic_category(base: Population, program: Program) -> NDArray[np.intp]:
    """Position in ``WIC_CATEGORIES``. Whoever is neither a young child nor pregnant nor breastfeeding counts as postpartum: the
    engine asks only of people whom it finds in one of the categories."""
    age, person = _ages(base, program), base.tables["person"]
    conditions = [age < 1, age < WIC_CHILD_AGE_LIMIT]
    for name in ("is_pregnant", "is_breastfeeding"):
        conditions.append(np.asarray(person[name], dtype=bool) if name in person else np.zeros(len(age), dtype=bool))
    return np.select(conditions, range(4), 4).astype(np.intp)


_GROUPS: Mapping[str, Callable[[Population, Program], NDArray[np.intp]]] = {
    _NATION: _all_alike,
    _STATE: _all_alike,
    _CHILDREN: _children,
    _WIC: _wic_category,
}


def _ages(base: Population, program: Program) -> NDArray[np.float64]:
    if "age" not in base.tables["person"]:
        raise ConfigError(f"the population has no age, on which {program.variable} depends")
    return np.asarray(base.tables["person"]["age"], dtype=np.float64)


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("geocal_core.engine").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
