"""Targets handed out: the period that counts, uprating, names, order; and the series themselves."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.progress import Silent
from geocal_core.targets.build import build_database
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.select import load_targets
from geocal_core.targets.uprating import factor, series
from geocal_core.targets.vocabulary import target_variable
from tests.targets.conftest import SETTINGS

COLUMNS = (
    "target_id stratum_id variable reform_id value period geo_level geographic_id domain_variable original_value "
    "uprating_factor uprating_series source tolerance name hierarchy_factor hierarchy_follows"
)


SNAP_GROWTH = {0: 1.5, 10: 2.0, 11: 1.0, 16: 0.5}


@pytest.fixture
def copy(small_db: Path, tmp_path: Path) -> Path:
    """A database to write to."""
    return Path(shutil.copy(small_db, tmp_path / "copy.db"))


def _write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def _snap(path: Path, year: int = 2024) -> pd.Series:
    targets, _ = load_targets(path, year)
    return targets[(targets["variable"] == "snap") & (targets["geo_level"] == "national")].iloc[0]


def test_columns_and_order(small_db: Path) -> None:
    targets, constraints = load_targets(small_db, 2024)
    assert list(targets.columns) == COLUMNS.split()
    assert targets["name"].is_unique
    levels = {"national": 0, "state": 1, "district": 2}
    keys = [
        (
            levels[row.geo_level],
            row.variable,
            row.reform_id,
            0 if row.geographic_id == "US" else int(row.geographic_id),
            row.name_,
        )
        for row in targets.rename(columns={"name": "name_"}).itertuples()
    ]
    assert keys == sorted(keys)
    assert set(constraints) == set(targets["stratum_id"])
    assert not any(c.variable in ("state_fips", "congressional_district_geoid") for of in constraints.values() for c in of)
    assert set(targets["geographic_id"]) == {"US", "10", "11", "16", "1001", "1101", "1601", "1602"}


def test_constraints_are_those_of_the_name(small_db: Path) -> None:
    targets, constraints = load_targets(small_db, 2024)
    for row in targets[["stratum_id", "name"]].to_dict("records"):
        inside = row["name"].split("/", 2)[2]
        assert (
            inside
            == "[" + ",".join(f"{c.variable}{c.operation}{c.value}" for c in _sorted(constraints[row["stratum_id"]])) + "]"
        )


def _sorted(constraints: tuple[Constraint, ...]) -> list[Constraint]:
    return sorted(constraints, key=str)


def test_margins_are_tolerances(small_db: Path) -> None:
    """The files give a margin to every bin but the first, which is controlled, and the second, which has none."""
    targets, _ = load_targets(small_db, 2024)
    ages = targets[targets["variable"] == "person_count"].set_index("name")
    assert ages.loc["cd_1601/person_count/[age<5,age>-1]", "tolerance"] == 0
    assert np.isnan(ages.loc["cd_1601/person_count/[age<10,age>4]", "tolerance"])
    row = ages.loc["cd_1601/person_count/[age<15,age>9]"]
    assert row["tolerance"] == row["original_value"] // 10


def test_the_year_of_publication_is_not_uprated(small_db: Path) -> None:
    targets, _ = load_targets(small_db, 2024)
    assert (targets["uprating_factor"] == 1).all()
    followed = targets["hierarchy_follows"] != ""
    assert (targets.loc[~followed, "value"] == targets.loc[~followed, "original_value"]).all()
    assert set(targets.loc[followed, "source"]) == {"Census ACS S2201"}  # the survey, scaled to the administrative states
    assert (targets["uprating_series"] == "").all()


@pytest.mark.parametrize(
    ("first", "last", "year"), [(2024, 2025, 2025), (2024, 2025, 2026), (2023, 2024, 2023), (2023, 2024, 2022)]
)
def test_growth_of_places_is_not_lost_beyond_it(copy: Path, first: int, last: int, year: int) -> None:
    """As far as a place's own growth reaches it is used, forwards or backwards; the nation's series goes on from there."""
    _write(
        copy, *(f"INSERT INTO place_uprating VALUES ('snap', {p}, {first}, {last}, {f}, 'x')" for p, f in SNAP_GROWTH.items())
    )
    forward, index = year > 2024, series()["snap"]
    beyond = index[year] / index[last if forward else first]
    targets, _ = load_targets(copy, year)
    found = targets[targets["variable"] == "snap"].set_index("geographic_id")["uprating_factor"]
    for place, growth in SNAP_GROWTH.items():
        assert found[str(place or "US")] == pytest.approx((growth if forward else 1 / growth) * beyond)


def test_growth_of_places_past_the_year_is_not_used(copy: Path) -> None:
    """Growth over two years says nothing of the year between."""
    _write(copy, *(f"INSERT INTO place_uprating VALUES ('snap', {p}, 2024, 2026, {f}, 'x')" for p, f in SNAP_GROWTH.items()))
    targets, _ = load_targets(copy, 2025)
    index = series()["snap"]
    np.testing.assert_allclose(targets.loc[targets["variable"] == "snap", "uprating_factor"], index[2025] / index[2024])


def test_uprated_by_what_it_is(agencies: Path, tmp_path: Path) -> None:
    """IRS files of 2022 beside the others of 2024."""
    (agencies / "24in55cmcsv.csv").rename(agencies / "22in55cmcsv.csv")
    settings = replace(SETTINGS, without=(*SETTINGS.without, "irs_soi_district"))
    build_database(agencies, tmp_path / "policy_data.db", settings, Silent())
    targets, _ = load_targets(tmp_path / "policy_data.db", 2024)
    soi = targets[targets["source"] == "IRS SOI"]
    assert set(soi["period"]) == {2022}
    agi = 15_286.017359 / 14_833.956956 * 16_685.9 / 15_347.4  # published to TY2023, then by CBO
    expected = {"adjusted_gross_income": agi, "tax_unit_count": 340_110_988 / 334_017_321}
    for variable, ratio in expected.items():
        of_variable = soi[(soi["variable"] == variable) & (soi["domain_variable"] == "")]
        assert len(of_variable) > 0
        np.testing.assert_allclose(of_variable["uprating_factor"], ratio)
        np.testing.assert_allclose(of_variable["value"], of_variable["original_value"] * ratio)
    names = set(zip(soi["variable"], soi["domain_variable"], soi["uprating_series"], strict=True))
    assert {
        ("adjusted_gross_income", "", "adjusted_gross_income"),
        ("tax_unit_count", "", "population"),
        ("tax_unit_count", "adjusted_gross_income", "population"),
        ("eitc", "eitc,eitc_child_count", "eitc"),
        ("taxable_interest_income", "taxable_interest_income", "taxable_interest"),
        ("tax_unit_count", "aca_ptc", "aca_ptc_count"),
    } <= names
    others = targets[targets["source"] != "IRS SOI"]
    assert (others["uprating_factor"] == 1).all()


@pytest.mark.parametrize(
    ("periods", "year", "best"),
    [((2021, 2022), 2024, 2024), ((2022, 2023), 2023, 2023), ((2021, 2022), 2020, 2021), ((), 2022, 2024)],
)
def test_best_period(copy: Path, periods: tuple[int, ...], year: int, best: int) -> None:
    """The latest not after the year, else the earliest. The figure of 2024 is there in any case."""
    published = _snap(copy)
    columns = "variable, period, stratum_id, value"
    for period in periods:
        _write(
            copy,
            f"INSERT INTO targets ({columns}) VALUES ('snap', {period}, {published['stratum_id']}, {period})",
        )
    _write(copy, "UPDATE targets SET active = 0 WHERE variable NOT IN ('snap', 'person_count', 'household_count')")
    found = _snap(copy, year)
    assert found["period"] == best
    assert found["original_value"] == (published["value"] if best == 2024 else best)
    assert found["value"] == pytest.approx(found["original_value"] * series()["snap"][year] / series()["snap"][best])


def test_inactive_targets_stay_behind(copy: Path) -> None:
    before, _ = load_targets(copy, 2024)
    _write(copy, "UPDATE targets SET active = 0 WHERE variable = 'snap'")
    after, constraints = load_targets(copy, 2024)
    assert set(before["name"]) - set(after["name"]) == set(before.loc[before["variable"] == "snap", "name"])
    assert set(constraints) == set(after["stratum_id"])


def test_a_reform_has_a_name_of_its_own(copy: Path) -> None:
    published = _snap(copy)
    _write(
        copy,
        "INSERT INTO targets (variable, period, stratum_id, reform_id, value) "
        f"VALUES ('snap', 2024, {published['stratum_id']}, 1, 7.0)",
    )
    targets, _ = load_targets(copy, 2024)
    assert targets.loc[targets["reform_id"] == 1, "name"].tolist() == ["national/snap_expenditure/[snap>0]"]


def test_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no target database"):
        load_targets(tmp_path / "absent.db", 2024)
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ArtifactError, match="not a whole target database"):
        load_targets(tmp_path / "text.db", 2024)
    (tmp_path / "cut.db").write_bytes(copy.read_bytes()[:20_000])
    with pytest.raises(ArtifactError, match="not a whole target database"):
        load_targets(tmp_path / "cut.db", 2024)
    with pytest.raises(ConfigError, match=r"cannot be uprated to 2019: the series \w+ has no 2019"):
        load_targets(copy, 2019)
    _write(copy, "UPDATE targets SET value = NULL WHERE target_id = 5")
    with pytest.raises(ArtifactError, match="target 5 .* has no value"):
        load_targets(copy, 2024)
    _write(copy, "UPDATE targets SET active = 0")
    with pytest.raises(ConfigError, match="no active target"):
        load_targets(copy, 2024)


def test_two_targets_of_one_name_are_refused(copy: Path) -> None:
    """The same constraints below another parent make another stratum, but the same target."""
    published = _snap(copy)
    _write(
        copy,
        "INSERT INTO strata (stratum_id, definition_hash, parent_stratum_id) VALUES (9998, 'x', 1), (9999, 'y', 9998)",
        "INSERT INTO stratum_constraints VALUES (9999, 'snap', '>', '0', NULL)",
        f"INSERT INTO targets (variable, period, stratum_id, value) VALUES ('snap', 2024, 9999, {published['value']})",
    )
    with pytest.raises(ArtifactError, match=r"two active targets called national/snap/\[snap>0\]"):
        load_targets(copy, 2024)


def test_a_place_in_another_code_is_refused(copy: Path) -> None:
    _write(
        copy,
        "INSERT INTO strata (stratum_id, definition_hash, parent_stratum_id) VALUES (9999, 'x', 1)",
        "INSERT INTO stratum_constraints VALUES (9999, 'ucgid_str', '==', '0400000US06', NULL)",
        "INSERT INTO targets (variable, period, stratum_id, value) VALUES ('snap', 2024, 9999, 1.0)",
    )
    with pytest.raises(ArtifactError, match="place '0400000US06'"):
        load_targets(copy, 2024)


@given(st.sampled_from(("person_count", "snap", "adjusted_gross_income")), *[st.integers(2022, 2024)] * 3)
def test_factors_chain(variable: str, first: int, second: int, third: int) -> None:
    through = factor(variable, first, second)[0] * factor(variable, second, third)[0]
    assert factor(variable, first, third)[0] == pytest.approx(through)
    assert factor(variable, first, first) == (1.0, "")


def test_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="'snapp' is no variable of the engine; near it are .*snap"):
        target_variable("snapp")
    with pytest.raises(ConfigError, match="'is_female' cannot be added up: it is a truth"):
        factor("is_female", 2024, 2024)
    with pytest.raises(ConfigError, match="ambulance_expense of 2022 cannot be uprated to 2024: no series"):
        factor("ambulance_expense", 2022, 2024)
