"""A small package for tests: real places and quantities, random values, and the explicit matrix beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from geocal_core.matrix.package import write_package
from geocal_core.matrix.quantity import Quantity, groups_of, quantity_table
from geocal_core.matrix.variants import Variants
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.select import target_name

RECORDS, CLONES = 25, 6
COLUMNS = RECORDS * CLONES
COUNTIES = {601: b"06093", 652: b"06073", 1001: b"10003", 3612: b"36061", 5601: b"56021"}
_FED, _YOUNG, _FILER = (
    Constraint("snap", ">", "0"),
    Constraint("age", "<", "5"),
    Constraint("tax_unit_is_filer", "==", "1"),
)
QUANTITIES = (
    Quantity("person_count"),
    Quantity("person_count", (_YOUNG,)),
    Quantity("salt_deduction", (_FILER,), "salt_deduction"),
    Quantity("snap"),
    Quantity("spm_unit_count", (_FED,)),
)
PLACES = (("national", "US"), ("state", "6"), ("state", "10"), ("state", "36"), ("district", "601"), ("district", "3612"))


def parts(seed: int = 1) -> dict[str, Any]:
    """Arguments of ``write_package``. Nobody has anything of the last quantity in Delaware."""
    rng = np.random.default_rng(seed)
    district = rng.choice(list(COUNTIES), COLUMNS)
    pool = rng.integers(0, 5, (3, len(QUANTITIES), RECORDS)) * np.array([1, 1, 125.5, 291.25, 1])[None, :, None]
    values = pool[rng.integers(0, 3, COLUMNS), :, np.tile(np.arange(RECORDS), CLONES)].T
    values[4, district == 1001] = 0
    variants = Variants.from_values(sparse.csr_matrix(values.astype(np.float32)), groups_of(QUANTITIES), RECORDS, CLONES)
    weights = rng.uniform(50, 150, COLUMNS).astype(np.float32)
    rows = [
        {
            "target_id": 1 + position,
            "stratum_id": 10 + position,
            "variable": quantity.variable,
            "reform_id": int(bool(quantity.neutralised)),
            "period": 2024,
            "geo_level": level,
            "geographic_id": place,
            "domain_variable": ",".join(c.variable for c in quantity.constraints if c.variable != "tax_unit_is_filer"),
            "uprating_factor": 1.0,
            "source": "a survey",
            "name": target_name(level, place, quantity.variable, int(bool(quantity.neutralised)), quantity.constraints),
            "quantity": q,
            "place": 0 if place == "US" else int(place),
        }
        for position, ((level, place), (q, quantity)) in enumerate(
            (where, what) for where in PLACES for what in enumerate(QUANTITIES)
        )
    ]
    targets = pd.DataFrame(rows)
    estimate = explicit(values, targets, district) @ weights.astype(np.float64)
    targets["value"] = np.where(estimate > 0, estimate * rng.uniform(0.8, 1.2, len(targets)), 3.0)
    targets["original_value"] = targets["value"]
    targets["held_out"] = np.arange(len(targets)) == 7
    return {
        "variants": variants,
        "targets": targets,
        "quantities": quantity_table(QUANTITIES),
        "initial_weights": weights,
        "district": district,
        "county": np.array([COUNTIES[code] for code in district.tolist()], dtype="S5"),
        "household_id": 1000 + 7 * np.arange(RECORDS),
        "facts": {"year": 2024, "seed": 7, "engine": "none", "inputs": {"target_db": "ab" * 32}},
    }


def explicit(values: np.ndarray, targets: pd.DataFrame, district: np.ndarray) -> np.ndarray:
    """A row per target in float64, plainly."""
    inside = [(place == 0) | (district == place) | (district // 100 == place) for place in targets["place"]]
    return np.array([values[q] * there for q, there in zip(targets["quantity"], inside, strict=True)], dtype=np.float64)


def matrix_of(given: dict[str, Any]) -> np.ndarray:
    """The explicit matrix of ``parts``."""
    return explicit(given["variants"].to_csr().toarray(), given["targets"], given["district"])


def write_small(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write the package and give what it was written from."""
    given = parts() | changes
    write_package(folder, **given)
    return given
