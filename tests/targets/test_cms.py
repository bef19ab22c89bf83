"""Tables of CMS on a small nation: what the figures are, and that spoilt files are refused in one line or change nothing."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.targets.agencies import cms
from geocal_core.targets.figures import Scope
from geocal_core.targets.files import RawFiles
from tests.targets import cms_files as files

Values = dict[Any, float | None]


def values(folder: Path, scope: Scope = files.SCOPE) -> tuple[Values, Values]:
    """Figures of all tables, and the growth, by what they are."""
    raw = RawFiles(folder)
    figures: Values = {(t.name, f.family, f.place): f.value for t in cms.TABLES for f in t.read(raw, scope)}
    growth: Values = {
        (g.series, g.place, g.from_period, g.to_period): g.factor for t in cms.TABLES if t.growth for g in t.growth(raw, scope)
    }
    return figures, growth


def of(found: Values, table: str, place: int) -> list[float | None]:
    return [value for (name, _, at), value in found.items() if (name, at) == (table, place)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("cms") / "cms", files.tables())


def spoilt(tmp_path: Path, spoil: Callable[[dict[tuple[str, str], files.Table]], None]) -> Path:
    content = files.tables()
    spoil(content)
    return files.write(tmp_path / "cms", content)


def test_figures(whole: Path) -> None:
    found, growth = values(whole)
    assert of(found, "cms_medicaid", 10) == [240_000]
    assert of(found, "cms_medicaid", 0) == [800_000]
    assert of(found, "cms_effectuated", 16) == [70_000, 70_000 * 430 * 12]
    assert of(found, "cms_effectuated", 0) == [104_400, 12 * (32_000 * 590 + 2_400 * 360 + 70_000 * 430)]
    assert of(found, "cms_open_enrollment", 0) == [133_000]
    assert of(found, "cms_open_enrollment", 11) == [3_000]
    assert {place: v for (name, _, place), v in found.items() if name == "cms_bronze"} == {10: 8_580, 16: 45_900}
    persons = 43_000 * 40 / 44
    assert growth["aca_ptc_count", 10, 2022, 2024] == pytest.approx(persons / 27_000)
    assert growth["aca_ptc", 10, 2023, 2024] == pytest.approx(persons * 585 / (32_000 * 590))
    nation = persons + 11_500 * 3 / 15 + 102_000 * 90 / 104
    assert growth["aca_ptc_count", 0, 2023, 2024] == pytest.approx(nation / 104_400)
    assert len(growth) == 2 * 2 * 4


def test_states_grow_to_the_nation(whole: Path) -> None:
    """Totals of the states, each brought on by its factor, add up to the nation's by its own."""
    found, growth = values(whole)
    for index, series in enumerate(("aca_ptc_count", "aca_ptc")):
        grown = {p: of(found, "cms_effectuated", p)[index] * growth[series, p, 2023, 2024] for p in (0, 10, 11, 16)}  # type: ignore[operator]
        assert grown[10] + grown[11] + grown[16] == pytest.approx(grown[0])


def test_earlier_years(whole: Path) -> None:
    """Of the year wanted or before, each table takes the latest; growth within the workbook needs no other file."""
    raw = RawFiles(whole)
    medicaid, effectuated = (next(t for t in cms.TABLES if t.name == name) for name in ("cms_medicaid", "cms_effectuated"))
    before = replace(files.SCOPE, year=2023)
    assert {f.period for f in medicaid.read(raw, before)} == {2023}
    assert medicaid.read(raw, before)[0].value == 827_000
    assert {f.period for f in medicaid.read(raw, replace(files.SCOPE, year=2026))} == {2024}
    assert effectuated.growth is not None
    growth = {(g.series, g.place): g.factor for g in effectuated.growth(raw, before)}
    assert growth["aca_ptc_count", 11] == pytest.approx(2_400 / 2_100)
    assert growth["aca_ptc", 11] == pytest.approx(2_400 * 360 / (2_100 * 340.25))
    assert {f.value for f in effectuated.read(raw, replace(files.SCOPE, year=2022)) if f.place == 10} == {
        27_000,
        27_000 * 7_200,
    }
    assert effectuated.growth(raw, replace(files.SCOPE, year=2022)) == []


def test_moved_rows_and_columns(tmp_path: Path, whole: Path) -> None:
    """Columns in another order, with others between, and rows above the header, give the same figures."""

    def move(content: dict[tuple[str, str], files.Table]) -> None:
        for (name, sheet), table in content.items():
            if name == files.PAGE:
                continue
            moved = [[*reversed(row + [None] * (max(map(len, table)) - len(row))), None] for row in table]
            moved[-1][-1] = "a note"
            content[name, sheet] = [["Released in another layout"], [], *moved] if sheet[:1] in ("F", "(") else moved
            if sheet[:1] in ("F", "("):  # a footnote has no platform and is no row of a state
                content[name, sheet][-1][-1] = None

    assert values(spoilt(tmp_path, move)) == values(whole)


def test_not_reported(tmp_path: Path) -> None:
    """0 with the publisher's footnote is no figure of the state and none of the nation, whose notes have the others' sum."""

    def spoil(content: dict[tuple[str, str], files.Table]) -> None:
        row = next(row for row in content[files.MEDICAID, ""] if row[0] == "DC" and row[2] == "202412" and row[4] == "Y")
        row[5:] = ["0.0", "0.0", "Unable to Provide Data due to System Limitations", "0.0"]

    medicaid = next(t for t in cms.TABLES if t.name == "cms_medicaid")
    by_place = {f.place: f for f in medicaid.read(RawFiles(spoilt(tmp_path, spoil)), files.SCOPE)}
    assert by_place[11].value is None
    assert "withheld: 0 in medicaid" in str(by_place[11].notes)
    assert by_place[0].value is None
    assert str(by_place[0].notes).startswith("withheld: ")
    assert "is 550,000 without District of Columbia" in str(by_place[0].notes)


@pytest.mark.parametrize("mark", ["*", "NR", "+"])
def test_withheld(tmp_path: Path, mark: str) -> None:
    """A mark of the publisher, in workbook and csv alike, is no figure of the state and none of the nation."""

    def spoil(content: dict[tuple[str, str], files.Table]) -> None:
        content[files.ZIP, "(5) by Premium and FA"][2][5] = mark
        content[files.ZIP, files.CSV_MEMBER][2][3] = mark

    raw = RawFiles(spoilt(tmp_path, spoil))
    chosen, effectuated = (next(t for t in cms.TABLES if t.name == name) for name in ("cms_open_enrollment", "cms_effectuated"))
    by_place = {f.place: f for f in chosen.read(raw, files.SCOPE)}
    assert by_place[10].value == 40_000
    assert by_place[11].value is None
    assert by_place[0].value is None
    assert f"{mark!r} in {files.ZIP}" in str(by_place[11].notes)
    assert "row 3" in str(by_place[11].notes)
    assert effectuated.growth is not None
    with pytest.raises(InputError, match=r"row 3: APTC is withheld"):
        effectuated.growth(raw, files.SCOPE)


ALL = (files.MEDICAID, files.FULL_YEAR, files.ZIP, files.METAL, files.PAGE)


def refused(folder: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        values(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def own(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "cms"))


@pytest.mark.parametrize("name", ALL)
def test_missing(own: Path, name: str) -> None:
    (own / name).unlink()
    refused(own, re.sub(r"\d{4}", ".*", re.escape(name.split(".")[0])))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html><body>Not found</body></html>", b"\xff\xfe\x00", b"PK\x03\x04 cut", b'{"a": 1}']
)
def test_something_else_in_its_place(own: Path, name: str, content: bytes) -> None:
    (own / name).write_bytes(content)
    refused(own, re.escape(name))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(own: Path, name: str, share: float) -> None:
    content = (own / name).read_bytes()
    (own / name).write_bytes(content[: int(len(content) * share)])
    refused(own, re.escape(name))


@pytest.mark.parametrize("byte", [0, 65])
def test_sheet_lost_in_a_damaged_workbook(own: Path, byte: int) -> None:
    """A workbook whose table of contents misnames a sheet: without a check it would only have one sheet fewer."""
    content = bytearray((own / files.FULL_YEAR).read_bytes())
    content[content.rindex(b"xl/worksheets/sheet2.xml")] = byte
    (own / files.FULL_YEAR).write_bytes(bytes(content))
    refused(own, f"{files.FULL_YEAR} is not a whole workbook")


FULL, FIVE, SEVEN, CSV = (
    (files.FULL_YEAR, "Full Year 2023"),
    (files.ZIP, "(5) by Premium and FA"),
    (files.ZIP, "(7) by Metal Level"),
    (files.ZIP, files.CSV_MEMBER),
)
MONTHS, METAL, PAGE = (files.MEDICAID, ""), (files.METAL, ""), (files.PAGE, "")


@pytest.mark.parametrize(
    ("where", "row", "column", "value", "words"),
    [
        (FULL, 0, 0, "Full Year 2021 Effectuated Enrollment", "sheet Full Year 2023 has no row with 'Full Year 2023"),
        (FULL, 1, 3, "APTC", "sheet Full Year 2023 has no column APTC Enrollment"),
        (FULL, 5, 3, "32,000 [2]", r"row 6, column APTC Enrollment holds '32,000 \[2\]'"),
        (FULL, 5, 3, 32_001, r"row 3, column APTC Enrollment: states \(All\) add up to 104401"),
        (FULL, 5, 6, 600.0, "row 6: Average Total Premium per Month less"),
        (FULL, 5, 6, "d", "row 6, column Average APTC per Month .* holds 'd'"),
        (FULL, 6, 0, "DE", r"row 7: DE \(SBM\) is there twice"),
        (FULL, 6, 0, "PR", "row 7, column State holds 'PR', which is no state"),
        (FULL, 6, 1, "HC", "row 7, column Platform holds 'HC'"),
        (FULL, 2, 1, "SBM", r"Total \(SBM\) is there twice"),
        (FIVE, 0, 5, "APTC", "no sheet has a column Consumers with APTC"),
        (FIVE, 1, 5, 40_010, "add up to 133010"),
        (FIVE, 1, 6, 586, "differ in"),
        (FIVE, 2, 1, None, "row 3, column State Abbr. holds None"),
        (FIVE, 2, 2, None, "lacks District of Columbia"),
        (SEVEN, 1, 4, 11_001, "column Bronze: states"),
        (SEVEN, 2, 3, 15_001, "column Number of Consumers"),
        (CSV, 1, 5, "11,001", r"\.csv, line 2 and .*row 2 differ"),
        (CSV, 1, 0, "TX", "the csv file lacks the state of .*row 2"),
        (CSV, 0, 5, "Bronze", "has no column BRNZ"),
        (MONTHS, 0, 6, "Total Medicaid", "has no column TOTAL MEDICAID ENROLLMENT"),
        (MONTHS, 6, 6, "240001.0", "line 7: TOTAL MEDICAID ENROLLMENT and TOTAL CHIP ENROLLMENT do not add up"),
        (MONTHS, 6, 6, "X", "line 7, column TOTAL MEDICAID ENROLLMENT holds 'X'"),
        (MONTHS, 6, 6, "240,000 (2)", "line 7, column TOTAL MEDICAID ENROLLMENT holds"),
        (MONTHS, 6, 2, "202410", "final reports for 202412, lacks Delaware"),
        (MONTHS, 4, 2, "202412", "the final report of DE for 202412 is there twice"),
        (MONTHS, 5, 4, "Y", "the final report of DE for 202412 is there twice"),
        (MONTHS, 6, 4, "", "line 7, column FINAL REPORT holds ''"),
        (METAL, 2, 7, "8581", "line 3: APTC_CONSUMERS is not CONSUMERS times APTC_SHARE"),
        (METAL, 2, 8, "78%", "line 3, column APTC_SHARE holds '78%'"),
        (METAL, 2, 6, "11001.0", "line 3 has another platform or number of consumers"),
        (METAL, 2, 3, "SBM", "line 3 has another platform"),
        (METAL, 2, 4, "S", "metal level B, lacks Delaware"),
        (METAL, 4, 2, "DE", "line 5: the bronze plans of DE are there twice"),
        (METAL, 2, 7, "", "line 3, column APTC_CONSUMERS holds ''"),
        (METAL, 2, 0, "2023", "line 3 is not of 2024"),
        (PAGE, 0, 1, "Total Medicaid Enrollment", "2024: the table is not headed"),
        (PAGE, 3, 1, "1002", "2024: the states add up to"),
        (PAGE, 3, 1, "N/A", "2024, Alabama, column Number holds 'N/A'"),
        (PAGE, 3, 0, "Guam", "the rows are not those of the nation and its 51 states"),
        (PAGE, 4, 0, "Alabama", "or the state is there twice"),
    ],
)
def test_spoilt_cell(tmp_path: Path, where: tuple[str, str], row: int, column: int, value: object, words: str) -> None:
    def spoil(content: dict[tuple[str, str], files.Table]) -> None:
        if (where, row, column) == (METAL, 1, 4):
            content[where][row][5] = "All"
        content[where][row][column] = value

    refused(spoilt(tmp_path, spoil), words)


@pytest.mark.parametrize("where", [FULL, FIVE, SEVEN, METAL])
def test_missing_state(tmp_path: Path, where: tuple[str, str]) -> None:
    """A state that the file lacks altogether, with totals that do not count it."""

    def spoil(content: dict[tuple[str, str], files.Table]) -> None:
        content[where] = [row for row in content[where] if "ID" not in row]

    refused(spoilt(tmp_path, spoil), "lacks Idaho")


def test_december_without_a_reason(tmp_path: Path) -> None:
    def spoil(content: dict[tuple[str, str], files.Table]) -> None:
        content[MONTHS][6][5:] = ["7.0", "0.0", "", "7.0"]

    refused(spoilt(tmp_path, spoil), "line 7, column TOTAL MEDICAID ENROLLMENT holds 0, and no footnote says why")


def test_another_year(own: Path, tmp_path: Path) -> None:
    """Files of years that none has, and a zip of one year under the name of another."""
    medicaid = next(t for t in cms.TABLES if t.name == "cms_medicaid")
    with pytest.raises(InputError, match="has no final report for a December of 2022 or before"):
        medicaid.read(RawFiles(own), replace(files.SCOPE, year=2022))
    chosen = next(t for t in cms.TABLES if t.name == "cms_open_enrollment")
    with pytest.raises(InputError, match="of 2023 or before is wanted .* and there is 2024-oep"):
        chosen.read(RawFiles(own), replace(files.SCOPE, year=2023))
    (own / files.ZIP).rename(own / files.ZIP.replace("2024", "2023"))
    with pytest.raises(InputError, match="2023-oep.* has no 2023 OEP State-Level Public Use File.xlsx.*this one has 2024 OEP"):
        chosen.read(RawFiles(own), files.SCOPE)


TABLES = files.tables()
CELLS = [(where, r, c) for where, table in TABLES.items() for r, row in enumerate(table) for c in range(len(row))]
DAMAGE: list[Any] = [
    None,
    "",
    "X",
    "*",
    "NR",
    "+",
    "--",
    "12%",
    "1,234 [2]",
    "<html>",
    "All",
    "DE",
    "Y",
    "B",
    -5,
    0,
    1,
    7.5,
    10**9,
    "202412",
]


@pytest.fixture(scope="module")
def undamaged(whole: Path) -> tuple[Values, Values]:
    return values(whole)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.sampled_from(CELLS), damage=st.one_of(st.sampled_from(DAMAGE), st.integers(-3, 10**6), st.text(max_size=8)))
def test_fuzzed_cell(undamaged: tuple[Values, Values], where: tuple[tuple[str, str], int, int], damage: object) -> None:
    """One damaged cell is refused, or the figures are what they were."""
    content: Mapping[tuple[str, str], files.Table] = copy.deepcopy(TABLES)
    table, row, column = where
    content[table][row][column] = _storable(damage) if table[0] in (files.FULL_YEAR, files.ZIP) else damage
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = values(files.write(Path(folder) / "cms", content))
        except GeocalError:
            return
    assert found == undamaged


def _storable(value: object) -> object:
    """Without the control characters that no workbook can hold, and not taken for a formula."""
    return re.sub(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]|^=", "", value) if isinstance(value, str) else value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(ALL), place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_fuzzed_byte(whole: Path, tmp_path: Path, undamaged: tuple[Values, Values], name: str, place: float, byte: int) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "cms", dirs_exist_ok=True))
    content = bytearray((whole / name).read_bytes())
    content[int(place * len(content))] = byte
    (folder / name).write_bytes(bytes(content))
    try:
        found = values(folder)
    except GeocalError:
        return
    assert found == undamaged
