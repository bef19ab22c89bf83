"""The demo's files, which are in the agencies' formats: targets against sums made straight from the written files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from geocal_core.demo.sources import WRITERS
from geocal_core.profiles import profile
from geocal_core.progress import Silent
from geocal_core.settings import RawSettings, TargetSettings
from geocal_core.targets.build import build_database
from geocal_core.targets.select import load_targets

STATES = ("DE", "NY", "WY")
FIPS = {"DE": 10, "NY": 36, "WY": 56}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The folder of the written files, and the targets made of them."""
    folder = tmp_path_factory.mktemp("demo")
    for agency in ("census", "cms", "irs", "ssa", "usda"):
        (folder / agency).mkdir()
        WRITERS[agency](RawSettings(states=STATES), folder / agency)
    settings = profile("tiny").stages["target_db"]
    assert isinstance(settings, TargetSettings)
    build_database(folder, folder / "policy_data.db", settings, Silent())
    targets, _ = load_targets(folder / "policy_data.db", 2024)
    return folder, targets


def test_every_place_has_its_targets(demo: tuple[Path, pd.DataFrame]) -> None:
    _, targets = demo
    assert targets["geo_level"].value_counts().to_dict() == {"national": 156, "state": 3 * 156, "district": 28 * 147}
    assert (targets["uprating_factor"] == 1).all()


def test_persons_add_up(demo: tuple[Path, pd.DataFrame]) -> None:
    folder, targets = demo
    header, *rows = json.loads((folder / "census" / "acs_S0101_state_2024.json").read_text())
    totals = pd.DataFrame(rows, columns=header).set_index("state")["S0101_C01_001E"].astype(int).drop("72")
    ages = targets[targets["domain_variable"] == "age"]
    by_state = ages["geographic_id"].where(ages["geo_level"] == "state", ages["geographic_id"].str[:-2])
    for level in ("state", "district"):
        found = ages[ages["geo_level"] == level].groupby(by_state)["value"].sum()
        assert found.to_dict() == totals.to_dict()
    assert ages.loc[ages["geo_level"] == "national", "value"].sum() == totals.sum()


def test_returns_and_income(demo: tuple[Path, pd.DataFrame]) -> None:
    folder, targets = demo
    table = pd.read_csv(folder / "irs" / "24in55cmcsv.csv", thousands=",")
    totals = table[table["AGI_STUB"] == 0].set_index("STATE").loc[list(STATES)]
    for variable, column, unit in (("tax_unit_count", "N1", 1), ("adjusted_gross_income", "A00100", 1000)):
        whole = targets[(targets["variable"] == variable) & (targets["domain_variable"] == "")]
        assert whole.loc[whole["geo_level"] == "national", "value"].sum() == totals[column].sum() * unit
        for code, fips in FIPS.items():
            districts = whole[(whole["geo_level"] == "district") & (whole["geographic_id"].str[:-2] == str(fips))]
            assert districts["value"].sum() == totals.loc[code, column] * unit
            assert whole.loc[whole["geographic_id"] == str(fips), "value"].tolist() == [totals.loc[code, column] * unit]


def test_credits(demo: tuple[Path, pd.DataFrame]) -> None:
    """Column A59664 is in dollars in these files; the credits by number of children add up to all credits."""
    folder, targets = demo
    table = pd.read_csv(folder / "irs" / "24incd.csv")
    whole = table[(table["AGI_STUB"] == 0) & (table["CONG_DISTRICT"] == 0) & table["STATE"].isin(STATES)]
    credits = targets[(targets["variable"] == "eitc") & (targets["geo_level"] == "district")]
    assert credits["value"].sum() == whole["A59660"].sum() * 1000
    three = credits[credits["name"].str.contains("eitc_child_count>2")]
    assert three["value"].sum() == whole["A59664"].sum()
