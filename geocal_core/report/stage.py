"""The report as a stage: a page to read, every target's error as a table, and the summary as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from geocal_core.context import StageContext
from geocal_core.matrix.package import Package
from geocal_core.progress import Value
from geocal_core.report.measures import Measures, Scores, measure
from geocal_core.report.page import page


def build(context: StageContext) -> dict[str, Value]:
    """Write ``index.html``, ``errors.csv`` and ``summary.json``.

    Raises
    ------
    ArtifactError
        If the weights belong to another package or cannot be read.
    """
    package = Package.open(context.inputs["calibration_package"], verify=False)
    measures = measure(package, context.inputs["weights"], context.settings.worst)
    context.output.mkdir(parents=True)
    measures.errors.to_csv(context.output / "errors.csv", index=False, lineterminator="\n")
    (context.output / "summary.json").write_text(
        json.dumps(summary(measures), indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    (context.output / "index.html").write_text(page(measures), encoding="utf-8")
    context.reporter.progress(f"wrote the errors of {len(measures.errors):,} targets")
    fitted, held_out = (
        {name: value for name, value in scores.overall.items() if math.isfinite(value)}
        for scores in (measures.fitted, measures.held_out)
    )
    return {
        "targets": len(measures.errors),
        "targets_held_out": len(measures.held_out.errors),
        **fitted,
        **{f"held_out_{name}": value for name, value in held_out.items()},
        "effective_sample_size": measures.weights["effective_sample_size"],
    }


def summary(measures: Measures) -> dict[str, Any]:
    """The report's numbers as JSON-able values; what is undefined is null. Scores of the held-out targets stand apart."""
    return {
        **_scores(measures.fitted),
        "held_out": _scores(measures.held_out),
        "additivity": _records(measures.sums),
        "weights": measures.weights,
        "unsupported": measures.unsupported["name"].tolist(),
        "zero": measures.zero["name"].tolist(),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "overall": {name: _plain(value) for name, value in scores.overall.items()},
        "levels": _records(scores.levels),
        "families": _records(scores.families),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = {name: table[name].tolist() for name in table}
    return [{str(name): _plain(values[row]) for name, values in columns.items()} for row in range(len(table))]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
