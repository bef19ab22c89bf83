"""IRS Publication 1304: every cell of the real workbooks, another year with everything moved, and damaged tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet

from geocal_core.errors import GeocalError, InputError
from geocal_core.targets.agencies.irs import publication_1304, statistical_table
from geocal_core.targets.agencies.irs.historic import FILER
from geocal_core.targets.constraints import Constraint, check_consistent
from geocal_core.targets.figures import Figure, Scope
from geocal_core.targets.files import RawFiles
from geocal_core.targets.uprating import factor
from geocal_core.targets.vocabulary import data_rows, target_variable, variables
from geocal_core.targets.workbooks import Sheet, open_workbook
from tests.targets.irs_tables import (
    SIZES,
    WHOLE,
    Spoil,
    Written,
    find,
    moved,
    text,
    values,
    write,
)

TABLES = {table.name.removeprefix("irs_publication_1304_"): table for table in publication_1304.TABLES}
NUMBERS = {"income": "1.4", "status": "1.2", "itemized": "2.1", "eitc": "2.5"}
SUFFIXES = {"income": "in14ar", "status": "in12ms", "itemized": "in21id", "eitc": "in25ic"}


def read(name: str, folder: Path, scope: Scope = WHOLE) -> list[Figure]:
    return TABLES[name].read(RawFiles(folder), scope)


# --- the real workbooks ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(raw_folder: Path) -> dict[str, list[Figure]]:
    return {name: read(name, raw_folder) for name in TABLES}


@pytest.mark.raw
def test_the_real_tables_give_about_three_thousand_figures_each_once(real: dict[str, list[Figure]]) -> None:
    figures = [figure for of_table in real.values() for figure in of_table]
    assert {name: len(of_table) for name, of_table in real.items()} == {
        "income": 1600,
        "status": 652,
        "itemized": 414,
        "eitc": 290,
    }
    assert len({figure.family for figure in figures}) == len(figures) == 2956
    assert sum(figure.value is None for figure in figures) == 140
    assert {figure.period for figure in figures} == {2023}


@pytest.mark.raw
@pytest.mark.parametrize(
    ("table", "variable", "domain", "value"),
    [
        ("income", "tax_unit_count", "", 160_602_107),
        ("income", "adjusted_gross_income", "", 15_286_017_359_000),
        ("income", "adjusted_gross_income", "adjusted_gross_income<1", -144_194_936_000),
        ("income", "tax_unit_count", "adjusted_gross_income>=10000000", 30_382),
        ("income", "tax_unit_count", "adjusted_gross_income>=1 adjusted_gross_income<10000", 7_357_751 + 8_077_917),
        ("income", "adjusted_gross_income", "adjusted_gross_income>=1000000", 2_543_450_590_000),
        ("income", "total_self_employment_income", "total_self_employment_income!=0", 376_938_632_000),
        ("income", "total_self_employment_income", "total_self_employment_income<0", -153_441_387_000),
        ("income", "loss_limited_net_capital_gains", "loss_limited_net_capital_gains>0", 975_508_834_000),
        ("income", "tax_unit_partnership_s_corp_income", "tax_unit_partnership_s_corp_income!=0", 991_100_084_000),
        ("status", "income_tax_before_refundable_credits", "income_tax_before_refundable_credits>0", 2_147_909_818_000),
        ("status", "tax_unit_count", "filing_status==SINGLE", 80_288_820),
        ("itemized", "real_estate_taxes", "real_estate_taxes>0 tax_unit_itemizes==1", 108_606_373_000),
        ("itemized", "tax_unit_count", "tax_unit_itemizes==1", 15_106_257),
        ("eitc", "eitc", "eitc>0", 66_270_000_000),
        ("eitc", "tax_unit_count", "eitc>0 eitc_child_count>2", 3_193_038),
    ],
)
def test_known_figures_are_met_to_the_dollar(
    real: dict[str, list[Figure]], table: str, variable: str, domain: str, value: float
) -> None:
    assert values(real[table])[variable, domain] == value


# Variable of soi_targets.csv: our table, variable, domain, and the sign of its amount.
ITEMIZED = "tax_unit_itemizes==1"
SAME = {
    "adjusted_gross_income": ("income", "adjusted_gross_income", "", 1),
    "count": ("income", "tax_unit_count", "", 1),
    "alternative_minimum_tax": ("income", "alternative_minimum_tax", "alternative_minimum_tax>0", 1),
    "business_net_losses": ("income", "total_self_employment_income", "total_self_employment_income<0", -1),
    "business_net_profits": ("income", "total_self_employment_income", "total_self_employment_income>0", 1),
    "capital_gains_losses": ("income", "loss_limited_net_capital_gains", "loss_limited_net_capital_gains<0", -1),
    "employment_income": ("income", "irs_employment_income", "irs_employment_income>0", 1),
    "estate_income": ("income", "estate_income", "estate_income>0", 1),
    "estate_losses": ("income", "estate_income", "estate_income<0", -1),
    "exempt_interest": ("income", "tax_exempt_interest_income", "tax_exempt_interest_income>0", 1),
    "income_tax_before_credits": ("income", "income_tax_before_credits", "income_tax_before_credits>0", 1),
    "ira_distributions": ("income", "taxable_ira_distributions", "taxable_ira_distributions>0", 1),
    "ordinary_dividends": ("income", "ordinary_dividend_income", "ordinary_dividend_income>0", 1),
    "qualified_business_income_deduction": (
        "income",
        "qualified_business_income_deduction",
        "qualified_business_income_deduction>0",
        1,
    ),
    "qualified_dividends": ("income", "qualified_dividend_income", "qualified_dividend_income>0", 1),
    "rent_and_royalty_net_income": ("income", "tax_unit_rental_income", "tax_unit_rental_income>0", 1),
    "rent_and_royalty_net_losses": ("income", "tax_unit_rental_income", "tax_unit_rental_income<0", -1),
    "taxable_income": ("income", "taxable_income", "taxable_income>0", 1),
    "taxable_interest_income": ("income", "taxable_interest_income", "taxable_interest_income>0", 1),
    "taxable_pension_income": ("income", "taxable_pension_income", "taxable_pension_income>0", 1),
    "taxable_social_security": ("income", "tax_unit_taxable_social_security", "tax_unit_taxable_social_security>0", 1),
    "unemployment_compensation": ("income", "taxable_unemployment_compensation", "taxable_unemployment_compensation>0", 1),
    "standard_deduction": ("status", "standard_deduction", "standard_deduction>0 tax_unit_itemizes==0", 1),
    "tottax": ("status", "income_tax_before_refundable_credits", "income_tax_before_refundable_credits>0", 1),
    "charitable_contributions_deductions": ("itemized", "charitable_deduction", f"charitable_deduction>0 {ITEMIZED}", 1),
    "interest_paid_deductions": ("itemized", "interest_deduction", f"interest_deduction>0 {ITEMIZED}", 1),
    "itemized_real_estate_tax_deductions": ("itemized", "real_estate_taxes", f"real_estate_taxes>0 {ITEMIZED}", 1),
    "medical_expense_deductions_capped": (
        "itemized",
        "medical_expense_deduction",
        f"medical_expense_deduction>0 {ITEMIZED}",
        1,
    ),
    "mortgage_interest_deductions": (
        "itemized",
        "deductible_mortgage_interest",
        f"deductible_mortgage_interest>0 {ITEMIZED}",
        1,
    ),
    "itemized_deductions": (
        "itemized",
        "itemized_taxable_income_deductions",
        f"itemized_taxable_income_deductions>0 {ITEMIZED}",
        1,
    ),
}
# soi_targets.csv gives columns of 2.1 a name that is not theirs: CO and CP are other columns of the taxes paid.
FILING = {"Single": "SINGLE", "Head of Household": "HEAD_OF_HOUSEHOLD", "Married Filing Separately": "SEPARATE"}


def _size(low: float, high: float) -> str:
    if high == 0:
        return "adjusted_gross_income<1"
    parts = [f"adjusted_gross_income>={low:.0f}"] if low > 0 else []
    return " ".join(parts + ([f"adjusted_gross_income<{high:.0f}"] if high != float("inf") else []))


@pytest.mark.raw
def test_every_cell_that_another_reading_has_is_met_to_the_dollar(real: dict[str, list[Figure]], raw_folder: Path) -> None:
    soi = pd.read_csv(raw_folder / "irs" / "soi_targets.csv")
    soi = soi[
        (soi["Year"] == 2023) & ~soi["Taxable only"] & soi["Variable"].isin(list(SAME)) & (soi["SOI table"] != "Table 4.3")
    ]
    ours = {name: values(figures) for name, figures in real.items()}
    met, combined, apart = 0, 0, set()
    for cell in soi.to_dict("records"):
        name, variable, domain, sign = SAME[cell["Variable"]]
        variable, sign = ("tax_unit_count", 1) if cell["Count"] else (variable, sign)
        size = _size(cell["AGI lower bound"], cell["AGI upper bound"])
        if cell["Filing status"] != "All":
            name = "status"
            domain = f"filing_status=={FILING.get(cell['Filing status'], '?')} {domain}".strip()
        key = (variable, " ".join(filter(None, (domain, size))))
        if key not in ours[name]:
            apart.add((cell["Variable"], cell["Filing status"], size if cell["Filing status"] == "All" else ""))
        elif (value := ours[name][key]) is None:
            combined += 1
        else:
            # Table 1.1 has one return fewer in one size of income than table 1.4.
            off = 1 if cell["SOI table"] == "Table 1.1" and cell["Count"] else 0
            assert abs(sign * value - cell["Value"]) <= off, (key, cell)
            met += 1
    assert met > 1_250
    assert 0 < combined < 150
    # Left out: couples with surviving spouses; deductions of all returns, and of sizes of income that table 2.1 has finer.
    joint = {name for name, status, _ in apart if status != "All"}
    assert joint == {"adjusted_gross_income", "count"}
    assert {name for name, status, _ in apart if status == "All"} == {"itemized_deductions", "standard_deduction"}
    assert len(apart) == 9


@pytest.mark.raw
def test_every_cell_lies_where_another_reading_found_it(raw_folder: Path) -> None:
    """Whatever it calls a column, the number in it is the same; soi_targets.csv has columns by letter and rows by number."""
    soi = pd.read_csv(raw_folder / "irs" / "soi_targets.csv", dtype={"XLSX column": str})
    soi = soi[(soi["Year"] == 2023) & soi["XLSX column"].str.fullmatch("[A-Z]+")]
    met = 0
    for number, suffix in (("1.1", "in11si"), ("1.2", "in12ms"), ("1.4", "in14ar"), ("2.1", "in21id")):
        path = raw_folder / "irs" / f"23{suffix}.xls"
        table = statistical_table.read_table(
            path, f"Table {number}.", 2023, r"Size( and accumulated size)? of adjusted gross income"
        )
        named = {column: " / ".join(name) for name, column in table.columns.items()}
        for cell in soi[soi["SOI table"] == f"Table {number}"].to_dict("records"):
            letters = cell["XLSX column"]
            column = sum((ord(letter) - 64) * 26**power for power, letter in enumerate(reversed(letters))) - 1
            printed = table.printed(cell["XLSX row"] - 1, named[column])
            counts = cell["Count"] and not named[column].endswith("Amount")
            assert printed is not None
            assert printed * (1 if counts else 1000) == cell["Value"], cell
            met += 1
    assert met > 2_500


@pytest.mark.raw
@pytest.mark.parametrize("name", TABLES)
def test_a_moved_copy_of_another_year_gives_the_same(
    name: str, real: dict[str, list[Figure]], raw_folder: Path, tmp_path: Path
) -> None:
    sheet = next(iter(open_workbook(raw_folder / "irs" / f"23{SUFFIXES[name]}.xls").values()))
    moved(tmp_path / f"22{SUFFIXES[name]}.xlsx", sheet, 2022, 2023, down=5, right=3, rows=60)
    figures = read(name, tmp_path)
    assert {figure.period for figure in figures} == {2022}
    assert values(figures) == values(real[name])


@pytest.mark.raw
def test_half_a_percent_of_returns_lies_outside_the_states(real: dict[str, list[Figure]], raw_folder: Path) -> None:
    """The nation of Publication 1304 and that of Historic Table 2, a year apart, are the same quantities."""
    from geocal_core.targets.agencies.irs import historic

    states = next(table for table in historic.TABLES if table.name == "irs_soi_state").read(RawFiles(raw_folder), WHOLE)
    nation = {(f.variable, f.domain): f.value for f in states if f.place == 0 and f.value}
    ours = {(f.variable, f.domain): f.value for of_table in real.values() for f in of_table if f.value}
    shared = ours.keys() & nation.keys()
    assert len(shared) > 55
    for key in shared:
        # Interest more than doubled from 2022 to 2023.
        assert 0.7 < ours[key] / nation[key] < (1.5 if "interest" not in str(key) else 2.5), key


# --- what the data say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", data_rows("publication_1304.csv"), ids=lambda row: f"{row['table']} {row['domain'] or 'all'}")
def test_a_line_of_data_is_whole(row: dict[str, str]) -> None:
    target_variable(row["variable"])
    assert row["rows"] in ("all", "total", "positive")
    assert row["returns"] or row["amount"]
    assert factor(row["variable"], 2023, 2024)[0] > 0
    constraints = [c for q in publication_1304._quantities(row["table"]) for c in q.domain]
    assert {c.variable for c in constraints} <= set(variables())


def test_no_quantity_is_read_twice() -> None:
    quantities = [q for number in NUMBERS.values() for q in publication_1304._quantities(number)]
    assert len({(q.variable, q.domain, q.rows == "total") for q in quantities}) == len(quantities)
    for quantity in quantities:
        check_consistent([*FILER, *quantity.domain, *(Constraint("adjusted_gross_income", op, "1") for op in (">=", "<")[:1])])


# --- small tables ---------------------------------------------------------------------------------------------------------


def small(folder: Path, name: str, *, year: int = 2023, spoil: Spoil | None = None, title: str = "", **options: Any) -> Written:
    number = NUMBERS[name]
    columns = list(dict.fromkeys(path for q in publication_1304._quantities(number) for path in q.paths))
    if name == "income":
        repeated = [own for _, _, own in publication_1304._REPEATED if own not in columns]
        columns += dict.fromkeys(repeated)
    groups: dict[str, list[str]] = {}
    if name in ("status", "eitc"):
        heads = list(dict.fromkeys(path.split(" / ", 1)[0] for path in columns))
        whole = next(head for head in heads if head.startswith("All returns"))
        tails = list(dict.fromkeys(path.split(" / ", 1)[1] for path in columns))
        parts = [head for head in heads if head != whole]
        columns = [f"{head} / {tail}" for head in parts for tail in tails]
        groups = {f"{whole} / {tail}": [f"{head} / {tail}" for head in parts] for tail in tails}
    return write(
        folder / f"{year % 100:02d}{SUFFIXES[name]}.xlsx",
        title or f"Table {number}. All Returns: by Size of Adjusted Gross Income, Tax Year {year} (Filing Year {year + 1})",
        "Size of adjusted\ngross income",
        columns,
        options.pop("sizes", SIZES),
        groups=groups,
        total="Total" if name == "eitc" else "All returns, total",
        spoil=spoil,
        **options,
    )


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, 2)])
def test_columns_and_rows_are_found_by_their_text(name: str, down: int, right: int, tmp_path: Path) -> None:
    written = small(tmp_path, name, year=2021, down=down, right=right)
    figures = values(read(name, tmp_path))
    for quantity in publication_1304._quantities(NUMBERS[name]):
        domain = " ".join(map(str, quantity.domain))
        for variable, terms, unit in (("tax_unit_count", quantity.returns, 1), (quantity.variable, quantity.amount, 1000)):
            if not terms:
                continue
            sums = [
                sum(t.sign * n for t, n in zip(terms, row, strict=True)) * unit
                for row in zip(*(written.numbers[t.path] for t in terms), strict=True)
            ]
            if quantity.rows != "positive":
                assert figures[variable, domain] == sums[0]
            if quantity.rows != "total":
                below = f"{domain} adjusted_gross_income>=1000000".strip()
                assert figures[variable, below] == sums[-1]
                none = f"{domain} adjusted_gross_income<1".strip()
                assert figures.get((variable, none)) == (sums[1] if quantity.rows == "all" else None)


def test_the_latest_year_not_after_the_wanted_is_read(tmp_path: Path) -> None:
    for year in (1999, 2021, 2023):
        small(tmp_path, "itemized", year=year)
    assert {figure.period for figure in read("itemized", tmp_path, replace(WHOLE, year=2022))} == {2021}
    assert {figure.period for figure in read("itemized", tmp_path, replace(WHOLE, year=2000))} == {1999}
    with pytest.raises(InputError, match=r"\{yy\}in21id.xls of 1998 or before is wanted"):
        read("itemized", tmp_path, replace(WHOLE, year=1998))


def number_of(sheet: Worksheet, row: str = "$1 under", column: str = "Number") -> Any:
    return sheet.cell(find(sheet, row).row, find(sheet, column).column)


def put(value: Any, number_format: str = "") -> Spoil:
    def spoil(sheet: Worksheet) -> None:
        cell = number_of(sheet)
        cell.value = value if not callable(value) else value(cell.value)
        if number_format:
            cell.number_format = number_format

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put("1,234 [2]"), "row 12, column Number of returns holds '1,234 \\[2\\]', which is not a number"),
        (put("d"), "holds 'd', which is not a number"),
        (put("[1]"), "which is not a number"),
        (put("#REF!"), "which is not a number"),
        (put(None), "holds None, which is not a number"),
        (put(True), "adds? up|not a number"),
        (put(lambda number: number + 1000), "column Number of returns has .* and its rows add up to"),
        (put("*** 12"), "not a number|no footnote"),
        (text("Number of", "Count of"), "has no column Number of returns"),
        (text("Number of", "Adjusted gross income less deficit"), "has no column"),
        (text("Size of", "Age"), "has no header"),
        (text("All returns", "All of them"), "has no row 'All returns, total'"),
        (text("$5,000 under", "$6,000 under $1,000,000"), "row 13: '\\$6,000 under \\$1,000,000' does not follow"),
        (text("$5,000 under", "$1 under $5,000"), "does not follow"),
        (text("$5,000 under", "from 5 to 1000"), "row 13: 'from 5 to 1000' is no range"),
        (text("$1,000,000 or", "$1,000,000 under $2,000,000"), "'Taxable returns, total' is no range"),
        (lambda sheet: sheet.delete_rows(find(sheet, "$1 under").row), "does not follow"),
        (lambda sheet: sheet.delete_cols(find(sheet, "Number").column), "has no column|adds up|add up"),
        (text("(All figures", "(All figures are estimates)"), "should say that money amounts are in thousands .* says nothing"),
        (text("(All figures", "(money amounts are in millions of dollars)"), "it says millions"),
        (text("(All figures", "(money amounts are in whole dollars)"), "it says nothing"),
        (text("Table 2.1", "Table 2.1. Returns, Tax Year 2022"), "name says tax year 2023, its title 2022"),
        (text("Table 2.1", "Table 2.1. Returns"), "its title none"),
        (text("Table 2.1", "Table 1.4. Returns, Tax Year 2023"), "no title that begins with 'Table 2.1.'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, spoil: Spoil, message: str) -> None:
    small(tmp_path, "itemized", spoil=spoil)
    with pytest.raises(InputError, match=message) as error:
        read("itemized", tmp_path)
    assert "\n" not in str(error.value)
    assert "23in21id.xlsx" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>gone</html>", "is a web page"),
        (b"", "is empty"),
        (None, "is not a whole workbook"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = small(tmp_path, "itemized").path
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    with pytest.raises(InputError, match=message):
        read("itemized", tmp_path)


def test_one_table_in_two_formats_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path, "itemized").path
    path.with_suffix(".xls").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"23in21id.xls and 23in21id.xlsx are one table"):
        read("itemized", tmp_path)


def test_a_missing_file_names_what_is_there_and_how_to_do_without(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="and there is none; .*setting without"):
        read("income", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "value"),
    [
        (put(lambda number: number, '"** "#,##0;"** "\\-#,##0;"**"'), None),
        (put("** 107"), None),
        (put("**"), None),
        (put(lambda number: number, '"* "#,##0'), "same"),
        (put(lambda number: f"* {number}"), "same"),
    ],
)
def test_marks_mean_what_the_footnotes_say(tmp_path: Path, spoil: Spoil, value: Any) -> None:
    plain = values(read("itemized", small(tmp_path, "itemized").path.parent))
    small(tmp_path, "itemized", spoil=spoil)
    marked = [f for f in read("itemized", tmp_path) if f.variable == "tax_unit_count"]
    key = ("tax_unit_count", "tax_unit_itemizes==1 adjusted_gross_income>=1 adjusted_gross_income<5000")
    assert values(marked)[key] == (plain[key] if value == "same" else None)
    notes = next(f.notes for f in marked if values([f]).keys() == {key})
    assert notes is not None
    assert notes.startswith("withheld: '**' in 23in21id.xlsx") or notes.endswith("marked *: few sample returns")


def test_a_mark_without_a_footnote_is_refused(tmp_path: Path) -> None:
    def spoil(sheet: Worksheet) -> None:
        put(5, '"** "#,##0')(sheet)
        find(sheet, "** Data combined").value = "no footnote"

    small(tmp_path, "itemized", spoil=spoil)
    with pytest.raises(InputError, match="has the mark '\\*\\*', which no footnote explains|add up"):
        read("itemized", tmp_path)


def test_groups_of_returns_must_add_up_to_all(tmp_path: Path) -> None:
    def spoil(sheet: Worksheet) -> None:
        column = find(sheet, "Returns of single").column
        for row, more in (("$1 under", 50), ("$5,000 under", -50)):
            sheet.cell(find(sheet, row).row, column).value += more

    small(tmp_path, "status", spoil=spoil)
    with pytest.raises(InputError, match="of the groups of returns adds up to"):
        read("status", tmp_path)


def test_tables_of_one_release_must_agree(tmp_path: Path) -> None:
    income, itemized = small(tmp_path, "income"), small(tmp_path, "itemized")
    with pytest.raises(InputError, match=r"23in14ar.xlsx.* has .*, and 23in21id.xlsx.* get all tables of one release"):
        read("income", tmp_path)
    assert income.numbers.keys() != itemized.numbers.keys()


@pytest.fixture(scope="module")
def whole_sheet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sheet]:
    folder = tmp_path_factory.mktemp("whole")
    path = small(folder, "eitc").path
    return folder, next(iter(open_workbook(path).values()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_cell_never_gives_another_number(
    data: st.DataObject, whole_sheet: tuple[Path, Sheet], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sheet = whole_sheet
    right = values(read("eitc", folder))
    row = data.draw(st.integers(0, len(sheet.cells) - 1))
    column = data.draw(st.integers(0, len(sheet.cells[0]) - 1))
    new = data.draw(
        st.one_of(
            st.none(),
            st.text(max_size=8),
            st.integers(-(10**6), 10**6),
            st.floats(),
            st.booleans(),
            st.sampled_from(_texts(sheet)),
        )
    )
    damaged = [list(cells) for cells in sheet.cells]
    damaged[row][column] = new
    with monkeypatch.context() as patch:
        changed = replace(sheet, cells=tuple(map(tuple, damaged)))
        patch.setattr(statistical_table, "open_workbook", lambda _: {"Sheet": changed})
        try:
            found = values(read("eitc", folder))
        except GeocalError:
            return
    # A number may be off by what rounding allows, and a mark may withhold it.
    for key, value in found.items():
        before = right[key]
        assert value is None or (before is not None and abs(value - before) <= 3 * 1000), (key, value, before)


def _texts(sheet: Sheet) -> Sequence[str]:
    return sorted({cell for cells in sheet.cells for cell in cells if isinstance(cell, str)})
