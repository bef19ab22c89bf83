"""The fit as a stage: a calibration package in, a folder of weights with their diagnostics and the final checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.diagnostics import error_shares
from geocal_core.fit.fitting import FitResult, fit_problem
from geocal_core.fit.frontier import frontier, markdown
from geocal_core.fit.frontier import write as write_frontier
from geocal_core.fit.inputs import Inputs, inputs
from geocal_core.fit.output import CHECKPOINT, write_result, write_scorecard
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.fit.sized import Exact, exact
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
    if settings.method != FitSettings.method and not settings.records:
        raise ConfigError(f"method {settings.method} says how an exact number of columns is kept", "set records as well")
    made = inputs(package, settings, reporter, verify)
    live = checkpoint or scratch / CHECKPOINT
    result, facts = (_exact if settings.records else _fit)(made, settings, live, reporter)
    _check(result, reporter, warm=bool(settings.start_from))
    output.mkdir(parents=True)
    shutil.copyfile(live, output / CHECKPOINT)
    opened = made.package
    card = scorecard(made.problem, result.weights, made.targets, opened.district, opened.imputed_columns)
    write_scorecard(output, card)
    write_result(output, result, {**made.facts, **facts})
    return _numbers(result, card)


def frontier_of_package(
    package: Path,
    output: Path,
    settings: FitSettings,
    sizes: Sequence[int],
    methods: Sequence[str],
    reporter: Reporter,
) -> str:
    """Write what each of some sizes of a package's fit costs (``frontier``) into a folder to be made; gives it as Markdown.

    Raises
    ------
    ArtifactError
        If the package is damaged.
    ConfigError
        If a setting is out of its range.
    """
    made = inputs(package, settings, reporter)
    found = frontier(
        made.problem,
        sizes,
        methods,
        strata=made.strata,
        balance=made.balance,
        seed=settings.seed,
        device=settings.device,
        progress=reporter.progress,
        **(_gates(settings) if "gates" in methods else _given(settings)),
    )
    output.mkdir(parents=True)
    of_gates = _gates(settings) if "gates" in methods else {}
    facts = {**made.facts, **of_gates, "sizes": list(sizes), "methods": list(methods)}
    write_frontier(output, found, facts)
    return markdown(found)


def _fit(made: Inputs, settings: FitSettings, live: Path, reporter: Reporter) -> tuple[FitResult, dict[str, Any]]:
    """Gates and refit, and what the configuration says of them."""
    reporter.progress(f"fitting by gates, preset {settings.preset}, {settings.device}")
    result = fit_problem(
        made.problem,
        refit_epochs=settings.refit_epochs,
        seed=settings.seed,
        device=settings.device,
        checkpoint=live,
        progress=reporter.progress,
        **_gates(settings),
    )
    facts = {
        "preset": settings.preset,
        "epochs": settings.epochs,
        "refit_epochs": settings.refit_epochs,
        "refit_epochs_done": result.refit_epochs,
        "log_every": settings.log_every,
        "stopped": result.stopped,
        "gated_loss": result.gated_loss,
        **asdict(result.hyperparameters),
    }
    return result, facts


def _exact(made: Inputs, settings: FitSettings, live: Path, reporter: Reporter) -> tuple[Exact, dict[str, Any]]:
    """A selection of an exact size and its polish, and what the configuration says of them."""
    reporter.progress(f"fitting {settings.records:,} records, method {settings.method}, {settings.device}")
    result = exact(
        made.problem,
        settings.records,
        settings.method,
        strata=made.strata,
        balance=made.balance,
        seed=settings.seed,
        device=settings.device,
        checkpoint=live,
        progress=reporter.progress,
        **(_gates(settings) if settings.method == "gates" else _given(settings)),
    )
    polished = result.polished
    facts = {
        "records": settings.records,
        "method": settings.method,
        **({"preset": settings.preset} if settings.method == "gates" else {}),
        **result.dense.facts,
        "dense_loss": result.dense_loss,
        "design_loss": result.design_loss,
        "polish_gap": polished.gap,
        "polish_iterations": polished.iterations,
        "polish_price": polished.price,
        "weight_bounds": list(polished.bounds) if polished.bounds else None,
        "weights_at_lower_bound": polished.at_lower,
        "weights_at_upper_bound": polished.at_upper,
    }
    return result, facts


_HYPERPARAMETERS = ("lambda_l0", "lambda_share", "lambda_l2", "beta", "learning_rate")


def _gates(settings: FitSettings) -> dict[str, Any]:
    """Arguments of the gated fit."""
    names = ("preset", "epochs", "log_every", *_HYPERPARAMETERS)
    return {name: getattr(settings, name) for name in names}


def _given(settings: FitSettings) -> dict[str, float]:
    """Hyper-parameters of gates that are asked for."""
    return {name: value for name in _HYPERPARAMETERS if (value := getattr(settings, name)) is not None}


def _check(result: FitResult | Exact, reporter: Reporter, warm: bool) -> None:
    weights = result.weights
    valid = bool(np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any())
    kept = int(np.count_nonzero(weights))
    reporter.check("weights_valid", valid, {"kept": kept, "columns": len(weights), "sum": float(weights.sum())})
    # What is started from a good fit may find nothing to gain; a few records may do worse than all of them at the start.
    before = result.design_loss if isinstance(result, Exact) else result.initial_loss
    nothing_to_gain = warm or isinstance(result, Exact)
    improved = result.loss < before or (nothing_to_gain and result.loss <= before * (1 + 1e-5))
    reporter.check("fit_improved", improved, result.losses)
    if not valid:
        raise ArtifactError("the fit gave weights that are negative, not finite or all 0", "lower learning_rate")
    if not improved:
        raise ArtifactError(
            f"the fit did not improve on its starting weights (loss {result.loss:.6g}, at the start {before:.6g})",
            "ask for more epochs, or lower lambda_l0",
        )


def _numbers(result: FitResult | Exact, card: Scorecard) -> dict[str, Value]:
    held, quality = result.diagnostics["held_out"], card.weights
    imputed = quality["imputed_share"]
    return {
        **result.losses,
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
