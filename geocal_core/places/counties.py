"""Names of the counties of the census of 2020 and of Connecticut's planning regions, by code. No shapes, no population."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from geocal_core.places.connecticut import planning_regions


@cache
def county_names() -> Mapping[str, str]:
    """Names such as ``Los Angeles County``, by five-digit code."""
    text = resources.files("geocal_core.places").joinpath("data", "counties.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    regions = {code: f"{name} Planning Region" for code, name in planning_regions().items()}
    return MappingProxyType({row["county"]: row["name"] for row in rows} | regions)
