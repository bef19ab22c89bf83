"""Which targets fight, and what giving way would buy: the multipliers of a raking problem, read as prices.

A target that is missed although its multiplier pulls is held back by others. Of targets of several levels it shows by whom:
the parts of a whole do not add up to it. Everything here speaks of fitted targets, and of the objective of ``raking``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.fit.problem import Problem
from geocal_core.fit.raking import Raked, rake
from geocal_core.matrix.factored import FactoredMatrix

RELAXED = 0.01
"""What is bought by one hundredth of a target's scale is told."""
_GAP = 1e-9  # of the solutions whose difference is told
_SMALLEST_GAP_OF_SUMS = 1e-6
_NOTHING = 1e-12  # of an objective in which a mean distance of 1 is 1


@dataclass(frozen=True)
class Conflicts:
    """What stands between a problem and a perfect fit.

    Attributes
    ----------
    targets : DataFrame
        The targets that cost most, the worst first: target, value, estimate, residual (value - estimate), relative (residual as
        a share of the scale), shadow_price (what one more unit of the value adds to the objective), pull (shadow price times
        residual; at the solution not negative), gain_first_order and gain (what the objective would lose if errors up to 1 % of
        the scale more were free: by the multiplier, never too low, and by solving again, NaN where that was not done).
    sums : DataFrame
        Targets whose parts are targets too and do not add up to them, the worst first: whole, parts (how many), value,
        parts_value, gap (parts_value - value), relative (gap as a share of the whole's scale), estimate, and pull, that of
        whole and parts together.
    objective : float
        The primal value of the problem.
    """

    targets: pd.DataFrame
    sums: pd.DataFrame
    objective: float

    def lines(self) -> list[str]:
        """The same in words, a line each."""
        if not len(self.targets):
            return ["no target is missed at a cost"]
        return [
            *(_target_line(row, self.objective) for row in self.targets.itertuples()),
            *(_sum_line(row) for row in self.sums.itertuples()),
        ]


def conflicts(problem: Problem, raked: Raked, *, most: int = 20, solved: int = 3, threads: int | None = None) -> Conflicts:
    """Targets that fight, after raking.

    Parameters
    ----------
    problem : Problem
    raked : Raked
        Its solution, under whatever settings.
    most : int
        Rows of each table at most.
    solved : int
        For how many of the worst targets the gain is found by solving again, each by some Newton steps.
    threads : int, optional

    Raises
    ------
    ConfigError
        If ``raked`` is of another problem, or a count is negative.
    """
    for name, count in (("most", most), ("solved", solved)):
        if count < 0:
            raise ConfigError(f"{name} is {count}", "it must be at least 0")
    if len(raked.multipliers) != len(problem.target):
        raise ConfigError(
            f"the solution is of {len(raked.multipliers)} targets and the problem has {len(problem.target)}",
            "give the problem that was raked",
        )
    table = raked.targets[["target", "value", "estimate", "residual"]].copy()
    table["relative"] = table["residual"] / problem.scale
    table["shadow_price"] = raked.targets["shadow_price"]
    table["pull"] = table["shadow_price"] * table["residual"]
    table["gain_first_order"] = RELAXED * np.abs(raked.multipliers)
    missed = raked.targets["cost"] > _NOTHING
    worst = table[missed].sort_values("pull", ascending=False, kind="stable").head(most)
    gains = dict.fromkeys(worst.index, np.nan)
    if solved and len(worst):
        before = _again(problem, raked, threads)
        loss = problem.objective
        for row in worst.index[:solved]:
            tolerance = loss.tolerance.copy()
            tolerance[row] += RELAXED
            relaxed = replace(problem, objective=replace(loss, tolerance=tolerance))
            gains[row] = before.primal - _again(relaxed, before, threads).primal
    worst = worst.assign(gain=pd.Series(gains, dtype=np.float64)).reset_index(drop=True)
    return Conflicts(worst, _sums(problem, table).head(most), raked.primal)


def _again(problem: Problem, raked: Raked, threads: int | None) -> Raked:
    """The solution to a small gap, under the settings of another and from its multipliers."""
    return rake(problem, price=raked.price, bounds=raked.bounds, gap=_GAP, start=raked.multipliers, threads=threads)


def _sums(problem: Problem, table: pd.DataFrame) -> pd.DataFrame:
    """Wholes and the sums of their parts, as in ``Conflicts``."""
    value, pull = table["value"].to_numpy(), table["pull"].to_numpy()
    rows = []
    for whole, parts in wholes(problem.matrix):
        together = float(np.sum(value[parts]))
        gap = together - value[whole]
        share = gap / problem.scale[whole]
        if abs(share) > _SMALLEST_GAP_OF_SUMS:
            figures = {"value": value[whole], "parts_value": together, "gap": gap, "relative": share}
            both = {"estimate": table["estimate"].iloc[whole], "pull": float(pull[whole] + np.sum(pull[parts]))}
            rows.append({"whole": table["target"].iloc[whole], "parts": len(parts), **figures, **both})
    columns = ["whole", "parts", "value", "parts_value", "gap", "relative", "estimate", "pull"]
    return pd.DataFrame(rows, columns=columns).sort_values("pull", ascending=False, kind="stable").reset_index(drop=True)


def wholes(matrix: FactoredMatrix) -> list[tuple[int, list[int]]]:
    """Rows that are sums of other rows, each with the fewest that it is the sum of: the nation of states, a state of districts.

    Seen by the leaves that rows share; rows of an explicit matrix share none.
    """
    filled = np.zeros(matrix.sums.shape[1], dtype=np.bool_)
    for tile in matrix.tiles:
        filled[tile.rows] = True
    sums = sparse.csr_matrix(matrix.sums[:, filled])
    rows_of = sums.tocsc()
    leaves = [frozenset(sums.indices[a:b].tolist()) for a, b in zip(sums.indptr[:-1], sums.indptr[1:], strict=True)]
    found = []
    for whole, wanted in enumerate(leaves):
        smaller = {row for leaf in wanted for row in rows_of.indices[rows_of.indptr[leaf] : rows_of.indptr[leaf + 1]].tolist()}
        left, parts = set(wanted), []
        for row in sorted(smaller, key=lambda row: (-len(leaves[row]), row)):
            if len(leaves[row]) < len(wanted) and leaves[row] <= left:
                left -= leaves[row]
                parts.append(row)
        if parts and not left:
            found.append((whole, sorted(parts)))
    return found


def _target_line(row: Any, objective: float) -> str:
    solved = "" if np.isnan(row.gain) else f", {row.gain:.3g} when solved again"
    bought = f"one percent of room would buy {row.gain_first_order:.3g} of {objective:.4g} at most{solved}"
    return f"{row.target} is {row.estimate:,.6g} where {row.value:,.6g} is wanted ({-row.relative:+.2%}): {bought}"


def _sum_line(row: Any) -> str:
    return (
        f"{row.whole} is to be {row.value:,.6g} and its {row.parts} parts {row.parts_value:,.6g} ({row.relative:+.2%}): "
        f"no weights meet both, these give {row.estimate:,.6g}"
    )
