"""Weights for a sample that meet its targets: ``fit``, ``select`` for an exact size, and the ``scorecard`` of any weights."""

from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.presets import PRESETS, Hyperparameters
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.fit.selection import Selection, select

__all__ = [
    "PRESETS",
    "FitResult",
    "Hyperparameters",
    "LossSettings",
    "Scorecard",
    "Selection",
    "fit",
    "importance_of_groups",
    "scorecard",
    "select",
]
