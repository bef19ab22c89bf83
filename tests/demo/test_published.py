"""The demo's agency files, parsed back by hand: formats as published, sums that agree, and nothing but the hidden truth."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from geocal_core.demo import truth
from geocal_core.demo.sources import WRITERS
from geocal_core.places.states import state_of_code
from geocal_core.settings import RawSettings
from geocal_core.store import digest_path
from tests.demo.conftest import TINY

STATES = [state_of_code(code) for code in TINY]


@pytest.mark.parametrize("agency", sorted(WRITERS))
def test_same_settings_give_the_same_bytes(agency: str, written: Path, tmp_path: Path) -> None:
    size = {"census_asec": 240, "irs_puf": 600}.get(agency, 0)
    WRITERS[agency](RawSettings(states=TINY, households=size), tmp_path)
    assert digest_path(tmp_path) == digest_path(written / agency)


@pytest.mark.parametrize("agency", ["census_asec", "irs_puf", "usda", "census_blocks"])
def test_another_seed_gives_other_bytes(agency: str, written: Path, tmp_path: Path) -> None:
    size = {"census_asec": 240, "irs_puf": 600}.get(agency, 0)
    WRITERS[agency](RawSettings(states=TINY, households=size, seed=1), tmp_path)
    assert digest_path(tmp_path) != digest_path(written / agency)


def test_a_larger_nation_has_the_same_districts(written: Path, tmp_path: Path) -> None:
    """What is published of New York does not depend on which other states are in scope."""
    WRITERS["irs"](RawSettings(states=("CA", "NY")), tmp_path)
    first, second = (pd.read_csv(path / "24incd.csv") for path in (written / "irs", tmp_path))
    pd.testing.assert_frame_equal(
        first[first.STATE == "NY"].reset_index(drop=True), second[second.STATE == "NY"].reset_index(drop=True)
    )


def acs(folder: Path, name: str) -> pd.DataFrame:
    header, *rows = json.loads((folder / "census" / name).read_text())
    return pd.DataFrame(rows, columns=header, dtype=object)


def test_s0101_adds_up_at_three_levels(written: Path) -> None:
    columns = [f"S0101_C01_{number:03d}E" for number in range(1, 20)]
    sums = {}
    for level in ("national", "state", "district"):
        table = acs(written, f"acs_S0101_{level}_2024.json")
        at_home = table[~table["GEO_ID"].str.contains("US72")]
        sums[level] = at_home[columns].astype(int).sum()
        assert (at_home[columns[1:]].astype(int).sum(axis=1) == at_home[columns[0]].astype(int)).all()
    assert (sums["national"] == sums["state"]).all()
    assert (sums["national"] == sums["district"]).all()
    shipped = truth.people().loc[[code for state in STATES for code in state.districts], list(truth.AGES)].sum()
    assert sums["national"].iloc[1:].tolist() == shipped.tolist()
    assert shipped.sum() == pytest.approx(340_110_990 / 331_449_281 * (989_948 + 20_201_249 + 576_851), rel=3e-4)


def test_acs_names_districts_as_the_bureau_does(written: Path) -> None:
    table = acs(written, "acs_S0101_district_2024.json")
    by_id = dict(zip(table["GEO_ID"], table["NAME"], strict=True))
    assert by_id["5001900US1000"] == "Congressional District (at Large) (119th Congress), Delaware"
    assert by_id["5001900US3612"] == "Congressional District 12 (119th Congress), New York"
    assert by_id["5001900US7298"] == "Resident Commissioner District (at Large) (119th Congress), Puerto Rico"
    assert sum("not defined" in name for name in by_id.values()) == 1
    assert (table["GEO_ID"].str[-4:] == table["state"] + table["congressional district"]).all()
    assert table.map(lambda cell: cell is None or isinstance(cell, str)).all(axis=None)


def test_acs_header_is_part_of_the_published_one(written: Path, raw_folder: Path) -> None:
    for name in ("acs_S0101_district_2024.json", "acs_S0101_state_2024.json", "acs_S2201_district_2024.json"):
        published = json.loads(next(raw_folder.rglob(name)).read_text())
        ours = list(acs(written, name).columns)
        order = [published[0].index(column) for column in ours]
        assert order == sorted(order)
        for column in ours:
            place = published[0].index(column)
            assert {type(cell) for cell in acs(written, name)[column]} <= {type(row[place]) for row in published[1:]} | {str}


def test_s2201_counts_households_with_snap(written: Path) -> None:
    table = acs(written, "acs_S2201_district_2024.json").set_index("GEO_ID")
    row = truth.people().loc[5601]
    assert int(table.loc["5001900US5600", "S2201_C03_001E"]) == row["snap_households"]
    assert int(table.loc["5001900US5600", "S2201_C01_001E"]) == row["households"]


def soi(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, thousands=",")


def test_irs_stubs_add_up_to_their_total(written: Path) -> None:
    for name, keys, stubs in (("24in55cmcsv.csv", ["STATE"], 10), ("24incd.csv", ["STATE", "CONG_DISTRICT"], 9)):
        table = soi(written / "irs" / name)
        values = [column for column in table if column[0] in "NAM" and column != "AGI_STUB"]
        for _, place in table.groupby(keys):
            assert place["AGI_STUB"].tolist() == list(range(stubs + 1))
            assert (place[values].iloc[1:].sum() == place[values].iloc[0]).all()


def test_irs_states_are_the_sums_of_their_districts(written: Path) -> None:
    states, districts = (soi(written / "irs" / name) for name in ("24in55cmcsv.csv", "24incd.csv"))
    values = [column for column in states if column[0] in "NAM" and column != "AGI_STUB"]
    total = states[states.AGI_STUB == 0].set_index("STATE")[values]
    of_district = districts[(districts.AGI_STUB == 0) & (districts.STATE != "US")]
    numbered = of_district[of_district.CONG_DISTRICT > 0].groupby("STATE")[values].sum()
    assert (numbered.loc["NY"] == total.loc["NY"]).all()
    whole = of_district[of_district.CONG_DISTRICT == 0].set_index("STATE")[values]
    assert (whole == total.loc[whole.index]).all(axis=None)
    assert (total.loc[[*TINY, "OA", "PR"]].sum() == total.loc["US"]).all()


def test_irs_units_are_those_of_the_publication(written: Path) -> None:
    table = soi(written / "irs" / "24in55cmcsv.csv").set_index(["STATE", "AGI_STUB"])
    row = table.loc[("NY", 0)]
    shipped = truth.returns().loc[list(state_of_code("NY").districts)].sum()
    assert row["N1"] == shipped["N1"]
    assert row["A00100"] == shipped["A00100"]
    assert row["A59664"] == 1_000 * shipped["A59664"]
    assert row["A59661"] + row["A59662"] + row["A59663"] + row["A59664"] / 1_000 == row["A59660"]
    assert row["N59661"] + row["N59662"] + row["N59663"] + row["N59664"] == row["N59660"]
    assert 20 < row["A00100"] / row["N1"] < 400
    bounds = [-float("inf"), 1, 10, 25, 50, 75, 100, 200, 500, 1_000, float("inf")]
    for stub in range(2, 11):
        mean = table.loc[("NY", stub), "A00100"] / table.loc[("NY", stub), "N1"]
        assert bounds[stub - 1] / (1_000 if stub == 2 else 1) <= mean < bounds[stub]


def test_irs_header_is_the_published_one(written: Path, raw_folder: Path) -> None:
    published = next(raw_folder.rglob("22in55cmcsv.csv")).read_text().splitlines()
    ours = (written / "irs" / "24in55cmcsv.csv").read_text().splitlines()
    assert ours[0] == published[0]
    assert ours[1].startswith('US,0,"')
    first = next(csv.reader(io.StringIO(published[1])))
    assert "," in first[2]
    assert "," in next(csv.reader(io.StringIO(ours[1])))[2]
    district = (written / "irs" / "24incd.csv").read_text().splitlines()[0]
    assert district.split(",")[4:] == published[0].split(",")[2:]


def workbook(folder: Path) -> openpyxl.Workbook:
    with zipfile.ZipFile(folder / "usda" / "snap-zip-fy69tocurrent-6.zip") as archive:
        return openpyxl.load_workbook(io.BytesIO(archive.read("FY24.xlsx")))


def blocks_of(sheet: openpyxl.worksheet.worksheet.Worksheet) -> dict[str, list[tuple[object, ...]]]:
    found: dict[str, list[tuple[object, ...]]] = {}
    name = ""
    for row in sheet.iter_rows(min_row=8, values_only=True):
        if row[0] == "Footnotes:":
            break
        if row[0] is not None and row[1] is None:
            name = str(row[0])
        elif row[0] is not None:
            found.setdefault(name, []).append(row)
    return found


def test_usda_totals_are_the_truth_and_the_months_agree(written: Path) -> None:
    book = workbook(written)
    blocks = {name: rows for sheet in book for name, rows in blocks_of(sheet).items()}
    assert {"Delaware", "New York", "Wyoming", "Guam", "NERO", "US Summary"} <= set(blocks)
    assert not {"California", "Texas"} & set(blocks)
    table = truth.people()
    for state in STATES:
        *months, total = blocks[state.name]
        rows = table.loc[list(state.districts)]
        assert [row[0] for row in months][::11] == ["Oct 2023", "Sep 2024"]
        assert total[1] == pytest.approx(rows["snap_households"].sum(), abs=1e-3)
        assert total[3] == rows["snap_dollars"].sum() == sum(row[3] for row in months)
        assert sum(row[1] for row in months) / 12 == pytest.approx(total[1], abs=1e-3)
        assert months[0][4] == pytest.approx(months[0][3] / months[0][1], abs=1e-4)
    counted = ("Delaware", "New York", "Wyoming", "Guam", "Virgin Islands")
    assert blocks["US Summary"][-1][3] == sum(blocks[name][-1][3] for name in counted)
    assert {cell for row in blocks["Puerto Rico"] for cell in row[1:]} == {"--"}
    assert {cell for row in blocks["SERO"] for cell in row[1:]} == {"--"}


def test_usda_sheets_are_laid_out_as_published(written: Path, raw_folder: Path) -> None:
    path = next(raw_folder.rglob("snap-zip-fy69tocurrent-6.zip"))
    with zipfile.ZipFile(path) as archive:
        published = openpyxl.load_workbook(io.BytesIO(archive.read("FY24.xlsx")))
    ours = workbook(written)
    assert ours.sheetnames == published.sheetnames
    for title in published.sheetnames:
        for line in range(1, 8):
            for ours_cell, published_cell in zip(ours[title][line], published[title][line], strict=True):
                assert ours_cell.value == published_cell.value, ours_cell.coordinate
        assert [row[0].value for row in ours[title]["A9:A21"]] == [row[0].value for row in published[title]["A9:A21"]]
    assert ours["NERO"]["F1"].value == datetime(2025, 6, 13)


def test_usda_regions_are_the_published_sheets(raw_folder: Path, tmp_path: Path) -> None:
    WRITERS["usda"](RawSettings(), tmp_path)
    with zipfile.ZipFile(next(raw_folder.rglob("snap-zip-fy69tocurrent-6.zip"))) as archive:
        published = openpyxl.load_workbook(io.BytesIO(archive.read("FY24.xlsx")))
    with zipfile.ZipFile(tmp_path / "snap-zip-fy69tocurrent-6.zip") as archive:
        ours = openpyxl.load_workbook(io.BytesIO(archive.read("FY24.xlsx")))
    for title in published.sheetnames:
        assert sorted(blocks_of(ours[title])) == sorted(blocks_of(published[title]))
