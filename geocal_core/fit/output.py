"""The files that a fit leaves behind: weights, diagnostics, log, scorecard and the settings of the run.

Nothing in them tells the time of day or how long it took: the same seed gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.fit.fitting import FitResult
from geocal_core.fit.rendering import charts, markdown
from geocal_core.fit.scorecard import Scorecard
from geocal_core.fit.sized import Exact
from geocal_core.store import digest_path

WEIGHTS = "calibration_weights.npy"
DIAGNOSTICS = "unified_diagnostics.csv"
LOG = "calibration_log.csv"
CONFIG = "unified_run_config.json"
CHECKPOINT = "checkpoint.npz"
SCORECARD = "scorecard.csv"
SCORECARD_JSON = "scorecard.json"
SCORECARD_TEXT = "scorecard.md"
DISTRICTS = "scorecard_districts.csv"
CHARTS = {name: f"scorecard_{name}.svg" for name in ("errors", "weights", "districts")}
SCORECARD_FILES = (SCORECARD, SCORECARD_JSON, SCORECARD_TEXT, DISTRICTS, *CHARTS.values())
FILES = frozenset((WEIGHTS, DIAGNOSTICS, LOG, CONFIG, CHECKPOINT, *SCORECARD_FILES))


def write_scorecard(folder: Path, card: Scorecard) -> None:
    """Write a scorecard into an existing folder: table, JSON, Markdown, districts and charts (those that have anything)."""
    card.table.to_csv(folder / SCORECARD, index=False, lineterminator="\n")
    card.districts.to_csv(folder / DISTRICTS, index=False, lineterminator="\n")
    (folder / SCORECARD_JSON).write_text(json.dumps(card.to_dict(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / SCORECARD_TEXT).write_text(markdown(card), encoding="utf-8")
    for name, chart in charts(card).items():
        (folder / CHARTS[name]).write_text(chart, encoding="utf-8")


def write_result(folder: Path, result: FitResult | Exact, settings: Mapping[str, Any]) -> None:
    """Write weights, diagnostics, log and run configuration into an existing folder.

    Parameters
    ----------
    folder : Path
        Checkpoint and scorecard, if there are any, already lie in it and are listed among the artifacts.
    result : FitResult or Exact
    settings : mapping
        JSON-able facts on the run, such as its preset, seed and the digest of the package; they open the configuration.
    """
    with (folder / WEIGHTS).open("wb") as stream:
        np.save(stream, result.weights, allow_pickle=False)
    result.diagnostics.to_csv(folder / DIAGNOSTICS, index=False, lineterminator="\n")
    result.log.to_csv(folder / LOG, index=False, lineterminator="\n")
    table = result.diagnostics
    config = {
        **settings,
        "n_targets": len(table),
        "n_held_out": int(table["held_out"].sum()),
        "n_columns": len(result.weights),
        "weight_format": "clone_level",
        "weight_sum": float(result.weights.sum()),
        "weight_nonzero": int(np.count_nonzero(result.weights)),
        "mean_error_pct": _mean_percent(table[~table["held_out"]]),
        "held_out_mean_error_pct": _mean_percent(table[table["held_out"]]),
        "loss": result.loss,
        "initial_loss": result.initial_loss,
        "zero_targets": list(result.zero_targets),
        "lost_targets": list(result.lost_targets),
        "repeated_targets": list(result.repeated_targets),
        "unsupported_targets": list(result.unsupported_targets),
        "artifacts": {
            name: f"sha256:{digest_path(folder / name)}" for name in sorted(FILES - {CONFIG}) if (folder / name).exists()
        },
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _mean_percent(table: pd.DataFrame) -> float | None:
    """Mean absolute relative error, in per cent, of the targets with support; None where there are none."""
    errors = table.loc[table["achievable"], "abs_rel_error"].dropna()
    return 100.0 * float(errors.mean()) if len(errors) else None
