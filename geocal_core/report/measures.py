"""What the report tells, as tables and numbers: computed from the package and the weights themselves, in float64."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError
from geocal_core.fit.diagnostics import additivity, error_shares, error_summary, error_table, weight_summary
from geocal_core.fit.output import CONFIG, DIAGNOSTICS, LOG, WEIGHTS
from geocal_core.matrix.factored import Floats
from geocal_core.matrix.package import Package

_REMEDY = "materialise weights again"


@dataclass(frozen=True)
class Scores:
    """How near some targets are met: those that were fitted, or those that were held out.

    Attributes
    ----------
    errors : DataFrame
        Their rows of the error table.
    levels, families : DataFrame
        Error summaries by level, and by level and family.
    worst : DataFrame
        The targets with the largest relative errors among those with support, largest first.
    overall : dict
        Error shares and quantiles over all of them.
    """

    errors: pd.DataFrame
    levels: pd.DataFrame
    families: pd.DataFrame
    worst: pd.DataFrame
    overall: dict[str, float]

    @classmethod
    def of(cls, errors: pd.DataFrame, worst: int) -> Scores:
        """The scores of some rows of an error table."""
        reached = errors[errors["achievable"]]
        return cls(
            errors=errors,
            levels=error_summary(errors, ["level"]),
            families=error_summary(errors, ["level", "family"]),
            worst=reached.sort_values(["abs_rel_error", "name"], ascending=[False, True], na_position="last").head(worst),
            overall=error_shares(reached["abs_rel_error"].dropna().to_numpy()),
        )


@dataclass(frozen=True)
class Measures:
    """Everything the report shows.

    Attributes
    ----------
    errors : DataFrame
        A row for each target of the fit (``geocal_core.fit.diagnostics.error_table``).
    fitted, held_out : Scores
        Of the targets that the weights were fitted to, and of those that they never saw.
    sums : DataFrame
        Whether levels add up (``additivity``).
    weights : dict
        Quality of the weights.
    history : DataFrame
        Columns epoch and loss: the sum of squared errors at each logged epoch.
    config : dict
        The run configuration that lies beside the weights.
    """

    errors: pd.DataFrame
    fitted: Scores
    held_out: Scores
    sums: pd.DataFrame
    weights: dict[str, float]
    history: pd.DataFrame
    config: dict[str, Any]

    @property
    def unsupported(self) -> pd.DataFrame:
        """Targets that no record can reach."""
        return self.errors[~self.errors["achievable"]]

    @property
    def zero(self) -> pd.DataFrame:
        """Fitted targets of 0 that some record adds to."""
        return self.fitted.errors[self.fitted.errors["achievable"] & (self.fitted.errors["target"] == 0)]


def measure(package: Package, folder: Path, worst: int) -> Measures:
    """Measure the weights of a folder against the targets of a package that the fit knew; ``worst`` targets are listed.

    Raises
    ------
    ArtifactError
        If the weights or what lies beside them cannot be read, or belong to another package.
    """
    config = _read_config(folder, package)
    weights = _read_weights(folder, package)
    rows, held_out = _read_rows(folder, package)
    targets = package.targets.iloc[rows].assign(held_out=held_out)
    errors = error_table(targets, package.matrix.estimates(weights)[rows], package.supported[rows])
    return Measures(
        errors=errors,
        fitted=Scores.of(errors[~errors["held_out"]], worst),
        held_out=Scores.of(errors[errors["held_out"]], worst),
        sums=additivity(errors),
        weights=weight_summary(weights, package.district, package.imputed_columns),
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


def _read_rows(folder: Path, package: Package) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the package that the fit knew, and which of them it held out."""
    path = folder / DIAGNOSTICS
    try:
        table = pd.read_csv(path, usecols=["target", "held_out"], keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    rows = pd.Index(package.targets["name"]).get_indexer(table["target"])
    held_out = table["held_out"].to_numpy()
    if held_out.dtype != np.bool_ or not len(rows) or (rows < 0).any():
        raise ArtifactError(f"{path} does not list targets of the package", _REMEDY)
    return rows.astype(np.int64), held_out


def _read_history(folder: Path) -> pd.DataFrame:
    path = folder / LOG
    try:
        log = pd.read_csv(path, usecols=["epoch", "loss"])
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    return log.groupby("epoch", as_index=False)["loss"].sum()
