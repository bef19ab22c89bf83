"""Attainable totals against brute force over the corners and the inside of the box of weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.matrix.achievable import VERDICTS, achievability, attainable, counts, hardest
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.package import Package, write_package
from tests.matrix.test_package import explicit, parts


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.1, 50))
def test_the_interval_is_that_of_all_corners(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    dense = (rng.normal(size=(4, 6)) * (rng.random((4, 6)) < 0.6)).astype(np.float32)
    weights = rng.lognormal(0, 1, 6)
    target = rng.normal(0, 20, 4)
    table = attainable(FactoredMatrix.of(sparse.csr_matrix(dense)), target, weights, ratio)
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 6)).reshape(6, -1) * (ratio * weights)[:, None]
    totals = dense.astype(np.float64) @ corners
    assert np.allclose(table["low"], totals.min(axis=1), rtol=1e-9)
    assert np.allclose(table["high"], totals.max(axis=1), rtol=1e-9)
    assert np.allclose(table["start"], dense.astype(np.float64) @ weights, rtol=1e-9, atol=1e-12)
    assert np.allclose(table["row_sum"], dense.sum(axis=1, dtype=np.float64), rtol=1e-6, atol=1e-6)
    within = (target >= totals.min(axis=1)) & (target <= totals.max(axis=1))
    assert (table["verdict"].isin(["inside", "edge"]) == within).all()
    for row, needed in enumerate(table["needed"]):
        if math.isfinite(needed):  # at the ratio that it needs, a target is the very end of its interval
            ends = attainable(FactoredMatrix.of(sparse.csr_matrix(dense)), target, weights, needed).loc[row, ["low", "high"]]
            assert min(abs(ends - target[row])) <= 1e-9 * abs(target[row])


def test_verdicts() -> None:
    dense = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    target = np.array([-3.0, 5.0, 0.0, 0.0, 95.0, 200.0, -40.0])
    table = attainable(FactoredMatrix.of(sparse.csr_matrix(dense)), target, np.ones(2), 100.0)
    assert table["verdict"].tolist() == ["outside", "unsupported", "inside", "inside", "edge", "outside", "inside"]
    assert table["needed"].tolist() == [math.inf, math.inf, 0.0, 0.0, 95.0, 200.0, 40.0]
    assert table["low"].tolist() == [0, 0, 0, 0, 0, 0, -100]
    assert table["high"].tolist() == [200, 0, 0, 100, 100, 100, 0]
    free = attainable(FactoredMatrix.of(sparse.csr_matrix(dense)), target, np.ones(2), math.inf)
    assert free["verdict"].tolist() == ["outside", "unsupported", *["inside"] * 5]
    assert free["high"].tolist() == [math.inf, 0, 0, math.inf, math.inf, math.inf, 0]
    assert free["low"].tolist() == [0, 0, 0, 0, 0, 0, -math.inf]


def test_a_package_tells_its_hardest_rows_and_those_without_support(tmp_path: Path) -> None:
    given_ = parts()
    given_["targets"] = given_["targets"].assign(value=10.0, geographic_id="x")
    write_package(tmp_path / "package", **given_)
    package = Package.open(tmp_path / "package")
    table = achievability(package)
    dense, weights = explicit(given_).astype(np.float64), package.initial_weights
    assert table["name"].tolist() == package.targets["name"].tolist()
    assert table.loc[table["verdict"] == "unsupported", "name"].tolist() == ["target 3"]
    assert np.allclose(table["row_sum_ratio"], dense.sum(axis=1) / 10)
    assert np.allclose(table["start"], dense @ weights)
    assert hardest(table, 3)["needed"].tolist() == sorted(table["needed"][table["columns"] > 0], reverse=True)[:3]
    found = counts(table)
    assert found["targets"].tolist() == [9]
    assert found["unsupported"].tolist() == [1]
    assert found[list(VERDICTS)].sum(axis=1).tolist() == [9]


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan])
def test_a_ratio_that_bounds_nothing_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="it must be above 0"):
        attainable(FactoredMatrix.of(sparse.identity(2, format="csr")), np.ones(2), np.ones(2), ratio)
