"""Values of copies of households in their places, each intermediate result calculated only as often as it differs.

Most of what the engine calculates for a copy is the same for every copy of the household, or for every copy in a state, and
some of it (rating areas, utility regions) is the same for everybody in a county. So there are four layers, each of which takes
over what those before it have calculated:

* the nation: every household once; what reads neither a place nor take-up is kept;
* a state: every household once in it; what reads no county, district, ZIP code or take-up is kept;
* its places: one household in each; what reads nothing but the place is kept;
* the copies: the rest, in their own places with their own draws.

Who reads what is not assumed. The first two layers run with a tracer on the very households, in real places and with real
draws, and what such a run or the table of ``dependence`` finds to be local is calculated anew for every copy.
``Question.answer`` for the same copies is what all of it must equal, value for value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.copies import BASELINE, Answer, Copies, Question
from geocal_core.engine.dependence import dependences, dependences_in
from geocal_core.engine.place import PLACE_INPUTS
from geocal_core.engine.reads import Node, Reads
from geocal_core.engine.simulate import Known, node_value, release_memory, simulation_of, value_of
from geocal_core.engine.variables import entity_of
from geocal_core.population import ENTITIES, Population

COST_OF_A_LAYER = (25_000, 3)
"""What a state's layer costs, in copies for which it would save as much: once, and for each household (docs/performance.md)."""

Positions = NDArray[np.int64]
Nodes = frozenset[Node]


@dataclass(frozen=True)
class Nation:
    """What is the same for a household wherever it lives and whatever it takes up.

    Attributes
    ----------
    question : Question
    known : mapping of Node to ndarray
        For the units of the base file.
    """

    question: Question
    known: Known


@dataclass(frozen=True)
class State:
    """What copies in one state take over from the layers before them.

    Attributes
    ----------
    question : Question
    position : ndarray of int64
        Position of each household of the base file among those with a copy in the state; -1 for the others.
    members : Population
        Those households.
    known : mapping of Node to ndarray
        For the units of ``members``.
    place : ndarray of int64
        Position of each place of the copies' list among those of the state; -1 for the others.
    known_of_place : mapping of Node to ndarray
        For those places.
    taken : mapping of str to frozenset of Node
        What is taken over under each set of rules.
    """

    question: Question
    position: Positions
    members: Population
    known: Known
    place: Positions
    known_of_place: Known
    taken: Mapping[str, Nodes]

    def answer(self, copies: Copies) -> Answer:
        """The values of copies in this state: those of ``Question.answer`` without anything known."""
        at = self.position[copies.households]
        rows = self.members.rows_of(at)
        place = self.place[copies.places.number]
        sizes = {entity: np.bincount(self.members.household_of(entity))[at] for entity in rows}
        place_of_unit = {entity: np.repeat(place, sizes[entity]) for entity in rows}

        def known(rules: str) -> Known:
            return {
                node: self.known_of_place[node][place_of_unit[entity_of(node[0])]]
                if node in self.known_of_place
                else self.known[node][rows[entity_of(node[0])]]
                for node in self.taken[rules]
            }

        return self.question.answer(copies, known)


def nation_layer(question: Question, copies: Copies) -> Nation:
    """The first layer.

    Parameters
    ----------
    question : Question
    copies : Copies
        One of every household, in the order of the base file and all in one state.
    """

    def kept(reads: Reads) -> set[Node]:
        changed = reads.depending_on(question.neutralised)
        differing = dependences().keys() | dependences_in(reads).keys() | changed
        return {node for node in reads.of if node[0] not in differing}

    return Nation(question, _traced(question, copies, {}, kept))


def state_layer(nation: Nation, copies: Copies) -> State:
    """The second and third layer, from all copies in one state; where these are few, they are left out."""
    question = nation.question
    present, first = np.unique(copies.households, return_index=True)
    if len(copies) < COST_OF_A_LAYER[0] + COST_OF_A_LAYER[1] * len(present):
        return _without_layer(nation, copies)
    position = np.full(question.base.count("household"), -1, dtype=np.int64)
    position[present] = np.arange(len(present))
    rows = question.base.rows_of(present)
    of_members = {node: values[rows[entity_of(node[0])]] for node, values in nation.known.items()}
    plans: list[_Plan] = []

    def kept(reads: Reads) -> Nodes:
        plans.append(_plan(question, reads))
        return plans[0].of_household

    known = _traced(question, copies.take(first), of_members, kept)
    (plan,) = plans
    once = copies.places.each_once()
    place = np.full(len(once.districts), -1, dtype=np.int64)
    place[once.number] = np.arange(len(once))
    anyone = Copies(np.zeros(len(once), dtype=np.int64), np.arange(len(once)), once)
    known_of_place = _values_of_first_units(question, anyone, plan.of_place)
    return State(question, position, question.base.take(present), known, place, known_of_place, plan.taken)


def _without_layer(nation: Nation, copies: Copies) -> State:
    """A state whose copies take over from the nation alone."""
    question = nation.question
    taken = dict.fromkeys(question.wanted, frozenset(nation.known))
    nowhere = np.zeros(len(copies.places.districts), dtype=np.int64)
    everyone = np.arange(question.base.count("household"), dtype=np.int64)
    return State(question, everyone, question.base, nation.known, nowhere, {}, taken)


@dataclass(frozen=True)
class _Plan:
    """What copies take over under each set of rules, and which of it belongs to a household and which to a place."""

    taken: Mapping[str, Nodes]
    of_household: Nodes
    of_place: Nodes


def _plan(question: Question, reads: Reads) -> _Plan:
    """What the nodes that are calculated anew for every copy read of those that are not."""
    local = {name for found in (dependences(), dependences_in(reads)) for name, one in found.items() if one.local}
    of_place_alone = reads.made_of(PLACE_INPUTS) & local
    anew = local - of_place_alone
    inputs = {(name, str(question.year)) for table in question.base.tables.values() for name in table}
    taken = {}
    for rules, wanted in question.wanted.items():
        again = anew | (reads.depending_on({rules}) if rules != BASELINE else set())
        asked = {(name, str(question.year)) for name in wanted}
        asked |= {read for (reader, _), those in reads.of.items() if reader in again for read in those}
        taken[rules] = frozenset(node for node in asked if node[0] not in again) - inputs
    everything = frozenset[Node]().union(*taken.values())
    of_place = frozenset(node for node in everything if node[0] in of_place_alone)
    return _Plan(taken, everything - of_place, of_place)


def reads_of(question: Question, copies: Copies) -> Reads:
    """What the engine reads to answer a question for some copies under the rules as they are."""
    found: list[Reads] = []

    def kept(reads: Reads) -> Nodes:
        found.append(reads)
        return frozenset()

    _traced(question, copies, {}, kept)
    return found[0]


def _traced(question: Question, copies: Copies, known: Known, kept: Callable[[Reads], set[Node] | Nodes]) -> Known:
    """Calculate all that is wanted with a tracer, and keep the values of the nodes that what was read chooses."""
    reads = Reads()
    with simulation_of(question.populate(copies), question.year, known) as simulation:
        with reads.listening(simulation):
            for variable in question.variables:
                value_of(simulation, variable, question.year)
        found = {node: node_value(simulation, node) for node in sorted(kept(reads))}
    del simulation
    release_memory()
    return found


def _values_of_first_units(question: Question, copies: Copies, nodes: Nodes) -> Known:
    """Values of nodes for the first unit of each copy: of what is made of the place alone, all of its units have the same."""
    if not nodes:
        return {}
    population = question.populate(copies)
    households = np.arange(len(copies))
    first = {entity: np.searchsorted(population.household_of(entity), households) for entity in ENTITIES}
    with simulation_of(population, question.year, {}) as simulation:
        found = {node: node_value(simulation, node)[first[entity_of(node[0])]] for node in sorted(nodes)}
    del simulation
    release_memory()
    return found
