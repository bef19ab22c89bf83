"""How good weights are: one panel for those of every contender, summed in float64 over the package's own rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit.case import Case
from geocal_core.fit.diagnostics import additivity, effective_sample_size, error_table
from geocal_core.fit.objective import LossSettings


@dataclass(frozen=True)
class Quality:
    """Figures on weights.

    Attributes
    ----------
    loss, held_loss : float
        Sums of squared relative errors, of the fitted targets and of those held out.
    within, held_within : float
        Shares of them within 1 %.
    held_capped : float
        Mean relative error of those held out, none counted as more than 1.
    kept : int
    effective, largest : float
        Kish's effective sample size, and the largest weight.
    """

    loss: float
    held_loss: float
    within: float
    held_within: float
    held_capped: float
    kept: int
    effective: float
    largest: float


class Judge:
    """Who judges weights of one problem.

    Parameters
    ----------
    folder : Path
        Its package.
    """

    def __init__(self, folder: Path) -> None:
        self.case = Case.open(folder)

    def quality(self, weights: NDArray[np.float64]) -> Quality:
        """The panel."""
        made = self.case.made
        estimate = made.matrix.estimates(weights)
        held = made.all_targets[made.supported & made.held_out]
        missed = (made.held_matrix.estimates(weights) - held) / LossSettings().scales(np.abs(held))
        return Quality(
            loss=made.loss(estimate),
            held_loss=float(np.sum(missed**2)),
            within=_within(estimate / made.target - 1),
            held_within=_within(missed),
            held_capped=float(np.mean(np.minimum(np.abs(missed), 1.0))) if len(missed) else float("nan"),
            kept=int(np.count_nonzero(weights)),
            effective=effective_sample_size(weights),
            largest=float(weights.max(initial=0.0)),
        )

    def levels(self, weights: NDArray[np.float64]) -> float:
        """Largest relative gap between a total and the sum of its parts, over nation and states; NaN without two levels."""
        made = self.case.made
        errors = error_table(self.case.package.targets, made.all_estimates(weights), made.supported)
        return float(additivity(errors)["estimate_gap"].max())


def _within(error: NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(error) <= 0.01)) if len(error) else float("nan")
