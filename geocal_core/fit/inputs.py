"""What the settings of a fit make of a calibration package: its problem, and what a run's configuration says of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.balance import Balance
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.problem import Problem, problem
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.package import Package
from geocal_core.progress import Reporter
from geocal_core.settings import FitSettings


@dataclass(frozen=True)
class Inputs:
    """A package with the problem that is to be fitted.

    Attributes
    ----------
    package : Package
    matrix : FactoredMatrix
    targets : DataFrame
        Those in scope, held-out ones among them.
    problem : Problem
    facts : mapping
        JSON-able: what was fitted, for the configuration of the run.
    """

    package: Package
    matrix: FactoredMatrix
    targets: pd.DataFrame
    problem: Problem
    facts: Mapping[str, Any]

    @property
    def strata(self) -> list[NDArray[np.int32]]:
        """District and state of each column."""
        return [self.package.district, self.package.state]

    @property
    def balance(self) -> Balance:
        """What a selection should balance."""
        return Balance(self.package, self.matrix, self.targets)


def inputs(package: Path, settings: FitSettings, reporter: Reporter, verify: bool = True) -> Inputs:
    """Open a package and set up its problem.

    Parameters
    ----------
    package : Path
    settings : FitSettings
        Of which targets, loss, margins, groups and start count.
    reporter : Reporter
        Told of optional rules that match nothing, and the size of the problem.
    verify : bool
        Whether the package's digests are checked.

    Raises
    ------
    ArtifactError
        If the package or the weights to start from are damaged.
    ConfigError
        If a setting is out of its range.
    """
    opened = Package.open(package, verify=verify)
    matrix, targets = opened.chosen(settings.targets, reporter.progress)
    nonzeros = matrix.row_nonzeros
    unsupported = int(np.count_nonzero(nonzeros == 0))
    reporter.progress(
        f"{matrix.shape[0]:,} targets ({unsupported:,} without support, {int(targets['held_out'].sum()):,} held out), "
        f"{matrix.shape[1]:,} columns and {int(nonzeros.sum()):,} non-zeros ({matrix.atoms:,} stored)"
    )
    start = _earlier(settings.start_from, opened.n_columns) if settings.start_from else opened.initial_weights
    loss = LossSettings(settings.scale, settings.floor, settings.huber)
    tolerance, importance = _margins(targets, settings.margins), _importance(targets, settings)
    facts = {
        "package_digest": opened.digest,
        # What the columns are copies of: whoever lays the weights on households must do so on these very ones.
        "package_inputs": dict(opened.manifest.get("inputs", {})),
        "package_seed": opened.seed,
        "package_takeup": opened.manifest.get("takeup", ""),
        "package_targets": opened.manifest.get("targets", ""),
        "targets": settings.targets,
        "n_records": opened.n_records,
        "n_clones": opened.n_clones,
        "seed": settings.seed,
        "device": settings.device,
        "start_from": settings.start_from,
        "margins": settings.margins,
        "groups": settings.groups,
        "group_weights": list(settings.group_weights),
        **asdict(loss),
    }
    made = problem(matrix, targets, start, tolerance=tolerance, importance=importance, loss=loss)
    return Inputs(opened, matrix, targets, made, facts)


def _earlier(path: str, n_columns: int) -> NDArray[np.float64]:
    """Weights of an earlier fit of as many columns."""
    try:
        weights = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise ConfigError(f"the weights {path} to start from do not exist") from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"the weights {path} to start from cannot be read ({error})") from error
    if not isinstance(weights, np.ndarray) or weights.shape != (n_columns,) or weights.dtype.kind != "f":
        raise ArtifactError(
            f"{path} holds no weights of this package's {n_columns} columns", "give calibration_weights.npy of a fit of them"
        )
    return weights.astype(np.float64)


def _margins(targets: pd.DataFrame, share: float) -> NDArray[np.float64] | None:
    """Of each target, that share of its publisher's margin of error, uprated and reconciled as its value was."""
    if share < 0:
        raise ConfigError(f"margins is {share}", "it must be at least 0")
    if share == 0:
        return None
    if "tolerance" not in targets:
        raise ConfigError("margins are asked for and the package's targets have no margins of error", "leave margins at 0")
    published = targets["original_value"] if "original_value" in targets else targets["value"]
    moved = (targets["value"] / published.where(published != 0)).abs().fillna(1.0)
    return np.asarray(share * targets["tolerance"].astype(np.float64) * moved, dtype=np.float64)


def _importance(targets: pd.DataFrame, settings: FitSettings) -> NDArray[np.float64] | None:
    """Importance by the groups of a column; of the targets that are fitted, so that no other has a part in it."""
    column, weights = settings.groups, _group_weights(settings.group_weights)
    if not column:
        if weights:
            raise ConfigError(
                "groups of targets have weights and there is no column to group by", "set groups, to variable say"
            )
        return None
    if column not in targets:
        raise ConfigError(f"the targets have no column {column!r} to group by", f"they have {', '.join(map(str, targets))}")
    fitted = ~targets["held_out"].to_numpy()
    importance = np.ones(len(targets))
    importance[fitted] = importance_of_groups(targets.loc[fitted, column].tolist(), weights)
    if not importance[fitted].any():
        raise ConfigError("every group of targets has the weight 0", "give one a weight above 0")
    return importance


def _group_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Weights by the names of groups, of texts such as ``snap=2``."""
    weights: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"the weight of a group is given as {text!r}", "write GROUP=NUMBER, as in snap=2")
        if name in weights:
            raise ConfigError(f"the group {name} has two weights", "give one")
        weights[name] = weight
    return weights
