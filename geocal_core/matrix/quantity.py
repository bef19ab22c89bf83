"""A quantity: what a target measures, place aside, as a name and as what it is computed from.

How quantities are listed in a package, and which of them change together. Needs the base install only; they are valued in
``quantities``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from geocal_core.targets.constraints import Constraint, brackets, constraint_of
from geocal_core.targets.vocabulary import variables

Groups = tuple[tuple[int, ...], ...]

TAX = "income_tax"
"""What changes under a reform."""

_EXPENDITURE = "_expenditure"


@dataclass(frozen=True, order=True)
class Quantity:
    """A variable under constraints, or the change in income tax without it.

    Attributes
    ----------
    variable : str
        ``<entity>_count`` for the number of units of an entity, else an amount of the engine.
    constraints : tuple of Constraint
        Sorted, without any that names a place.
    neutralised : str
        Empty, or ``variable`` again: income tax when it has its default value everywhere, less income tax under current law,
        in dollars of tax units; what a deduction costs the Treasury is above 0.
    """

    variable: str
    constraints: tuple[Constraint, ...] = ()
    neutralised: str = ""

    @property
    def counted(self) -> str | None:
        """The entity whose units are counted, None for an amount."""
        return None if self.neutralised else _counts().get(self.variable)

    @property
    def amount(self) -> str | None:
        """The variable whose amounts are added up, None for a count."""
        return TAX if self.neutralised else None if self.counted else self.variable

    @property
    def needs(self) -> frozenset[str]:
        """Variables of the engine that it is computed from."""
        amount = (self.amount,) if self.amount else ()
        return frozenset((*amount, *(constraint.variable for constraint in self.constraints)))

    def __str__(self) -> str:
        what = f"{self.variable}{_EXPENDITURE}" if self.neutralised else self.variable
        return f"{what}{brackets(self.constraints)}" if self.constraints else what


@cache
def _counts() -> Mapping[str, str]:
    """Entities by the variable that counts their units."""
    return {name: variable.entity for name, variable in variables().items() if name == f"{variable.entity}_count"}


def variables_of(quantities: Sequence[Quantity]) -> tuple[str, ...]:
    """All variables of the engine that quantities are computed from, sorted."""
    return tuple(sorted(frozenset[str]().union(*(quantity.needs for quantity in quantities))))


def groups_of(quantities: Sequence[Quantity]) -> Groups:
    """Positions of quantities that are computed from the same variables under the same reform, by their first."""
    groups: dict[tuple[frozenset[str], str], list[int]] = {}
    for position, quantity in enumerate(quantities):
        groups.setdefault((quantity.needs, quantity.neutralised), []).append(position)
    return tuple(tuple(group) for group in groups.values())


def quantity_table(quantities: Sequence[Quantity]) -> pd.DataFrame:
    """Quantities as a package lists them: text, variable, constraints (``[age<5,age>-1]``) and neutralised of each."""
    rows = [(str(q), q.variable, brackets(q.constraints), q.neutralised) for q in quantities]
    return pd.DataFrame(rows, columns=["text", "variable", "constraints", "neutralised"], dtype=str)


def listed_quantities(table: pd.DataFrame) -> tuple[Quantity, ...]:
    """The quantities of a table that a package lists: the reverse of ``quantity_table``."""
    return tuple(
        Quantity(str(row.variable), _constraints_in(str(row.constraints)), str(getattr(row, "neutralised", "")))
        for row in table.itertuples()
    )


def _constraints_in(text: str) -> tuple[Constraint, ...]:
    inner = text.removeprefix("[").removesuffix("]")
    return tuple(sorted(constraint_of(one) for one in inner.split(","))) if inner else ()
