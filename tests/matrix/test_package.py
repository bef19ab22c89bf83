"""The package on disk: what goes in comes out, memory-mapped, and any damage is named."""

from __future__ import annotations

import json
import resource
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
from geocal_core.matrix.variants import Variants
from geocal_core.store import digest_path, size_of
from tests.matrix.test_variants import random_values

RECORDS, CLONES, TARGETS = 30, 4, 9
GROUPS = [[0, 2], [1], [3, 4]]
PARTS = (
    "targets.parquet",
    "quantities.parquet",
    "initial_weights.npy",
    "district.npy",
    "county.npy",
    "counties.npy",
    "household_id.npy",
    "imputed.npy",
    "variants/indptr.npy",
    "variants/indices.npy",
    "variants/data.npy",
    "variants/first.npy",
    "variants/ordinal_0.npy",
    "variants/ordinal_1.npy",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def parts() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    columns = RECORDS * CLONES
    values = random_values(5, RECORDS, CLONES, rng).tolil()
    values[4] = 0  # nobody has anything of it: target 3 has no support
    values[3] = 1  # the last group never varies
    district = rng.choice([1001, 3601, 3602], columns)
    return {
        "variants": Variants.from_values(values.tocsr().astype(np.float32), GROUPS, RECORDS, CLONES),
        "targets": pd.DataFrame(
            {
                "name": [f"target {i}" for i in range(TARGETS)],
                "variable": "snap",
                "geo_level": "state",
                "domain_variable": "",
                "value": rng.random(TARGETS),
                "held_out": np.arange(TARGETS) == 5,
                "quantity": [0, 1, 2, 4, 3, 0, 1, 0, 1],
                "place": [0, 0, 10, 36, 3601, 3602, 1001, 36, 36],
            }
        ),
        "quantities": pd.DataFrame({"text": [f"q{i}" for i in range(5)], "variable": "snap", "constraints": ""}),
        "initial_weights": rng.random(columns),
        "district": district,
        "county": np.array([f"{code // 100:02d}{code % 7:03d}" for code in district], dtype="S5"),
        "household_id": rng.permutation(1000)[:RECORDS],
        "facts": {"year": 2024, "seed": 7, "engine": "none"},
        "imputed": np.arange(RECORDS) % 3 == 0,
    }


def explicit(given: dict[str, Any]) -> NDArray[np.float32]:
    dense, district = given["variants"].to_csr().toarray(), given["district"]
    places = given["targets"]["place"]
    inside = [(place == 0) | (district == place) | (district // 100 == place) for place in places]
    return np.array([dense[q] * there for q, there in zip(given["targets"]["quantity"], inside, strict=True)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "package", **parts())
    return tmp_path / "package"


def test_what_goes_in_comes_out(folder: Path) -> None:
    given, package = parts(), Package.open(folder)
    assert np.array_equal(package.matrix.tocsr().toarray(), explicit(given))
    assert package.variants.groups == given["variants"].groups
    assert package.variants.ordinal[2] is None
    pd.testing.assert_frame_equal(package.targets, given["targets"], check_dtype=False)
    pd.testing.assert_frame_equal(package.quantities, given["quantities"].assign(group=[0, 1, 0, 2, 2]), check_dtype=False)
    assert package.initial_weights.dtype == np.float64
    np.testing.assert_array_equal(package.initial_weights, given["initial_weights"].astype(np.float32))
    for name in ("district", "county", "household_id", "imputed"):
        np.testing.assert_array_equal(getattr(package, name), given[name])
    np.testing.assert_array_equal(package.state, given["district"] // 100)
    columns = package.imputed_columns
    assert columns is not None
    assert columns.reshape(CLONES, RECORDS).tolist() == [given["imputed"].tolist()] * CLONES
    sizes = (package.n_records, package.n_clones, package.n_columns, package.year, package.seed)
    assert sizes == (RECORDS, CLONES, RECORDS * CLONES, 2024, 7)
    assert package.supported.tolist() == [i != 3 for i in range(TARGETS)]
    assert package.sizes == {part: size_of(folder / part) for part in PARTS}


def test_a_package_that_does_not_tell_what_is_imputed_leaves_it_unknown(folder: Path, tmp_path: Path) -> None:
    write_package(tmp_path / "untold", **parts() | {"imputed": None})
    assert not (tmp_path / "untold" / "imputed.npy").exists()
    package = Package.open(tmp_path / "untold")
    assert package.imputed is None
    assert package.imputed_columns is None
    assert package.digest != Package.open(folder).digest


def test_counties_may_come_as_positions_and_a_table(folder: Path, tmp_path: Path) -> None:
    given = parts()
    table, index = np.unique(given["county"], return_inverse=True)
    write_package(tmp_path / "again", **given | {"county": (index, table)})
    assert digest_path(tmp_path / "again") == digest_path(folder)


def test_the_values_stay_on_disk(folder: Path) -> None:
    package = Package.open(folder)
    for array in (package.variants.data, package.variants.indices, package.variants.ordinal[0], package.county_index):
        mapped: Any = array
        while mapped is not None and not isinstance(mapped, np.memmap):
            mapped = mapped.base
        assert isinstance(mapped, np.memmap)


def test_a_selection_leaves_rows_of_the_same_matrix(folder: Path, tmp_path: Path) -> None:
    package = Package.open(folder)
    rules = tmp_path / "mine.yaml"
    package.targets.loc[:2, "variable"] = "eitc"
    rules.write_text("exclude: [{variable: eitc}]\n")
    matrix, targets = package.chosen(str(rules))
    assert np.array_equal(matrix.tocsr().toarray(), explicit(parts())[3:])
    assert targets["name"].tolist() == [f"target {i}" for i in range(3, TARGETS)]
    assert targets.index.tolist() == list(range(TARGETS - 3))
    assert package.chosen("")[0] is package.matrix
    rules.write_text("holdout: [{variable: eitc}]\n")
    matrix, targets = package.chosen(str(rules))
    assert matrix is package.matrix
    assert targets["held_out"].tolist() == [True] * 3 + [False, False, True, False, False, False]


def test_the_same_content_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_package(tmp_path / "again", **parts())
    assert digest_path(tmp_path / "again") == digest_path(folder)
    other = parts() | {"initial_weights": np.ones(RECORDS * CLONES)}
    write_package(tmp_path / "other", **other)
    assert Package.open(tmp_path / "again").digest == Package.open(folder).digest != Package.open(tmp_path / "other").digest


def test_every_part_is_listed_and_nothing_is_pickled(folder: Path) -> None:
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(found) == sorted((*PARTS, "manifest.json"))
    for path in folder.rglob("*.npy"):
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
    with pytest.raises(ArtifactError, match=f"{part} is missing"):
        Package.open(folder, verify=verify)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_targets": "x"}, "which is no whole number"),
        ({"digests": []}, "has no table of digests"),
        ({"sizes": 3}, "has no table of sizes"),
        ({"digests": {}}, r"says nothing of targets\.parquet"),
        ({"format": 1}, "is of format 1, this version reads format 3; materialise calibration_package again"),
        ({"format": 2, "n_quantities": None}, "is of format 2, this version reads format 3; materialise calibration_package"),
        ({"format": None}, "says nothing of format"),
        ({"n_clones": 5}, "manifest.json has length 150 where the package has 120"),
        ({"n_columns": 121}, "district.npy has length 120 where the package has 121"),
        ({"n_records": 31}, "household_id.npy has length 30 where the package has 31"),
        ({"n_targets": 8}, "targets.parquet has length 9 where the package has 8"),
        ({"n_quantities": 6}, "quantities.parquet has length 5 where the package has 6"),
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


def test_ordinals_that_the_manifest_does_not_list_are_missed(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digests"]["variants/ordinal_0.npy"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        ArtifactError, match=r"variants: ordinal_0 is wanted: a household has \d variants of that group; materialise"
    ):
        Package.open(folder)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("variants/data", lambda a: a.astype(np.float64), r"data\.npy holds 1-dimensional float64, not 1-dimensional float32"),
        ("variants/first", lambda a: a[0], r"first\.npy holds 1-dimensional int64, not 2-dimensional int64"),
        ("variants/ordinal_0", lambda a: a.astype(np.int8), r"holds 1-dimensional int8, not 1-dimensional uint8 or uint16"),
        ("variants/ordinal_0", lambda a: a + np.uint8(9), "variants: ordinal_0 names a variant that its household has not"),
        ("variants/ordinal_1", lambda a: a[1:], "variants: ordinal_1 has length 119, wanted 120"),
        ("variants/indices", lambda a: a + np.uint16(5), "variants: indices name a quantity that there is not"),
        ("variants/indptr", lambda a: a[::-1], "variants: indptr does not rise from 0"),
        ("variants/first", lambda a: a[:, ::-1], "variants: first does not give each household its rows"),
        ("variants/data", lambda a: a * np.float32(0), "variants: data holds zeros"),
        ("imputed", lambda a: a.astype(np.uint8), r"imputed\.npy holds 1-dimensional uint8, not 1-dimensional bool"),
        ("imputed", lambda a: a[1:], r"imputed\.npy has length 29 where the package has 30"),
        ("county", lambda a: a + np.uint16(9), r"county\.npy names a county that counties\.npy has not"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    folder: Path, part: str, change: Callable[[NDArray[Any]], NDArray[Any]], words: str
) -> None:
    """They would be read from memory that is not theirs."""
    path = folder / f"{part}.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(ArtifactError, match=words):
        Package.open(folder, verify=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"district": np.full(RECORDS * CLONES - 1, 1001)}, r"district\.npy has length 119"),
        ({"district": np.full(RECORDS * CLONES, 70_000)}, "districts go from 70000 to 70000"),
        ({"initial_weights": np.ones(3)}, r"initial_weights\.npy has length 3"),
        ({"household_id": np.arange(31)}, r"household_id\.npy has length 31"),
        ({"quantities": parts()["quantities"][:4]}, "there are 4 quantities and values of 5"),
        ({"quantities": parts()["quantities"].drop(columns="text")}, r"quantities\.parquet has no column text"),
        ({"targets": parts()["targets"].drop(columns="place")}, r"targets\.parquet does not say the place of its targets"),
        ({"targets": parts()["targets"].assign(quantity=5)}, r"targets\.parquet names a quantity outside 0 to 4"),
        ({"targets": parts()["targets"].assign(place=-1)}, r"targets\.parquet names a place outside 0 to 65535"),
    ],
)
def test_parts_that_do_not_fit_are_not_written_as_a_package(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        write_package(tmp_path / "package", **parts() | change)


@pytest.mark.parametrize("column", [None, 1, "no"])
def test_a_package_that_does_not_say_what_is_held_out_is_refused(tmp_path: Path, column: object) -> None:
    plain = parts()["targets"].drop(columns="held_out")
    targets = plain if column is None else plain.assign(held_out=column)
    with pytest.raises(ArtifactError, match=r"targets\.parquet does not say which targets are held out"):
        write_package(tmp_path / "package", **{**parts(), "targets": targets})


@pytest.mark.parametrize("limit", [200, 1_000, 3_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """A process that may not write a file beyond some bytes, as on a disk that is almost full."""
    code = (
        "import sys, pathlib; from geocal_core.matrix.package import write_package; from geocal_core.store import atomic;"
        "from tests.matrix.test_package import parts\n"
        "with atomic(pathlib.Path(sys.argv[1])) as temporary:\n    write_package(temporary, **parts())"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "package")],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "OSError" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_package_in_which_nobody_has_anything_is_one(tmp_path: Path) -> None:
    nothing = Variants.from_values(sparse.csr_matrix((5, RECORDS * CLONES), dtype=np.float32), GROUPS, RECORDS, CLONES)
    write_package(tmp_path / "package", **parts() | {"variants": nothing})
    package = Package.open(tmp_path / "package")
    assert not package.supported.any()
    assert package.matrix.tocsr().nnz == package.matrix.atoms == 0


def test_opening_takes_the_base_install_only(folder: Path) -> None:
    code = (
        f"import sys; from geocal_core.matrix.package import Package; Package.open({str(folder)!r}).matrix; "
        "extras = {'policyengine_us', 'policyengine_core', 'h5py', 'sqlalchemy', 'dagster', 'sklearn', 'torch'}; "
        "sys.exit(', '.join(sorted(extras & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
