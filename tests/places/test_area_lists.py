"""Areas by a line of data: what a line gives, and what is refused with its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from geocal_core.errors import ConfigError
from geocal_core.places.area_lists import COLUMNS, SHIPPED, read_areas
from geocal_core.places.catalogue import AREA_KEYS, AREAS, area, area_keys, area_keys_matching, areas_in, catalogue

HEADER = ",".join(COLUMNS)
LOS_ANGELES = "LOS_ANGELES,city,Los Angeles,CA,place_fips,44000,state,Census Bureau: national_place2020.txt"
METRO = '\nNYMETRO,metro,"New York, and around",,cbsa_code,35620,national,OMB Bulletin 23-01'
COUNTIES = "KANSAS_CITY,region,Kansas City,,county_fips,20209 29095,national,Census Bureau"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "areas.csv"
    path.write_text("\n".join(["# a comment", HEADER, *lines]) + "\n")
    return path


def test_the_shipped_list_is_new_york_city() -> None:
    (city,) = read_areas(SHIPPED, ())
    assert (city.key, city.level, city.state, city.field) == ("NYC", "city", "NY", "county_fips")
    assert city.values == ("36005", "36047", "36061", "36081", "36085")
    assert city.artifact == "areas/119/cities/NYC.h5"


def test_lines_become_areas(tmp_path: Path) -> None:
    city, metro, region = read_areas(write(tmp_path, LOS_ANGELES, METRO, COUNTIES), AREA_KEYS)
    assert (city.name, city.values, city.validation) == ("Los Angeles", ("44000",), "state")
    assert (metro.name, metro.state, metro.artifact) == ("New York, and around", None, "areas/119/metros/NYMETRO.h5")
    assert region.states == {"KS", "MO"}
    assert (city.states, metro.states) == ({"CA"}, frozenset())


def test_own_areas_follow_the_488_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue() == AREAS
    monkeypatch.setenv("GEOCAL_AREAS", str(write(tmp_path, LOS_ANGELES, METRO, COUNTIES)))
    assert area_keys() == (*AREA_KEYS, "LOS_ANGELES", "NYMETRO", "KANSAS_CITY")
    assert area("LOS_ANGELES").name == "Los Angeles"
    assert [one.key for one in areas_in(("CA",))][-2:] == ["LOS_ANGELES", "NYMETRO"]
    assert "KANSAS_CITY" not in [one.key for one in areas_in(("KS",))]
    assert [one.key for one in areas_in(("KS", "MO"))][-1] == "KANSAS_CITY"
    assert area_keys_matching(("LOS_ANGELES", "US")) == ("US", "LOS_ANGELES")
    with pytest.raises(ConfigError, match="there is no area 'KANSAS'; did you mean KANSAS_CITY"):
        area("KANSAS")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LOS_ANGELES.replace("place_fips", "planet"), "there is no field 'planet'; use one of county_fips, cbsa_code, zcta, "),
        (LOS_ANGELES.replace("place_fips", "vtd"), "there is no field 'vtd'"),
        (LOS_ANGELES.replace(",city,", ",planet,"), "there is no level 'planet'; use one of city, county, metro, "),
        (LOS_ANGELES.replace(",city,", ",state,"), "there is no level 'state'"),
        (LOS_ANGELES.replace(",state,", ",tract,"), "there is no validation 'tract'; use one of national, state"),
        (LOS_ANGELES.replace(",CA,", ",QQ,"), "there is no state 'QQ'"),
        (LOS_ANGELES.replace(",CA,", ",,"), "codes of place_fips are those of one state, and none is named"),
        (METRO.replace(",national,", ",state,"), "validation by state is those of one state, and none is named"),
        (LOS_ANGELES.replace("44000", "4400"), "'4400' is no place_fips; separate codes by spaces, with leading zeros"),
        (LOS_ANGELES.replace("44000", "44000 44000"), "a place_fips is there twice"),
        (LOS_ANGELES.replace("44000", ""), "values is empty"),
        (LOS_ANGELES.replace("Los Angeles,", ","), "name is empty"),
        (LOS_ANGELES.replace("Census Bureau: national_place2020.txt", " "), "source is empty"),
        (LOS_ANGELES.replace("LOS_ANGELES,", "L/A,"), "'L/A' is no key"),
        (LOS_ANGELES.replace("LOS_ANGELES,", "CA-98,"), "'CA-98' is no key"),
        (LOS_ANGELES.replace("LOS_ANGELES,", "NYC,"), "the key 'NYC' is used twice"),
        (LOS_ANGELES.replace("LOS_ANGELES,", "LA,"), "the key 'LA' is used twice"),  # Louisiana's
        (LOS_ANGELES.replace("LOS_ANGELES,", "Nyc,"), "the key 'Nyc' is used twice"),
        (f"{LOS_ANGELES}\n{LOS_ANGELES}", "line 4: the key 'LOS_ANGELES' is used twice"),
        (LOS_ANGELES.replace(",CA,", ","), "7 cells for 8 columns"),
        (LOS_ANGELES + ",more", "9 cells for 8 columns"),
        (COUNTIES.replace(",,", ",KS,"), "a county_fips is not of KS; leave the column state empty"),
        (COUNTIES.replace("29095", "99095"), "there is no state with FIPS code 99"),
        ('LOS_ANGELES,city,"Los Angeles,CA,place_fips,44000,state,x', "3 cells for 8 columns"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path, line)
    with pytest.raises(ConfigError, match=words) as caught:
        read_areas(path, AREA_KEYS)
    assert f"{path}, line " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOCAL_AREAS", str(tmp_path / "nowhere.csv"))
    with pytest.raises(ConfigError, match=r"nowhere\.csv does not exist; name a csv file of areas, or unset GEOCAL_AREAS"):
        catalogue()
    (tmp_path / "empty.csv").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="has other columns; its first line is key,level"):
        read_areas(tmp_path / "empty.csv", ())
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\nX,city,Cañon,CO,".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_areas(tmp_path / "latin.csv", ())
    with pytest.raises(ConfigError, match="cannot be read"):
        read_areas(tmp_path, ())
