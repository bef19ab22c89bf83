"""Weights for a sample that meet its targets: ``fit``, the dense ``rake``, ``select`` for an exact size, the ``scorecard``."""

from geocal_core.fit.conflicts import Conflicts, conflicts
from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.presets import PRESETS, Hyperparameters
from geocal_core.fit.raking import Raked, rake
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.fit.selection import Selection, select

__all__ = [
    "PRESETS",
    "Conflicts",
    "FitResult",
    "Hyperparameters",
    "LossSettings",
    "Raked",
    "Scorecard",
    "Selection",
    "conflicts",
    "fit",
    "importance_of_groups",
    "rake",
    "scorecard",
    "select",
]
