"""Which variables of the engine depend on what is local: on the state, on places within it, on take-up.

``data/dependence.csv`` lists every variable that depends on any of them in some state. It is found by running the engine with
a tracer (``reads``) for households in each state, in real counties and with drawn take-up, and adding up what all the states'
runs have read (``benchmarks/dependence.py`` writes it again). A variable that a formula sets to compare two choices, such as
whether to itemize, counts as local too: what reads it differs between the branches.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from geocal_core.engine.place import LOCAL_INPUTS
from geocal_core.engine.reads import Reads
from geocal_core.engine.takeup import programs
from geocal_core.population import ENTITIES, id_name

ROOTS: Mapping[str, tuple[str, ...]] = {
    "state": ("state_fips",),
    "place": LOCAL_INPUTS,
    "takeup": (*programs(), *(id_name(entity) for entity in ENTITIES)),
}
"""Inputs of the engine in which copies of a household differ, by what they tell of. The engine draws by identifiers, too."""


@dataclass(frozen=True)
class Dependence:
    """What a variable depends on.

    Attributes
    ----------
    state, place, takeup : bool
        Whether its value for a household may differ between states, between places within a state, and with what is drawn
        for each copy.
    compared : bool
        Whether it reads a choice that the engine tries both ways.
    """

    state: bool = False
    place: bool = False
    takeup: bool = False
    compared: bool = False

    @property
    def local(self) -> bool:
        """Whether it may differ between copies of a household in the same state."""
        return self.place or self.takeup or self.compared

    def __or__(self, other: Dependence) -> Dependence:
        return Dependence(
            self.state or other.state,
            self.place or other.place,
            self.takeup or other.takeup,
            self.compared or other.compared,
        )


@cache
def dependences() -> Mapping[str, Dependence]:
    """Every variable that depends on something local, from ``data/dependence.csv``."""
    text = resources.files("geocal_core.engine").joinpath("data/dependence.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row.pop("variable"): Dependence(**{name: value == "1" for name, value in row.items()}) for row in rows}


def dependence_of(variables: Iterable[str]) -> Dependence:
    """What something depends on that is computed from several variables."""
    found = Dependence()
    for variable in variables:
        found |= dependences().get(variable, Dependence())
    return found


def dependences_in(reads: Reads) -> dict[str, Dependence]:
    """What the variables depend on that some simulations have read."""
    by_root = {name: reads.depending_on(inputs) for name, inputs in ROOTS.items()}
    by_root["compared"] = reads.depending_on(reads.replaced)
    everything = set[str]().union(*by_root.values())
    return {name: Dependence(**{root: name in found for root, found in by_root.items()}) for name in sorted(everything)}


def table(found: Mapping[str, Dependence], engine: str) -> str:
    """The content of ``data/dependence.csv``; ``engine`` names the release of the engine that was run."""
    lines = [
        f"# Variables of {engine} that differ between states, between places within a state, with what is drawn for a copy, or",
        "# between branches in which the engine compares two choices. Written by benchmarks/dependence.py.",
        "variable,state,place,takeup,compared",
    ]
    for name, one in sorted(found.items()):
        lines.append(f"{name},{one.state:d},{one.place:d},{one.takeup:d},{one.compared:d}")
    return "\n".join(lines) + "\n"
