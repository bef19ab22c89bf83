"""The demo's survey and tax return files, parsed back by hand: codes, joins, weights, and support for the targets."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.demo.asec import write as write_asec
from geocal_core.demo.districts import county_parts, districts_of
from geocal_core.demo.puf import write as write_puf
from geocal_core.settings import ALL_STATES, RawSettings
from tests.demo.conftest import TINY

# Columns that readers of the two files want, by the data dictionary of March 2025 and the IRS booklet of 2015.
_COLUMNS = (Path(__file__).parent / "data" / "columns.txt").read_text().replace("asec:", "").split("puf:")
NEEDED, PUF_NEEDED = (set(names.split()) for names in _COLUMNS)

Asec = dict[str, pd.DataFrame]


def read_asec(folder: Path) -> Asec:
    with zipfile.ZipFile(folder / "asecpub25csv.zip") as archive:
        return {name[:2]: pd.read_csv(archive.open(name), dtype={"PERIDNUM": str}) for name in archive.namelist()}


@pytest.fixture(scope="module")
def asec(tmp_path_factory: pytest.TempPathFactory) -> Asec:
    """The survey of the demo profile: the nation in 2,400 households."""
    folder = tmp_path_factory.mktemp("asec")
    write_asec(RawSettings(states=ALL_STATES, households=2_400), folder)
    return read_asec(folder)


def test_asec_has_every_column_as_whole_numbers(asec: Asec) -> None:
    persons = asec["pp"]
    assert len(NEEDED) > 150
    assert not NEEDED - set(persons)
    assert all(persons[column].dtype.kind == "i" for column in persons if column != "PERIDNUM")
    assert {"H_SEQ", "HSUP_WGT", "H_TENURE", "GESTFIPS", "GTCO"} <= set(asec["hh"])
    assert {"FH_SEQ", "FFPOS"} <= set(asec["ff"])


def test_asec_joins_close(asec: Asec) -> None:
    persons, families, households = asec["pp"], asec["ff"], asec["hh"]
    assert set(persons["PH_SEQ"]) == set(households["H_SEQ"])
    keys = (
        persons[["PH_SEQ", "PF_SEQ"]]
        .drop_duplicates()
        .merge(families, left_on=["PH_SEQ", "PF_SEQ"], right_on=["FH_SEQ", "FFPOS"])
    )
    assert len(keys) == len(families)
    assert persons["PERIDNUM"].is_unique
    assert (persons["PERIDNUM"].str.len() == 22).all()
    assert not persons.duplicated(["PH_SEQ", "A_LINENO"]).any()
    assert (persons.groupby("TAX_ID")["PH_SEQ"].nunique() == 1).all()
    assert (persons.groupby("SPM_ID")["PH_SEQ"].nunique() == 1).all()
    assert (persons.groupby("TAX_ID")["SPM_ID"].nunique() == 1).all()
    assert (persons.groupby("PH_SEQ")["A_EXPRRP"].apply(lambda codes: codes.isin([1, 2]).sum()) == 1).all()


def test_asec_lines_point_at_people_of_the_household(asec: Asec) -> None:
    persons = asec["pp"]
    wanted = ["PH_SEQ", "A_LINENO", "A_SPOUSE", "PECOHAB", "PEPAR1", "PEPAR2", "DEP_STAT", "TAX_ID", "A_AGE", "A_MARITL"]
    persons = persons[wanted].copy()
    people = persons.set_index(["PH_SEQ", "A_LINENO"], drop=False)
    for column, nobody in (("A_SPOUSE", 0), ("PECOHAB", -1), ("PEPAR1", -1), ("PEPAR2", -1), ("DEP_STAT", 0)):
        pointing = persons[persons[column] != nobody]
        assert len(pointing) > 20, column
        target = people.loc[list(zip(pointing["PH_SEQ"], pointing[column], strict=True))]
        assert (target["A_LINENO"].to_numpy() == pointing[column].to_numpy()).all()
        if column in ("A_SPOUSE", "PECOHAB"):
            assert (target[column].to_numpy() == pointing["A_LINENO"].to_numpy()).all()
        if column == "A_SPOUSE":
            assert (target["TAX_ID"].to_numpy() == pointing["TAX_ID"].to_numpy()).all()
            assert (pointing["A_MARITL"] == 1).all()
        if column == "PEPAR1":
            assert (target["A_AGE"].to_numpy() > pointing["A_AGE"].to_numpy()).mean() > 0.98


def test_asec_weights_are_the_residents_of_each_state(asec: Asec) -> None:
    persons = asec["pp"].merge(asec["hh"], left_on="PH_SEQ", right_on="H_SEQ")
    assert (persons["A_FNLWGT"] == persons["HSUP_WGT"]).all()
    by_state = persons.groupby("GESTFIPS")["A_FNLWGT"].sum() / 100
    districts = districts_of(ALL_STATES)
    residents = pd.Series(districts.persons).groupby(districts.state).sum()
    assert np.allclose(by_state.to_numpy(), residents.to_numpy(), rtol=1e-6)


def test_asec_codes_lie_in_their_ranges(asec: Asec) -> None:
    persons, households = asec["pp"], asec["hh"]
    assert set(persons["A_AGE"]) & {81, 82, 83, 84} == set()
    assert persons["A_AGE"].max() == 85
    allowed = {
        "A_SEX": {1, 2},
        "A_EXPRRP": {1, 2, 3, 4, 5, 8, 13},
        "A_MARITL": {1, 4, 5, 7},
        "PRDTRACE": {1, 2, 3, 4, 7},
        "PRCITSHP": {1, 4, 5},
        "NOW_COV": {1, 2},
        "SS_YN": {0, 1, 2},
        "RESNSS1": {0, 1, 2, 3, 5, 6},
        "SPM_TENMORTSTATUS": {1, 2, 3},
    }
    for column, codes in allowed.items():
        assert set(persons[column]) == codes, column
    assert set(households["H_TENURE"]) == {1, 2, 3}
    told = households[households["GTCO"] > 0]
    counties = {f"{row.GESTFIPS:02d}{row.GTCO:03d}" for row in told.itertuples()}
    assert counties < set(county_parts().county)
    assert {"36061", "06037", "17031"} < counties
    assert 0.1 < (households["GTCO"] == 0).mean() < 0.6
    assert ((persons["SS_VAL"] > 0) == (persons["RESNSS1"] > 0)).all()
    assert (persons.loc[persons["A_AGE"] < 15, "WSAL_VAL"] == 0).all()


def test_asec_supports_the_targets(written: Path) -> None:
    """Even 240 households of three states hold what is to be reweighted: ages, children of earners, need, riches."""
    persons = read_asec(written / "census_asec")["pp"]
    ages = np.minimum(persons["A_AGE"] // 5, 17)
    assert set(ages) == set(range(18))
    units = persons.groupby("TAX_ID").agg(
        wages=("WSAL_VAL", "sum"),
        agi=("AGI", "first"),
        credit=("EIT_CRED", "first"),
        children=("DEP_STAT", lambda d: (d > 0).sum()),
    )
    for children in range(4):
        credited = units[(units["credit"] > 0) & (np.minimum(units["children"], 3) == children)]
        assert len(credited) >= 2, children
    assert (units["agi"] > 500_000).sum() >= 3
    assert (persons.drop_duplicates("SPM_ID")["SPM_SNAPSUB"] > 0).sum() >= 10
    assert (persons.drop_duplicates("SPM_ID")["SPM_POOR"] == 1).sum() >= 15


def read_puf(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(folder / "puf_2015.csv"), pd.read_csv(folder / "demographics_2015.csv")


def test_puf_has_every_column_and_the_four_aggregates(written: Path) -> None:
    table, supplement = read_puf(written / "irs_puf")
    assert not PUF_NEEDED - set(table)
    assert table["RECID"].tail(4).tolist() == [999_996, 999_997, 999_998, 999_999]
    aggregate = table.tail(4)
    assert (aggregate["MARS"] == 0).all()
    assert (aggregate["S006"] > 0).all()
    assert aggregate["E00100"].iloc[0] < aggregate["E00100"].iloc[1] < aggregate["E00100"].iloc[3]
    assert set(supplement["RECID"]) < set(table["RECID"])
    assert list(supplement) == ["RECID", "AGERANGE", "GENDER", "EARNSPLIT", "AGEDP1", "AGEDP2", "AGEDP3"]
    assert 590 <= len(table) <= 604


def test_puf_returns_are_consistent(written: Path) -> None:
    table, supplement = read_puf(written / "irs_puf")
    returns = table[table["MARS"] > 0]
    assert set(returns["MARS"]) == {1, 2, 3, 4}
    assert (returns["XTOT"] >= np.where(returns["MARS"] == 2, 2, 1)).all()
    assert (returns.loc[returns["MARS"] == 1, "XTOT"] == 1).all()
    assert (returns["E00600"] >= returns["E00650"]).all()
    assert (returns["E01500"] >= returns["E01700"]).all()
    assert (returns["E01000"] == np.maximum(returns["P22250"] + returns["P23250"], -3_000)).all()
    told = supplement.merge(returns, on="RECID")
    dependents = told["XTOT"] - np.where(told["MARS"] == 2, 2, 1)
    named = (told[["AGEDP1", "AGEDP2", "AGEDP3"]] > 0).sum(axis=1)
    assert (named == np.minimum(dependents, 3)).all()
    assert ((told["EARNSPLIT"] > 0) == (told["MARS"] == 2)).all()
    assert told["AGERANGE"].between(1, 7).all()


def test_puf_stands_for_the_returns_of_2015(tmp_path: Path) -> None:
    """IRS SOI, Publication 1304, tax year 2015: 150 million returns, 10.2 trillion dollars of AGI, 7.1 of wages."""
    write_puf(RawSettings(states=ALL_STATES, households=4_000), tmp_path)
    table, _ = read_puf(tmp_path)
    weight = table["S006"] / 100
    assert weight.sum() == pytest.approx(150.5e6, rel=0.12)
    assert (weight * table["E00100"]).sum() == pytest.approx(10.2e12, rel=0.2)
    assert (weight * table["E00200"]).sum() == pytest.approx(7.1e12, rel=0.12)
    returns = table[table["MARS"] > 0]
    assert (returns["E00100"] > 1_000_000).mean() > 10 * 0.003
    assert (returns["E00100"] > 10_000_000).sum() >= 10


def test_writers_of_surveys_refuse_a_sample_smaller_than_the_districts(tmp_path: Path) -> None:
    from geocal_core.errors import ConfigError

    for write in (write_asec, write_puf):
        with pytest.raises(ConfigError, match="ask for 28 or more"):
            write(RawSettings(states=TINY, households=20), tmp_path)
    assert not list(tmp_path.iterdir())
