"""Weights for a sample that meet its targets: ``fit`` and what it gives."""

from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.presets import PRESETS, Hyperparameters

__all__ = ["PRESETS", "FitResult", "Hyperparameters", "LossSettings", "fit", "importance_of_groups"]
