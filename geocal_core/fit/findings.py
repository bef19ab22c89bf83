"""What a fit has to tell of its targets besides their errors: the log of its estimates, and those named for what they are.

For every way of fitting a problem; errors and the quality of weights are in ``diagnostics``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.fit.diagnostics import relative_errors
from geocal_core.fit.problem import Problem
from geocal_core.matrix.factored import Floats


def log_table(problem: Problem, logged: Sequence[tuple[int, Floats]]) -> pd.DataFrame:
    """A row for each target and logged epoch.

    Parameters
    ----------
    problem : Problem
    logged : sequence of (int, ndarray of float64)
        Epochs, and the estimates of all targets at them; at least one.

    Returns
    -------
    DataFrame
        Columns target_name, estimate, target, epoch, error, rel_error, abs_error, rel_abs_error, loss, achievable and held_out.
        A target that is not fitted, or repeats another, has no part in the loss: NaN.
    """
    n = len(problem.names)
    estimate = np.concatenate([row for _, row in logged])
    target = np.tile(problem.all_targets, len(logged))
    relative = relative_errors(target, estimate)
    losses = np.full((len(logged), n), math.nan)
    for row, (_, estimates) in enumerate(logged):
        losses[row, problem.fitted] = problem.objective.losses(estimates[problem.fitted])
    return pd.DataFrame(
        {
            "target_name": np.tile(np.array(problem.names, dtype=object), len(logged)),
            "estimate": estimate,
            "target": target,
            "epoch": np.repeat([at for at, _ in logged], n),
            "error": estimate - target,
            "rel_error": relative,
            "abs_error": np.abs(estimate - target),
            "rel_abs_error": np.abs(relative),
            "loss": losses.ravel(),
            "achievable": np.tile(problem.supported, len(logged)),
            "held_out": np.tile(problem.held_out, len(logged)),
        }
    )


def zero_targets(problem: Problem) -> tuple[str, ...]:
    """Fitted targets of 0, which are measured against their starting estimate."""
    return _named(problem, np.flatnonzero(problem.fitted)[problem.target == 0])


def lost_targets(problem: Problem, weights: Floats) -> tuple[str, ...]:
    """Fitted targets whose every record was dropped."""
    left = problem.matrix.estimates((weights > 0).astype(np.float64), np.abs)
    return _named(problem, np.flatnonzero(problem.fitted)[left == 0])


def repeated_targets(problem: Problem) -> tuple[str, ...]:
    """Targets left out of the loss because another has the same row and value."""
    return _named(problem, np.flatnonzero(problem.repeats >= 0))


def _named(problem: Problem, rows: NDArray[np.integer]) -> tuple[str, ...]:
    return tuple(problem.names[row] for row in rows)
