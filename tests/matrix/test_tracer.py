"""Traces against the explicit matrix, row by row and column by column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.package import Package
from geocal_core.matrix.tracer import row_in_words, row_named, trace_column, trace_household, trace_row, weights_of
from tests.matrix import small

GIVEN = small.parts()
MATRIX = small.matrix_of(GIVEN)
NAMES = GIVEN["targets"]["name"].tolist()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("traced") / "package"
    small.write_small(folder)
    return Package.open(folder)


@pytest.mark.parametrize("row", range(len(NAMES)))
def test_a_row_is_what_the_explicit_matrix_has(package: Package, row: int) -> None:
    weights = np.random.default_rng(row).uniform(0, 9, small.COLUMNS)
    trace = trace_row(package, weights, row, limit=0)
    columns = np.flatnonzero(MATRIX[row])
    assert sorted(part["column"] for part in trace.parts) == columns.tolist()
    assert trace.facts["columns"] == len(columns)
    assert trace.facts["households"] == len(np.unique(columns % small.RECORDS))
    assert trace.facts["estimate"] == pytest.approx(MATRIX[row] @ weights)
    assert trace.facts["name"] == NAMES[row]
    for part in trace.parts:
        column = part["column"]
        assert part["value"] == MATRIX[row, column]
        assert part["contribution"] == pytest.approx(MATRIX[row, column] * weights[column])
        assert part["household_id"] == GIVEN["household_id"][column % small.RECORDS]
        assert part["clone"] == column // small.RECORDS
    added = [part["contribution"] for part in trace.parts]
    assert added == sorted(added, reverse=True)
    assert [part["column"] for part in trace_row(package, weights, row, limit=3).parts] == [
        part["column"] for part in trace.parts[:3]
    ]
    if len(columns):
        assert sum(part["share"] for part in trace.parts) == pytest.approx(1)
        assert (trace.facts["smallest_value"], trace.facts["largest_value"]) == (MATRIX[row, columns].min(), MATRIX[row].max())


@pytest.mark.parametrize("column", range(0, small.COLUMNS, 11))
def test_a_column_is_what_the_explicit_matrix_has(package: Package, column: int) -> None:
    weights = np.asarray(package.initial_weights)
    trace = trace_column(package, weights, column)
    rows = np.flatnonzero(MATRIX[:, column])
    assert [part["row"] for part in trace.parts] == rows.tolist()
    for part in trace.parts:
        assert part["smallest_value"] == part["largest_value"] == MATRIX[part["row"], column]
        assert part["contribution"] == pytest.approx(MATRIX[part["row"], column] * weights[column])
        assert part["share_of_target"] == pytest.approx(part["contribution"] / GIVEN["targets"]["value"][part["row"]])
    (place,) = trace.places
    district = int(GIVEN["district"][column])
    assert (place["column"], place["weight"]) == (column, pytest.approx(weights[column]))
    assert place["county"].encode() == small.COUNTIES[district]
    same = trace_household(package, weights, int(trace.facts["household_id"]), column // small.RECORDS)
    assert (same.places, same.parts) == (trace.places, trace.parts)


def test_a_household_is_the_sum_of_its_copies(package: Package) -> None:
    weights = np.random.default_rng(3).uniform(0, 9, small.COLUMNS)
    trace = trace_household(package, weights, 1000 + 7 * 4)
    columns = 4 + small.RECORDS * np.arange(small.CLONES)
    assert [place["column"] for place in trace.places] == columns.tolist()
    assert trace.facts["weight"] == pytest.approx(weights[columns].sum())
    found = np.zeros(len(NAMES))
    for part in trace.parts:
        found[part["row"]] = part["contribution"]
        values = MATRIX[part["row"], columns]
        assert part["columns"] == np.count_nonzero(values)
        assert (part["smallest_value"], part["largest_value"]) == (values[values != 0].min(), values.max())
    np.testing.assert_allclose(found, MATRIX[:, columns] @ weights[columns])


def test_places_and_rows_are_told_in_words(package: Package) -> None:
    words = [row_in_words(package, row) for row in range(len(NAMES))]
    assert words[0] == "persons in the United States"
    assert words[6] == "persons aged 4 or younger (age < 5) in California"
    assert words[2].startswith("change in income tax when salt_deduction is neutralised, of tax units that file a tax return")
    assert words[23] == "snap in dollars of SPM units in California's 1st district"
    column = int(np.flatnonzero(GIVEN["district"] == 3612)[0])
    (place,) = trace_column(package, package.initial_weights, column).places
    assert (place["county_name"], place["district"]) == ("New York County, NY", "NY-12")
    assert place["place"] == "New York's 12th district"


def test_a_row_is_found_by_number_name_and_place(package: Package) -> None:
    for row, name in enumerate(NAMES):
        assert row_named(package, str(row)) == row_named(package, name) == row
    assert NAMES[row_named(package, "CA-01/snap/[]")] == "cd_601/snap/[]"
    assert NAMES[row_named(package, "US/snap/[]")] == "national/snap/[]"
    assert NAMES[row_named(package, "6/spm_unit_count/[snap>0]")] == "state_6/spm_unit_count/[snap>0]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30", "the package has no row 30; rows are 0 to 29"),
        ("CA-01/snpa/[]", r"no row 'CA-01/snpa/\[\]'; near it are cd_601/snap/\[\]"),
        ("national/salt_deduction/[]", r"near it are national/salt_deduction_expenditure/\[tax_unit_is_filer==1\]"),
        ("CA-52/snap/[]", r"near it are state_6/snap/\[\]  national/snap/\[\]"),
        ("TX/snap/[]", r"near it are national/snap/\[\]"),
        ("TX/snpa/[]", r"near it are .*snap/\[\]"),
        ("zzz", "no row 'zzz'; give its name or number"),
    ],
)
def test_a_row_that_there_is_not_is_told_with_those_near_it(package: Package, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        row_named(package, text)


def test_columns_households_and_clones_that_there_are_not(package: Package) -> None:
    weights = package.initial_weights
    with pytest.raises(ConfigError, match="no column 150; columns are 0 to 149"):
        trace_column(package, weights, 150)
    with pytest.raises(ConfigError, match="no household 1009; near it are 1000, 1007, 1014"):
        trace_household(package, weights, 1009)
    with pytest.raises(ConfigError, match="no clone 6; clones are 0 to 5"):
        trace_household(package, weights, 1000, 6)


def test_weights_are_those_of_a_fit_or_of_the_start(package: Package, tmp_path: Path) -> None:
    np.testing.assert_array_equal(weights_of(package, None), GIVEN["initial_weights"].astype(np.float64))
    fitted = np.random.default_rng(0).random(small.COLUMNS)
    np.save(tmp_path / "weights.npy", fitted)
    np.testing.assert_array_equal(weights_of(package, tmp_path / "weights.npy"), fitted)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(3), "is not a weight for each of 150 columns"),
        (np.full(150, "a"), "is not a weight for each of 150 columns"),
        (np.full(150, -1.0), "not finite, or below 0"),
        (np.full(150, np.nan), "not finite, or below 0"),
        (np.array([{}] * 150), "is no whole array of weights"),
    ],
)
def test_other_weights_are_refused(package: Package, tmp_path: Path, weights: np.ndarray, words: str) -> None:
    np.save(tmp_path / "weights.npy", weights)
    with pytest.raises(ArtifactError, match=words):
        weights_of(package, tmp_path / "weights.npy")


def test_weights_that_are_cut_short_or_missing_are_refused(package: Package, tmp_path: Path) -> None:
    np.save(tmp_path / "weights.npy", np.ones(150))
    (tmp_path / "weights.npy").write_bytes((tmp_path / "weights.npy").read_bytes()[:-9])
    with pytest.raises(ArtifactError, match="is no whole array of weights"):
        weights_of(package, tmp_path / "weights.npy")
    with pytest.raises(ArtifactError, match="there is no file of weights"):
        weights_of(package, tmp_path / "gone.npy")
