"""What changed between two target databases, as a calibration to a year sees it, the weightiest first.

Targets are matched by their names, which say place, variable, reform and constraints. The effect of a change is its size as a
share of the largest figure that either database has for the same variable (as a rule the nation's): half of a district's SNAP
weighs what the district weighs in the nation. It has no unit, so dollars and persons stand in one list. A figure that changed
may move others through reconciliation; a change says whether it comes from a figure of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geocal_core.targets.inventory import source_files
from geocal_core.targets.select import load_targets

CHANGES = ("added", "removed", "changed")

# Values that differ by less than this share are the same figure, uprated along another order of multiplications.
_SAME = 1e-12


@dataclass(frozen=True)
class FileChange:
    """A published file that only one of two databases was read from, or that has another content.

    Attributes
    ----------
    source, file : str
    change : str
        ``added``, ``removed`` or ``changed``.
    old, new : str
        sha256 of its content; empty where it was not read.
    """

    source: str
    file: str
    change: str
    old: str
    new: str


def compare(old: Path, new: Path, year: int) -> pd.DataFrame:
    """Targets that one of two databases gives for a year and the other does not, or gives with another value or source.

    Parameters
    ----------
    old, new : Path
        Target databases.
    year : int
        Both are brought to it (best period, uprated), as a calibration would.

    Returns
    -------
    DataFrame
        A row per change, the greatest effect first, then by name. Columns: name, change (``added``, ``removed``, ``changed``),
        old and new (values of ``year``; NaN where there is none), relative (new / old - 1; NaN unless both are there and old
        is not 0), effect (absolute change as a share of the variable's largest figure; 0 where only the source changed),
        old_source, new_source ("" where there is none), own (whether its own figure changed, and not only what reconciliation
        makes of it).

    Raises
    ------
    ArtifactError
        If a database cannot be read.
    ConfigError
        If a database has no active target, or a series does not reach a year.
    """
    columns = ["name", "variable", "reform_id", "value", "source", "hierarchy_factor"]
    before, after = (load_targets(db, year)[0][columns] for db in (old, new))
    both = before.merge(after, how="outer", on=columns[:3], suffixes=("_old", "_new"))
    was, now = both["value_old"], both["value_new"]
    size = np.fmax(was.abs(), now.abs())
    difference = (now.fillna(0.0) - was.fillna(0.0)).abs()
    largest = size.groupby([both["variable"], both["reform_id"]]).transform("max")
    moved = difference > _SAME * size
    figures = [both[f"value{side}"] / both[f"hierarchy_factor{side}"] for side in ("_old", "_new")]
    same_figure = (figures[0] - figures[1]).abs() <= _SAME * figures[0].abs()
    table = pd.DataFrame(
        {
            "name": both["name"],
            "change": np.select([was.isna(), now.isna()], CHANGES[:2], CHANGES[2]),
            "old": was,
            "new": now,
            "relative": (now / was.where(was != 0)) - 1,
            "effect": (difference / largest.where(largest > 0)).where(moved, 0.0),
            "old_source": both["source_old"].fillna(""),
            "new_source": both["source_new"].fillna(""),
        }
    )
    table["own"] = ~same_figure | (table["old_source"] != table["new_source"])
    differs = moved | was.isna() | now.isna() | (table["old_source"] != table["new_source"])
    return table[differs].sort_values(["effect", "name"], ascending=[False, True]).reset_index(drop=True)


def compare_files(old: Path, new: Path) -> list[FileChange]:
    """Published files that two databases do not share, by source and name."""
    before, after = (
        {(row.source, row.file): row.digest for row in source_files(db).itertuples(index=False)} for db in (old, new)
    )
    changes = []
    for key in sorted(set(before) | set(after)):
        digests = before.get(key), after.get(key)
        if digests[0] != digests[1]:
            change = CHANGES[0] if digests[0] is None else CHANGES[1] if digests[1] is None else CHANGES[2]
            changes.append(FileChange(*key, change, digests[0] or "", digests[1] or ""))
    return changes


def counts(table: pd.DataFrame) -> dict[str, int]:
    """How many targets were added, removed and changed."""
    return {change: int((table["change"] == change).sum()) for change in CHANGES}


def headline(table: pd.DataFrame) -> str:
    """A comparison in one line: how many changes of each kind, and how many only follow others."""
    led = int((~table["own"]).sum())
    following = f", {led:,} of them only by reconciliation with others" if led else ""
    return ", ".join(f"{count:,} {change}" for change, count in counts(table).items()) + following


def markdown(old: Path, new: Path, year: int, top: int = 10) -> str:
    """The differences of two databases as short Markdown: counts, files, and the changes of the greatest effect.

    Parameters
    ----------
    old, new : Path
    year : int
    top : int
        How many changes to show.
    """
    table = compare(old, new, year)
    files = compare_files(old, new)
    if table.empty and not files:
        return f"No target of {year} changed."
    lines = [f"{headline(table)} (targets of {year})"]
    lines += ["", *(f"- {one.change}: {one.file} ({one.source})" for one in files)] if files else []
    if len(table):
        lines += ["", "| target | change | old | new | by | effect |", "|---|---|--:|--:|--:|--:|"]
        lines += [_markdown_row(row) for row in table.head(top).itertuples(index=False)]
    if len(table) > top:
        lines += ["", f"… and {len(table) - top:,} more"]
    return "\n".join(lines)


def _markdown_row(row: object) -> str:
    name, change, was, now, relative, effect = (getattr(row, c) for c in ("name", "change", "old", "new", "relative", "effect"))
    figures = ("" if np.isnan(value) else f"{value:,.0f}" for value in (was, now))
    by = "" if np.isnan(relative) else f"{relative:+.2%}"
    return f"| `{name}` | {change} | {' | '.join(figures)} | {by} | {effect:.4%} |"
