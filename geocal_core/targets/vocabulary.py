"""The words that a target may use: variables with their entity and unit, the series that uprate them, and the sources.

All are data files of this package. ``engine_variables.csv`` lists every variable of policyengine-us (a test holds it against
the engine, which floor 2 may not import); a variable is uprated by the series that ``series.csv`` gives it, and a source is
trusted by its rank in ``sources.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from geocal_core.errors import ConfigError

COUNT = "count"
DOLLAR = "dollar"

_COUNTED = ("person", "household", "tax_unit", "spm_unit", "family", "marital_unit")
SUMMED = (COUNT, DOLLAR, "number")


@dataclass(frozen=True)
class Variable:
    """A variable that targets and constraints may use.

    Attributes
    ----------
    name : str
    entity : str
        Entity that it belongs to; of ``<entity>_count``, the entity that is counted.
    unit : str
        ``count``, ``dollar``, ``number``, ``truth``, ``text`` or ``code``.
    series : str
        Series by which its totals are uprated (unless their domain has one of its own); empty if none is named.
    """

    name: str
    entity: str
    unit: str
    series: str


@dataclass(frozen=True)
class Source:
    """A publication that figures come from.

    Attributes
    ----------
    name, agency : str
    trust : int
        Where two sources contradict each other, the one with the higher rank is followed.
    url : str
        Where it is published.
    """

    name: str
    agency: str
    trust: int
    url: str


def data_rows(name: str) -> list[dict[str, str]]:
    """Rows of a csv file in this package's ``data`` folder; lines that begin with # are comments."""
    text = resources.files("geocal_core.targets").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def variables() -> Mapping[str, Variable]:
    """All variables, by name: those of the engine, and the counts of its six entities."""
    series = {row["variable"]: row["series"] for row in data_rows("series.csv") if not row["domain"]}
    found = {
        row["variable"]: Variable(row["variable"], row["entity"], row["unit"], series.get(row["variable"], ""))
        for row in data_rows("engine_variables.csv")
    }
    counts = {f"{entity}_count": entity for entity in _COUNTED}
    return found | {name: Variable(name, entity, COUNT, series.get(name, "")) for name, entity in counts.items()}


@cache
def sources() -> Mapping[str, Source]:
    """All sources, by name."""
    return {
        row["source"]: Source(row["source"], row["agency"], int(row["trust"]), row["url"]) for row in data_rows("sources.csv")
    }


def target_variable(name: str) -> Variable:
    """A variable that can be a target: one of the engine that can be added up. Any other name is an error."""
    variable = variables().get(name)
    if variable is None:
        near = get_close_matches(name, variables(), n=3)
        remedy = f"near it are {', '.join(near)}" if near else "see data/engine_variables.csv"
        raise ConfigError(f"{name!r} is no variable of the engine", remedy)
    if variable.unit not in SUMMED:
        raise ConfigError(f"{name!r} cannot be added up: it is a {variable.unit}", "count units that satisfy it")
    return variable
