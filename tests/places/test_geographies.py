"""Geographies of blocks, from files in the Census Bureau's layouts, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geocal_core.errors import InputError
from geocal_core.places.geographies import read_geographies
from tests.places.census import BLOCKS, STATES, change, write_census

PUMA = "2020_Census_Tract_to_2020_PUMA.txt"
ZCTA = "tab20_zcta520_tabblock20_natl.txt"
CBSA = "cbsa2fipsxw_2023.csv"
COUNTY = "national_county2020.txt"
TOWNS = "ct_cou_to_cousub_crosswalk.txt"
DELAWARE = "BlockAssign_ST10_DE"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_census(tmp_path)
    return tmp_path


def read(folder: Path, states: tuple[str, ...] = STATES) -> dict[str, list[str]]:
    heads = {"CT": 9, "DE": 10, "NE": 31}
    blocks = np.array([block for block in BLOCKS if block // 10**13 in {heads[state] for state in states}])
    return {name: column.to_pylist() for name, column in read_geographies(folder, blocks, states).items()}


def test_every_block_has_its_geographies_or_the_empty_text(folder: Path) -> None:
    assert read(folder) == {
        "county_name": ["Fairfield County"] * 2 + ["New Castle County"] * 2 + ["Adams County"] * 2 + ["Antelope County"],
        "place_fips": ["08000", "68100", "77580", "", "77580", "", ""],
        "sldu": ["022", "021", "001", "", "001", "002", "002"],
        "sldl": ["126", "113", "01A", "002", "", "", ""],
        "vtd": ["000001", "000001", "000001", "", "", "", ""],
        "puma": ["20100", "20200", "00101", "00101", "00400", "00500", "00500"],
        "zcta": ["06604", "06484", "19801", "", "68901", "68901", "68720"],
        "planning_region": ["09120", "09140", "", "", "", "", ""],
        "cbsa_code": ["14860", "47930", "37980", "37980", "25580", "25580", ""],
    }


def test_a_state_without_a_lower_chamber_does_not_change_the_columns(folder: Path) -> None:
    """Nebraska alone: the same columns, and those it lacks are empty."""
    alone, all_three = read(folder, ("NE",)), read(folder)
    assert list(alone) == list(all_three)
    assert {name: values[4:] for name, values in all_three.items()} == alone


def test_towns_are_needed_for_connecticut_only(folder: Path) -> None:
    (folder / TOWNS).unlink()
    assert read(folder, ("DE",))["planning_region"] == ["", ""]
    with pytest.raises(InputError, match=r"ct_cou_to_cousub_crosswalk\.txt is missing"):
        read(folder)


def test_names_of_counties_may_be_in_the_older_encoding(folder: Path) -> None:
    path = folder / COUNTY
    path.write_bytes(path.read_bytes().decode().replace("Antelope", "Doña Ana").encode("latin-1"))
    assert read(folder)["county_name"][-1] == "Doña Ana County"


def without_line(part: str) -> Callable[[str], str]:
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if part not in line)


def swapped(old: str, new: str) -> Callable[[str], str]:
    def alter(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return alter


@pytest.mark.parametrize(
    ("name", "member", "alter", "words"),
    [
        (
            PUMA,
            "",
            without_line("31,003,000100"),
            r"block 310030001001000 has people, .*PUMA\.txt .* its first 11",
        ),
        (
            COUNTY,
            "",
            without_line("NE|31|003"),
            r"block 310030001001000 has people, .*2020\.txt .* its first 5",
        ),
        (
            COUNTY,
            "",
            swapped("COUNTYNAME", "NAME"),
            r"county2020\.txt is not a table of STATEFP, .*\(.*COUNTYNAME",
        ),
        (PUMA, "", swapped("000200", "00O200"), r"PUMA\.txt has a code that is no number"),
        (ZCTA, "", without_line("310010002001000"), r"natl\.txt lacks 310010002001000 and 0 others"),
        (ZCTA, "", lambda text: text[:-20], r"natl\.txt is not a table of GEOID_TABBLOCK_20, .*Expected 17 columns"),
        (ZCTA, "", lambda text: "", r"natl\.txt is not a table of .*Empty CSV file"),
        (
            CBSA,
            "",
            without_line("Connecticut"),
            "has no planning region of Connecticut; fetch it again; it must be the delineation of July 2023",
        ),
        (CBSA, "", without_line("Nebraska"), "has no county of Nebraska"),
        (CBSA, "", lambda text: text.splitlines()[0] + "\n", "has no planning region of Connecticut"),
        (CBSA, "", swapped("cbsacode,", "code,"), r"is not a table of fipsstatecode, fipscountycode, cbsacode"),
        (TOWNS, "", without_line("Torrington"), r"does not have the nine planning regions: 09160"),
        (TOWNS, "", swapped("|OLD_COUSUB_GEOID|", "|GEOID|"), "has no column OLD_COUSUB_GEOID"),
        (TOWNS, "", swapped("0900173070", "0900108070"), "has town 0900108070 in 09120 and in 09190"),
        (
            "ct2020.pl.zip",
            "ctgeo2020.pl",
            swapped("68170", "00000"),
            "090011101001000 lies in town '0900100000', which",
        ),
        ("ct2020.pl.zip", "ctgeo2020.pl", without_line("68170"), "has no block 090011101001000"),
        (
            f"{DELAWARE}.zip",
            f"{DELAWARE}_INCPLACE_CDP.txt",
            without_line("1001001|"),
            "lacks block 100030001001001, where",
        ),
        (
            f"{DELAWARE}.zip",
            f"{DELAWARE}_SLDU.txt",
            swapped("10003", "10005"),
            "lacks block 100030001001000, where",
        ),
        (f"{DELAWARE}.zip", f"{DELAWARE}_SLDU.txt", lambda text: "", r"has no member BlockAssign_ST10_DE_SLDU\.txt"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_by_name(
    folder: Path, name: str, member: str, alter: Callable[[str], str], words: str
) -> None:
    change(folder / name, member, alter)
    with pytest.raises(InputError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [PUMA, ZCTA, CBSA, COUNTY, TOWNS, f"{DELAWARE}.zip"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        read(folder)


def test_a_truncated_zip_is_refused(folder: Path) -> None:
    path = folder / f"{DELAWARE}.zip"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a whole zip file"):
        read(folder)
