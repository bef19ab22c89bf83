"""Rows laid out for whoever reads them: a table for a terminal, Markdown, csv or JSON.

Tables and Markdown show some columns in short; csv and JSON give every entry of the rows as it is.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FORMATS = ("table", "csv", "json", "md")
WIDTH = 100
LIMIT = 50
_LEAST = 12

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    key : str
        Entry of the rows that it shows.
    title : str
    shown : callable
        From the entry to its text.
    right : bool
        Whether it is aligned to the right.
    shrinks : bool
        Whether its texts are cut where the table would be wider than the terminal (``WIDTH`` where there is none).
    below : bool
        Whether a table gives it in full on lines of its own below the row: what alone tells rows apart must not be cut.
    """

    key: str
    title: str
    shown: Callable[[Any], str] = str
    right: bool = False
    shrinks: bool = False
    below: bool = False


def figure(value: Any) -> str:
    """A number with thousands separators, whole from 100 up; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4g}"


def short(value: Any) -> str:
    """A number in five digits with its thousands as a letter, ``14.676T``; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3f}{letter}"
    return f"{value:.4g}"


def share(value: Any) -> str:
    """A ratio less one in percent, with its sign; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:+.2%}"


def laid_out(rows: Sequence[Row], columns: Sequence[Column], form: str, limit: int | None = None) -> str:
    """Rows as text.

    Parameters
    ----------
    rows : sequence of mappings
        Plain values; None or NaN where there is none.
    columns : sequence of Column
        What a table or Markdown shows.
    form : str
        One of ``FORMATS``.
    limit : int or None
        Rows to show at most; where None, ``LIMIT`` in tables and Markdown, all in csv and JSON. 0 is all.
    """
    most = (LIMIT if form in ("table", "md") else 0) if limit is None else limit
    shown = rows[:most] if most else rows
    if form == "json":
        return json.dumps([{key: _plain(value) for key, value in row.items()} for row in shown], indent=1, ensure_ascii=False)
    if form == "csv":
        return _csv(shown)
    lines = _markdown(shown, columns) if form == "md" else _table(shown, columns)
    more = [f"… and {len(rows) - len(shown):,} more"] if len(rows) > len(shown) else []
    return "\n".join(lines + more)


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, no numpy."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _csv(rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if (plain := _plain(value)) is None else plain for key, value in row.items()} for row in rows)
    return stream.getvalue().rstrip("\n")


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    most = shutil.get_terminal_size((WIDTH, 0)).columns
    in_row = [column for column in columns if not column.below]
    cells = [[column.title for column in in_row], *([column.shown(row[column.key]) for column in in_row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(in_row))]
    over = sum(widths) + 2 * (len(in_row) - 1) - most
    shrinking = [index for index, column in enumerate(in_row) if column.shrinks]
    for _ in range(over):
        widest = max(shrinking, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    head, *lines = (
        "  ".join(_cell(text, width, column.right) for text, width, column in zip(line, widths, in_row, strict=True)).rstrip()
        for line in cells
    )
    under = [_below(row, columns, most) for row in rows]
    return [head, *(text for line, more in zip(lines, under, strict=True) for text in (line, *more))]


def _below(row: Row, columns: Sequence[Column], most: int) -> list[str]:
    wrap = textwrap.TextWrapper(max(most, _LEAST), initial_indent="  ", subsequent_indent="  ").wrap
    return [line for column in columns if column.below for line in wrap(column.shown(row[column.key]))]


def _cell(text: str, width: int, right: bool) -> str:
    if len(text) > width:  # the middle goes: bounds stand at both ends
        head = width // 2
        text = f"{text[:head]}…{text[len(text) - width + head + 1 :]}"
    return text.rjust(width) if right else text.ljust(width)


def _markdown(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    head = f"| {' | '.join(column.title for column in columns)} |"
    rule = f"|{'|'.join('--:' if column.right else '---' for column in columns)}|"
    body = [f"| {' | '.join(column.shown(row[column.key]).replace('|', '∣') for column in columns)} |" for row in rows]
    return [head, rule, *body]
