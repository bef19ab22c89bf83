"""The demo's block files, joined by hand from their published layouts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from geocal_core.demo.districts import county_parts
from geocal_core.demo.sources import WRITERS
from geocal_core.places.states import state_of_code
from geocal_core.settings import RawSettings

STATES = ("CT", "DC", "NY", "WY")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks")
    WRITERS["census_blocks"](RawSettings(states=STATES), path)
    return path


def block_file(folder: Path) -> pd.DataFrame:
    with zipfile.ZipFile(folder / "cd119.zip") as archive:
        assert archive.namelist() == ["NationalCD119.txt"]
        return pd.read_csv(archive.open("NationalCD119.txt"), dtype=str)


def redistricting(folder: Path, state: str) -> pd.DataFrame:
    """Areas with their population: header and segment 1 side by side, after checking that their records are the same."""
    with zipfile.ZipFile(folder / f"{state}2020.pl.zip") as archive:
        header, first = (
            [line.split("|") for line in io.TextIOWrapper(archive.open(f"{state}{name}2020.pl"))] for name in ("geo", "00001")
        )
    assert {len(row) for row in header} == {97}
    assert {len(row) for row in first} == {5 + 71 + 73}
    assert [row[7] for row in header] == [row[4] for row in first]
    assert [row[5] for row in first] == [row[5 + 71] for row in first]
    return pd.DataFrame(
        {
            "level": [row[2] for row in header],
            "code": [row[9] for row in header],
            "geoid": [row[8] for row in header],
            "people": [int(row[5]) for row in first],
            "by_race": [sum(int(cell) for cell in row[7:14]) for row in first],
        }
    )


def test_every_part_of_a_county_has_its_people_in_several_blocks(folder: Path) -> None:
    district_of = block_file(folder).set_index("GEOID")["CDFP"]
    assert district_of.index.is_unique
    parts = county_parts()
    for code in STATES:
        state = state_of_code(code)
        blocks = redistricting(folder, code.lower()).query("level == '750'").set_index("code")
        assert set(blocks.index) == set(district_of[district_of.index.str[:2] == f"{state.fips:02d}"].index)
        number = district_of[blocks.index]
        populated = blocks[blocks["people"] > 0].assign(
            district=number.map(lambda text: 1 if text in ("00", "98") else text).astype(object),
            county=lambda b: b.index.str[:5],
        )
        populated["district"] = 100 * state.fips + populated["district"].astype(int)
        people = populated.groupby(["district", "county"])["people"].agg(["sum", "size"])
        here = parts.district // 100 == state.fips
        published = pd.Series(parts.population[here], [parts.district[here], parts.county[here]])
        assert people["sum"].to_dict() == published.to_dict()
        assert (people["size"] >= 4).all()
        tracts = populated.groupby("county").apply(lambda b: b.index.str[5:11].nunique())
        assert (tracts >= 2).all()


def test_published_codes_of_single_districts_and_water(folder: Path) -> None:
    table = block_file(folder)
    by_state = table.groupby(table["GEOID"].str[:2])["CDFP"].agg(set)
    assert by_state["11"] == {"98"}
    assert by_state["56"] == {"00"}
    assert by_state["09"] == {"01", "02", "03", "04", "05", "ZZ"}
    water = table[table["CDFP"] == "ZZ"]["GEOID"]
    assert (water.str[5:11] == "990000").all()
    blocks = redistricting(folder, "ct").set_index("code")
    assert (blocks.loc[water, "people"] == 0).all()
    assert table["GEOID"].str.fullmatch(r"\d{15}").all()


def test_levels_of_the_redistricting_file_add_up(folder: Path) -> None:
    for code in STATES:
        table = redistricting(folder, code.lower())
        by_level = table.groupby("level")["people"].sum()
        assert by_level["040"] == by_level["050"] == by_level["750"]
        assert (table["by_race"] == table["people"]).all()
        assert (table["geoid"] == table["level"] + "0000US" + table["code"]).all()
        blocks = table[table["level"] == "750"]
        assert (blocks["people"] == 0).any()


def test_new_york_city_has_its_five_counties(folder: Path) -> None:
    blocks = redistricting(folder, "ny").query("level == '750'")
    people = blocks.groupby(blocks["code"].str[:5])["people"].sum()
    city = people[["36005", "36047", "36061", "36081", "36085"]]
    assert city.sum() == pytest.approx(8_804_190, rel=1e-3)
