"""Copies of households of a base file, and what is wanted of them: the plain and exact way to their values.

Each (household, clone) is simulated in its own place with its own take-up, once for the rules as they are and once for each
variable that is set to its default, which is how a tax expenditure is measured. ``layers`` gives the same values sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core.engine.place import Places, at_place
from geocal_core.engine.simulate import Known, Values, release_memory, simulation_of, value_of
from geocal_core.engine.takeup import TakeUp
from geocal_core.engine.variables import default_values, entity_of
from geocal_core.population import Population

BASELINE = ""
"""The rules as they are; any other name of rules is the variable that is set to its default."""


@dataclass(frozen=True)
class Copies:
    """Copies of households.

    Attributes
    ----------
    households : ndarray of int64, shape (n,)
        Position of each copy's household in the base file.
    clones : ndarray of int64, shape (n,)
        Number of each copy.
    places : Places
        Where each lives.
    """

    households: NDArray[np.int64]
    clones: NDArray[np.int64]
    places: Places

    def __len__(self) -> int:
        return len(self.households)

    def take(self, positions: ArrayLike) -> Copies:
        """The copies at some positions."""
        at = np.asarray(positions)
        return Copies(self.households[at], self.clones[at], self.places.take(at))


@dataclass(frozen=True)
class Answer:
    """Values of copies.

    Attributes
    ----------
    population : Population
        The copies, in their order.
    values : mapping of str to mapping of str to ndarray
        Under each set of rules, the values of each wanted variable for the units of its entity (see ``simulate.simulate``).
    """

    population: Population
    values: Mapping[str, Mapping[str, Values]]


@dataclass(frozen=True)
class Question:
    """What is wanted of every copy.

    Attributes
    ----------
    base : Population
        The file that all copies are of.
    takeup : TakeUp
        That of ``base``.
    wanted : mapping of str to tuple of str
        Variables that are wanted under each set of rules: ``BASELINE``, or the name of a variable that is set to its default.
    """

    base: Population
    takeup: TakeUp
    wanted: Mapping[str, tuple[str, ...]]

    @property
    def year(self) -> int:
        """The year of the base file, and of the values."""
        return self.base.period

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables that are wanted or set to their default, sorted."""
        return tuple(sorted({name for names in self.wanted.values() for name in names} | set(self.neutralised)))

    @property
    def neutralised(self) -> tuple[str, ...]:
        """Variables that are set to their default."""
        return tuple(rules for rules in self.wanted if rules != BASELINE)

    def populate(self, copies: Copies) -> Population:
        """The copies as a population of the engine."""
        return at_place(self.base, copies.households, copies.clones, copies.places, self.takeup)

    def answer(self, copies: Copies, known: Callable[[str], Known] = lambda _: {}) -> Answer:
        """The values of copies.

        Parameters
        ----------
        copies : Copies
            In one state, or few of them: formulas of every state that occurs run over all.
        known : callable, optional
            What is known of calculated variables under a set of rules, for the units of the copies; nothing if not given.
        """
        population = self.populate(copies)
        values = {}
        for rules, wanted in self.wanted.items():
            given = {**known(rules), **self._set_aside(rules, population)}
            with simulation_of(population, self.year, given) as simulation:
                values[rules] = {name: value_of(simulation, name, self.year) for name in wanted}
            del simulation, given
            release_memory()
        return Answer(population, values)

    def _set_aside(self, rules: str, population: Population) -> Known:
        if rules == BASELINE:
            return {}
        return {(rules, str(self.year)): default_values(rules, population.count(entity_of(rules)))}
