"""Small charts as inline SVG text: lines over linear or logarithmic axes. Nothing else is needed, so nothing else is here.

Lines differ in colour and in dashes, and their names stand where the lines leave room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 14, 44
_COLOURS = ("#1b5e8c", "#b3541e", "#3b7d3b", "#6b4c9a", "#8a6d00", "#a3326b")
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_MOST_DOTS = 30
"""Points of a line up to which each is marked: more would run into each other."""

# Of the names of lines, in pixels.
_ROW, _SAMPLE, _LETTER, _PAD = 16, 22, 6.6, 6

# What a page says in its own style, for a chart that is a file of its own. White behind it, for pages that are dark.
_HEADING = 26
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#4a5666}.grid{stroke:#e6eaf0}.label{font-weight:600}"
    ".title{font-size:13px;font-weight:600;fill:#1c2430}"
)
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Points = Sequence[tuple[float, float]]


class _Axis:
    """A scale from values to pixels, with marks at round values; it may end at marks or where the values end."""

    def __init__(self, values: Sequence[float], begin: float, end: float, logarithmic: bool, to_marks: bool) -> None:
        self._log, self._begin, self._end = logarithmic, begin, end
        low, high = self._place(min(values)), self._place(max(values))
        if high - low <= 1e-9 * abs(high):  # one value, or as good as one
            around = max(0.5, abs(high) / 20)
            low, high = (math.floor(low), math.floor(low) + 1) if logarithmic else (low - around, high + around)
        self.marks = _powers(low, high) if logarithmic else _multiples(low, high, to_marks)
        if logarithmic or to_marks:
            low, high = self._place(self.marks[0]), self._place(self.marks[-1])
        self._low, self._high = low, high

    def _place(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def at(self, value: float) -> float:
        share = (self._place(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)


def _powers(low: float, high: float) -> list[float]:
    """Marks around a range of logarithms: powers of ten, or their simple multiples where there would be few of them."""
    first, last = math.floor(low), math.ceil(high)
    if last - first > 2:
        step = math.ceil((last - first) / 6)
        return [10.0**power for power in range(first, last + step, step)]
    marks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    begin = max(place for place, mark in enumerate(marks) if math.log10(mark) <= low or not place)
    end = min(place for place, mark in enumerate(marks) if math.log10(mark) >= high)
    return marks[begin : end + 1]


def _multiples(low: float, high: float, around: bool) -> list[float]:
    """Marks at multiples of 1, 2 or 5 times a power of ten, within a range or around it."""
    least = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(least))
    width = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least)
    first, last = (low / width + 1e-9, high / width - 1e-9) if around else (low / width - 1e-9, high / width + 1e-9)
    whole = (math.floor(first), math.ceil(last)) if around else (math.ceil(first), math.floor(last))
    return [place * width for place in range(whole[0], whole[1] + 1)]


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
        Name of each line and its (x, y); on a logarithmic axis values must be above 0. Few points are marked as well.
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
    x_axis = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, log_x, to_marks=False)
    y_axis = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, log_y, to_marks=True)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for value in x_axis.marks:
        x = x_axis.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_mark(value, percent_x)}</text>')
    for value in y_axis.marks:
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_mark(value, percent_y)}</text>')
    placed = [[(x_axis.at(x), y_axis.at(y)) for x, y in line] for line in series.values()]
    for place, line in enumerate(placed):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline fill="none" {_stroke(place)} points="{path}"/>')
        if len(line) <= _MOST_DOTS:
            colour = _COLOURS[place % len(_COLOURS)]
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in line]
    if len(series) > 1:
        parts += _names(list(series), placed)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f"rotate(-90 14 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f})"
    parts.append(
        f'<text class="label" x="14" y="{(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}" text-anchor="middle" transform="{turned}">'
        f"{escape(y_label)}</text>"
    )
    return "".join([*parts, "</svg>"])


def standalone(chart: str) -> str:
    """A chart as the text of a file of its own, which brings its style and shows its title; empty for the empty one."""
    if not chart:
        return ""
    start, opening, rest = chart.partition("<title>")
    title, closing, drawing = rest.partition("</title>")
    start = start.replace(f'viewBox="0 0 {_WIDTH} {_HEIGHT}"', f'viewBox="0 {-_HEADING} {_WIDTH} {_HEIGHT + _HEADING}"')
    white = f'<rect y="{-_HEADING}" width="{_WIDTH}" height="{_HEIGHT + _HEADING}" fill="#fff"/>'
    heading = f'<text class="title" x="{_LEFT}" y="-6">{title}</text>'
    return f"{start}<style>{_STYLE}</style>{opening}{title}{closing}{white}{heading}{drawing}\n"


def panels(charts: Sequence[str], title: str, across: int = 2) -> str:
    """Charts side by side, each with its own title, as the text of one file; empty where none has anything to show."""
    shown = [standalone(chart).rstrip("\n") for chart in charts if chart]
    if not shown:
        return ""
    high = _HEIGHT + _HEADING
    width, height = min(across, len(shown)) * _WIDTH, -(-len(shown) // across) * high
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for place, chart in enumerate(shown):
        x, y = place % across * _WIDTH, place // across * high
        parts.append(chart.replace("<svg ", f'<svg x="{x}" y="{y}" width="{_WIDTH}" height="{high}" ', 1))
    return "".join([*parts, "</svg>"]) + "\n"


def _stroke(place: int) -> str:
    """Colour and dashes of a line by its place among the lines."""
    dashes = _DASHES[place % len(_DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{_COLOURS[place % len(_COLOURS)]}" stroke-width="2"{dashed}'


def _names(names: Sequence[str], lines: Sequence[Points]) -> Iterator[str]:
    """Names of the lines, each beside a piece of its line, in the corner through which the lines run least."""
    width = _SAMPLE + _LETTER * max(map(len, names)) + 2 * _PAD
    height = _ROW * len(names) + _PAD
    inside = [point for line in lines for point in _along(line)]
    corners = [
        (x, y) for x in (_WIDTH - _RIGHT - width - 4, _LEFT + 4.0) for y in (_HEIGHT - _BOTTOM - height - 4.0, _TOP + 4.0)
    ]
    left, top = min(corners, key=lambda at: sum(0 <= x - at[0] <= width and 0 <= y - at[1] <= height for x, y in inside))
    yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}" fill="#fff" fill-opacity="0.85"/>'
    for place, name in enumerate(names):
        x, y = left + _PAD, top + _ROW * (place + 1) - 2
        yield f'<path d="M{x:.1f} {y - 4:.1f}h{_SAMPLE - 4}" {_stroke(place)}/>'
        style = f"fill:{_COLOURS[place % len(_COLOURS)]};font-weight:600"
        yield f'<text x="{x + _SAMPLE:.1f}" y="{y:.1f}" style="{style}">{escape(name)}</text>'


def _along(line: Points) -> Iterator[tuple[float, float]]:
    """Points of a line no more than some pixels apart."""
    yield from line[:1]
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / 4))
        yield from ((x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps) for step in range(1, steps + 1))


def _mark(value: float, percent: bool) -> str:
    return f"{_figure(100 * value)} %" if percent else _figure(value)


def _figure(value: float) -> str:
    """A round number, as 20,000 or 2·10⁶."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.10g}"
    factor, _, power = f"{value:.9e}".partition("e")
    ten = f"10{str(int(power)).translate(_SUPERSCRIPT)}"
    return ten if float(factor) == 1 else f"{float(factor):.10g}·{ten}"
