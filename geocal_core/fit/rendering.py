"""The scorecard as Markdown to read and as charts to look at. No figure is computed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.fit.charts import line_chart, standalone
from geocal_core.fit.diagnostics import error_curve
from geocal_core.fit.scorecard import Scorecard

_CURVE_POINTS = 200
_COUNTS = {"targets": "targets", "unsupported": "without support", "zero": "zero"}
_SHARES = {
    "within_0_5": "within 0.5 %",
    "within_1": "1 %",
    "within_5": "5 %",
    "within_10": "10 %",
    "median": "median",
    "p90": "p90",
    "p99": "p99",
    "max": "max",
}
_ZERO = {"zero_median": "zero: median", "zero_max": "zero: max"}
_PERCENT_WEIGHTS = (
    "largest_share",
    "top_1_percent_share",
    "imputed_share",
    "imputed_share_of_kept",
    "largest_share_of_district",
    "largest_share_of_its_district",
)

Show = Callable[[Any], str]


def markdown(card: Scorecard) -> str:
    """The figures as tables."""
    parts = ["# Scorecard", "Errors are relative to the target; of targets of 0 they are absolute, and stand apart."]
    for title, held_out in (("Fitted targets", False), ("Targets held out", True)):
        levels = pd.concat([card.group(by, held_out) for by in ("all", "level")])
        if levels.empty:
            continue
        label = levels["level"].where(levels["level"] != "", "all")
        parts += [f"## {title}", _errors(levels, {"level": label})]
        families = card.group("level and family", held_out)
        parts.append(_errors(families, {"level": families["level"], "family": families["family"]}))
    parts += [
        "## Weights",
        _facts({name: share if name in _PERCENT_WEIGHTS else number for name in card.weights}, card.weights),
    ]
    if len(card.sums):
        shows: dict[str, Show] = {
            "total": str,
            "family": str,
            "totals": number,
            "estimate_gap": share,
            "target_gap": share,
        }
        rows = card.sums[[*shows]].itertuples(index=False)
        parts += ["## Do the levels add up", grid([name.replace("_", " ") for name in shows], rows, [*shows.values()])]
    parts += ["## Optimality", _facts(dict.fromkeys(card.optimality, number), card.optimality)]
    return "\n\n".join(parts) + "\n"


def charts(card: Scorecard) -> dict[str, str]:
    """SVG files by name, without their ending: ``errors``, ``weights``, and ``districts`` where they are known."""
    reached = card.errors[card.errors["achievable"]].dropna(subset="abs_rel_error")
    fitted = reached[~reached["held_out"]]
    lines = {str(level): rows for level, rows in fitted.groupby("level", sort=False)} | {
        "held out": reached[reached["held_out"]]
    }
    curves = {name: error_curve(rows["abs_rel_error"].to_numpy()) for name, rows in lines.items()}
    kept, total = len(card.columns), card.columns.sum()
    places = np.unique(np.linspace(0, kept, min(kept, _CURVE_POINTS) + 1).astype(int))
    held = np.concatenate([[0.0], np.cumsum(card.columns)])[places] / max(total, np.finfo(float).tiny)
    sizes = np.sort(card.districts["effective_sample_size"].to_numpy())
    found = {
        "errors": line_chart(
            {name: curve for name, curve in curves.items() if curve},
            title="Share of targets within an error",
            x_label="relative error",
            y_label="share of targets",
            log_x=True,
            percent_x=True,
            percent_y=True,
        ),
        "weights": line_chart(
            {
                "weights": list(zip((places / max(kept, 1)).tolist(), held.tolist(), strict=True)),
                "equal weights": [(0, 0), (1, 1)],
            },
            title="Share of all weight that the largest weights hold",
            x_label="share of kept records, the largest weights first",
            y_label="share of all weight",
            percent_x=True,
            percent_y=True,
        ),
        "districts": line_chart(
            {"districts": [(float(rank), size) for rank, size in enumerate(sizes.tolist(), 1)]},
            title="Effective sample size of the districts",
            x_label="districts, the smallest first",
            y_label="effective sample size, in records",
        ),
    }
    return {name: standalone(chart) for name, chart in found.items() if chart}


def _errors(rows: pd.DataFrame, labels: dict[str, pd.Series]) -> str:
    figures = {**_COUNTS, **_SHARES, **_ZERO}
    shown = rows.assign(**labels)[[*labels, *figures]]
    shows: list[Show] = [str] * len(labels) + [share if name in _SHARES else number for name in figures]
    return grid([*labels, *figures.values()], shown.itertuples(index=False), shows)


def _facts(shows: dict[str, Show], figures: dict[str, float]) -> str:
    return grid(
        ["figure", "value"],
        [(name.replace("_", " "), show(figures[name]) or "unknown") for name, show in shows.items()],
        [str, str],
    )


def grid(heads: Sequence[str], rows: Any, shows: Sequence[Show]) -> str:
    """A table in Markdown; columns that are not text stand to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(" --- " if show is str else " --: " for show in shows) + "|"]
    for row in rows:
        cells = (show(value).replace("|", "\\|") for show, value in zip(shows, row, strict=True))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def share(value: float) -> str:
    """A share in per cent; empty for NaN."""
    if math.isnan(value):
        return ""
    return f"{100 * value:.2f} %" if value == 0 or abs(value) >= 1e-3 else f"{100 * value:.2g} %"


def number(value: float) -> str:
    """A number with four digits or in whole; empty for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.4g}"
