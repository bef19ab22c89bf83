"""The words that a target may use: variables with their entity and unit, and the sources that publish figures.

Both are data files of this package (``data/variables.csv``, ``data/sources.csv``): a target on a new variable begins with a
line there. Floor 2 may not import the engine, so whether the engine knows a variable is checked where a matrix is built.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from geocal_core.errors import ConfigError

COUNT = "count"


@dataclass(frozen=True)
class Variable:
    """A variable that targets and constraints may use.

    Attributes
    ----------
    name : str
    entity : str
        Entity that it belongs to; for a variable ending in ``_count`` that is a target, the entity that is counted.
    unit : str
        ``count``, ``dollar``, ``year``, ``truth`` or ``code``.
    series : str
        Series by which its totals are uprated, empty if it is never a target.
    """

    name: str
    entity: str
    unit: str
    series: str


def data_rows(name: str) -> list[dict[str, str]]:
    """Rows of a csv file in this package's ``data`` folder."""
    text = resources.files("geocal_core.targets").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def variables() -> Mapping[str, Variable]:
    """All variables, by name, in the order of the data file."""
    return {
        row["variable"]: Variable(row["variable"], row["entity"], row["unit"], row["series"])
        for row in data_rows("variables.csv")
    }


@cache
def sources() -> Mapping[str, str]:
    """Where each source is published, by the source's name."""
    return {row["source"]: row["url"] for row in data_rows("sources.csv")}


def target_variable(name: str) -> Variable:
    """A variable that can be a target; any other name is an error."""
    variable = variables().get(name)
    if variable is None or not variable.series:
        known = ", ".join(v.name for v in variables().values() if v.series)
        raise ConfigError(
            f"{name!r} is no variable of a target", f"the variables are {known}; add a line to data/variables.csv"
        )
    return variable
