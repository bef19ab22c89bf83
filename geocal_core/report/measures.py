"""What the report tells, as tables and numbers: computed from the package and the weights themselves, in float64."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.errors import ArtifactError
from geocal_core.fit.diagnostics import additivity, error_shares, error_summary, error_table, weight_summary
from geocal_core.fit.output import CONFIG, LOG, WEIGHTS
from geocal_core.fit.problem import Floats, estimates
from geocal_core.matrix.package import Package

_REMEDY = "materialise weights again"


@dataclass(frozen=True)
class Measures:
    """Everything the report shows.

    Attributes
    ----------
    errors : DataFrame
        A row for each target (``geocal_core.fit.diagnostics.error_table``).
    levels, families : DataFrame
        Error summaries by level, and by level and family.
    worst : DataFrame
        The targets with the largest relative errors among those with support, largest first.
    sums : DataFrame
        Whether levels add up (``additivity``).
    weights : dict
        Quality of the weights.
    overall : dict
        Error shares and quantiles over all fitted targets.
    history : DataFrame
        Columns epoch and loss: the sum of squared errors at each logged epoch.
    config : dict
        The run configuration that lies beside the weights.
    """

    errors: pd.DataFrame
    levels: pd.DataFrame
    families: pd.DataFrame
    worst: pd.DataFrame
    sums: pd.DataFrame
    weights: dict[str, float]
    overall: dict[str, float]
    history: pd.DataFrame
    config: dict[str, Any]

    @property
    def unsupported(self) -> pd.DataFrame:
        """Targets that no record can reach."""
        return self.errors[~self.errors["achievable"]]

    @property
    def zero(self) -> pd.DataFrame:
        """Targets of 0 that some record adds to."""
        return self.errors[self.errors["achievable"] & (self.errors["target"] == 0)]


def measure(package: Package, folder: Path, worst: int) -> Measures:
    """Measure the weights of a folder against the targets of a package; ``worst`` targets are listed.

    Raises
    ------
    ArtifactError
        If the weights or what lies beside them cannot be read, or belong to another package.
    """
    config = _read_config(folder, package)
    weights = _read_weights(folder, package)
    errors = error_table(package.targets, estimates(package.matrix, weights), package.supported)
    reached = errors[errors["achievable"]]
    return Measures(
        errors=errors,
        levels=error_summary(errors, ["level"]),
        families=error_summary(errors, ["level", "family"]),
        worst=reached.sort_values(["abs_rel_error", "name"], ascending=[False, True], na_position="last").head(worst),
        sums=additivity(errors),
        weights=weight_summary(weights, package.district),
        overall=error_shares(reached["abs_rel_error"].dropna().to_numpy()),
        history=_read_history(folder),
        config=config,
    )


def _read_config(folder: Path, package: Package) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    found = config.get("package_digest")
    if found != package.digest:
        raise ArtifactError(f"{path} belongs to package {found} and the package here is {package.digest}", _REMEDY)
    return config


def _read_weights(folder: Path, package: Package) -> Floats:
    path = folder / WEIGHTS
    try:
        weights = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    if weights.shape != package.initial_weights.shape or weights.dtype != np.float64:
        raise ArtifactError(
            f"{path} holds {weights.dtype} of shape {weights.shape}, wanted float64 of shape {package.initial_weights.shape}",
            _REMEDY,
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArtifactError(f"{path} holds weights that are negative or not finite", _REMEDY)
    return np.asarray(weights, dtype=np.float64)


def _read_history(folder: Path) -> pd.DataFrame:
    path = folder / LOG
    try:
        log = pd.read_csv(path, usecols=["epoch", "loss"])
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    return log.groupby("epoch", as_index=False)["loss"].sum()
