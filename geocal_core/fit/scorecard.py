"""The scorecard: one fixed panel of figures by which any set of weights is judged.

Errors by level, family and area, fitted and held out apart, targets of 0 apart; quality of the weights, overall and by
district; whether levels add up; how far from an optimum of the loss. All sums in float64. Here: the figures; how they are shown
is in ``rendering``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geocal_core.errors import ArtifactError
from geocal_core.fit.diagnostics import additivity, district_table, error_summary, error_table, weight_summary
from geocal_core.fit.problem import Problem, problem
from geocal_core.matrix.factored import Floats
from geocal_core.matrix.package import Package

_GROUPS: dict[str, list[str]] = {
    "all": [],
    "level": ["level"],
    "family": ["family"],
    "level and family": ["level", "family"],
    "area": ["level", "geographic_id"],
}
_KEYS = ("level", "family", "geographic_id")


@dataclass(frozen=True)
class Scorecard:
    """Figures on one set of weights.

    Attributes
    ----------
    errors : DataFrame
        A row for each target (``diagnostics.error_table``).
    table : DataFrame
        A row for each group of targets. Columns held_out (bool), by (``all``, ``level``, ``family``, ``level and family``,
        ``area``), level, family and geographic_id ("" where the group is over all of them), and those of
        ``diagnostics.error_summary``.
    weights : dict
        Quality of the weights (``diagnostics.weight_summary``).
    columns : ndarray of float64
        The weights above 0, the largest first.
    districts : DataFrame
        Quality of the weights by district (``diagnostics.district_table``); no rows where districts are unknown.
    sums : DataFrame
        Whether levels add up (``diagnostics.additivity``).
    optimality : dict
        ``loss``; ``projected_gradient``: Euclidean norm of the part of the loss's gradient along which weights that are not
        negative could move; ``projected_gradient_kept``: the same with the dropped columns held at 0; ``loss_slope``: by how
        many times its size the loss would fall, to first order, for each unit of relative change of the kept weights (sum of
        |weight x gradient| over the loss). All but the first are 0 at an optimum.
    """

    errors: pd.DataFrame
    table: pd.DataFrame
    weights: dict[str, float]
    columns: Floats
    districts: pd.DataFrame
    sums: pd.DataFrame
    optimality: dict[str, float]

    def group(self, by: str, held_out: bool = False) -> pd.DataFrame:
        """The rows of the table of one kind, of the fitted targets or of those held out."""
        return self.table[(self.table["by"] == by) & (self.table["held_out"] == held_out)]

    @property
    def additivity(self) -> dict[str, float]:
        """Largest relative gap between the estimates of the nation and its states, and of states and their districts."""
        gaps = self.sums.groupby("total")["estimate_gap"].max()
        return {f"{total}_gap": float(gap) for total, gap in gaps.items()}

    def to_dict(self) -> dict[str, Any]:
        """All figures but those of single targets and districts, as JSON-able values; what is undefined is None."""
        rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for half, held_out in (("fitted", False), ("held_out", True)):
            rows[half] = {by: [_plain(row) for row in _records(self.group(by, held_out))] for by in _GROUPS}
        return {
            **rows,
            "weights": _plain(self.weights),
            "additivity": _plain(self.additivity),
            "optimality": _plain(self.optimality),
        }


def scorecard(
    fitted: Package | Problem,
    weights: ArrayLike,
    targets: pd.DataFrame | None = None,
    district: NDArray[np.integer] | None = None,
    imputed: NDArray[np.bool_] | None = None,
) -> Scorecard:
    """Judge weights by the targets that they were fitted to and by those that were held out.

    Parameters
    ----------
    fitted : Package or Problem
        What was fitted. A package brings its own targets, districts and, where it knows them, imputed records.
    weights : array_like of float, shape (n_columns,)
        Not negative.
    targets : DataFrame, optional
        For a problem, what is known of its targets, in their order: columns ``name``, ``variable``, ``domain_variable``,
        ``geo_level``, ``geographic_id``, ``value`` and ``held_out``. Without it there is one level and one family.
    district : ndarray of int, shape (n_columns,), optional
        For a problem, the district of each column.
    imputed : ndarray of bool, shape (n_columns,), optional
        For a problem, which columns are of households with an imputed tax return; without it their share is unknown.

    Raises
    ------
    ArtifactError
        If lengths differ, or a weight is negative or not finite.
    """
    if isinstance(fitted, Package):
        targets, district, imputed = fitted.targets, fitted.district, fitted.imputed_columns
        fitted = problem(fitted.matrix, targets, fitted.initial_weights)
    w = np.asarray(weights, dtype=np.float64)
    _check(fitted, w, targets, {"districts": district, "imputed records": imputed})
    estimate = fitted.all_estimates(w)
    errors = error_table(_nameless(fitted) if targets is None else targets, estimate, fitted.supported)
    return Scorecard(
        errors=errors,
        table=_table(errors),
        weights=weight_summary(w, district, imputed),
        columns=np.sort(w[w > 0])[::-1],
        districts=district_table(w[:0], np.zeros(0, dtype=np.int64))
        if district is None
        else district_table(w, district, imputed),
        sums=additivity(errors),
        optimality=_optimality(fitted, w, estimate[fitted.fitted]),
    )


def _check(
    fitted: Problem, weights: Floats, targets: pd.DataFrame | None, of_columns: Mapping[str, NDArray[Any] | None]
) -> None:
    if weights.shape != (fitted.n_columns,):
        raise ArtifactError(f"there are {fitted.n_columns} columns and weights of shape {weights.shape}")
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        column = int(np.flatnonzero(bad)[0])
        raise ArtifactError(f"the weight of column {column} is {weights[column]}", "weights must be finite and not negative")
    if targets is not None and len(targets) != len(fitted.all_targets):
        raise ArtifactError(f"the problem has {len(fitted.all_targets)} targets and the table tells of {len(targets)}")
    for name, array in of_columns.items():
        if array is not None and array.shape != weights.shape:
            raise ArtifactError(f"there are {fitted.n_columns} columns and {name} of shape {array.shape}")


def _nameless(fitted: Problem) -> pd.DataFrame:
    """A table of targets of which no more than names, values and what is held out are known."""
    known = {"name": fitted.names, "value": fitted.all_targets, "held_out": fitted.held_out}
    return pd.DataFrame(known).assign(variable="target", domain_variable="", geo_level="all", geographic_id="")


def _table(errors: pd.DataFrame) -> pd.DataFrame:
    """Summaries of all groups, of fitted and of held-out targets."""
    frames = []
    for held_out in (False, True):
        half = errors[errors["held_out"] == held_out].assign(by="")
        for by, keys in _GROUPS.items():
            frame = error_summary(half.assign(by=by), ["by", *keys]).assign(held_out=held_out)
            frames.append(frame.assign(**{key: "" for key in _KEYS if key not in keys}))
    table = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    first = ["held_out", "by", *_KEYS]
    return table[[*first, *(name for name in table if name not in first)]]


def _optimality(fitted: Problem, weights: Floats, estimate: Floats) -> dict[str, float]:
    """How far the weights are from an optimum of the fit's loss."""
    loss = fitted.loss(estimate)
    gradient = fitted.matrix.rmatvec(fitted.objective.slope(estimate))
    kept = weights > 0
    free = np.where(kept, gradient, np.minimum(gradient, 0.0))
    moved = float(np.abs(weights * gradient).sum())
    return {
        "loss": loss,
        "projected_gradient": float(np.linalg.norm(free)),
        "projected_gradient_kept": float(np.linalg.norm(gradient[kept])),
        "loss_slope": moved / loss if loss > 0 else 0.0,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, without the keys that are the same for all of them."""
    shown = table.drop(columns=["held_out", "by"])
    return [{str(name): value for name, value in row.items() if value != ""} for row in shown.to_dict("records")]


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in figures.items()}
