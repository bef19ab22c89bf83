"""Everything that a target database holds, as it is stored: all periods, active or not, with names, and the files behind it.

``select.load_targets`` gives what a calibration takes for one year; this gives what there is to take from. Reads only.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd

from geocal_core.targets.constraints import GEOGRAPHIC, Constraint
from geocal_core.targets.reading import reading
from geocal_core.targets.select import place_number, target_name

WITHHELD = "withheld"

_TARGETS = """
SELECT o.target_id, o.stratum_id, o.variable, COALESCE(o.reform_id, 0) AS reform_id, o.period, o.geo_level, o.geographic_id,
  COALESCE(o.domain_variable, '') AS domain_variable, o.value, t.tolerance, o.active, COALESCE(t.source, '') AS source,
  COALESCE(t.notes, '') AS notes
FROM target_overview o JOIN targets t ON t.target_id = o.target_id ORDER BY o.target_id
"""
_CONSTRAINTS = "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints ORDER BY 1, 2, 3, 4"
_FILES = "SELECT source, agency, file, url, digest, vintage, COALESCE(retrieved, '') AS retrieved FROM sources ORDER BY 1, 3"

Rules = dict[int, tuple[Constraint, ...]]


def stored_targets(db: Path) -> tuple[pd.DataFrame, Rules]:
    """All targets of a database.

    Parameters
    ----------
    db : Path

    Returns
    -------
    targets : DataFrame
        A row per target by its id. Columns: target_id, stratum_id, variable, reform_id, period, geo_level, geographic_id,
        domain_variable, value (as published; NaN where there is none), tolerance, active (bool), source, notes, name,
        place (0, FIPS code or district's code). Two periods of one quantity in one place have one name.
    rules : dict of int to tuple of Constraint
        Of every stratum: its constraints other than place, sorted.

    Raises
    ------
    ArtifactError
        If the database cannot be read.
    """
    with reading(db) as connection:
        targets = _frame(connection.execute(_TARGETS))
        found = connection.execute(_CONSTRAINTS).fetchall()
        rules: dict[int, list[Constraint]] = {
            stratum: [] for (stratum,) in connection.execute("SELECT stratum_id FROM strata ORDER BY 1")
        }
    for stratum, variable, operation, value in found:
        if variable not in GEOGRAPHIC:
            rules[stratum].append(Constraint(variable, operation, value))
    sorted_rules = {stratum: tuple(sorted(of_one)) for stratum, of_one in rules.items()}
    targets = targets.astype({"value": np.float64, "tolerance": np.float64, "active": np.bool_})
    keys = ("geo_level", "geographic_id", "variable", "reform_id", "stratum_id")
    targets["name"] = [
        target_name(level, place, variable, reform, sorted_rules[stratum])
        for level, place, variable, reform, stratum in zip(*(targets[key] for key in keys), strict=True)
    ]
    targets["place"] = [place_number(place, db) for place in targets["geographic_id"]]
    return targets, sorted_rules


def source_files(db: Path) -> pd.DataFrame:
    """Published files that figures were read from: source, agency, file, url, digest, vintage, retrieved ("" if unknown)."""
    with reading(db) as connection:
        return _frame(connection.execute(_FILES))


def withheld(targets: pd.DataFrame) -> pd.Series:
    """Which targets the publisher withholds, or says to be not applicable: those without a value."""
    return targets["value"].isna()


def _frame(cursor: sqlite3.Cursor) -> pd.DataFrame:
    return pd.DataFrame(cursor.fetchall(), columns=[description[0] for description in cursor.description])
