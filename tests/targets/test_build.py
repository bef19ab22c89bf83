"""The stage on small agency files: every figure where it belongs, the same bytes twice, what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from geocal_core.context import StageContext
from geocal_core.errors import ConfigError, GeocalError, InputError
from geocal_core.progress import Silent
from geocal_core.store import Store, digest_path
from geocal_core.targets.build import build_database
from geocal_core.targets.inventory import source_files
from geocal_core.targets.registry import tables
from geocal_core.targets.select import load_targets
from geocal_core.targets.stage import build
from geocal_core.targets.vocabulary import data_rows
from tests.targets import agency_files as files
from tests.targets.conftest import SETTINGS

PLACES = (0, 10, 11, 16, 1001, 1101, 1601, 1602)


def _districts(place: int) -> list[int]:
    every = [district for of in files.DISTRICTS.values() for _, district in of]
    return [d for d in every if place in (0, d // 100, d)]


def _value(targets: pd.DataFrame, place: int, name: str) -> float:
    where = "national" if place == 0 else f"state_{place}" if place < 100 else f"cd_{place}"
    found = targets.loc[targets["name"] == f"{where}/{name}", "original_value"]
    assert len(found) == 1, f"{where}/{name}"
    return float(found.iloc[0])


@pytest.mark.parametrize("place", PLACES)
def test_every_figure_is_where_it_belongs(small_db: Path, place: int) -> None:
    targets, _ = load_targets(small_db, 2024)
    districts = _districts(place)
    for index in range(18):
        bounds = f"[age<{5 * index + 5 if index < 17 else 1000},age>{5 * index - 1}]"
        assert _value(targets, place, f"person_count/{bounds}") == sum(files.age(d, index) for d in districts)
    if place >= 100:
        assert _value(targets, place, "household_count/[snap>0]") == 900 + place % 10
    else:
        states = sorted({d // 100 for d in districts})
        assert _value(targets, place, "household_count/[snap>0]") == pytest.approx(sum(map(files.snap_households, states)))
        assert _value(targets, place, "snap/[snap>0]") == sum(map(files.snap_dollars, states))
    filer = "tax_unit_is_filer==1"
    stubs = range(1, 11)
    assert _value(targets, place, f"tax_unit_count/[{filer}]") == sum(files.returns(d, s) for d in districts for s in stubs)
    agi = sum(files.income(d, s) for d in districts for s in stubs)
    assert _value(targets, place, f"adjusted_gross_income/[{filer}]") == 1000 * agi
    for stub, text in enumerate(_stub_texts(place), start=1):
        within = (9, 10) if stub == 9 and place >= 100 else (stub,)
        expected = sum(files.returns(d, s) for d in districts for s in within)
        assert _value(targets, place, f"tax_unit_count/[{text},{filer}]") == expected
    for children, text in enumerate(("==0", "==1", "==2", ">2")):
        number = sum(files.credits(d, children)[0] for d in districts)
        amount = sum(files.credits(d, children)[1] for d in districts)
        assert _value(targets, place, f"tax_unit_count/[eitc>0,eitc_child_count{text},{filer}]") == number
        assert _value(targets, place, f"eitc/[eitc>0,eitc_child_count{text},{filer}]") == 1000 * amount


def _stub_texts(place: int) -> list[str]:
    bounds = [1, 10_000, 25_000, 50_000, 75_000, 100_000, 200_000, 500_000, *([] if place >= 100 else [1_000_000])]
    agi = "adjusted_gross_income"
    between = [f"{agi}<{high},{agi}>={low}" for low, high in pairwise(bounds)]
    return [f"{agi}<1", *between, f"{agi}>={bounds[-1]}"]


def test_the_day_of_a_download_is_kept_with_its_content(agencies: Path, tmp_path: Path) -> None:
    """And only with that content: a file that was changed since was not fetched on that day."""
    fetched, changed = "acs_S0101_state_2024.json", "acs_S0101_district_2024.json"
    record = {name: {"sha256": digest_path(agencies / name), "date": "2026-01-31"} for name in (fetched, changed)}
    (agencies / "retrieved.json").write_text(json.dumps(record))
    (agencies / changed).write_text((agencies / changed).read_text() + "\n")
    build_database(agencies, tmp_path / "x.db", SETTINGS, Silent())
    days = source_files(tmp_path / "x.db").set_index("file")["retrieved"]
    assert days[fetched] == "2026-01-31"
    assert set(days.drop(fetched)) == {""}
    (agencies / "retrieved.json").write_text("[]")
    with pytest.raises(InputError, match=r"retrieved\.json is no record of downloads"):
        build_database(agencies, tmp_path / "x.db", SETTINGS, Silent())


def test_nothing_else_is_in_it(small_db: Path) -> None:
    targets, _ = load_targets(small_db, 2024)
    lines = data_rows("soi_lines.csv")
    by_income = sum(row["by_income"] == "yes" for row in lines)
    at_state = 18 + 2 + len(lines) + files.STATE_STUBS * by_income
    at_district = 18 + 1 + len(lines) + files.DISTRICT_STUBS * by_income
    assert len(targets) == files.TARGETS == 4 * at_state + 4 * at_district


def test_same_files_same_bytes(agencies: Path, small_db: Path, tmp_path: Path) -> None:
    build_database(agencies, tmp_path / "again.db", SETTINGS, Silent())
    assert digest_path(tmp_path / "again.db") == digest_path(small_db)


def test_order_of_states_does_not_matter(agencies: Path, small_db: Path, tmp_path: Path) -> None:
    build_database(agencies, tmp_path / "again.db", replace(SETTINGS, states=SETTINGS.states[::-1]), Silent())
    assert digest_path(tmp_path / "again.db") == digest_path(small_db)


def test_files_lie_anywhere_below_the_folder(agencies: Path, small_db: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted(agencies.iterdir())):
        folder = tmp_path / "spread" / f"{index}" / "deep"
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    shutil.copytree(agencies, tmp_path / "spread" / "copies")
    build_database(tmp_path / "spread", tmp_path / "again.db", SETTINGS, Silent())
    assert digest_path(tmp_path / "again.db") == digest_path(small_db)


def test_unit_of_the_three_children_column_is_found(small_db: Path, tmp_path: Path) -> None:
    """The published district files differ in it; the targets do not."""
    folder = files.write_all(tmp_path / "agencies", in_dollars=False)
    build_database(folder, tmp_path / "again.db", SETTINGS, Silent())
    assert_frame_equal(load_targets(tmp_path / "again.db", 2024)[0], load_targets(small_db, 2024)[0])


def test_stage(agencies: Path, small_db: Path, tmp_path: Path) -> None:
    folders = {"raw_census": "acs_*", "raw_usda": "snap*", "raw_irs": "*in*.csv"}
    inputs = {}
    for name, pattern in folders.items():
        inputs[name] = tmp_path / name
        inputs[name].mkdir()
        for path in agencies.glob(pattern):
            shutil.copy(path, inputs[name])
    reporter = Silent()
    context = StageContext(
        name="target_db",
        inputs=inputs,
        input_digests={},
        output=tmp_path / "policy_data.db",
        scratch=tmp_path / "scratch",
        settings=SETTINGS,
        reporter=reporter,
        store=Store(tmp_path),
        fingerprint="",
    )
    numbers = build(context)
    checks = ("targets_complete", "targets_known_totals", "targets_counts", "targets_hierarchy")
    assert reporter.checks == dict.fromkeys(checks, True)
    assert digest_path(context.output) == digest_path(small_db)
    assert numbers["targets"] == files.TARGETS
    assert numbers["snap_dollars"] == sum(map(files.snap_dollars, (10, 11, 16)))
    assert (numbers["national"], numbers["state"], numbers["district"]) == (155, 465, 588)


@pytest.mark.parametrize("name", files.TABLES)
def test_a_table_is_left_out_by_name(agencies: Path, tmp_path: Path, name: str) -> None:
    reporter = Silent()
    numbers = build_database(agencies, tmp_path / "less.db", replace(SETTINGS, without=(*SETTINGS.without, name)), reporter)
    assert 0 < int(numbers["targets"]) < files.TARGETS
    assert not any(message.startswith(f"{name}:") for message in reporter.messages)


def test_a_missing_table_must_be_left_out_by_name(agencies: Path, tmp_path: Path) -> None:
    (agencies / "24incd.csv").unlink()
    with pytest.raises(InputError, match=r"incd\.csv of 2024 or before .*irs_soi_district"):
        build_database(agencies, tmp_path / "x.db", SETTINGS, Silent())
    build_database(agencies, tmp_path / "x.db", replace(SETTINGS, without=(*SETTINGS.without, "irs_soi_district")), Silent())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"without": ("irs_soi_districts",)}, "no table 'irs_soi_districts'"),
        ({"without": tuple(tables())}, "every table is left out"),
        ({"states": ("DE", "XX")}, "no state 'XX'"),
        ({"states": ("DE", "DE")}, "repeated"),
        ({"states": ()}, "none or repeated"),
    ],
)
def test_settings_that_are_refused(agencies: Path, tmp_path: Path, change: dict[str, tuple[str, ...]], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        build_database(agencies, tmp_path / "x.db", replace(SETTINGS, **change), Silent())


@pytest.mark.parametrize("name", files.TABLES)
@pytest.mark.parametrize(
    ("states", "word"), [(("DE", "DC"), "covers Idaho beyond"), (("DE", "DC", "ID", "WY"), "lacks Wyoming")]
)
def test_files_hold_exactly_the_states_in_scope(
    agencies: Path, tmp_path: Path, name: str, states: tuple[str, ...], word: str
) -> None:
    """Every table for itself: national totals of other states must not slip in."""
    others = tuple(other for other in tables() if other != name)
    with pytest.raises(InputError, match=word):
        build_database(agencies, tmp_path / "x.db", replace(SETTINGS, states=states, without=others), Silent())


def test_a_failure_leaves_the_old_database_and_nothing_else(agencies: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "policy_data.db"
    build_database(agencies, output, SETTINGS, Silent())
    before = output.read_bytes()
    (agencies / "24incd.csv").write_text("STATE\n")
    reporter = Silent()
    with pytest.raises(GeocalError):
        build_database(agencies, output, SETTINGS, reporter)
    assert reporter.checks == {"targets_complete": False}
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == ["policy_data.db"]


def test_levels_add_up_in_the_database(small_db: Path) -> None:
    """By SQL over the view: districts to states and states to the nation, for every family that is published at both."""
    query = """
    SELECT variable, source, names, SUM(value) FROM (
      SELECT o.variable, t.source, o.value, o.geo_level, o.period,
        (SELECT GROUP_CONCAT(x, ',') FROM (
           SELECT c.constraint_variable || c.operation || c.value AS x FROM stratum_constraints c
           WHERE c.stratum_id = o.stratum_id AND c.constraint_variable NOT IN ('state_fips', 'congressional_district_geoid')
           ORDER BY x)) AS names
      FROM target_overview o JOIN targets t USING (target_id)
    ) WHERE geo_level = ? GROUP BY variable, source, names
    """
    with sqlite3.connect(small_db) as connection:
        sums = {
            level: {row[:3]: row[3] for row in connection.execute(query, (level,))}
            for level in ("national", "state", "district")
        }
    assert sums["state"] == pytest.approx(sums["national"])
    shared = set(sums["district"]) & set(sums["state"])
    lines = data_rows("soi_lines.csv")
    assert len(shared) == 18 + len(lines) + 8 * sum(row["by_income"] == "yes" for row in lines)  # eight sizes are at both
    assert {key: sums["district"][key] for key in shared} == pytest.approx({key: sums["state"][key] for key in shared})
