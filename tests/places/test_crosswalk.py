"""The blocks artifact, looked up: against a table that is searched row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.codes import as_bytes, as_numbers, as_text
from geocal_core.places.crosswalk import Crosswalk

TABLE = pd.DataFrame(
    [
        ("060370001001000", 601, 10, "44000", "31080"),
        ("060370001001001", 601, 20, "", "31080"),
        ("060370002001000", 602, 30, "44000", "31080"),
        ("060590001001000", 602, 40, "02000", "31080"),
        ("360050001001000", 3601, 50, "51000", "35620"),
        ("360610001001000", 3602, 60, "51000", "35620"),
        ("361030001001000", 3602, 70, "44000", ""),
    ],
    columns=["block_geoid", "district", "population", "place_fips", "cbsa_code"],
)


def write(path: Path, table: pd.DataFrame) -> Path:
    table.astype({"district": "int32", "place_fips": "category", "cbsa_code": "category"}).to_parquet(path, index=False)
    return path


@pytest.fixture
def crosswalk(tmp_path: Path) -> Crosswalk:
    return Crosswalk.open(write(tmp_path / "blocks.parquet", TABLE))


@given(st.lists(st.integers(0, 10**15 - 1), max_size=50))
@settings(deadline=None)
def test_codes_go_to_numbers_and_back(numbers: list[int]) -> None:
    texts = [f"{number:015d}" for number in numbers]
    found = as_numbers(as_bytes(pd.Series(texts, dtype=str)))
    assert found.tolist() == numbers
    assert as_text(found, 15).tolist() == texts


def test_values_of_blocks(crosswalk: Crosswalk) -> None:
    rows = crosswalk.rows(TABLE["block_geoid"].to_numpy(dtype="S15")[[6, 0, 1]])
    assert rows.tolist() == [6, 0, 1]
    assert crosswalk.values("place_fips", rows).tolist() == ["44000", "44000", ""]
    assert crosswalk.values("county_fips", rows).tolist() == ["36103", "06037", "06037"]
    assert crosswalk.values("tract_geoid", rows).tolist() == ["36103000100", "06037000100", "06037000100"]
    assert crosswalk.geoid(rows).tolist() == TABLE["block_geoid"].iloc[[6, 0, 1]].tolist()
    assert crosswalk.fields == ("tract_geoid", "county_fips", "place_fips", "cbsa_code")


@pytest.mark.parametrize(
    ("field", "values", "state", "blocks"),
    [
        ("place_fips", ("44000",), "CA", [0, 2]),
        ("place_fips", ("44000", "02000"), "CA", [0, 2, 3]),
        ("place_fips", ("51000",), "NY", [4, 5]),
        ("county_fips", ("06059", "36061"), None, [3, 5]),
        ("cbsa_code", ("31080",), None, [0, 1, 2, 3]),
        ("tract_geoid", ("06037000100",), "CA", [0, 1]),
    ],
)
def test_blocks_of_a_geography(
    crosswalk: Crosswalk, field: str, values: tuple[str, ...], state: str | None, blocks: list[int]
) -> None:
    assert np.flatnonzero(crosswalk.holding(field, values, state)).tolist() == blocks


@pytest.mark.parametrize(
    ("field", "values", "state", "words"),
    [
        (
            "planet",
            ("1",),
            None,
            "blocks have no field 'planet'; its fields are tract_geoid, county_fips, place",
        ),
        ("place_fips", ("44000", "51000"), "CA", "no populated block of CA has place_fips '51000'"),
        ("county_fips", ("6037",), None, "no populated block has county_fips '6037'"),
        ("county_fips", ("x",), None, "no populated block has county_fips 'x'"),
        ("cbsa_code", ("99999",), None, "no populated block has cbsa_code '99999'"),
    ],
)
def test_what_no_block_has_is_refused(
    crosswalk: Crosswalk, field: str, values: tuple[str, ...], state: str | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        crosswalk.holding(field, values, state)


def test_a_block_outside_is_refused(crosswalk: Crosswalk) -> None:
    for block in (b"060370001001002", b"990000000000000", b"000000000000000"):
        with pytest.raises(ArtifactError, match=f"block {block.decode()} is not among the blocks"):
            crosswalk.rows(np.array([TABLE["block_geoid"][0].encode(), block]))


def test_units_are_numbered_within_their_state(crosswalk: Crosswalk) -> None:
    for field, expected in (
        ("county_fips", [0, 0, 0, 1, 2, 3, 4]),
        ("tract_geoid", [0, 0, 1, 2, 3, 4, 5]),
        ("district", [0, 0, 1, 1, 2, 3, 3]),
        ("place_fips", [1, -1, 1, 0, 3, 3, 2]),
    ):
        unit, number = crosswalk.units(field)
        assert (unit.tolist(), number) == (expected, max(expected) + 1)


def test_a_damaged_or_unsorted_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "blocks.parquet", TABLE.iloc[::-1])
    with pytest.raises(ArtifactError, match="is not sorted by block"):
        Crosswalk.open(path)
    path.write_bytes(write(tmp_path / "whole.parquet", TABLE).read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="not a whole file of blocks"):
        Crosswalk.open(path)
    pq.write_table(pq.read_table(tmp_path / "whole.parquet", columns=["district", "population"]), path)
    with pytest.raises(ArtifactError, match="not a whole file of blocks"):
        Crosswalk.open(path)
