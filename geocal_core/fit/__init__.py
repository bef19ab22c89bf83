"""Weights for a sample that meet its targets: ``fit``, the dense ``rake``, ``exact`` for an exact size, the ``scorecard``."""

from geocal_core.fit.conflicts import Conflicts, conflicts
from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.frontier import Frontier, frontier
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.presets import PRESETS, Hyperparameters
from geocal_core.fit.raking import Raked, rake
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.fit.selection import Selection, select
from geocal_core.fit.sized import Dense, Exact, dense_of, exact, polish

__all__ = [
    "PRESETS",
    "Conflicts",
    "Dense",
    "Exact",
    "FitResult",
    "Frontier",
    "Hyperparameters",
    "LossSettings",
    "Raked",
    "Scorecard",
    "Selection",
    "conflicts",
    "dense_of",
    "exact",
    "fit",
    "frontier",
    "importance_of_groups",
    "polish",
    "rake",
    "scorecard",
    "select",
]
