"""Which variables a formula reads: the engine's dependences, found by running it.

A simulation is run while a tracer listens; what comes out is a graph of nodes, a variable in a period, with an arrow to each
node that its formula read. Reading the formulas' source would not do: names are computed there, and most of the names that a
source holds are read in some state or some year only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Node = tuple[str, str]
"""A variable and a period, as the engine writes it."""


class Reads:
    """What each node read, over one or several simulations.

    Attributes
    ----------
    of : mapping of Node to set of Node
        The nodes that a node read directly; every node that was calculated is a key.
    replaced : set of str
        Variables that a formula set to another value in a branch of the simulation, to compare (whether to itemize).
    """

    def __init__(self) -> None:
        self.of: dict[Node, set[Node]] = {}
        self.replaced: set[str] = set()

    @contextmanager
    def listening(self, simulation: Any) -> Iterator[None]:
        """Record what ``simulation`` reads as long as the context lasts."""
        simulation.trace = True
        simulation.tracer = _tracer(self.of)
        yield
        simulation.trace = False
        self.replaced |= _replaced(simulation)

    def by_variable(self) -> dict[str, set[str]]:
        """What each variable reads in any period.

        Periods are put together because the engine passes from a month to its year, and back, without telling the tracer.
        """
        found: dict[str, set[str]] = {variable: set() for variable, _ in self.of}
        for (reader, _), reads in self.of.items():
            found[reader] |= {variable for variable, _ in reads if variable != reader}
        return found

    def depending_on(self, variables: Iterable[str]) -> set[str]:
        """Variables that read any of the given ones, directly or through others, and the given ones that were calculated."""
        reads = self.by_variable()
        readers = _turned(reads)
        found = {variable for variable in variables if variable in reads}
        waiting = list(found)
        while waiting:
            for reader in readers[waiting.pop()] - found:
                found.add(reader)
                waiting.append(reader)
        return found

    def made_of(self, inputs: Iterable[str]) -> set[str]:
        """Variables that are calculated from the given inputs and from nothing else, the inputs themselves left out."""
        allowed = set(inputs)
        reads = self.by_variable()
        readers = _turned(reads)
        unread = {variable: len(those) for variable, those in reads.items()}
        waiting = [variable for variable in reads if variable in allowed]
        found: set[str] = set()
        while waiting:
            for reader in readers[waiting.pop()]:
                unread[reader] -= 1
                if unread[reader] == 0 and reader not in allowed:
                    found.add(reader)
                    waiting.append(reader)
        return found


def _turned(reads: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows turned round: the variables that read each variable directly."""
    readers: dict[str, set[str]] = {variable: set() for variable in reads}
    for reader, those in reads.items():
        for variable in those:
            readers[variable].add(reader)
    return readers


def _tracer(reads: dict[Node, set[Node]]) -> Any:
    """A tracer of the engine that keeps names and periods only: its own keeps every array."""
    from policyengine_core.tracers import FullTracer, SimpleTracer

    class Listener(FullTracer):  # type: ignore[misc]  # the engine has no types
        def __init__(self) -> None:
            self._names = SimpleTracer()
            self._running: list[Node] = []

        @property
        def stack(self) -> Any:
            return self._names.stack

        def record_calculation_start(self, variable: str, period: Any, branch_name: str = "default") -> None:
            self._names.record_calculation_start(variable, period, branch_name)
            node = (variable, str(period))
            reads.setdefault(node, set())
            if self._running and self._running[-1] != node:
                reads[self._running[-1]].add(node)
            self._running.append(node)

        def record_parameter_access(self, *_: Any) -> None:
            """Parameters are the same for every household."""

        def record_calculation_result(self, _: Any) -> None:
            """Values are not kept."""

        def record_calculation_end(self) -> None:
            self._names.record_calculation_end()
            self._running.pop()

    return Listener()


def _replaced(simulation: Any) -> set[str]:
    """Inputs that were set in branches of a simulation, and in their branches."""
    found: set[str] = set()
    for name, branch in simulation.branches.items():
        keys = getattr(branch, "_user_input_keys", ())
        found |= {variable for variable, of_branch, _ in keys if of_branch == name} | _replaced(branch)
    return found
