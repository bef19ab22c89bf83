"""The fit as a stage: a calibration package in, a folder of weights with their diagnostics and the final checkpoint out."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.diagnostics import error_shares
from geocal_core.fit.fitting import FitResult, fit
from geocal_core.fit.objective import LossSettings, importance_of_groups
from geocal_core.fit.output import CHECKPOINT, write_result, write_scorecard
from geocal_core.fit.problem import problem
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.matrix.package import Package
from geocal_core.progress import Reporter, Value
from geocal_core.settings import FitSettings


def build(context: StageContext) -> dict[str, Value]:
    """Fit the package; the checkpoint in the stage's scratch folder lets a killed run go on where it was."""
    package = context.inputs["calibration_package"]
    return fit_package(package, context.output, context.scratch, context.settings, context.reporter, verify=False)


def fit_package(
    package: Path,
    output: Path,
    scratch: Path,
    settings: FitSettings,
    reporter: Reporter,
    verify: bool = True,
    checkpoint: Path | None = None,
) -> dict[str, Value]:
    """Fit the weights of a calibration package; ``settings.targets`` may narrow its targets and hold out more of them.

    Parameters
    ----------
    package : Path
        Folder of the package.
    output : Path
        Folder to make: ``calibration_weights.npy`` (float64, a weight for each column) and the other ``output.FILES``.
    scratch : Path
        Folder for the checkpoint while the fit runs, made when there is one; the caller removes it when all is done.
    settings : FitSettings
    reporter : Reporter
        Told the progress and the checks ``weights_valid`` and ``fit_improved``.
    verify : bool
        Whether the package's digests are checked, which reads it once more.
    checkpoint : Path, optional
        Where the state is kept while the fit runs, in place of a file in ``scratch``.

    Returns
    -------
    dict
        Numbers on the fit, the same for the same seed.

    Raises
    ------
    ArtifactError
        If the package is damaged, the checkpoint is another fit's, or a check fails.
    ConfigError
        If a setting is out of its range.
    """
    opened = Package.open(package, verify=verify)
    matrix, targets = opened.chosen(settings.targets, reporter.progress)
    nonzeros = matrix.row_nonzeros
    unsupported = int(np.count_nonzero(nonzeros == 0))
    reporter.progress(
        f"fitting {matrix.shape[0]:,} targets ({unsupported:,} without support, {int(targets['held_out'].sum()):,} held out) "
        f"with {matrix.shape[1]:,} columns and {int(nonzeros.sum()):,} non-zeros ({matrix.atoms:,} stored), "
        f"preset {settings.preset}, {settings.device}"
    )
    live = checkpoint or scratch / CHECKPOINT
    start = _earlier(settings.start_from, opened.n_columns) if settings.start_from else opened.initial_weights
    loss = LossSettings(settings.scale, settings.floor, settings.huber)
    tolerance, importance = _margins(targets, settings.margins), _importance(targets, settings)
    result = fit(
        matrix,
        targets,
        preset=settings.preset,
        initial_weights=start,
        tolerance=tolerance,
        importance=importance,
        loss=loss,
        epochs=settings.epochs,
        refit_epochs=settings.refit_epochs,
        seed=settings.seed,
        device=settings.device,
        checkpoint=live,
        log_every=settings.log_every,
        progress=reporter.progress,
        lambda_l0=settings.lambda_l0,
        lambda_share=settings.lambda_share,
        lambda_l2=settings.lambda_l2,
        beta=settings.beta,
        learning_rate=settings.learning_rate,
    )
    _check(result, reporter, warm=bool(settings.start_from))
    output.mkdir(parents=True)
    shutil.copyfile(live, output / CHECKPOINT)
    fitted = problem(matrix, targets, start, tolerance=tolerance, importance=importance, loss=loss)
    card = scorecard(fitted, result.weights, targets, opened.district, opened.imputed_columns)
    write_scorecard(output, card)
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
        "preset": settings.preset,
        "epochs": settings.epochs,
        "refit_epochs": settings.refit_epochs,
        "seed": settings.seed,
        "device": settings.device,
        "log_every": settings.log_every,
        "start_from": settings.start_from,
        "margins": settings.margins,
        "groups": settings.groups,
        "group_weights": list(settings.group_weights),
        "stopped": result.stopped,
        "repeated_targets": list(result.repeated_targets),
        **asdict(loss),
        **asdict(result.hyperparameters),
    }
    write_result(output, result, facts)
    return _numbers(result, card)


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


def _check(result: FitResult, reporter: Reporter, warm: bool) -> None:
    weights = result.weights
    valid = bool(np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any())
    kept = int(np.count_nonzero(weights))
    reporter.check("weights_valid", valid, {"kept": kept, "columns": len(weights), "sum": float(weights.sum())})
    # What is started from a good fit may find nothing to gain.
    improved = result.loss < result.initial_loss or (warm and result.loss <= result.initial_loss * (1 + 1e-5))
    losses: dict[str, Value] = {"initial_loss": result.initial_loss, "gated_loss": result.gated_loss, "loss": result.loss}
    reporter.check("fit_improved", improved, losses)
    if not valid:
        raise ArtifactError("the fit gave weights that are negative, not finite or all 0", "lower learning_rate")
    if not improved:
        raise ArtifactError(
            f"the fit did not improve on its starting weights (loss {result.loss:.6g}, at the start {result.initial_loss:.6g})",
            "ask for more epochs, or lower lambda_l0",
        )


def _numbers(result: FitResult, card: Scorecard) -> dict[str, Value]:
    held, quality = result.diagnostics["held_out"], card.weights
    imputed = quality["imputed_share"]
    return {
        "loss": result.loss,
        "gated_loss": result.gated_loss,
        "initial_loss": result.initial_loss,
        "refit_epochs": result.refit_epochs,
        "targets": len(result.diagnostics),
        "targets_unsupported": len(result.unsupported_targets),
        "targets_zero": len(result.zero_targets),
        "targets_lost": len(result.lost_targets),
        "targets_repeated": len(result.repeated_targets),
        "targets_held_out": int(held.sum()),
        **_shares(result.diagnostics[~held]),
        **{f"held_out_{name}": share for name, share in _shares(result.diagnostics[held]).items()},
        "columns": int(quality["columns"]),
        "kept": int(quality["kept"]),
        "weight_sum": quality["sum"],
        "largest_weight": quality["largest"],
        "largest_weight_share": quality["largest_share"],
        "effective_sample_size": quality["effective_sample_size"],
        "effective_sample_size_of_district_least": quality["effective_sample_size_of_district_least"],
        "top_1_percent_share": quality["top_1_percent_share"],
        "imputed_share": "unknown" if isnan(imputed) else imputed,
        "loss_slope": card.optimality["loss_slope"],
        "districts_empty": int(quality["districts_empty"]),
        "kept_per_district_least": int(quality["kept_per_district_least"]),
    }


def _shares(table: pd.DataFrame) -> dict[str, float]:
    """Error shares and quantiles of the targets with support; empty where there are none."""
    reached = table.loc[table["achievable"], "abs_rel_error"].dropna().to_numpy()
    return error_shares(reached) if len(reached) else {}
