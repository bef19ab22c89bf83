"""What a row of a package is made of, and what a column or a household adds to: in words, with values and weights.

Values are read from the variants that the package stores; no explicit matrix is built. What a row measures is told as
``targets.describe`` tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.package import Package
from geocal_core.matrix.quantity import listed_quantities
from geocal_core.places.counties import county_names
from geocal_core.places.states import state_of_fips
from geocal_core.targets.describe import key_of, place_in_words, place_named, target_in_words
from geocal_core.targets.vocabulary import variables

Floats = NDArray[np.float64]
Entry = Mapping[str, Any]

_PREFIXES = {0: "national", 1: "state_{}", 2: "cd_{}"}


@dataclass(frozen=True)
class Trace:
    """What is known of a row, a column or a household.

    Attributes
    ----------
    facts : mapping
        By title.
    places : tuple of mappings
        Of a column or household: where each of its copies lives, and its weight.
    parts : tuple of mappings
        Of a row, the columns that add most to it; of a column or household, the rows that it adds to.
    """

    facts: Entry
    places: tuple[Entry, ...]
    parts: tuple[Entry, ...]


def weights_of(package: Package, path: Path | None) -> Floats:
    """Weights of a file (``.npy``, one for each column), or those at which a fit starts.

    Raises
    ------
    ArtifactError
        If the file is no array of as many finite weights, none below 0.
    """
    if path is None:
        return np.asarray(package.initial_weights, dtype=np.float64)
    try:
        weights = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"there is no file of weights {path}") from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{path} is no whole array of weights ({error})", "give calibration_weights.npy of a fit"
        ) from error
    wanted = (package.n_columns,)
    if not isinstance(weights, np.ndarray) or weights.shape != wanted or weights.dtype.kind not in "fiu":
        raise ArtifactError(
            f"{path} is not a weight for each of {wanted[0]:,} columns", "give the weights of a fit of this package"
        )
    found = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ArtifactError(f"{path} holds weights that are not finite, or below 0")
    return found


def row_named(package: Package, text: str) -> int:
    """Position of a row given by its position, its name, or its name with the place by key (``CA-12/snap/[snap>0]``).

    Raises
    ------
    ConfigError
        If there is none; the message has the nearest names.
    """
    names = package.targets["name"].tolist()
    if text.isascii() and text.isdecimal():
        if int(text) >= len(names):
            raise ConfigError(f"the package has no row {text}", f"rows are 0 to {len(names) - 1}")
        return int(text)
    area, _, what = text.partition("/")
    name = text
    try:
        place = place_named(area)
        name = f"{_PREFIXES[(place > 0) + (place >= 100)].format(place)}/{what}"
    except ConfigError:
        pass  # it is a name as it stands, or none
    position = {one: at for at, one in enumerate(names)}
    if name in position:
        return position[name]
    near = _near(name, names)
    raise ConfigError(
        f"the package has no row {text!r}", f"near it are {'  '.join(near)}" if near else "give its name or number"
    )


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Names near one: the same of the places around it, else of its place and of the variables nearest to its own."""
    area, _, what = name.partition("/")
    around = [one for one in names if one == f"national/{what}" or one == f"{_state_of(area)}/{what}"]
    if around:
        return around[::-1]
    here = [one for one in names if one.partition("/")[0] == area] or list(names)
    variable_of = {one: one.split("/")[1] for one in here if one.count("/") > 1}
    nearest = get_close_matches(what.partition("/")[0], sorted(set(variable_of.values())), n=2)
    return get_close_matches(name, [one for one in here if variable_of.get(one) in nearest], n=3, cutoff=0.3)


def _state_of(area: str) -> str:
    """The state of a district, as names of rows begin."""
    district = area.removeprefix("cd_")
    return f"state_{int(district) // 100}" if district != area and district.isdecimal() else area


def row_in_words(package: Package, row: int) -> str:
    """What a row measures, and where."""
    target = package.targets.iloc[row]
    place = int(target["place"])
    (quantity,) = listed_quantities(package.quantities.iloc[[int(target["quantity"])]])
    if quantity.variable not in variables():
        return f"{quantity} in {place_in_words(place)}"
    return target_in_words(quantity.variable, quantity.constraints, place, int(bool(quantity.neutralised)))


def trace_row(package: Package, weights: Floats, row: int, limit: int) -> Trace:
    """What a row measures, its estimate, and the columns that add most to it.

    Parameters
    ----------
    package : Package
    weights : ndarray of float64, shape (n_columns,)
    row : int
    limit : int
        Columns to give at most, 0 for all.
    """
    target = package.targets.iloc[row]
    values = package.variants.quantity(int(target["quantity"])).astype(np.float64)
    values[~inside(package.district, int(target["place"]))] = 0.0
    columns = np.flatnonzero(values)
    parts = values[columns] * weights[columns]
    order = np.argsort(-np.abs(parts), kind="stable")
    chosen = columns[order[: limit or None]]
    estimate = float(parts.sum())
    facts = {
        "row": row,
        "name": target["name"],
        "measures": row_in_words(package, row),
        **_origin(target),
        "target": float(target["value"]),
        "estimate": estimate,
        "relative_error": estimate / float(target["value"]) - 1 if target["value"] else None,
        "held_out": bool(target["held_out"]),
        "columns": len(columns),
        "households": len(np.unique(columns % package.n_records)),
        "columns_with_weight": int((weights[columns] > 0).sum()),
        "smallest_value": float(values[columns].min(initial=np.inf)) if len(columns) else None,
        "largest_value": float(values[columns].max(initial=-np.inf)) if len(columns) else None,
    }
    places = _places(package, chosen, weights)
    added = tuple(
        {
            **place,
            "value": float(values[column]),
            "contribution": float(values[column] * weights[column]),
            "share": float(values[column] * weights[column] / estimate) if estimate else None,
        }
        for place, column in zip(places, chosen.tolist(), strict=True)
    )
    return Trace(facts, (), added)


def trace_column(package: Package, weights: Floats, column: int) -> Trace:
    """Where the copy of a household that is a column lives, and the rows that it adds to.

    Raises
    ------
    ConfigError
        If there is no such column.
    """
    if not 0 <= column < package.n_columns:
        raise ConfigError(f"the package has no column {column}", f"columns are 0 to {package.n_columns - 1}")
    return _trace_columns(package, weights, np.array([column]))


def trace_household(package: Package, weights: Floats, household_id: int, clone: int | None = None) -> Trace:
    """Where the copies of a household live, or one of them, and the rows that they add to.

    Raises
    ------
    ConfigError
        If there is no such household or clone.
    """
    found = np.flatnonzero(package.household_id == household_id)
    if not len(found):
        near = np.sort(package.household_id[np.argsort(np.abs(package.household_id - household_id), kind="stable")[:3]])
        raise ConfigError(f"the package has no household {household_id}", f"near it are {', '.join(map(str, near.tolist()))}")
    if clone is not None and not 0 <= clone < package.n_clones:
        raise ConfigError(f"the package has no clone {clone}", f"clones are 0 to {package.n_clones - 1}")
    clones = np.arange(package.n_clones) if clone is None else np.array([clone])
    return _trace_columns(package, weights, clones * package.n_records + found[0])


def _trace_columns(package: Package, weights: Floats, columns: NDArray[np.int64]) -> Trace:
    """Of columns of one household."""
    targets = package.targets
    quantity, place = targets["quantity"].to_numpy(), targets["place"].to_numpy()
    values = np.stack([package.variants.column(int(column)) for column in columns]).astype(np.float64)[:, quantity]
    district = package.district[columns].astype(np.int64)[:, np.newaxis]
    values[(place != 0) & (place != district) & (place != district // 100)] = 0.0
    added = weights[columns] @ values
    rows = np.flatnonzero((values != 0).any(axis=0))
    parts = tuple(
        {
            "row": row,
            "name": targets["name"].iat[row],
            "measures": row_in_words(package, row),
            "columns": int((values[:, row] != 0).sum()),
            "smallest_value": float(values[values[:, row] != 0, row].min()),
            "largest_value": float(values[:, row].max(where=values[:, row] != 0, initial=-np.inf)),
            "contribution": float(added[row]),
            "target": float(targets["value"].iat[row]),
            "share_of_target": float(added[row] / targets["value"].iat[row]) if targets["value"].iat[row] else None,
        }
        for row in rows.tolist()
    )
    household = int(columns[0] % package.n_records)
    facts = {
        "household_id": int(package.household_id[household]),
        "position": household,
        "copies": len(columns),
        "weight": float(weights[columns].sum()),
        "rows": len(rows),
    }
    return Trace(facts, tuple(_places(package, columns, weights)), parts)


def inside(district: NDArray[Any], place: int) -> NDArray[np.bool_]:
    """Columns that lie in a place, from their districts."""
    if place == 0:
        return np.ones(len(district), dtype=np.bool_)
    return np.asarray((district if place >= 100 else district // 100) == place)


def _origin(target: Any) -> dict[str, Any]:
    """Where a target's value comes from, as far as the package tells."""
    known = (
        "source",
        "period",
        "original_value",
        "uprating_factor",
        "uprating_series",
        "hierarchy_factor",
        "hierarchy_follows",
    )
    plain = {key: target[key] for key in known if key in target.index}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in plain.items()}


def _places(package: Package, columns: NDArray[np.int64], weights: Floats) -> Sequence[Entry]:
    names = county_names()
    found = []
    for column in columns.tolist():
        district = int(package.district[column])
        county = package.counties[package.county_index[column]].decode()
        state = state_of_fips(district // 100)
        found.append(
            {
                "column": column,
                "household_id": int(package.household_id[column % package.n_records]),
                "clone": column // package.n_records,
                "county": county,
                "county_name": f"{names[county]}, {state.code}" if county in names else "",
                "district": key_of(district),
                "place": place_in_words(district),
                "weight": float(weights[column]),
            }
        )
    return found
