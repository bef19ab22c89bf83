"""Is the draw in proportion? Columns drawn against shares of people, by district, county and tract.

Counted anew from the finished assignment, so that nothing here takes the draw's word. Districts are held to what its design
allows; counties and tracts are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.places.crosswalk import Crosswalk
from geocal_core.progress import Value

if TYPE_CHECKING:
    from geocal_core.places.assignment import Geography

LEAST_EXPECTED = 5.0
"""Columns that a unit must be able to expect for its ratio to be reported: the usual bound of a chi-square."""

# Field, the name of one where its proportions are reported, the name of many.
_UNITS = (
    ("district", "district", "districts"),
    ("county_fips", "county", "counties"),
    ("tract_geoid", "tract", "tracts"),
    ("place_fips", "", "places"),
)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Proportions:
    """How an assignment compares with the shares of people.

    Attributes
    ----------
    passed : bool
        Whether every district has what it can expect to within one column, and no household meets one oftener than it must.
    reason : str
        What is amiss, empty if nothing is.
    facts : mapping of str to number or text
    """

    passed: bool
    reason: str
    facts: dict[str, Value]


def proportions(
    geography: Geography, crosswalk: Crosswalk, routed: NDArray[np.bool_], district_agi: pd.Series[float]
) -> Proportions:
    """Compare an assignment with the design: people for most households, the districts' AGI for those routed.

    Parameters
    ----------
    geography : Geography
    crosswalk : Crosswalk
        The blocks that it was drawn from.
    routed : ndarray of bool, shape (n_households,)
    district_agi : Series
        AGI of each district, dollars.
    """
    rows = crosswalk.rows(geography.block)
    plain = np.tile(~routed, geography.n_clones)
    weights = crosswalk.population.astype(np.float64)
    facts: dict[str, Value] = {
        "columns": len(rows),
        "households": geography.n_records,
        "clones": geography.n_clones,
        "routed_households": int(routed.sum()),
    }
    for field, one, many in _UNITS:
        unit, n = crosswalk.units(field)
        of_column = unit[rows]
        counts = np.bincount(of_column[of_column >= 0], minlength=n)
        facts |= {many: int((counts > 0).sum()), f"{many}_never_drawn": int((counts == 0).sum())}
        if one:
            expected = np.bincount(unit, weights=weights, minlength=n).astype(np.float64) / weights.sum() * plain.sum()
            facts |= _compared(one, np.bincount(of_column[plain], minlength=n), expected)
    of_block, n = crosswalk.units("district")
    districts = np.zeros(n, dtype=np.int64)
    districts[of_block] = crosswalk.district
    people = np.bincount(of_block, weights=weights).astype(np.float64)
    agi = np.maximum(district_agi.reindex(districts).to_numpy(dtype=np.float64), 0.0)
    drawn = np.searchsorted(districts, geography.district)
    reason, repeats = "", 0
    for households, mass in ((~routed, people), (routed, agi)):
        if not households.any():
            continue
        mine = drawn.reshape(geography.n_clones, -1)[:, households]
        expected = mass / mass.sum() * mine.size
        off = np.abs(np.bincount(mine.ravel(), minlength=len(districts)) - expected)
        worst = int(np.argmax(off - _ROUNDING * expected))
        if off[worst] >= 1 + _ROUNDING * expected[worst]:
            reason = f"district {districts[worst]} has {off[worst]:.1f} columns more or less than its share"
        repeats += _needless(mine, mass / mass.sum() * geography.n_clones)
    if repeats and not reason:
        reason = f"{repeats} times a household meets a district oftener or less often than it must"
    return Proportions(not reason, reason, facts | {"needless_repeats": repeats})


def _compared(name: str, counts: NDArray[np.int64], expected: NDArray[np.float64]) -> dict[str, Value]:
    """Chi-square with its degrees of freedom, and the ratio farthest from 1 of what was drawn to what could be expected."""
    large = expected >= LEAST_EXPECTED
    ratio = counts[large] / expected[large]
    away = np.abs(np.log(np.maximum(ratio, 1e-9)))
    facts: dict[str, Value] = {
        f"{name}_chi_square": float(((counts - expected) ** 2 / expected).sum()),
        f"{name}_degrees_of_freedom": len(expected) - 1,
    }
    return facts | ({f"worst_{name}_ratio": float(ratio[np.argmax(away)])} if len(ratio) else {})


def _needless(drawn: NDArray[np.int64], expected: NDArray[np.float64]) -> int:
    """In how many pairs of a household and a district the clones are not the expectation rounded down or up."""
    n_households, n_districts = drawn.shape[1], len(expected)
    pair = np.arange(n_households)[None, :] * n_districts + drawn
    met = np.bincount(pair.ravel(), minlength=n_households * n_districts).reshape(n_households, n_districts)
    low, high = np.floor(expected + _ROUNDING), np.ceil(expected - _ROUNDING)
    return int(((met < np.minimum(low, high)) | (met > np.maximum(low, high))).sum())
