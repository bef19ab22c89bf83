"""A year's targets as a grid of quantities by places, and the domains that part one another in it.

What the consistency report looks things up in: values and sources by place, the quantities of one variable, the parts of each
place, and which quantities tile the domain of another. What a difference means is the business of ``consistency``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.targets.constraints import Constraint
from geocal_core.targets.intervals import Domain, Interval, tilings
from geocal_core.targets.reconcile import quantities

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
class Parting:
    """Quantities that differ in one variable alone, and the domain that is left without it."""

    variable: str
    rest: Domain
    pieces: list[int]


class Grid:
    """Reconciled targets as a grid of quantities by places, with the domain of each quantity.

    Quantities and places are told by their positions in the grid.

    Parameters
    ----------
    targets : DataFrame
        Targets of ``reconcile.reconcile``, at most one of a quantity and a place.
    rules : dict
        Constraints by stratum, those on places left out.
    places : frozenset of int
        Every place of the database, 0 for the nation.

    Attributes
    ----------
    names : list of str
        Quantities as ``reconcile.quantities`` names them.
    places : list of int
        Places in ascending order.
    rows : ndarray of int
        Position in ``targets`` of each quantity at each place, -1 where there is none.
    variable, reform : list
        Variable and reform of each quantity.
    rules, domain : list
        Constraints of each quantity, and the same as intervals.
    """

    def __init__(self, targets: pd.DataFrame, rules: dict[int, tuple[Constraint, ...]], places: frozenset[int]) -> None:
        codes, names = pd.factorize(quantities(targets))
        self.names: list[str] = list(names)
        self.places: list[int] = sorted(places)
        position = {place: index for index, place in enumerate(self.places)}
        columns = targets["geographic_id"].replace("US", "0").astype(int).map(position).to_numpy()
        self.rows: NDArray[np.int64] = np.full((len(names), len(position)), -1, dtype=np.int64)
        self.rows[codes, columns] = np.arange(len(targets))
        self._values = np.append(targets["value"].to_numpy(np.float64), np.nan)
        self._source = targets["source"].to_numpy()
        first = targets.groupby(codes, sort=True).head(1).index.to_numpy()
        self.variable: list[str] = targets["variable"].to_numpy()[first].tolist()
        self.reform: list[int] = targets["reform_id"].to_numpy()[first].tolist()
        self.rules = [rules[stratum] for stratum in targets["stratum_id"].to_numpy()[first].tolist()]
        self.domain = [Domain.of(of_one) for of_one in self.rules]

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Values, NaN where there is no target."""
        return np.asarray(self._values[self.rows])

    def source(self, quantity: int, place: int) -> str:
        """Source of a quantity's target at a place (position of it)."""
        return str(self._source[self.rows[quantity, place]])

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
    def partings(self) -> dict[tuple[str, int], list[Parting]]:
        """Of each family: domains, there or not, that some of its quantities part by one variable."""
        return {key: self._partings(family) for key, family in self.families.items()}

    def _partings(self, family: Sequence[int]) -> list[Parting]:
        found: dict[tuple[str, Domain], list[int]] = defaultdict(list)
        for quantity in family:
            domain = self.domain[quantity]
            for name, _ in domain.parts:
                found[name, domain.without(name)].append(quantity)
        return [Parting(name, rest, pieces) for (name, rest), pieces in found.items() if len(pieces) > 1]

    def tilings(self, parting: Parting, whole: Interval) -> list[list[int]]:
        """Ways to make up an interval of the quantities of a parting."""
        laid = tilings(whole, [self.domain[quantity].on(parting.variable) for quantity in parting.pieces])
        return [[parting.pieces[position] for position in tiling] for tiling in laid]

    @cached_property
    def parts_of(self) -> dict[int, list[int]]:
        """Positions of the parts of each place that has parts, by its position."""
        position = {place: index for index, place in enumerate(self.places)}
        found: dict[int, list[int]] = defaultdict(list)
        for place, index in position.items():
            if place:
                found[position[place // 100 if place >= 100 else 0]].append(index)
        return found

    def filled(self, quantity: int) -> NDArray[np.float64]:
        """Values of a quantity, where a place has none the sum of all its parts (NaN if one is missing)."""
        values = self.values[quantity].copy()
        for place in sorted(self.parts_of, key=lambda position: -self.places[position]):
            if np.isnan(values[place]):
                values[place] = values[self.parts_of[place]].sum()
        return values

    def sources_of(self, quantity: int) -> set[str]:
        """Sources of a quantity's targets."""
        return {str(self._source[row]) for row in self.rows[quantity] if row >= 0}


def words_of(quantity: str) -> str:
    """A quantity of ``reconcile.quantities`` in words."""
    _, variable, constraints = quantity.split("/", 2)
    return variable if constraints == "[]" else f"{variable} {constraints}"
