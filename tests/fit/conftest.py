"""Calibration problems for tests: small ones of three levels, and a wide one that spans several blocks of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.problem import Problem, problem
from geocal_core.matrix.variants import Variants


def matrix_and_targets(n_rows: int, n_columns: int, seed: int = 0, density: float = 0.3) -> tuple[sparse.csr_matrix, NDArray]:
    """A sparse non-negative matrix with a filled first row, and targets that hidden positive weights meet."""
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 1, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    values[0] = 1.0
    values[np.arange(n_rows), rng.integers(0, n_columns, n_rows)] = 1.0
    matrix = sparse.csr_matrix(values.astype(np.float32))
    hidden = rng.lognormal(3, 0.5, n_columns)
    return matrix, matrix.astype(np.float64) @ hidden


@pytest.fixture
def small() -> Problem:
    """12 targets, 60 columns."""
    matrix, targets = matrix_and_targets(12, 60)
    return problem(matrix, targets, np.full(60, 15.0))


@pytest.fixture(scope="session")
def wide() -> tuple[sparse.csr_matrix, NDArray]:
    """25 targets, 40,000 columns: three blocks of columns, and a row that is longer than a segment."""
    return matrix_and_targets(25, 40_000, density=0.05)


@pytest.fixture
def package_parts() -> dict[str, object]:
    """Arguments of ``write_package`` for a nation of two states with three districts; the last target has no support."""
    rng = np.random.default_rng(3)
    n_records, n_clones = 40, 6
    n = n_records * n_clones
    districts = np.array([1001, 5601, 5602])
    district = districts[rng.integers(0, 3, n)]
    state = district // 100
    children, adults = (np.tile(rng.integers(0, 4, n_records), n_clones) for _ in range(2))
    values = sparse.csr_matrix(np.array([children, adults, np.zeros(n)], dtype=np.float32))
    places = [("national", "US", 0), *(("state", str(fips), fips) for fips in (10, 56))]
    places += [("district", str(code), int(code)) for code in districts]
    prefix = {"national": "national", "state": "state_{}", "district": "cd_{}"}
    facts = [
        (level, area, f"{prefix[level].format(area)}/person_count/{name}", quantity, place)
        for quantity, name in enumerate(("[age<5]", "[age>4]"))
        for level, area, place in places
    ]
    facts.append(("state", "10", "state_10/snap/<&>", 2, 10))
    targets = pd.DataFrame(facts, columns=["geo_level", "geographic_id", "name", "quantity", "place"])
    targets["variable"] = ["person_count"] * 12 + ["snap"]
    targets["domain_variable"] = ["age"] * 12 + [""]
    hidden = rng.lognormal(5, 0.3, n)
    inside = [(place == 0) | (district == place) | (state == place) for place in targets["place"]]
    targets["value"] = [values.toarray()[q] @ (hidden * mask) for q, mask in zip(targets["quantity"], inside, strict=True)]
    targets.loc[12, "value"] = 7.0
    targets["held_out"] = False
    targets = targets.assign(stratum_id=range(1, 14), reform_id=0, source="")
    return {
        "variants": Variants.from_values(values, [[0, 1], [2]], n_records, n_clones),
        "targets": targets,
        "quantities": pd.DataFrame({"text": ["children", "adults", "snap"], "variable": "x", "constraints": ""}),
        "initial_weights": np.full(n, 100.0),
        "district": district,
        "county": np.full(n, b"10001"),
        "household_id": np.arange(n_records),
        "facts": {"year": 2024, "seed": 3, "inputs": {"stratified_cps": "a", "target_db": "t", "geography": "b"}},
    }
