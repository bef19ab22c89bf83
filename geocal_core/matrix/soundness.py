"""Whether a package makes sense: finite values, weights, and places that agree with each other and with the targets' names.

That every part is whole and fits the others is checked when a package is opened; whether its targets can be reached is
``achievable``'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geocal_core.matrix.package import Package
from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.targets.describe import key_of
from geocal_core.targets.figures import NATION, level_of


def faults(package: Package) -> tuple[str, ...]:
    """What is wrong with a package, a line each; empty if it is sound."""
    return (*_of_values(package), *_of_places(package), *_of_targets(package))


def _of_values(package: Package) -> Iterator[str]:
    if (bad := package.matrix.not_finite()) is not None:
        row, column, value = bad
        yield f"the row {package.targets['name'].iat[row]} has the value {value} in column {column}"
    weights = package.initial_weights
    if not np.isfinite(weights).all():
        yield f"{int((~np.isfinite(weights)).sum()):,} starting weights are not finite"
    elif (weights < 0).any():
        yield f"{int((weights < 0).sum()):,} starting weights are below 0"
    if len(np.unique(package.household_id)) < package.n_records:
        yield "two households have one identifier"


def _of_places(package: Package) -> Iterator[str]:
    unknown = sorted(set(np.unique(package.district).tolist()) - set(DISTRICTS))
    if unknown:
        yield f"columns lie in {len(unknown):,} districts that there are not, such as {unknown[0]}"
    pairs = np.unique(np.stack([package.district, package.county_index]), axis=1).T.tolist()
    for district, index in pairs:
        county = package.counties[index].decode("ascii", "replace")
        if county and county[:2] != f"{district // 100:02d}":
            yield f"a column lies in the district {district} and in the county {county} of another state"
            return


def _of_targets(package: Package) -> Iterator[str]:
    targets = package.targets
    if not np.isfinite(targets["value"].to_numpy(dtype=np.float64)).all():
        yield f"the target {targets.loc[~np.isfinite(targets['value']), 'name'].iloc[0]} has no finite value"
    twice = targets.loc[targets["name"].duplicated(), "name"]
    if len(twice):
        yield f"two targets are called {twice.iloc[0]}"
    places = {NATION, *(state.fips for state in STATES), *DISTRICTS}
    told = zip(targets["name"], targets["place"].tolist(), targets["geo_level"], targets["geographic_id"], strict=True)
    for name, place, level, geographic_id in told:
        if place not in places:
            yield f"the target {name} is of the place {place}, which there is not"
            return
        if level != level_of(place) or (level != "national" and str(geographic_id) != str(place)):
            yield f"the target {name} is of {key_of(place)} and of the {level} {geographic_id}"
            return
