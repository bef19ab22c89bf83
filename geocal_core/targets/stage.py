"""The stage ``target_db``: the database built from the agencies' raw files, and told about in Markdown.

Counts by quantity and level, what contradicts what, and what changed since the database that stood there before. Nothing of
that decides a byte of the database.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from geocal_core.context import StageContext
from geocal_core.errors import GeocalError
from geocal_core.progress import Value
from geocal_core.settings import TargetSettings
from geocal_core.stages import STAGES
from geocal_core.targets.build import build_from
from geocal_core.targets.consistency import Contradiction, find_contradictions
from geocal_core.targets.describe import key_of, place_named
from geocal_core.targets.diff import markdown
from geocal_core.targets.files import RawFiles
from geocal_core.targets.layout import Column, figure, laid_out
from geocal_core.targets.listing import Filter, counted

_CONTRADICTIONS_SHOWN = 20
_QUANTITIES_SHOWN = 200


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``target_db``: from the agencies' raw files to the database."""
    settings: TargetSettings = context.settings
    facts = build_from(RawFiles(*context.inputs.values()), context.output, settings, context.reporter)
    context.reporter.progress("comparing the database with the one before")
    return {
        "changes": _changes(context.store.path(STAGES[context.name].output), context.output, settings.year),
        "contradictions": _contradictions(context.output, settings.year),
        "counts": laid_out(*counted(context.output, Filter()), "md", _QUANTITIES_SHOWN),
        "left_out": ", ".join(settings.without) or "nothing",
        **facts,
    }


def _contradictions(database: Path, year: int) -> str:
    """Contradictions in Markdown, a line to a quantity: the number of places, and the place where it is the largest."""
    by_quantity: dict[tuple[bool, str, str], list[Contradiction]] = defaultdict(list)
    for one in find_contradictions(database, year):
        by_quantity[one.reconciled, one.kind, one.quantity].append(one)
    if not by_quantity:
        return "none"
    rows = [
        {
            "state": "reconciled" if largest.reconciled else "open",
            "kind": largest.kind,
            "quantity": largest.quantity,
            "places": 1 + len(others),
            "largest in": key_of(place_named(largest.place)),
            "value": largest.value,
            "other": largest.other,
            "follows": largest.follows or "neither",
        }
        for largest, *others in by_quantity.values()
    ]
    right = ("places", "value", "other")
    columns = [Column(key, key, figure, right=True) if key in right else Column(key, key) for key in rows[0]]
    return laid_out(rows, columns, "md", _CONTRADICTIONS_SHOWN)


def _changes(old: Path, new: Path, year: int) -> str:
    """What changed since the database that this one replaces; in words where there is none, or none that can be compared."""
    if not old.exists():
        return "There was no database before."
    try:
        return markdown(old, new, year)
    except GeocalError as error:
        return f"The database before cannot be compared with this one: {error}"
