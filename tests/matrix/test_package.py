"""The package on disk: what goes in comes out, memory-mapped, and any damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix.package import Package, write_package
from geocal_core.store import digest_path

RECORDS, CLONES, TARGETS = 30, 4, 9
PARTS = (
    "targets.parquet",
    "indptr.npy",
    "indices.npy",
    "data.npy",
    "initial_weights.npy",
    "district.npy",
    "state.npy",
    "household_id.npy",
)


def parts() -> dict[str, object]:
    rng = np.random.default_rng(4)
    columns = RECORDS * CLONES
    matrix = sparse.random(TARGETS, columns, 0.2, format="csr", dtype=np.float32, random_state=rng)
    matrix = sparse.csr_matrix(matrix.multiply(np.arange(TARGETS)[:, None] != 3))
    matrix.eliminate_zeros()  # row 3 has no support
    district = rng.choice([1001, 3601, 3602], columns).astype(np.int32)
    return {
        "matrix": matrix,
        "targets": pd.DataFrame(
            {"name": [f"target {i}" for i in range(TARGETS)], "value": rng.random(TARGETS), "held_out": np.arange(TARGETS) == 5}
        ),
        "initial_weights": rng.random(columns),
        "district": district,
        "state": district // 100,
        "household_id": rng.permutation(1000)[:RECORDS].astype(np.int64),
        "n_clones": CLONES,
        "facts": {"year": 2024, "seed": 7, "engine": "none"},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "package", **parts())
    return tmp_path / "package"


def test_what_goes_in_comes_out(folder: Path) -> None:
    given, package = parts(), Package.open(folder)
    assert (package.matrix != given["matrix"]).nnz == 0
    assert package.matrix.dtype == np.float32
    pd.testing.assert_frame_equal(package.targets, given["targets"])
    for name in ("initial_weights", "district", "state", "household_id"):
        np.testing.assert_array_equal(getattr(package, name), given[name])
    assert (package.n_records, package.n_clones, package.year, package.seed) == (RECORDS, CLONES, 2024, 7)
    assert package.supported.tolist() == [i != 3 for i in range(TARGETS)]


def test_the_matrix_stays_on_disk_and_works(folder: Path) -> None:
    package = Package.open(folder)
    for array in (package.matrix.data, package.matrix.indices):
        mapped = array
        while mapped is not None and not isinstance(mapped, np.memmap):
            mapped = mapped.base
        assert isinstance(mapped, np.memmap)
    weights = np.random.default_rng(0).random(RECORDS * CLONES)
    np.testing.assert_allclose(package.matrix @ weights, parts()["matrix"].toarray() @ weights, rtol=1e-6)


def test_the_same_content_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_package(tmp_path / "again", **parts())
    assert digest_path(tmp_path / "again") == digest_path(folder)
    other = parts() | {"initial_weights": np.ones(RECORDS * CLONES)}
    write_package(tmp_path / "other", **other)
    assert Package.open(tmp_path / "again").digest == Package.open(folder).digest != Package.open(tmp_path / "other").digest


def test_every_part_is_listed_and_nothing_is_pickled(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted((*PARTS, "manifest.json"))
    for path in folder.glob("*.npy"):
        np.load(path, allow_pickle=False)


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_part_is_named(folder: Path, part: str) -> None:
    content = bytearray((folder / part).read_bytes())
    content[-5] ^= 1
    (folder / part).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{part} is not the part that the manifest claims"):
        Package.open(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_or_truncated_part_is_named(folder: Path, part: str, verify: bool) -> None:
    whole = (folder / part).read_bytes()
    (folder / part).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=part):
        Package.open(folder, verify=verify)
    (folder / part).unlink()
    with pytest.raises(ArtifactError, match=part):
        Package.open(folder, verify=verify)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_targets": "x"}, "which is no whole number"),
        ({"digests": []}, "has no table of digests"),
        ({"format": 1}, "is of format 1, this version reads format 2"),
        ({"n_clones": 5}, "length 150 where the package has 120|length 120"),
        ({"n_targets": 8}, "targets.parquet has length 9 where the package has 8"),
        ({"digests": None}, "says nothing of digests"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    with pytest.raises(ArtifactError, match=message):
        Package.open(folder)


def test_a_manifest_that_is_no_json_or_missing_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        Package.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="no calibration package"):
        Package.open(folder)


def test_arrays_of_another_type_are_refused(folder: Path) -> None:
    np.save(folder / "data.npy", np.load(folder / "data.npy").astype(np.float64))
    with pytest.raises(ArtifactError, match=r"data\.npy holds 1-dimensional float64"):
        Package.open(folder, verify=False)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("indices", lambda a: -a - 1, "names a column that the package has not"),
        ("indices", lambda a: a + RECORDS * CLONES, "names a column that the package has not"),
        ("indptr", lambda a: np.concatenate([a[:1], a[:0:-1]]), "does not rise from 0"),
        ("indptr", lambda a: np.concatenate([a[:1] + 1, a[1:]]), "does not rise from 0"),
    ],
)
def test_positions_outside_the_matrix_are_refused(
    folder: Path, part: str, change: Callable[[NDArray[Any]], NDArray[Any]], words: str
) -> None:
    """They would be read from memory that is not the matrix's."""
    path = folder / f"{part}.npy"
    array = change(np.load(path))
    if part == "indptr":
        array[-1] = len(np.load(folder / "indices.npy"))
    np.save(path, array)
    with pytest.raises(ArtifactError, match=words):
        Package.open(folder, verify=False)


def test_parts_that_do_not_fit_are_not_written_as_a_package(tmp_path: Path) -> None:
    short = parts() | {"district": np.full(RECORDS * CLONES - 1, 1001, dtype=np.int32)}
    with pytest.raises(ArtifactError, match=r"district\.npy has length 119"):
        write_package(tmp_path / "short", **short)


@pytest.mark.parametrize("column", [None, 1, "no"])
def test_a_package_that_does_not_say_what_is_held_out_is_refused(tmp_path: Path, column: object) -> None:
    plain = parts()["targets"].drop(columns="held_out")
    targets = plain if column is None else plain.assign(held_out=column)
    with pytest.raises(ArtifactError, match=r"targets\.parquet does not say which targets are held out"):
        write_package(tmp_path / "package", **{**parts(), "targets": targets})


def test_opening_takes_the_base_install_only(folder: Path) -> None:
    code = (
        f"import sys; from geocal_core.matrix.package import Package; Package.open({str(folder)!r}); "
        "extras = {'policyengine_us', 'policyengine_core', 'h5py', 'sqlalchemy', 'dagster', 'sklearn', 'torch'}; "
        "sys.exit(', '.join(sorted(extras & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
