"""The demo's files of geographies, read as a user's would be, and held to what is real in them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from geocal_core.demo.sources import WRITERS
from geocal_core.places.blocks import build
from geocal_core.places.connecticut import people
from geocal_core.progress import Silent
from geocal_core.settings import BlockSettings, RawSettings
from geocal_core.surveys.sources import files_of

STATES = ("CA", "CT", "DC", "NE", "NY", "WY")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geographies")
    WRITERS["census_blocks"](RawSettings(states=STATES), path)
    return path


@pytest.fixture(scope="module")
def blocks(folder: Path) -> pd.DataFrame:
    output = folder.with_name(folder.name + "-blocks.parquet")
    settings = BlockSettings(states=STATES)
    facts = build(
        SimpleNamespace(inputs={"raw_census_blocks": folder}, settings=settings, output=output, reporter=Silent())  # type: ignore[arg-type]
    )
    table = pd.read_parquet(output)
    assert facts["blocks"] == len(table)
    assert facts["planning_region_values"] == 9
    return table


def test_all_files_of_the_source_are_written(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(file.name for file in files_of("census_blocks", STATES))


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    WRITERS["census_blocks"](RawSettings(states=STATES), tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_blocks_lie_in_one_geography_of_each_kind(blocks: pd.DataFrame) -> None:
    state, tract = blocks["block_geoid"].str[:2], blocks["block_geoid"].str[:11]
    for field in ("puma", "zcta", "sldu"):
        assert (blocks[field] != "").all()
        assert (blocks.groupby(tract)[field].nunique() == 1).all(), field
    assert blocks.groupby([state, "puma"], observed=True)["population"].sum().min() > 50_000
    # Legislative districts lie within congressional ones, lower within upper ones.
    assert (blocks.groupby([state, "sldu"], observed=True)["district"].nunique() == 1).all()
    lower = blocks[blocks["sldl"] != ""]
    assert (lower.groupby([state, "sldl"], observed=True)["sldu"].nunique() == 1).all()
    assert set(state[blocks["sldl"] == ""]) == {"11", "31"}
    assert set(state[blocks["vtd"] == ""]) == {"06"}
    assert 0.2 < (blocks["place_fips"] == "").mean() < 0.8
    assert blocks["block_geoid"].is_monotonic_increasing


def test_real_cities_and_metropolitan_areas(blocks: pd.DataFrame) -> None:
    county = blocks["block_geoid"].str[:5]
    city = county.isin(["36005", "36047", "36061", "36081", "36085"])
    assert set(blocks.loc[city, "place_fips"]) == {"51000"}
    assert set(county[(blocks["place_fips"] == "51000") & (county.str[:2] == "36")]) == set(county[city])
    assert set(blocks.loc[county == "06037", "cbsa_code"]) == {"31080"}
    assert set(blocks.loc[city, "cbsa_code"]) == {"35620"}
    los_angeles = blocks[(county == "06037") & (blocks["place_fips"] == "44000")]["population"].sum()
    assert 0.3 < los_angeles / blocks[county == "06037"]["population"].sum() < 0.5
    assert blocks.loc[county == "56021", "county_name"].unique().tolist() == ["Laramie County"]


def test_connecticut_comes_out_by_planning_region(blocks: pd.DataFrame) -> None:
    """Whole tracts of 60,000 people: each region within one of them for each county that it has a part of."""
    here = blocks["block_geoid"].str[:2] == "09"
    assert ((blocks["planning_region"] != "") == here).all()
    found = blocks[here].groupby("planning_region", observed=True)["population"].sum()
    published: dict[str, int] = {}
    for (_, region), number in people().items():
        published[region] = published.get(region, 0) + number
    parts = pd.Series([region for _, region in people()]).value_counts()
    assert set(found.index) == set(published)
    for region, number in published.items():
        assert abs(found[region] - number) < 60_000 * parts[region], region
    pairs = blocks[here].groupby([blocks["block_geoid"].str[:5], "planning_region"], observed=True).size()
    assert set(pairs.index) <= set(people())
    cbsa = blocks[here].groupby("planning_region", observed=True)["cbsa_code"].agg(lambda codes: sorted(set(codes)))
    assert cbsa["09120"] == cbsa["09190"] == ["14860"]
    assert cbsa["09140"] == ["47930"]


def test_states_lack_the_layers_that_they_lack_in_truth(folder: Path) -> None:
    def layers(name: str) -> set[str]:
        with zipfile.ZipFile(folder / name) as archive:
            return {member.removesuffix(".txt").split("_", 3)[3] for member in archive.namelist()}

    assert layers("BlockAssign_ST31_NE.zip") == {"INCPLACE_CDP", "SLDU", "VTD"}
    assert layers("BlockAssign_ST36_NY.zip") == {"INCPLACE_CDP", "SLDU", "SLDL", "VTD"}
