"""Which targets can be met at all: for each row, the totals that bounded weights can reach, told before anything is fitted.

Each row is looked at alone: that two targets contradict each other does not show here (``targets.consistency`` and
``fit.diagnostics.additivity`` do that).

``geocal package check`` calls, in this order::

    table = achievability(package, ratio=100.0, selection="")     # a row per target
    numbers = counts(table)                                       # by level: targets, unsupported, outside, edge, inside
    worst = hardest(table, 20)                                    # the rows that ask most of their columns
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from geocal_core.errors import ConfigError
from geocal_core.matrix.factored import FactoredMatrix, Floats
from geocal_core.matrix.package import Package

RATIO = 100.0
"""A weight may become a hundred times what a fit starts from, where nothing else is said; a choice, not a published bound."""
EDGE = 0.9
"""A target is near the edge when it asks for more than this share of the ratio."""
VERDICTS = ("unsupported", "outside", "edge", "inside")


def achievability(package: Package, ratio: float = RATIO, selection: str = "") -> pd.DataFrame:
    """What weights within [0, ratio * initial weight] can make of each target.

    Parameters
    ----------
    package : Package
    ratio : float
        Above 0; ``inf`` for weights without an upper bound.
    selection : str
        Name or YAML file of a selection of targets; all of them where it is empty.

    Returns
    -------
    DataFrame
        A row per target with name, geo_level, geographic_id and held_out, and the columns of ``attainable``.
    """
    matrix, targets = package.chosen(selection)
    table = attainable(matrix, targets["value"].to_numpy(dtype=np.float64), package.initial_weights, ratio)
    known = [name for name in ("name", "geo_level", "geographic_id", "held_out") if name in targets]
    return pd.concat([targets[known].reset_index(drop=True), table], axis=1)


def attainable(matrix: FactoredMatrix, target: Floats, initial_weights: Floats, ratio: float = RATIO) -> pd.DataFrame:
    """The same for any matrix.

    Returns
    -------
    DataFrame
        ``target``; ``columns`` that add to it; ``start``, its total under the initial weights; ``low`` and ``high``, the least
        and the greatest total within the bounds; ``needed``, the least ratio with which the target is within them (0 for a
        target of 0, inf for one that no weights reach); ``verdict``: ``unsupported`` (nobody adds to it, and it is not 0),
        ``outside``, ``edge`` (``needed`` is above nine tenths of the ratio) or ``inside``; ``row_sum`` (under weights of 1) and
        ``row_sum_ratio`` (row_sum / target, NaN for a target of 0): what the reference system ranks its hardest rows by.

    Raises
    ------
    ConfigError
        If the ratio is not above 0.
    """
    if not ratio > 0:
        raise ConfigError(f"ratio is {ratio}", "weights are bounded by it times their start: it must be above 0")
    more = matrix.estimates(initial_weights, lambda values: np.maximum(values, 0))
    less = matrix.estimates(initial_weights, lambda values: np.minimum(values, 0))
    row_sum = matrix.estimates(np.ones(matrix.shape[1]))
    columns = matrix.row_nonzeros
    reach = np.where(target > 0, more, less)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(target == 0, 0.0, np.where(reach == 0, math.inf, target / reach))
        row_sum_ratio = np.where(target == 0, math.nan, row_sum / target)
        low, high = (np.where(end == 0, 0.0, ratio * end) for end in (less, more))
    conditions = [(columns == 0) & (target != 0), (needed > ratio) | np.isinf(needed), needed > EDGE * ratio]
    return pd.DataFrame(
        {
            "target": target,
            "columns": columns,
            "start": more + less,
            "low": low,
            "high": high,
            "needed": needed,
            "verdict": np.select(conditions, VERDICTS[:3], default=VERDICTS[3]),
            "row_sum": row_sum,
            "row_sum_ratio": row_sum_ratio,
        }
    )


def hardest(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The targets with support that need the greatest ratio, the greatest first; ties in the order of the package."""
    supported = table[table["verdict"] != "unsupported"]
    return supported.sort_values("needed", ascending=False, kind="stable").head(count)


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Targets by level and verdict: columns geo_level, targets and each of ``VERDICTS``."""
    levels = list(dict.fromkeys(table["geo_level"]))
    by_level = pd.crosstab(table["geo_level"], table["verdict"]).reindex(index=levels, columns=list(VERDICTS), fill_value=0)
    by_level.insert(0, "targets", by_level.sum(axis=1))
    return by_level.rename_axis(columns=None).reset_index()
