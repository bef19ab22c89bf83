"""Small charts as inline SVG text: lines over a linear or logarithmic axis. Nothing else is needed, so nothing else is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 14, 44
_COLOURS = ("#1b5e8c", "#b3541e", "#3b7d3b", "#6b4c9a")

# What a page says in its own style, for a chart that is a file of its own.
_STYLE = "svg{background:#fff}text{font:11px system-ui,sans-serif;fill:#4a5666}.grid{stroke:#e6eaf0}.label{font-weight:600}"

Points = Sequence[tuple[float, float]]


class _Axis:
    """A scale from values to pixels, with marks at round values."""

    def __init__(self, values: Sequence[float], begin: float, end: float, logarithmic: bool) -> None:
        self._log = logarithmic
        low, high = self._place(min(values)), self._place(max(values))
        if logarithmic:
            low = float(math.floor(low))
            high = max(float(math.ceil(high)), low + 1)
        elif high == low:
            low, high = low - 0.5, high + 0.5
        self._low, self._high, self._begin, self._end = low, high, begin, end

    def _place(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def at(self, value: float) -> float:
        share = (self._place(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def marks(self) -> list[float]:
        if self._log:
            step = max(1, math.ceil((self._high - self._low) / 6))
            return [10.0**power for power in range(int(self._low), int(self._high) + 1, step)]
        least = (self._high - self._low) / 6
        unit = 10.0 ** math.floor(math.log10(least))
        width = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least)
        first = math.ceil(self._low / width - 1e-9)
        return [place * width for place in range(first, math.floor(self._high / width + 1e-9) + 1)]


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    percent_x: bool = False,
    percent_y: bool = False,
) -> str:
    """Lines through points as an SVG element; the empty text where there is not a single point.

    Parameters
    ----------
    series : mapping of str to points
        Name of each line and its (x, y); on a logarithmic axis values must be above 0.
    title : str
        What the chart shows, for readers who cannot see it.
    x_label, y_label : str
    log_x, log_y : bool
        Logarithmic axes.
    percent_x, percent_y : bool
        Whether values are shares to be shown in per cent.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    x_axis = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, log_x)
    y_axis = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, log_y)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for value in x_axis.marks():
        x = x_axis.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_mark(value, percent_x)}</text>')
    for value in y_axis.marks():
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_mark(value, percent_y)}</text>')
    for place, (name, line) in enumerate(series.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in line)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        if len(series) > 1:
            y = _HEIGHT - _BOTTOM - 10 - 16 * place
            style = f"fill:{colour};font-weight:600"
            parts.append(f'<text x="{_WIDTH - _RIGHT - 6}" y="{y}" text-anchor="end" style="{style}">{escape(name)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f"rotate(-90 14 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f})"
    parts.append(
        f'<text class="label" x="14" y="{(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}" text-anchor="middle" transform="{turned}">'
        f"{escape(y_label)}</text>"
    )
    return "".join([*parts, "</svg>"])


def standalone(chart: str) -> str:
    """A chart as the text of a file of its own, which brings its style; the empty text for the empty one."""
    return chart.replace("<title>", f"<style>{_STYLE}</style><title>", 1) + "\n" if chart else ""


def _mark(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.10g} %"
    return f"{value:.10g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.0e}"
