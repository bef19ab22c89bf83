"""The report as one HTML page that needs nothing from outside. Every text that comes from data is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import pandas as pd

from geocal_core.fit.charts import line_chart
from geocal_core.fit.diagnostics import error_curve
from geocal_core.places.states import state_of_fips
from geocal_core.report.measures import Measures, Scores

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; }
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d5dbe3; }
p.lead { color: #4a5666; margin-top: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .28rem .45rem; text-align: left; border-bottom: 1px solid #e6eaf0; vertical-align: top; }
th { color: #4a5666; font-weight: 600; } td.n, th.n { text-align: right; } td.n { white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
.wide { overflow-x: auto; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts figure { flex: 1 1 22rem; margin: 0; }
figcaption { color: #4a5666; font-size: .85rem; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #4a5666; }
svg .grid { stroke: #e6eaf0; } svg .label { font-weight: 600; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .6rem 1.5rem; margin: 1rem 0; }
dt { color: #4a5666; font-size: .82rem; } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
"""
_LISTED = 200

Show = Callable[[Any], str]
Column = tuple[str, str, Show, str]  # column of the table, heading, how to show it, class of the cell


def page(measures: Measures) -> str:
    """The whole page as text."""
    sections = [
        _head(measures),
        _charts(measures),
        _section("Errors by level", _table(measures.fitted.levels, [_LEVEL, *_SUMMARY])),
        _section("Errors by level and family", _table(measures.fitted.families, [_LEVEL, _FAMILY, *_SUMMARY])),
        _section("Worst targets", _table(_labelled(measures.fitted.worst), _TARGET)),
        _section("Targets held out", _held_out(measures.held_out)),
        _section("Do the levels add up", _sums(measures)),
        _section("Weights", _weights(measures)),
        _listing(
            "Targets without support", measures.unsupported, "No record adds anything to them; they took no part in the fit."
        ),
        _listing(
            "Targets of zero", measures.zero, "They have no relative error; the fit holds them against their starting estimate."
        ),
        _section("Settings of the fit", _settings(measures)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Report of errors</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def area_label(level: str, area: str) -> str:
    """A short name of a target's area: US, CA, CA-12; the identifier itself where it is none of the known levels."""
    if level == "national":
        return "US"
    if level == "state" and area.isdigit():
        return state_of_fips(int(area)).code
    if level == "district" and area.isdigit():
        return f"{state_of_fips(int(area) // 100).code}-{int(area) % 100:02d}"
    return area


def percent(value: Any) -> str:
    """A share in per cent, with digits enough to tell small ones apart; a dash for NaN."""
    if value is None or math.isnan(value):
        return "–"
    size = abs(100 * value)
    return f"{100 * value:.2f} %" if size >= 0.1 or size == 0 else f"{100 * value:.2g} %"


def number(value: Any) -> str:
    """A number with thousands separated; a dash for NaN."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:,.4g}"


def _text(value: Any) -> str:
    return escape(str(value))


_LEVEL: Column = ("level", "Level", _text, "")
_FAMILY: Column = ("family", "Family", _text, "name")
_SUMMARY: list[Column] = [
    ("targets", "Targets", number, "n"),
    ("unsupported", "Without support", number, "n"),
    ("zero", "Zero", number, "n"),
    ("within_0_5", "Within 0.5 %", percent, "n"),
    ("within_1", "Within 1 %", percent, "n"),
    ("within_5", "Within 5 %", percent, "n"),
    ("within_10", "Within 10 %", percent, "n"),
    ("median", "Median error", percent, "n"),
    ("p90", "90th percentile", percent, "n"),
    ("p99", "99th percentile", percent, "n"),
    ("max", "Largest", percent, "n"),
]
_TARGET: list[Column] = [
    ("area", "Area", _text, ""),
    ("name", "Target", _text, "name"),
    ("target", "Wanted", number, "n"),
    ("estimate", "Reached", number, "n"),
    ("rel_error", "Error", percent, "n"),
]


def _table(table: pd.DataFrame, columns: Sequence[Column]) -> str:
    if table.empty:
        return "<p>None.</p>"
    head = "".join(f'<th class="{kind}">{escape(title)}</th>' for _, title, _, kind in columns)
    rows = []
    for values in zip(*(table[name].tolist() for name, *_ in columns), strict=True):
        cells = zip(values, columns, strict=True)
        rows.append("<tr>" + "".join(f'<td class="{kind}">{show(v)}</td>' for v, (_, _, show, kind) in cells) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts) + "</dl>"


def _head(measures: Measures) -> str:
    overall, weights = measures.fitted.overall, measures.weights
    facts = [
        ("Targets fitted", number(len(measures.fitted.errors))),
        ("Targets held out", number(len(measures.held_out.errors))),
        ("Within 1 %", percent(overall["within_1"])),
        ("Within 5 %", percent(overall["within_5"])),
        ("Within 10 %", percent(overall["within_10"])),
        ("Median error", percent(overall["median"])),
        ("Records kept", f"{number(weights['kept'])} of {number(weights['columns'])}"),
        ("Effective sample size", number(weights["effective_sample_size"])),
        ("Sum of weights", number(round(weights["sum"]))),
    ]
    lead = (
        "How far the calibrated totals are from the published ones. Errors are relative to the target, and of fitted targets."
    )
    return f'<header><h1>Report of errors</h1><p class="lead">{lead}</p>{_facts(facts)}</header>'


def _charts(measures: Measures) -> str:
    history = measures.history[measures.history["loss"] > 0]
    loss = [(float(x), float(y)) for x, y in zip(history["epoch"], history["loss"], strict=True)]
    curves = {}
    fitted, held_out = measures.fitted.errors, measures.held_out.errors
    lines = {str(level): fitted[fitted["level"] == level] for level in measures.fitted.levels["level"]}
    for name, rows in (lines | {"held out": held_out}).items():
        curve = error_curve(rows.loc[rows["achievable"], "abs_rel_error"].dropna().to_numpy())
        if curve:
            curves[name] = curve
    figures = [
        (
            line_chart(
                curves,
                title="Errors",
                x_label="relative error",
                y_label="share of targets",
                log_x=True,
                percent_x=True,
                percent_y=True,
            ),
            "Share of targets whose error is at most so large: fitted by level, and held out.",
        ),
        (
            line_chart({"loss": loss}, title="Loss", x_label="epoch", y_label="sum of squared errors", log_y=True),
            "Loss over the epochs; the last point is the refit of the kept records.",
        ),
    ]
    body = "".join(f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>" for chart, caption in figures if chart)
    return f'<div class="charts">{body}</div>'


def _held_out(scores: Scores) -> str:
    if scores.errors.empty:
        return "<p>None: every target was fitted.</p>"
    note = "<p>The fit never saw them: what it reaches here it has reached by the others.</p>"
    tables = (
        _table(scores.levels, [_LEVEL, *_SUMMARY]),
        _table(scores.families, [_LEVEL, _FAMILY, *_SUMMARY]),
        _table(_labelled(scores.worst), _TARGET),
    )
    return note + "".join(tables)


def _sums(measures: Measures) -> str:
    columns: list[Column] = [
        ("total", "Total", _text, ""),
        ("family", "Family", _text, "name"),
        ("totals", "Compared", number, "n"),
        ("estimate_gap", "Largest gap, weighted", percent, "n"),
        ("target_gap", "Largest gap, published", percent, "n"),
    ]
    note = (
        "<p>Each total against the sum of its parts one level below. One set of weights makes all levels, so the weighted gaps "
        "are rounding; where the published figures themselves differ, no weights can meet both.</p>"
    )
    return note + _table(measures.sums, columns)


def _weights(measures: Measures) -> str:
    weights = measures.weights
    return _facts(
        [
            ("Kept", number(weights["kept"])),
            ("Effective sample size", number(weights["effective_sample_size"])),
            ("Largest weight", number(weights["largest"])),
            ("Its share of the sum", percent(weights["largest_share"])),
            ("Its share of its district", percent(weights["largest_share_of_its_district"])),
            ("Held by the largest 1 %", percent(weights["top_1_percent_share"])),
            ("Held by records with imputed tax returns", percent(weights["imputed_share"])),
            ("Districts", number(weights["districts"])),
            ("Districts without a record", number(weights["districts_empty"])),
            ("Kept per district, least", number(weights["kept_per_district_least"])),
            ("Kept per district, median", number(weights["kept_per_district_median"])),
            ("Effective in a district, least", number(weights["effective_sample_size_of_district_least"])),
            ("Effective in a district, 5th percentile", number(weights["effective_sample_size_of_district_p5"])),
            ("Effective in a district, median", number(weights["effective_sample_size_of_district_median"])),
        ]
    )


def _listing(title: str, rows: pd.DataFrame, note: str) -> str:
    more = f" The first {_LISTED} of {len(rows):,}; all are in errors.csv." if len(rows) > _LISTED else ""
    table = _table(_labelled(rows.head(_LISTED)), _TARGET[:4])
    return _section(f"{title} ({len(rows):,})", f"<p>{escape(note + more)}</p>{table}")


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of an error table with a column of area names."""
    areas = zip(rows["level"], rows["geographic_id"], strict=True)
    return rows.assign(area=[area_label(str(level), str(area)) for level, area in areas])


def _settings(measures: Measures) -> str:
    shown = {key: value for key, value in measures.config.items() if not isinstance(value, list | dict)}
    table = pd.DataFrame({"name": list(shown), "value": [str(value) for value in shown.values()]})
    return _table(table, [("name", "Setting", _text, ""), ("value", "Value", _text, "name")])
