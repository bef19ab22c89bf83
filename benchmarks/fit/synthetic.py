"""A made-up nation of the real one's shape: households with variants, clones in districts, targets of three levels.

Quantities come in groups, of which households show as many variants as on the demo (1.0 to 3.3, and 24 of state income tax).
Variants differ in few quantities: one of nine stored values is not its household's usual one (one of nine and a half on the
demo). Dollars have tails far longer than any survey's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.package import Package, write_package
from geocal_core.matrix.variants import Variants
from geocal_core.places.states import DISTRICTS

VARIANTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.5, 1.8, 2.0, 2.2, 2.5, 2.8, 3.0, 3.3, 24.0)
QUANTITIES = 70
AT_DISTRICTS = 64
ATOMS_OF_A_COLUMN = 12.4
CHANGED = 0.1  # of a variant's quantities, where a household has few variants; all where it has many
MEAN_WEIGHT = 29.0
OWN_ERROR = 0.005
_LEVELS = ("national", "state", "district")


@dataclass
class Nation:
    """A made-up problem.

    Attributes
    ----------
    variants : Variants
    targets : DataFrame
        With the columns of a package's targets.
    district : ndarray of int64, shape (n_columns,)
    """

    variants: Variants
    targets: pd.DataFrame
    district: NDArray[np.int64]

    def matrix(self) -> FactoredMatrix:
        """The matrix of its targets."""
        quantity, place = (self.targets[name].to_numpy() for name in ("quantity", "place"))
        return FactoredMatrix.of_variants(self.variants, quantity, place, self.district)


def nation(
    n_records: int,
    n_clones: int,
    seed: int = 0,
    districts: Sequence[int] = DISTRICTS,
    at_districts: int = AT_DISTRICTS,
    atoms_of_a_column: float = ATOMS_OF_A_COLUMN,
) -> Nation:
    """Households, and clones that meet each district at most once in as many as there are; values of targets mean nothing yet.

    Parameters
    ----------
    n_records, n_clones : int
    seed : int
    districts : sequence of int
        Codes of the districts.
    at_districts : int
        Quantities, of ``QUANTITIES``, that are targets of districts; all are of the nation and of states.
    atoms_of_a_column : float
        Quantities of which a column has something, in the mean.
    """
    rng = np.random.default_rng(seed)
    density = rng.beta(0.8, 2.5, QUANTITIES)
    density *= atoms_of_a_column / density.sum()
    groups = [list(range(first, QUANTITIES, len(VARIANTS))) for first in range(len(VARIANTS))]
    tables, rows = [], []
    for members, mean in zip(groups, VARIANTS, strict=True):
        counts = np.minimum(1 + rng.poisson(mean - 1, n_records), n_clones)
        first = np.cumsum(counts) - counts
        household = np.repeat(np.arange(n_records), counts)
        table = np.zeros((len(household), QUANTITIES), dtype=np.float32)
        for quantity in members:
            there = rng.random(len(table)) < density[quantity]
            size = rng.lognormal(8, 2, len(table)) if quantity % 2 else rng.integers(1, 5, len(table))
            own = rng.random(len(table)) < (CHANGED if mean < max(VARIANTS) else 1.0)
            own[first] = True
            table[:, quantity] = np.where(own, there * size, (there * size)[first][household])
        tables.append(sparse.csr_matrix(table))
        rows.append((first + rng.integers(0, counts, (n_clones, n_records))).ravel())
    variants = Variants.from_tables(tables, rows, groups, n_records, n_clones)
    visits = np.argsort(rng.random((n_records, len(districts))), axis=1)
    district = np.array(districts)[visits[:, np.arange(n_clones) % len(districts)].T.ravel()]
    return Nation(variants, _targets(rng, districts, at_districts), district)


def _targets(rng: np.random.Generator, districts: Sequence[int], at_districts: int) -> pd.DataFrame:
    states = sorted({code // 100 for code in districts})
    places = [(quantity, place) for quantity in range(QUANTITIES) for place in (0, *states)]
    places += [(quantity, place) for quantity in range(at_districts) for place in districts]
    table = pd.DataFrame(places, columns=["quantity", "place"])
    level = np.select([table["place"] == 0, table["place"] < 100], list(_LEVELS[:2]), _LEVELS[2])
    text = "q" + table["quantity"].astype(str)
    code = table["place"].astype(str)
    return table.assign(
        name=level + np.array("_") + code + "/" + text,
        variable=text,
        domain_variable="",
        geo_level=level,
        geographic_id=code.where(table["place"] > 0, "US"),
        value=rng.lognormal(12, 1, len(table)),
        held_out=False,
    )


def near_hidden_weights(made: Nation, seed: int = 0) -> Nation:
    """The same with values of targets that hidden weights give.

    These differ from the starting ones, all ``MEAN_WEIGHT``, by district, state and record; then each value is off by
    ``OWN_ERROR`` of its own, so that levels contradict each other a little, as published figures do.
    """
    rng = np.random.default_rng(seed + 1)
    matrix = made.matrix()
    n, n_records = matrix.shape[1], made.variants.n_records
    _, district = np.unique(made.district, return_inverse=True)
    _, state = np.unique(made.district // 100, return_inverse=True)
    of_record = rng.lognormal(0, 0.4, n_records)[np.arange(n) % n_records]
    of_place = rng.lognormal(0, 0.2, district.max() + 1)[district] * rng.lognormal(0, 0.1, state.max() + 1)[state]
    value = matrix.estimates(np.full(n, MEAN_WEIGHT) * of_record * of_place * rng.lognormal(0, 0.5, n))
    value *= 1 + OWN_ERROR * rng.normal(size=len(value))
    return Nation(made.variants, made.targets.assign(value=value), made.district)


def write(made: Nation, folder: Path, initial_weights: NDArray[np.float64]) -> Package:
    """The nation as a package in a new folder."""
    quantities = pd.DataFrame({"text": [f"q{i}" for i in range(QUANTITIES)], "variable": "x", "constraints": ""})
    county = (np.zeros(made.variants.n_columns, dtype=np.int64), np.array([b"10001"]))
    household_id, facts = np.arange(made.variants.n_records), {"year": 2024, "seed": 0}
    write_package(folder, made.variants, made.targets, quantities, initial_weights, made.district, county, household_id, facts)
    return Package.open(folder, verify=False)
