"""All that a database knows of one target: what it measures, its figure and how it came to the year, its sources, its kin.

Kin are other periods of the same quantity and place, figures of other sources, parent strata, and the same quantity at the
other levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from math import fsum
from pathlib import Path

import pandas as pd

from geocal_core.errors import ConfigError
from geocal_core.targets.constraints import GEOGRAPHIC, Constraint, geography
from geocal_core.targets.describe import key_of, place_in_words, place_named, stratum_in_words, target_in_words
from geocal_core.targets.figures import NATION, level_of, parent_of
from geocal_core.targets.inventory import Rules, source_files, stored_targets
from geocal_core.targets.layout import figure
from geocal_core.targets.reading import reading
from geocal_core.targets.reconcile import NEGLIGIBLE
from geocal_core.targets.select import load_targets
from geocal_core.targets.vocabulary import sources

_STRATA = "SELECT stratum_id, parent_stratum_id FROM strata"
_GEOGRAPHY = (
    "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints WHERE constraint_variable IN (?, ?)"
)
_OTHERS = "SELECT source, value, tolerance, COALESCE(notes, '') FROM alternative_figures WHERE target_id = ? ORDER BY source"
_PREFIXES = {"national": "national", "state": "state_{}", "district": "cd_{}"}


@dataclass(frozen=True)
class _Database:
    """What is read once: stored targets, constraints of strata, and what a calibration of the year takes, by name."""

    path: Path
    year: int
    stored: pd.DataFrame
    rules: Rules
    taken: pd.DataFrame


def dossier(db: Path, which: str, year: int) -> str:
    """What is known of a target, as lines of text.

    Parameters
    ----------
    db : Path
        A target database.
    which : str
        Id of the target, or its name, in which the place may be given by its key: ``CA-12/person_count/[age<5,age>-1]``.
    year : int
        The year that its value is brought to.

    Raises
    ------
    ConfigError
        If there is no such target, or the year cannot be reached.
    ArtifactError
        If the database cannot be read.
    """
    stored, rules = stored_targets(db)
    of = _Database(db, year, stored, rules, load_targets(db, year)[0].set_index("name"))
    target = _found(of, which)
    words = target_in_words(target.variable, rules[target.stratum_id], target.place, target.reform_id)
    lines = [f"target {target.target_id}  {target['name']}", f"  {words}"]
    parts = {
        "value": _value(of, target),
        "source": _source(of, target),
        "history": _history(of, target),
        "other sources": _alternatives(of, target),
        "stratum": _chain(of, target),
        "other levels": _levels(of, target),
    }
    for title, part in parts.items():
        if part:
            lines += ["", title, *(f"  {line}" for line in part)]
    return "\n".join(lines)


def _found(of: _Database, which: str) -> pd.Series:
    stored = of.stored
    if which.isascii() and which.isdecimal():
        found = stored[stored["target_id"].astype(str) == which]
        if found.empty:
            raise ConfigError(f"{of.path.name} has no target {which}", f"ids are 1 to {stored['target_id'].max()}")
        return found.iloc[0]
    area, _, quantity = which.partition("/")
    found = stored[stored["name"] == which]
    if found.empty and quantity:
        place = _place_or_none(area)
        if place is not None:
            prefix = _PREFIXES[level_of(place)].format(place)
            found = stored[stored["name"] == f"{prefix}/{quantity}"]
    if found.empty:
        near = get_close_matches(which, [name for name in stored["name"].unique() if name.startswith(f"{area}/")], n=3)
        remedy = f"near it are {'  '.join(near)}" if near else "geocal targets list shows ids and names"
        raise ConfigError(f"{of.path.name} has no target {which!r}", remedy)
    used = of.taken["target_id"].get(found["name"].iloc[0])
    return found.loc[found["target_id"] == used].iloc[0] if used in set(found["target_id"]) else found.iloc[-1]


def _place_or_none(text: str) -> int | None:
    try:
        return place_named(text)
    except ConfigError:
        return None


def _value(of: _Database, target: pd.Series) -> list[str]:
    """The figure as published, and step by step as a calibration of the year takes it."""
    lines = [f"{_margined(target.value, target.tolerance)} as published for {target.period}"]
    if not target.active:
        reason = "the publisher gives no figure" if pd.isna(target.value) else "it is left out of calibration"
        return [*lines, f"inactive: {reason}"]
    taken = of.taken.loc[target["name"]]
    if taken["target_id"] != target.target_id:
        return [*lines, f"not used for {of.year}: target {taken['target_id']}, of {taken['period']}, is"]
    series = taken["uprating_series"]
    steps = f"x {taken['uprating_factor']:.6g} ({series})" if series else "not uprated"
    lines.append(f"{figure(taken['original_value'] * taken['uprating_factor'])} in {of.year}: {steps}")
    if taken["hierarchy_factor"] != 1.0:
        lines.append(
            f"{figure(taken['value'])} reconciled: x {taken['hierarchy_factor']:.6g} (follows {taken['hierarchy_follows']})"
        )
    return lines


def _margined(value: float, tolerance: float) -> str:
    if pd.isna(tolerance):
        return figure(value)
    relative = f", {tolerance / abs(value):.1%}" if value else ""
    return f"{figure(value)} (margin of error {figure(tolerance)}{relative})"


def _source(of: _Database, target: pd.Series) -> list[str]:
    known = sources().get(target.source)
    trust = f" (trust {known.trust})" if known is not None else " (added by hand)" if target.source else ""
    lines = [f"{target.source or 'none'}{trust}{': ' if target.notes else ''}{target.notes}"]
    files = source_files(of.path)
    for row in files[files["source"] == target.source].itertuples(index=False):
        facts = [row.file, f"sha256 {row.digest[:16]}" if row.digest else "", f"vintage {row.vintage}"]
        facts += [f"retrieved {row.retrieved}" if row.retrieved else ""]
        lines += ["  ".join(filter(None, facts)), f"  {row.url}"]
    return lines


def _history(of: _Database, target: pd.Series) -> list[str]:
    """All periods of the quantity at the place, if there is more than one."""
    found = of.stored[of.stored["name"] == target["name"]].sort_values("period")
    if len(found) < 2:
        return []
    return [
        f"{row.period}  {figure(row.value):>20}  target {row.target_id}, {row.source}{'' if row.active else ', inactive'}"
        for row in found.itertuples(index=False)
    ]


def _alternatives(of: _Database, target: pd.Series) -> list[str]:
    with reading(of.path) as connection:
        found = connection.execute(_OTHERS, (int(target.target_id),)).fetchall()
    return [
        f"{figure(value)}  {source}{': ' if notes else ''}{notes} "
        f"({'withheld' if value is None else _against(value, target.value)})"
        for source, value, _, notes in found
    ]


def _against(value: float, other: float) -> str:
    return f"{value / other - 1:+.2%} against the target" if other and not pd.isna(other) else "the target has none"


def _chain(of: _Database, target: pd.Series) -> list[str]:
    """The stratum and its parents, from the nation down."""
    with reading(of.path) as connection:
        parents = dict(connection.execute(_STRATA).fetchall())
        places: dict[int, list[Constraint]] = {}
        for stratum_id, *constraint in connection.execute(_GEOGRAPHY, GEOGRAPHIC):
            places.setdefault(stratum_id, []).append(Constraint(*constraint))
    chain: list[int] = []
    stratum: int | None = int(target.stratum_id)
    while stratum is not None and stratum not in chain:
        chain.append(stratum)
        stratum = parents[stratum]
    return [f"{one:>6}  {stratum_in_words(of.rules[one], geography(places.get(one, [])))}" for one in reversed(chain)]


def _levels(of: _Database, target: pd.Series) -> list[str]:
    """The same quantity as the calibration takes it where the place lies, and the sums of its parts."""
    suffix = target["name"].split("/", 1)[1]
    names = of.taken.index.str.split("/", n=1).str[1]
    kin = of.taken[names == suffix]
    values = {_code(place): value for place, value in zip(kin["geographic_id"], kin["value"], strict=True)}
    lines = []
    above = target.place
    while above != NATION:
        above = parent_of(above)
        if above in values:
            own = values.get(target.place)
            part = f", of which this is {own / values[above]:.3%}" if own is not None and values[above] else ""
            lines.append(f"{key_of(above):6}  {figure(values[above])}{part}")
    for level in ("state", "district"):
        within = [value for place, value in values.items() if level_of(place) == level and _lies_in(place, target.place)]
        if within:
            plural = f"{len(within)} {level}{'s' if len(within) > 1 else ''} of {place_in_words(target.place)}"
            own = values.get(target.place)
            added = fsum(within)
            equal = own is not None and abs(added - own) <= NEGLIGIBLE * abs(own)
            ratio = ", equal to this" if equal else f", {added / own - 1:+.2%} against this" if own else ""
            lines.append(f"{'sum':6}  {figure(added)} over {plural}{ratio}")
    return lines


def _lies_in(place: int, whole: int) -> bool:
    return place != whole and (whole == NATION or parent_of(place) == whole)


def _code(geographic_id: str) -> int:
    return NATION if geographic_id == "US" else int(geographic_id)
