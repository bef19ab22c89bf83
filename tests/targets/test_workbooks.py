"""Workbooks of both formats: cells, merged headers, marks, dates, errors; and what is no workbook."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import InputError
from geocal_core.targets.workbooks import Sheet, column_named, open_workbook, plain

RAW_TABLES = ("23in11si", "23in12ms", "23in14ar", "23in21id", "23in25ic", "23in43ts")


@pytest.fixture(scope="module")
def content() -> bytes:
    """A workbook with a header of three rows, marks, a date, an error, a formula and an empty sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Table"
    rows = [
        ["A table, Tax Year 2023"],
        ["Size\nof income", "Wages [1]", None, "Interest"],
        [None, "Number  of\nreturns", "Amount", "Number of returns"],
        ["Under $5", 1, 2.5, "1,234"],
        ["$5 or more", 3, "d", datetime.datetime(2024, 12, 31)],
        ["Total", "#REF!", True, "=1+1"],
    ]
    for row in rows:
        sheet.append(row)
    sheet.merge_cells("B2:C2")
    sheet["B4"].number_format = '"** "#,##0;"** "\\-#,##0;"**"'
    sheet["C4"].number_format = "\\*#,##0"
    sheet["B5"].number_format = "_(* #,##0_);_(* (#,##0)"
    sheet["C5"].number_format = '"* "#,##0'
    book.create_sheet("Empty")
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "table.xlsx").write_bytes(content)
    return tmp_path / "table.xlsx"


def test_cells_are_what_they_are(path: Path) -> None:
    sheets = open_workbook(path)
    assert list(sheets) == ["Table", "Empty"]
    sheet = sheets["Table"]
    assert sheet.where == "table.xlsx, sheet Table"
    assert sheet.cells[3] == ("Under $5", 1, 2.5, "1,234")
    assert sheet.cells[4][3] == datetime.datetime(2024, 12, 31)
    assert sheet.cells[5][1:3] == ("#REF!", True)
    assert sheet.text(2, 1) == "Number of returns"
    assert {len(row) for row in sheet.cells} == {4}


def test_asterisks_that_a_format_draws_are_marks_and_fill_characters_are_not(path: Path) -> None:
    assert open_workbook(path)["Table"].marks == {(3, 1): "**", (3, 2): "*"}


def test_columns_are_named_by_the_texts_above_them(path: Path) -> None:
    sheet = open_workbook(path)["Table"]
    headed = sheet.headed(1, 2)
    assert headed == {
        ("Size of income",): 0,
        ("Wages", "Number of returns"): 1,
        ("Wages", "Amount"): 2,
        ("Interest", "Number of returns"): 3,
    }
    assert column_named(headed, sheet.where, "Wages", "Amount") == 2
    with pytest.raises(
        InputError, match=r"has no column Interest / Amount \(it has Wages / Amount; Interest / Number of returns\)"
    ):
        column_named(headed, sheet.where, "Interest", "Amount")


def test_two_columns_of_one_name_are_not_to_be_had() -> None:
    sheet = Sheet("here", (("Amount", "Amount", "Total"),), ())
    assert sheet.headed(0, 0) == {("Total",): 2}


def test_rows_are_found_by_their_texts(path: Path) -> None:
    sheet = open_workbook(path)["Table"]
    assert sheet.row_with("Wages", "Interest") == 1
    assert sheet.row_with("Total", column=0) == 5
    with pytest.raises(InputError, match="table.xlsx, sheet Table has no row with 'Total' and 'Wages'"):
        sheet.row_with("Total", "Wages")
    with pytest.raises(InputError, match="sheet Empty has no row with 'Total'"):
        open_workbook(path)["Empty"].row_with("Total")
    rows = list(sheet.rows(3, {"label": 0, "returns": 1}, last=4))
    assert [row.where for row in rows] == ["table.xlsx, sheet Table, row 4", "table.xlsx, sheet Table, row 5"]
    assert [row.number("returns") for row in rows] == [1, 3]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        ("Net\nincome [2]", "Net income"),
        ("Illinois 1/", "Illinois"),
        ("  a   b ", "a b"),
        (2.0, "2.0"),
        ("[1]", ""),
    ],
)
def test_plain_text_has_no_marks_and_no_double_blanks(cell: object, text: str) -> None:
    assert plain(cell) == text


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"<!DOCTYPE html><html></html>", "is a web page, not the workbook"),
        (b"\n\n <html>", "is a web page"),
        (b"", "is empty"),
        (b"a,b\n1,2\n", "is not a whole workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "is not a whole workbook"),
        (b"PK\x03\x04" + b"\0" * 600, "is not a whole workbook"),
    ],
)
def test_what_is_no_workbook_is_refused_in_one_line(tmp_path: Path, damaged: bytes, message: str) -> None:
    (tmp_path / "table.xls").write_bytes(damaged)
    with pytest.raises(InputError, match=f"table.xls {message}") as error:
        open_workbook(tmp_path / "table.xls")
    assert "\n" not in str(error.value)


def test_a_workbook_in_a_zip_is_found_by_its_name(path: Path, content: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("folder/FY24.xlsx", content)
    inside = open_workbook(tmp_path / "all.zip", "FY24.xlsx")["Table"]
    assert inside.cells == open_workbook(path)["Table"].cells
    assert inside.where == "all.zip, FY24.xlsx, sheet Table"
    with pytest.raises(InputError, match="all.zip has no FY23.xlsx; get a zip that has it; this one has FY24.xlsx"):
        open_workbook(tmp_path / "all.zip", "FY23.xlsx")
    (tmp_path / "all.zip").write_bytes((tmp_path / "all.zip").read_bytes()[:200])
    with pytest.raises(InputError, match="all.zip is not a whole zip"):
        open_workbook(tmp_path / "all.zip", "FY24.xlsx")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_byte_gives_the_same_cells_or_an_error(
    data: st.DataObject, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A zip checks every part by its sum, so that no byte of an .xlsx can change a number."""
    position = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.xlsx"
    path.write_bytes(content[:position] + bytes([byte]) + content[position + 1 :])
    whole = tmp_path_factory.getbasetemp() / "whole.xlsx"
    whole.write_bytes(content)
    try:
        found = open_workbook(path)
    except InputError:
        return
    assert found["Table"].cells == open_workbook(whole)["Table"].cells


@pytest.mark.raw
@pytest.mark.parametrize("name", RAW_TABLES)
def test_real_workbooks_of_the_old_format_are_read_whole(raw_folder: Path, name: str) -> None:
    import xlrd

    sheet = next(iter(open_workbook(raw_folder / "irs" / f"{name}.xls").values()))
    book = xlrd.open_workbook(raw_folder / "irs" / f"{name}.xls", formatting_info=True)
    plain_sheet = book.sheet_by_index(0)
    assert len(sheet.cells) == plain_sheet.nrows
    for row in range(plain_sheet.nrows):
        for column in range(plain_sheet.row_len(row)):
            value = plain_sheet.cell_value(row, column)
            assert (sheet.cells[row][column] if value != "" else None) == (value if value != "" else None)
            drawn = book.format_map[book.xf_list[plain_sheet.cell_xf_index(row, column)].format_key].format_str
            marked = drawn.startswith('"*') and isinstance(value, float)
            assert ((row, column) in sheet.marks) == marked
