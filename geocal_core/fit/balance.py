"""Which totals of a package a selection should balance, and their values by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.fit.cube import Floats, Integers, Rows
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.package import Package
from geocal_core.sampling import inclusion_probabilities

_FIRST_DISTRICT = 100  # places below are the nation and the states
MOST = 60
"""Quantities to balance at most: with as many, 57,240 of a made-up nation's 5 million columns lose 0.6 after a polish, with 30
of them 21."""
_LEAST_SAMPLED = 3.0
"""Records that a district's sample should have of a quantity: fewer cannot be balanced, and would use up a row."""


@dataclass(frozen=True)
class Balance:
    """The rows of a package that a selection should balance, which are chosen once weights and chances are known.

    Attributes
    ----------
    package : Package
    matrix : FactoredMatrix
    targets : DataFrame
        Those in scope, as ``Package.chosen`` gives them.
    most : int
        Quantities at most.
    """

    package: Package
    matrix: FactoredMatrix
    targets: pd.DataFrame
    most: int = MOST

    def rows(self, weights: Floats, chances: Floats) -> Rows:
        """What gives the rows' numbers of any columns."""
        chosen = _most_missed(self.matrix, self.targets, weights, chances, self.most)
        return balancing_rows(self.package, chosen)


def balancing_quantities(package: Package, weights: Floats, records: int, most: int = MOST) -> list[int]:
    """Quantities whose district totals a sample by chances alone would miss the most.

    Of those that are targets of districts (held-out ones left out) and of which a district's sample has some records, the ones
    with the largest mean relative variance of the Horvitz-Thompson estimate, which is what they would add to the loss.

    Parameters
    ----------
    package : Package
    weights : ndarray of float64, shape (n_columns,)
    records : int
    most : int
        Quantities at most; a step of the cube method costs the square of their number.

    Returns
    -------
    list of int
        Positions among the quantities of the package, the largest variance first.
    """
    if most < 0:
        raise ConfigError(f"{most} quantities are to be balanced", "it must be at least 0")
    return _most_missed(package.matrix, package.targets, weights, inclusion_probabilities(weights, records), most)


def _most_missed(matrix: FactoredMatrix, targets: pd.DataFrame, weights: Floats, chances: Floats, most: int) -> list[int]:
    spread = np.divide(weights**2 * (1 - chances), chances, out=np.zeros_like(weights), where=chances > 0)
    table = pd.DataFrame(
        {
            "quantity": targets["quantity"],
            "total": matrix.estimates(weights),
            "variance": matrix.estimates(spread, np.square),
            "sampled": matrix.estimates(chances, lambda values: values != 0),
        }
    )[(targets["place"] >= _FIRST_DISTRICT) & ~targets["held_out"]]
    table = table[table["total"] != 0].assign(relative=lambda rows: rows["variance"] / rows["total"] ** 2)
    means = table.groupby("quantity")[["relative", "sampled"]].mean()
    means = means[means["sampled"] >= _LEAST_SAMPLED]
    return [int(q) for q in means.sort_values("relative", ascending=False, kind="stable").index[:most]]


def balancing_rows(package: Package, quantities: list[int]) -> Rows:
    """What gives some quantities of any columns, shape (len(columns), len(quantities)), as ``select`` wants it."""
    variants = package.variants
    group = variants.group_of_quantity[quantities]
    table: NDArray[np.float32] = variants.table()[:, quantities].T.toarray()

    def rows(columns: Integers) -> NDArray[np.float32]:
        shown = variants.rows_of(columns)
        found = [values[shown[:, g]] for values, g in zip(table, group, strict=True)]
        return np.stack(found, axis=1) if found else np.zeros((len(columns), 0), dtype=np.float32)

    return rows
