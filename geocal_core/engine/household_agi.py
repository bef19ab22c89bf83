"""Adjusted gross income of every household, by which the file is stratified and rich households are routed to districts.

Narrow: all households are simulated in one state. Of all states only Alaska's rules reach into AGI (its Permanent Fund
dividend is taxable), and a household's copies are spread over the whole nation anyway, so this is its income anywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.engine.place import in_state
from geocal_core.engine.simulate import simulate
from geocal_core.errors import ArtifactError
from geocal_core.places.states import state_of_code
from geocal_core.population import Population, read_h5

if TYPE_CHECKING:
    from geocal_core.context import StageContext
    from geocal_core.progress import Value

STATE = state_of_code("TX")
"""A state without an income tax or a dividend: nothing of it enters AGI, and it is quick to simulate."""
AT_ONCE = 10_000
_AGI = "adjusted_gross_income"


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``household_agi``: a parquet of ``household_id`` (int64) and ``adjusted_gross_income`` (float64, dollars)."""
    population = read_h5(context.inputs["extended_cps"])
    context.reporter.progress(f"AGI of {population.count('household'):,} households, under the rules of {STATE.name}")
    agi = household_agi(population, context.settings.year)
    if not np.isfinite(agi).all():
        raise ArtifactError(
            "the AGI of a household is not finite", "its incomes in the extended CPS are not either; build it again"
        )
    table = pd.DataFrame({"household_id": population.ids("household"), _AGI: agi})
    table.to_parquet(context.output, index=False)
    weights = population.weights
    return {
        "households": len(agi),
        "agi_dollars": float(agi @ weights),
        "mean_agi": float(np.average(agi, weights=weights)),
        "highest_agi": float(agi.max()),
    }


def household_agi(population: Population, year: int) -> NDArray[np.float64]:
    """AGI of each household: the sum over its tax units, dollars of the year.

    Parameters
    ----------
    population : Population
        Simulated ``AT_ONCE`` households at a time, which bounds the memory and does not change the values.
    year : int

    Returns
    -------
    ndarray of float64, shape (households,)
    """
    found: list[NDArray[np.float64]] = []
    households = np.arange(population.count("household"))
    for part in np.array_split(households, max(1, -(-len(households) // AT_ONCE))):
        some = in_state(population.take(part), STATE.fips)
        found.append(some.to_household(simulate(some, (_AGI,), year)[_AGI], "tax_unit"))
    return np.concatenate(found)
