"""Weights for a sample that meet its targets: ``fit`` and what it gives."""

from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.presets import PRESETS, Hyperparameters

__all__ = ["PRESETS", "FitResult", "Hyperparameters", "fit"]
