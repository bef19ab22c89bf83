"""The reference's dict as a package and back: the same values, places and targets."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix.package import Package
from geocal_core.matrix.reference_package import (
    Reference,
    blocks_of,
    import_reference,
    quantities_in,
    read_reference,
    reference_content,
    write_plain,
)
from geocal_core.matrix.reference_pickle import write_pickle
from tests.matrix import small
from tests.matrix.test_reference_pickle import STORED, content, written


def test_a_file_becomes_a_package_with_the_same_matrix(tmp_path: Path) -> None:
    import_reference(STORED[0], tmp_path / "package", 2024)
    package, held = Package.open(tmp_path / "package"), content()
    assert (package.matrix.tocsr() != held["X_sparse"]).nnz == 0
    assert package.targets["name"].tolist() == held["target_names"]
    assert package.targets["value"].tolist() == held["targets_df"]["value"].tolist()
    assert package.quantities["text"].tolist() == [
        "person_count",
        "person_count[age<5,age>-1]",
        "salt_deduction_expenditure",
        "snap[snap>0]",
    ]
    assert package.targets["quantity"].tolist() == [0, 0, 1, 3, 2]
    assert package.county.tolist() == [block[:5].encode() for block in held["block_geoid"]]
    assert package.initial_weights.tolist() == held["initial_weights"].tolist()
    assert (package.year, package.seed, package.n_clones) == (2024, 42, 2)
    assert package.manifest["imported"]["metadata"] == held["metadata"]
    assert not package.targets["held_out"].any()


def test_without_blocks_no_county_is_told(tmp_path: Path) -> None:
    import_reference(written(tmp_path / "p.pkl", content() | {"block_geoid": None}), tmp_path / "package", 2024)
    assert set(Package.open(tmp_path / "package").county.tolist()) == {b""}


def dense(reference: Reference) -> np.ndarray:
    """The matrix put together again from its quantities."""
    _, _, values, row_quantity = quantities_in(reference)
    return small.explicit(values.toarray(), reference.targets.assign(quantity=row_quantity), reference.district)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_rows_are_quantities_in_places(seed: int, other_at_a_level: bool) -> None:
    rng = np.random.default_rng(seed)
    district = rng.choice([601, 602, 1001], 12).astype(np.int64)
    national = rng.integers(0, 3, 12).astype(np.float32)
    own = national + 1 if other_at_a_level else national
    places = [(0, "national"), (6, "state"), (10, "state"), (601, "district"), (1001, "district")]
    kept = [one for one in places if rng.random() < 0.8] or places
    rows = [np.where((district == p) | (district // 100 == p) | (p == 0), own if p >= 100 else national, 0) for p, _ in kept]
    targets = pd.DataFrame(
        {"name": [f"{p}/snap/[]" for p, _ in kept], "variable": "snap", "reform_id": 0, "place": [p for p, _ in kept]}
    )
    reference = Reference(sparse.csr_matrix(np.array(rows)), targets, {}, np.ones(12), district, None, 2)
    np.testing.assert_array_equal(dense(reference), np.array(rows))
    quantities, texts, _, _ = quantities_in(reference)
    assert len(set(texts)) == len(quantities)
    if not other_at_a_level:
        assert texts == ("snap",)


def test_a_level_with_other_values_is_a_quantity_of_its_own(tmp_path: Path) -> None:
    held = content()
    matrix = held["X_sparse"].tolil()
    matrix[1, 0] = 7  # Delaware has seven where the nation has one
    import_reference(written(tmp_path / "p.pkl", held | {"X_sparse": matrix.tocsr()}), tmp_path / "package", 2024)
    package = Package.open(tmp_path / "package")
    assert package.quantities["text"].tolist()[:2] == ["person_count", "person_count (state)"]
    assert (package.matrix.tocsr() != matrix.tocsr()).nnz == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": (1, 1, 5.0)}, r"the row state_10/person_count/\[\] has a value outside its place"),
        ({"name": (4, "national/salt_deduction/[salt_deduction]")}, "cannot be read"),
        ({"name": (4, "national/snap/[]")}, "is not named after salt_deduction_expenditure"),
        ({"name": (0, "nation\nal/person_count/[]")}, "the name of a target is"),
        ({"place": (1, "US")}, "invalid literal|could not|US"),
        ({"twice": True}, "two rows measure the same as"),
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    held = content()
    if "row" in change:
        row, column, value = change["row"]
        held["X_sparse"] = held["X_sparse"].tolil()
        held["X_sparse"][row, column] = value
        held["X_sparse"] = held["X_sparse"].tocsr()
    if "name" in change:
        held["target_names"][change["name"][0]] = change["name"][1]
    if "place" in change:
        held["targets_df"].loc[change["place"][0], "geographic_id"] = change["place"][1]
    if "twice" in change:
        held["targets_df"].loc[1, ["geo_level", "geographic_id"]] = ["national", "US"]
        held["target_names"][1] = "nation/person_count/[]"
    with pytest.raises(ArtifactError, match=words) as caught:
        import_reference(written(tmp_path / "odd.pkl", held), tmp_path / "package", 2024)
    assert "\n" not in str(caught.value)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    small.write_small(tmp_path / "package")
    return Package.open(tmp_path / "package")


def test_what_is_exported_comes_back_the_same(package: Package, tmp_path: Path) -> None:
    blocks = np.array([county + b"0001001000" for county in package.county.tolist()], dtype="S15")
    write_pickle(tmp_path / "export.pkl", reference_content(package, blocks))
    import_reference(tmp_path / "export.pkl", tmp_path / "again", package.year)
    again = Package.open(tmp_path / "again")
    assert (again.matrix.tocsr() != package.matrix.tocsr()).nnz == 0
    kept = [name for name in package.targets if name not in ("held_out", "quantity")]
    pd.testing.assert_frame_equal(again.targets[kept], package.targets[kept], check_dtype=False)
    for name in ("initial_weights", "district", "county"):
        np.testing.assert_array_equal(getattr(again, name), getattr(package, name))
    of_rows = [pack.quantities["text"].to_numpy()[pack.targets["quantity"]].tolist() for pack in (package, again)]
    assert of_rows[0] == of_rows[1]
    assert (again.n_records, again.n_clones, again.seed) == (package.n_records, package.n_clones, package.seed)


def test_the_file_holds_what_the_reference_expects(package: Package, tmp_path: Path) -> None:
    write_pickle(tmp_path / "export.pkl", reference_content(package))
    with (tmp_path / "export.pkl").open("rb") as stream:
        held = pickle.load(stream)
    assert sparse.issparse(held["X_sparse"])
    assert held["X_sparse"].format == "csr"
    np.testing.assert_array_equal(held["X_sparse"].toarray(), small.matrix_of(small.parts()))
    wanted = {"target_id", "stratum_id", "variable", "reform_id", "value", "period", "geo_level", "geographic_id"}
    assert wanted | {"domain_variable", "original_value", "uprating_factor"} <= set(held["targets_df"])
    assert held["metadata"]["n_records"] == small.COLUMNS
    assert held["metadata"]["base_n_records"] == small.RECORDS
    assert held["cd_geoid"].tolist() == [str(code) for code in package.district]
    assert held["block_geoid"] is None
    assert read_reference(tmp_path / "export.pkl").block is None


def test_plain_files_hold_the_same(package: Package, tmp_path: Path) -> None:
    held = reference_content(package)
    write_plain(tmp_path / "plain", held)
    assert (sparse.load_npz(tmp_path / "plain/X_sparse.npz") != held["X_sparse"]).nnz == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "plain/targets_df.parquet"), held["targets_df"], check_dtype=False, check_column_type=False
    )
    assert json.loads((tmp_path / "plain/target_names.json").read_text()) == held["target_names"]
    assert json.loads((tmp_path / "plain/metadata.json").read_text()) == held["metadata"]
    for name in ("initial_weights", "cd_geoid"):
        np.testing.assert_array_equal(np.load(tmp_path / f"plain/{name}.npy", allow_pickle=False), held[name])
    assert sorted(os.listdir(tmp_path / "plain")) == [
        "X_sparse.npz",
        "cd_geoid.npy",
        "initial_weights.npy",
        "metadata.json",
        "target_names.json",
        "targets_df.parquet",
    ]


def test_blocks_come_from_the_assignment_of_the_same_run(package: Package, tmp_path: Path) -> None:
    block = np.array([f"{code // 100:02d}0010001001{code % 1000:03d}" for code in package.district], dtype="S15")
    np.savez(tmp_path / "geography.npz", block_geoid=block, cd_geoid=package.district)
    np.testing.assert_array_equal(blocks_of(tmp_path / "geography.npz", package), block)
    np.savez(tmp_path / "other.npz", block_geoid=block, cd_geoid=package.district[::-1])
    with pytest.raises(ArtifactError, match="places the columns in other districts"):
        blocks_of(tmp_path / "other.npz", package)
    (tmp_path / "short.npz").write_bytes((tmp_path / "geography.npz").read_bytes()[:200])
    for name in ("short.npz", "gone.npz"):
        with pytest.raises(ArtifactError, match="is no whole geography assignment"):
            blocks_of(tmp_path / name, package)
