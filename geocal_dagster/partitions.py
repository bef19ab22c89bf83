"""The partitions of ``area_h5``: the areas, in the order of the catalogue: 488, and the user's own after them.

A run is stored as a range of keys, so a backfill of keys that lie side by side is one run. Each state is directly followed by
its districts for that reason: ``CA...CA-52`` is California as a whole. Never reorder or rename keys: history is kept by key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from geocal_core.places.catalogue import area_keys

KEYS = area_keys()

AREA_PARTITIONS = dg.StaticPartitionsDefinition(KEYS)

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def ranges(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """First and last key of each unbroken stretch of the catalogue that the keys make up, in catalogue order."""
    wanted = set(keys)
    start: str | None = None
    previous = ""
    for key in (*KEYS, ""):
        if key in wanted:
            start = start or key
        elif start is not None:
            yield start, previous
            start = None
        previous = key


def range_tags(start: str, end: str) -> dict[str, str]:
    """The tags of a run over all partitions from ``start`` to ``end``, both included."""
    return {RANGE_START_TAG: start, RANGE_END_TAG: end}
