"""Does an area's file say what the calibration says? X·w against the file, simulated again.

The file is read back, simulated state by state, and summed under its own weights; the calibration's figure is the sum over
the area's columns of the matrix row times the weights. They must agree to 1e-4 for every quantity, because matrix and file
take their values from the same function. National rows are compared within any area; those of a state or a district with its
own file, and with the file of an area that its line in the list of areas puts there (``validation``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.areas.assembly import columns_of
from geocal_core.engine.simulate import simulate
from geocal_core.engine.variables import entity_of
from geocal_core.errors import ArtifactError
from geocal_core.matrix.package import Package
from geocal_core.matrix.quantities import Quantity, household_values, quantities_of
from geocal_core.places.assignment import read_geography
from geocal_core.places.catalogue import Area, area
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.places.states import state_of_code
from geocal_core.population import Population, read_h5
from geocal_core.progress import Reporter
from geocal_core.stages import STAGES
from geocal_core.store import Store
from geocal_core.targets.select import load_targets

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Validation:
    """Outcome for some areas.

    Attributes
    ----------
    table : DataFrame
        ``area``, ``name`` of the target, ``calibrated`` (X·w), ``simulated`` (from the file), ``difference`` (relative).
    """

    table: pd.DataFrame

    @property
    def worst(self) -> float:
        """Largest relative difference."""
        return float(self.table["difference"].max())

    @property
    def passed(self) -> bool:
        """Whether every figure agrees to the tolerance."""
        return self.worst <= TOLERANCE


def validate_areas(store: Store, keys: tuple[str, ...], reporter: Reporter) -> Validation:
    """Simulate the files of some areas and compare every quantity with the calibration.

    Raises
    ------
    ArtifactError
        If a file, the package or the weights are missing or damaged, or do not belong together.
    """
    package = Package.open(store.verified(STAGES["calibration_package"].output)[0])
    weights = np.load(store.verified(STAGES["weights"].output)[0] / "calibration_weights.npy", allow_pickle=False)
    geography = read_geography(store.verified(STAGES["geography"].output)[0])
    if not package.n_columns == len(weights) == len(geography.block):
        raise ArtifactError("package, weights and geography are of different numbers of columns", "materialise them again")
    blocks = store.verified(STAGES["blocks"].output)[0]
    places = ColumnPlaces.of(Crosswalk.open(blocks), geography.block)
    tables = []
    for key in keys:
        one = area(key)
        population = read_h5(store.verified(one.artifact)[0])
        known, constraints = load_targets(store.verified(STAGES["target_db"].output)[0], population.period)
        targets = package.targets
        if not set(zip(targets["name"], targets["stratum_id"], strict=True)) <= set(
            zip(known["name"], known["stratum_id"], strict=True)
        ):
            raise ArtifactError("the calibration package is not of this target database", "materialise it again")
        quantities, row_quantity = quantities_of(targets, constraints)
        rows = _rows(one, targets)
        calibrated = package.matrix.estimates(np.where(columns_of(one, geography, places), weights, 0.0))[rows]
        simulated = _totals(population, quantities)[row_quantity[rows]]
        difference = np.abs(simulated - calibrated) / np.maximum(np.abs(calibrated), 1.0)
        table = pd.DataFrame(
            {
                "area": key,
                "name": targets["name"].to_numpy()[rows],
                "calibrated": calibrated,
                "simulated": simulated,
                "difference": difference,
            }
        )
        reporter.progress(f"{key}: {len(table)} figures, largest relative difference {table['difference'].max():.1e}")
        tables.append(table)
    outcome = Validation(pd.concat(tables, ignore_index=True))
    reporter.check("area_files_match", outcome.passed, {"areas": len(keys), "largest_difference": outcome.worst})
    return outcome


def _rows(one: Area, targets: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of the targets that an area's file can be held to."""
    own = ""
    if one.validation == "state" and one.state is not None:
        own = str(state_of_code(one.state).fips)
    elif one.validation == "district":
        own = str(one.districts[0])
    national = targets["geo_level"].to_numpy() == "national"
    mine = (targets["geo_level"].to_numpy() == one.validation) & (targets["geographic_id"].to_numpy() == own)
    return np.flatnonzero(national | mine)


def _totals(population: Population, quantities: tuple[Quantity, ...]) -> NDArray[np.float64]:
    """Weighted total of each quantity, simulated state by state (a file of many states at once would cost too much)."""
    variables = sorted(set().union(*(quantity.needs for quantity in quantities)))
    state = np.asarray(population["state_fips"])
    totals = np.zeros(len(quantities))
    for fips in np.unique(state):
        part = population.take(np.flatnonzero(state == fips))
        values = household_values(part, quantities, simulate(part, variables, part.period), entity_of)
        totals += values.astype(np.float64) @ part.weights
    return totals
