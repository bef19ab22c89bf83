"""Connecticut's counties and planning regions, against the census and the published crosswalk of PUMAs."""

from __future__ import annotations

from math import fsum
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.places.connecticut import counties, people, planning_regions, to_counties, to_planning_regions

# 2020 census, P1.
COUNTIES = {
    "09001": 957_419,
    "09003": 899_498,
    "09005": 185_186,
    "09007": 164_245,
    "09009": 864_835,
    "09011": 268_555,
    "09013": 149_788,
    "09015": 116_418,
}
REGIONS = {
    "09110": 976_248,
    "09120": 325_778,
    "09130": 174_225,
    "09140": 450_376,
    "09150": 95_348,
    "09160": 112_503,
    "09170": 570_487,
    "09180": 280_430,
    "09190": 620_549,
}
STATE = 3_605_944

values = st.floats(-1e12, 1e12)
by_county = st.fixed_dictionaries(dict.fromkeys(COUNTIES, values))
by_region = st.fixed_dictionaries(dict.fromkeys(REGIONS, values))


def test_populations_are_those_of_the_census() -> None:
    for side, published in ((0, COUNTIES), (1, REGIONS)):
        found = dict.fromkeys(published, 0)
        for pair, number in people().items():
            found[pair[side]] += number
        assert found == published
    assert sum(people().values()) == STATE
    assert (tuple(counties()), tuple(planning_regions())) == (tuple(COUNTIES), tuple(REGIONS))
    assert (counties()["09013"], planning_regions()["09110"]) == ("Tolland", "Capitol")


def test_people_go_where_they_live() -> None:
    assert to_planning_regions({k: float(v) for k, v in COUNTIES.items()}) == pytest.approx(REGIONS)
    assert to_counties({k: float(v) for k, v in REGIONS.items()}) == pytest.approx(COUNTIES)


@given(by_county)
def test_totals_are_kept_going_there(figures: dict[str, float]) -> None:
    assert fsum(to_planning_regions(figures).values()) == pytest.approx(fsum(figures.values()), rel=1e-9, abs=1e-2)


@given(by_region)
def test_totals_are_kept_coming_back(figures: dict[str, float]) -> None:
    back = to_counties(figures)
    assert set(back) == set(COUNTIES)
    assert fsum(back.values()) == pytest.approx(fsum(figures.values()), rel=1e-9, abs=1e-2)


@given(st.sampled_from(sorted(COUNTIES)), st.floats(1, 1e9))
def test_nothing_leaves_the_regions_of_a_county(county: str, amount: float) -> None:
    found = to_planning_regions({code: amount * (code == county) for code in COUNTIES})
    within = {region for of, region in people() if of == county}
    assert {region for region, value in found.items() if value} == within


@pytest.mark.parametrize("convert", [to_planning_regions, to_counties])
def test_other_codes_are_refused(convert: object) -> None:
    known = COUNTIES if convert is to_planning_regions else REGIONS
    figures = dict.fromkeys(known, 1.0)
    assert callable(convert)
    with pytest.raises(ConfigError, match="of Connecticut lack 09"):
        convert(dict.fromkeys(list(known)[1:], 1.0))
    with pytest.raises(ConfigError, match="do not include 9001"):
        convert(figures | {"9001": 1.0})
    with pytest.raises(ConfigError, match="Connecticut lack 09001|Connecticut do not include 09001"):
        convert(dict.fromkeys(REGIONS if known is COUNTIES else COUNTIES, 1.0))


@pytest.mark.raw
def test_pairs_agree_with_the_published_crosswalk_of_pumas(raw_folder: Path) -> None:
    """PUMAs 201xx to 209xx of 2020 are the planning regions in another order; only Stafford lies in a PUMA of its neighbour."""
    table = pd.read_csv(raw_folder / "geography" / "puma_county_crosswalk.csv", dtype=str)
    table = table[table["state_fips"] == "09"].astype({"population": int})
    regions = dict(zip("123456789", ("160", "110", "150", "180", "130", "170", "140", "120", "190"), strict=True))
    table["region"] = "09" + table["puma"].str[2].map(regions)
    found = table.groupby(["county_fips_full", "region"])["population"].sum().to_dict()
    stafford = 11_472
    found["09013", "09110"] += stafford
    found["09013", "09150"] -= stafford
    assert found == dict(people())


@pytest.mark.raw
def test_the_raw_files_still_carry_the_counties(raw_folder: Path) -> None:
    zips = pd.read_csv(raw_folder / "geography" / "zip_codes.csv.gz")
    names = set(zips.loc[zips["state"] == "CT", "county"]) - {"Suffolk County"}  # Fishers Island, reached from New London
    assert names == {f"{name} County" for name in counties().values()}
