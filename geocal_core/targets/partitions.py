"""Partitions: a total at one place made the sum of its parts by income or children, where the nation's is.

Once levels agree (``reconcile.py``), each part of a state follows the nation's part, and the total of the state the nation's
total, so that they no longer add up at the state: where the very rich are many, a year of small gains lowers the parts and not
the total. The parts know more, so the total takes their sum. As the nation's parts add up to the nation's total, the levels
still agree after it, and no iteration is needed. Left alone: a partition that lacks a part at some place, that the nation does
not add up to either, or that is of another source than the total.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.targets.constraints import Constraint
from geocal_core.targets.grid import Grid
from geocal_core.targets.intervals import Interval
from geocal_core.targets.reconcile import BOUNDS, NEGLIGIBLE, quantities, reconcile

_ROUNDING = 1e-6
"""Relative difference of the nation's total and the sum of its parts that is the publisher's rounding."""


def settle(targets: pd.DataFrame, rules: dict[int, tuple[Constraint, ...]], places: frozenset[int]) -> pd.DataFrame:
    """Uprated targets whose levels agree (``reconcile``) and whose totals are the sums of their parts (``close``)."""
    return close(reconcile(targets, places), rules, places)


def close(targets: pd.DataFrame, rules: dict[int, tuple[Constraint, ...]], places: frozenset[int]) -> pd.DataFrame:
    """Totals of states and districts that are the sums of their parts.

    Parameters
    ----------
    targets : DataFrame
        Targets of ``reconcile``, with the index 0, 1, 2 and so on.
    rules : dict
        Constraints by stratum, those on places left out.
    places : frozenset of int
        Every place of the database.

    Returns
    -------
    DataFrame
        The same rows. A total that changed has its value and hierarchy_factor multiplied, and hierarchy_follows says the
        source that its parts follow. Those of the nation stay.
    """
    quantity = quantities(targets)
    below = quantity.isin(quantity[targets["geographic_id"] != "US"])
    rows = np.flatnonzero(below.to_numpy())
    if not len(rows):
        return targets
    grid = Grid(targets.iloc[rows].reset_index(drop=True), rules, places)
    values, factor = targets["value"].to_numpy(np.float64).copy(), targets["hierarchy_factor"].to_numpy(np.float64).copy()
    follows, source = targets["hierarchy_follows"].to_numpy().copy(), targets["source"].to_numpy()
    cells = np.where(grid.rows >= 0, rows[grid.rows], -1)
    settled: set[int] = set()
    for whole, tiling in _candidates(grid):
        here = np.flatnonzero((cells[whole] >= 0) & (np.array(grid.places) > 0))
        if whole in settled or not len(here) or (cells[tiling][:, cells[whole] >= 0] < 0).any():
            continue
        of_one = cells[tiling][:, here]
        if (source[of_one] != source[cells[whole, here]]).any():
            continue
        found = _sums(grid, values, cells, whole, tiling)
        if found is None:
            continue
        settled.update((whole, *tiling))
        changed = np.abs(found[here] - values[cells[whole, here]]) > NEGLIGIBLE * np.abs(found[here])
        for place in here[changed].tolist():
            row, first = cells[whole, place], cells[tiling[0], place]
            factor[row] *= found[place] / values[row]
            values[row], follows[row] = found[place], follows[first] or source[first]
    return targets.assign(value=values, hierarchy_factor=factor, hierarchy_follows=follows)


def _candidates(grid: Grid) -> Iterator[tuple[int, list[int]]]:
    """Quantities and their partitions, the narrowest first: a total that is itself a part is settled before its whole."""
    found: list[tuple[int, list[int]]] = []
    for key, family in grid.families.items():
        alone = {grid.domain[quantity]: quantity for quantity in family}
        for parting in grid.partings[key]:
            whole = alone.get(parting.rest)
            if whole is not None:
                found += [(whole, tiling) for tiling in grid.tilings(parting, Interval())]
    yield from sorted(found, key=lambda pair: -len(grid.domain[pair[0]].parts))


def _sums(
    grid: Grid, values: NDArray[np.float64], cells: NDArray[np.int64], whole: int, tiling: list[int]
) -> NDArray[np.float64] | None:
    """Sums of the parts by place, times what rounding leaves at the nation; None where they are not sums of one thing."""
    there = cells[whole] >= 0
    nation = grid.places.index(0)
    if not there[nation]:
        return None
    sums = np.where(there, values[cells[tiling]].sum(axis=0), np.nan)
    total = values[cells[whole, nation]]
    if sums[nation] == 0 or abs(total / sums[nation] - 1) > _ROUNDING:
        return None
    sums *= total / sums[nation]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sums[there] / values[cells[whole]][there]
    if not ((ratio >= BOUNDS[0]) & (ratio <= BOUNDS[1])).all():
        return None
    for place, inside in grid.parts_of.items():
        if there[place] and there[inside].all() and abs(sums[inside].sum() - sums[place]) > NEGLIGIBLE * abs(sums[place]):
            return None
    return np.asarray(sums)
