"""Lists of a database's targets: filtered, one by one, counted by level and source, or by family over all places.

A family is a quantity (variable, constraints, reform) of one period in all its places.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from geocal_core.errors import ConfigError
from geocal_core.targets.describe import compact, key_of, place_named
from geocal_core.targets.figures import LEVELS
from geocal_core.targets.inventory import Rules, stored_targets
from geocal_core.targets.layout import Column, figure, short
from geocal_core.targets.select import load_targets

_NONE = "-"


@dataclass(frozen=True)
class Filter:
    """Which targets are listed; None is any.

    Attributes
    ----------
    variable, source : str or None
        Exactly.
    domain : str or None
        Variables of the domain, with commas, in any order; empty for none.
    level, place : str or None
        A level; a place by key or code.
    withheld, inactive : bool
        Those that the publisher withholds, or all that are inactive, instead of the active ones.
    """

    variable: str | None = None
    level: str | None = None
    place: str | None = None
    domain: str | None = None
    source: str | None = None
    withheld: bool = False
    inactive: bool = False

    def of(self, targets: pd.DataFrame) -> pd.DataFrame:
        """The targets that pass; a name that no target has is an error with the nearest ones."""
        domain = None if self.domain is None else ",".join(sorted(part.strip() for part in self.domain.split(",")))
        kept = pd.Series(True, index=targets.index)
        for column, wanted in (("variable", self.variable), ("source", self.source), ("domain_variable", domain)):
            if wanted is not None:
                kept &= targets[column] == _present(wanted, column, set(targets[column]))
        if self.level is not None:
            kept &= targets["geo_level"] == self.level
        if self.place is not None:
            kept &= targets["place"] == place_named(self.place)
        if self.withheld or self.inactive:
            return targets[kept & ~targets["active"] & (targets["value"].isna() | (not self.withheld))]
        return targets[kept & targets["active"]]


def _present(wanted: str, column: str, there: Collection[str]) -> str:
    if wanted in there:
        return wanted
    near = get_close_matches(wanted, there, n=3, cutoff=0.4) or sorted(there)[:5]
    raise ConfigError(f"no target has the {column} {wanted!r}", f"near it are {'; '.join(one or 'none' for one in near)}")


def targets_listed(db: Path, wanted: Filter, year: int | None = None) -> tuple[list[dict[str, Any]], list[Column]]:
    """Rows of targets one by one, and the columns that a table shows.

    Parameters
    ----------
    db : Path
        A target database.
    wanted : Filter
    year : int or None
        Where given, what a calibration of that year takes, with its values; else what is stored, as published.

    Returns
    -------
    rows : list of dict
    columns : list of Column
    """
    targets, rules = stored_targets(db)
    if year is not None:
        extra = ["original_value", "uprating_factor", "uprating_series", "hierarchy_factor", "hierarchy_follows"]
        taken = load_targets(db, year)[0][["target_id", "value", *extra]]
        targets = targets.drop(columns="value").merge(taken, on="target_id", validate="one_to_one")
    rows = [_row(row, rules, () if year is None else extra) for row in wanted.of(targets).to_dict("records")]
    last = Column("notes", "withheld because", shrinks=True) if wanted.withheld else Column("source", "source", shrinks=True)
    columns = [
        Column("target_id", "id", right=True),
        Column("place", "place"),
        Column("variable", "variable"),
        Column("constraints", "constraints", shrinks=True),
        Column("period", "year", right=True),
        Column("value", "value", figure, right=True),
        last,
    ]
    return rows, columns


def _row(target: dict[str, Any], rules: Rules, extra: Collection[str]) -> dict[str, Any]:
    kept = ("variable", "reform_id", "period", "geo_level", "geographic_id", "domain_variable", "value", *extra)
    after = ("tolerance", "active", "source", "notes", "name", "stratum_id")
    return {
        "target_id": target["target_id"],
        "place": key_of(target["place"]),
        **{key: target[key] for key in kept},
        "constraints": compact(rules[target["stratum_id"]]),
        **{key: target[key] for key in after},
    }


def counted(db: Path, wanted: Filter) -> tuple[list[dict[str, Any]], list[Column]]:
    """How many targets each variable, domain, source and period has at each level, with a total in the first row."""
    targets = wanted.of(stored_targets(db)[0])
    keys = ["variable", "domain_variable", "source", "period"]
    rows = [
        dict(zip(keys, key, strict=True)) | _by_level(of_one["geo_level"]) for key, of_one in targets.groupby(keys, sort=True)
    ]
    total = {"variable": "all", "domain_variable": "", "source": "", "period": None} | _by_level(targets["geo_level"])
    columns = [
        Column("variable", "variable", shrinks=True),
        Column("domain_variable", "domain", lambda text: text or _NONE, shrinks=True),
        Column("source", "source", lambda text: text or _NONE, shrinks=True),
        Column("period", "year", lambda year: _NONE if year is None else str(year), right=True),
        *(Column(level, level, figure, right=True) for level in (*LEVELS, "total")),
    ]
    return [total, *rows], columns


def _by_level(levels: pd.Series) -> dict[str, int]:
    return {level: int((levels == level).sum()) for level in LEVELS} | {"total": len(levels)}


def families(db: Path, wanted: Filter) -> tuple[list[dict[str, Any]], list[Column]]:
    """A row per quantity and period: in how many places it is, and what these add up to at each level, as published."""
    targets, rules = stored_targets(db)
    found = wanted.of(targets)
    quantity = [compact(rules[stratum]) for stratum in found["stratum_id"]]
    rows = []
    for key, of_one in found.assign(constraints=quantity).groupby(
        ["variable", "constraints", "reform_id", "period"], sort=True
    ):
        by_level = of_one.groupby("geo_level")["value"]
        row = dict(zip(("variable", "constraints", "reform_id", "period"), key, strict=True))
        for level in LEVELS:
            there = level in by_level.groups
            row[f"{level}_targets"] = int(by_level.size()[level]) if there else 0
            row[f"{level}_sum"] = float(by_level.sum()[level]) if there else None
        rows.append(row)
    columns = [
        Column("variable", "variable", shrinks=True),
        Column("constraints", "constraints", lambda text: text or _NONE, shrinks=True),
        Column("period", "year", right=True),
        Column("national_sum", "nation", short, right=True),
        Column("state_targets", "states", right=True),
        Column("state_sum", "sum", short, right=True),
        Column("district_targets", "districts", right=True),
        Column("district_sum", "sum", short, right=True),
    ]
    return rows, columns
