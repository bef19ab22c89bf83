"""IRS SOI Historic Table 2: every line against the real file, and district files of earlier Congresses from hidden truths."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.places.states import DISTRICTS, STATES, state_of_fips
from geocal_core.targets.agencies.irs import historic
from geocal_core.targets.checks import check_complete, check_sums
from geocal_core.targets.figures import Figure, Scope
from geocal_core.targets.files import RawFiles
from geocal_core.targets.uprating import published, series_of
from geocal_core.targets.vocabulary import data_rows, target_variable, variables
from tests.targets import agency_files as files
from tests.targets.redistricted import PAIRS, PAIRS_118, write_geocorr

STATE_TABLE, DISTRICT_TABLE = historic.TABLES
CODES = tuple(state.code for state in STATES)
SCOPE = Scope.of(2024, CODES)
SMALL = Scope.of(2024, files.CODES)
LINES = data_rows("soi_lines.csv")
COLUMNS = tuple(dict.fromkeys(column for row in LINES for column in row["columns"].split("+")))

Values = dict[tuple[int, str, tuple[str, ...]], float | None]


def values_of(figures: list[Figure]) -> Values:
    """Figures by place, variable and all their constraints but that of filing."""
    found = {
        (f.place, f.variable, tuple(str(c) for constraints in f.domain[1:] for c in constraints)): f.value for f in figures
    }
    assert len(found) == len(figures)
    return found


# ---------------------------------------------------------------- the lines


def test_lines_are_of_the_engine() -> None:
    known = variables()
    for row in LINES:
        assert target_variable(row["variable"])
        for constraints in historic._lines()[LINES.index(row)].domain:
            assert all(c.variable in known for c in constraints)
        kinds = {column[0] for column in row["columns"].split("+")}
        assert kinds == ({"N"} if row["variable"].endswith("_count") else {"A"})
    assert len({(row["variable"], row["domain"]) for row in LINES}) == len(LINES)


def test_net_lines_count_losses_too() -> None:
    for row in LINES:
        if row["net"] and row["domain"]:
            assert row["domain"] == f"{row['variable']}!=0"
        elif row["domain"]:
            assert "!=" not in row["domain"] or row["variable"] == "tax_unit_count"


# ---------------------------------------------------------------- the real file


@pytest.fixture(scope="module")
def real(raw_folder: Path) -> tuple[list[Figure], pd.DataFrame]:
    """The figures of the real state file, and the file as pandas reads it."""
    table = pd.read_csv(raw_folder / "irs" / "22in55cmcsv.csv", thousands=",")
    return STATE_TABLE.read(RawFiles(raw_folder / "irs"), SCOPE), table


@pytest.mark.raw
def test_every_figure_is_in_the_file(real: tuple[list[Figure], pd.DataFrame]) -> None:
    figures, table = real
    by_income = sum(row["by_income"] == "yes" for row in LINES)
    assert len(figures) == 52 * (len(LINES) + 10 * by_income) == 7_020
    check_complete(STATE_TABLE, figures, SCOPE)
    check_sums({STATE_TABLE: figures})
    cells = table.set_index(["STATE", "AGI_STUB"])
    nation = cells.loc["US"] - cells.loc["OA"] - cells.loc["PR"]
    found = values_of(figures)
    bounds = ["1", "10000", "25000", "50000", "75000", "100000", "200000", "500000", "1000000"]
    income = "adjusted_gross_income"
    sizes = [(f"{income}<1",), *((f"{income}>={a}", f"{income}<{b}") for a, b in pairwise(bounds))]
    sizes.append((f"{income}>=1000000",))
    checked = 0
    for place in (0, *(state.fips for state in STATES)):
        rows = (nation if place == 0 else cells.loc[state_of_fips(place).code]).to_dict("index")
        for line in LINES:
            columns = line["columns"].split("+")
            unit = 1 if columns[0].startswith("N") else 1000
            for stub in range(11 if line["by_income"] else 1):
                domain = (*line["domain"].split(), *(sizes[stub - 1] if stub else ()))
                assert found[place, line["variable"], domain] == unit * sum(rows[stub][c] for c in columns), (place, line, stub)
                checked += 1
    assert checked == len(figures)


# Sampled in Publication 1304 with a few very large returns (medical expenses, general sales taxes, rents); advance payments
# instead of credits; one kind of children instead of all.
UNLIKE = frozenset(
    {"medical_expense_deduction", "state_and_local_sales_or_income_tax", "tax_unit_rental_income", "aca_ptc", "eitc"}
)


@pytest.mark.raw
def test_lines_are_what_publication_1304_calls_so(real: tuple[list[Figure], pd.DataFrame]) -> None:
    """With Puerto Rico and abroad, as there, the amounts of one tax year differ by sampling alone: a line too few shows."""
    nation = real[1].set_index(["STATE", "AGI_STUB"]).loc["US", 0]
    checked = []
    for line in LINES:
        index = published().get(series_of(line["variable"]), {})
        if line["columns"].startswith("A") and line["variable"] not in UNLIKE and 2022 in index:
            amount = 1000 * sum(nation[column] for column in line["columns"].split("+"))
            assert amount == pytest.approx(index[2022], rel=0.03), line["variable"]
            checked.append(line["variable"])
    assert len(checked) == 22
    assert "deductible_mortgage_interest" in checked


@pytest.mark.raw
def test_known_totals(real: tuple[list[Figure], pd.DataFrame]) -> None:
    """Of the United States less other areas and Puerto Rico, in dollars; A59664 of this file is in thousands."""
    found = values_of(real[0])
    assert found[0, "tax_unit_count", ()] == 158_709_960
    assert found[0, "person_count", ()] == 291_963_190
    assert found[0, "adjusted_gross_income", ()] == 14_675_623_299_000
    assert found[0, "eitc", ("eitc>0", "eitc_child_count>2")] == 13_854_490_000
    eitc = [v for (place, name, _), v in found.items() if (place, name) == (0, "eitc") and v is not None]
    assert fsum(eitc) == pytest.approx(59_178e6, rel=1e-5)
    assert found[0, "aca_ptc", ("aca_ptc>0",)] == 53_894_292_000  # all premium tax credits, not the additional Medicare tax
    assert found[0, "refundable_ctc", ("refundable_ctc>0",)] == 33_659_264_000
    rents = found[36, "tax_unit_rental_income", ("tax_unit_rental_income!=0",)]
    assert rents is not None
    assert abs(rents) < 1e9  # profits and losses of New York nearly cancel out


@pytest.mark.raw
def test_against_publication_1304(real: tuple[list[Figure], pd.DataFrame], raw_folder: Path) -> None:
    """Totals of all returns in tables 1.1, 1.2, 1.4 and 2.1, which have returns from abroad: a percent or three more."""
    table = pd.read_csv(raw_folder / "irs" / "soi_targets.csv")
    table = table[(table["Year"] == 2022) & (table["Filing status"] == "All") & ~table["Taxable only"]]
    table = table[np.isneginf(table["AGI lower bound"]) & np.isposinf(table["AGI upper bound"])]
    table = table.drop_duplicates(["Variable", "Count"]).set_index(["Variable", "Count"])["Value"]
    found = values_of(real[0])
    compared = 0
    for name, variable in (
        ("adjusted_gross_income", "adjusted_gross_income"),
        ("employment_income", "irs_employment_income"),
        ("taxable_interest_income", "taxable_interest_income"),
        ("exempt_interest", "tax_exempt_interest_income"),
        ("ordinary_dividends", "ordinary_dividend_income"),
        ("qualified_dividends", "qualified_dividend_income"),
        ("ira_distributions", "taxable_ira_distributions"),
        ("taxable_pension_income", "taxable_pension_income"),
        ("unemployment_compensation", "taxable_unemployment_compensation"),
        ("taxable_social_security", "tax_unit_taxable_social_security"),
        ("qualified_business_income_deduction", "qualified_business_income_deduction"),
        ("income_tax_before_credits", "income_tax_before_credits"),
    ):
        if (name, False) not in table.index:
            continue
        mine = next(v for (place, of, domain), v in found.items() if place == 0 and of == variable and len(domain) < 2)
        assert mine is not None
        assert 0.95 < mine / float(table[name, False]) < 1.03, name
        compared += 1
    assert compared >= 8


@dataclass(frozen=True, repr=False)
class RealFile:
    """Rows of the real file in a folder of its own, and the values that they give."""

    folder: Path
    rows: list[list[str]]
    values: Values


@pytest.fixture(scope="module")
def real_file(real: tuple[list[Figure], pd.DataFrame], raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RealFile:
    with (raw_folder / "irs" / "22in55cmcsv.csv").open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    return RealFile(tmp_path_factory.mktemp("real"), rows, values_of(real[0]))


def _write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.mark.raw
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_cell_is_never_a_wrong_number_in_silence(real_file: RealFile, data: st.DataObject) -> None:
    """A cell of the real file changed, in any column that is read: refused, or no more than rounding away."""
    at = data.draw(st.integers(1, len(real_file.rows) - 1))
    column = data.draw(st.sampled_from(("STATE", "AGI_STUB", *COLUMNS)))
    position = real_file.rows[0].index(column)
    cell = real_file.rows[at][position]
    put = data.draw(
        st.one_of(
            st.sampled_from(("", "X", "**", "[d]", "-1", "0", f"{cell}0", f"-{cell}", cell[:-1], cell.replace(",", "."))),
            st.integers(-(10**7), 10**9).map(str),
        )
    )
    rows = [list(row) for row in real_file.rows]
    rows[at][position] = put
    _write(real_file.folder / "22in55cmcsv.csv", rows)
    message = ""
    found = real_file.values
    try:
        found = values_of(STATE_TABLE.read(RawFiles(real_file.folder), SCOPE))
    except GeocalError as error:
        message = str(error)
    assert "\n" not in message
    assert set(found) == set(real_file.values)
    for key, value in found.items():
        before = real_file.values[key]
        assert value is not None
        assert before is not None
        assert abs(value - before) <= (110 if key[1].endswith("_count") else 11_000), key


@pytest.mark.raw
def test_columns_may_stand_in_another_order(real_file: RealFile, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(len(real_file.rows[0]))
    _write(tmp_path / "22in55cmcsv.csv", [[row[i] for i in order] for row in real_file.rows])
    assert values_of(STATE_TABLE.read(RawFiles(tmp_path), SCOPE)) == real_file.values


@pytest.mark.raw
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [row for row in rows if row[0] != "TX"], "lacks Texas"),
        (lambda rows: [row for row in rows if row[0] != "US"], "has no row of the United States"),
        (lambda rows: [row for row in rows if row[:2] != ["TX", "4"]], r"TX has not AGI_STUB 0 to 10 \(see 4\)"),
        (lambda rows: [*rows, rows[20]], "is there twice"),
        (lambda rows: [["STATES" if cell == "STATE" else cell for cell in row] for row in rows], "has no column STATE"),
        (lambda rows: [["A8577" if cell == "A85770" else cell for cell in row] for row in rows], "has no column A85770"),
        (lambda rows: [row[:100] for row in rows[:50]], "has no column"),
        (lambda rows: rows[:300], "has not AGI_STUB 0 to 10|lacks"),
        (lambda rows: [[cell.replace("TX", "TE") for cell in row] for row in rows], "'TE', which is no state"),
    ],
)
def test_spoilt_real_files(
    real_file: RealFile, tmp_path: Path, change: Callable[[list[list[str]]], list[list[str]]], words: str
) -> None:
    _write(tmp_path / "22in55cmcsv.csv", change(real_file.rows))
    with pytest.raises(InputError, match=words) as caught:
        STATE_TABLE.read(RawFiles(tmp_path), SCOPE)
    assert "22in55cmcsv.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- a small nation


def _small(folder: Path, name: str, rows: list[dict[str, Any]]) -> RawFiles:
    files.write_csv(folder / name, rows)
    return RawFiles(folder)


def test_an_earlier_year_has_fewer_lines(tmp_path: Path) -> None:
    """Tax year 2021 has no tax-exempt interest, rents, or credits by number of children."""
    new = {column for row in LINES if row["since"] for column in row["columns"].split("+")} | {"N59660", "A59660"}
    rows = [{key: value for key, value in row.items() if key not in new} for row in files.state_rows()]
    found = values_of(STATE_TABLE.read(_small(tmp_path, "21in55cmcsv.csv", rows), SMALL))
    later = values_of(STATE_TABLE.read(_small(tmp_path, "22in55cmcsv.csv", files.state_rows()), SMALL))
    assert 0 < len(found) < len(later)
    assert {key: later[key] for key in found} == found
    assert {name for _, name, _ in set(later) - set(found)} == {
        "eitc",
        "tax_exempt_interest_income",
        "tax_unit_count",
        "tax_unit_rental_income",
    }


def test_a_column_that_is_not_filled_is_withheld(tmp_path: Path) -> None:
    rows = [{**row, "N85770": 0, "A85770": 0, "A85300": 0} for row in files.state_rows()]
    figures = STATE_TABLE.read(_small(tmp_path, "24in55cmcsv.csv", rows), SMALL)
    withheld = [f for f in figures if f.value is None]
    assert len(withheld) == 4 * 2
    assert {f.notes for f in withheld} == {
        f"withheld: column {kind}85770 is 0 in every row of 24in55cmcsv.csv" for kind in ("N", "A")
    }
    check_complete(STATE_TABLE, figures, SMALL)
    summed = values_of(figures)[10, "income_tax_before_refundable_credits", ("income_tax_before_refundable_credits>0",)]
    assert summed == 1000 * sum(files.line("A06500", 1001, stub) for stub in range(1, 11))


def test_losses_are_read_as_losses(tmp_path: Path) -> None:
    rows = files.state_rows()
    for row in rows:
        row["A25870"] = -row["A25870"]
    found = values_of(STATE_TABLE.read(_small(tmp_path, "24in55cmcsv.csv", rows), SMALL))
    value = found[10, "tax_unit_rental_income", ("tax_unit_rental_income!=0",)]
    assert value == -1000 * sum(files.line("A25870", 1001, stub) for stub in range(1, 11))


def test_districts_against_their_own_state(tmp_path: Path) -> None:
    rows = files.district_rows(True)
    for row in rows:
        if row["STATE"] == "ID" and row["CONG_DISTRICT"] == "1":
            row["A00650"] *= 2
    with pytest.raises(InputError, match="column A00650, AGI_STUB 0 of the districts does not add up to Idaho"):
        DISTRICT_TABLE.read(_small(tmp_path, "24incd.csv", rows), SMALL)


# ---------------------------------------------------------------- earlier Congresses


@dataclass(frozen=True, repr=False)
class Hidden:
    """What each pair of an old and a new district truly has: people of one old district are alike."""

    people: dict[tuple[int, int], int]
    rate: dict[int, np.ndarray]

    @classmethod
    def draw(cls, people: dict[tuple[int, int], int], seed: int) -> Hidden:
        generator = np.random.default_rng(seed)
        shape = (files.DISTRICT_STUBS, len(COLUMNS))
        return cls(people, {old: generator.uniform(0.01, 0.2, shape) for old, _ in people})

    def old(self) -> dict[int, np.ndarray]:
        """Published cells of the old districts: returns in tens, thousands of dollars, with the total first."""
        totals: dict[int, int] = {}
        for (code, _), number in self.people.items():
            totals[code] = totals.get(code, 0) + number
        found = {}
        for code, number in totals.items():
            cells = np.rint(self.rate[code] * number).astype(int)
            counts = [i for i, column in enumerate(COLUMNS) if column.startswith("N")]
            cells[:, counts] = 10 * (cells[:, counts] // 10)
            found[code] = np.vstack([cells.sum(axis=0), cells])
        return found

    def new(self) -> dict[int, np.ndarray]:
        """Returns and thousands of dollars of the new districts, with the total first."""
        found: dict[int, np.ndarray] = {}
        for (old, new), number in self.people.items():
            cells = self.rate[old] * number
            found[new] = found.get(new, 0) + np.vstack([cells.sum(axis=0), cells])
        return found

    def write(self, path: Path) -> Path:
        """The district file: at-large districts and the District of Columbia are 0, with a row of the United States."""
        postal = {state.fips: state.code for state in STATES}
        old = self.old()
        children = [[COLUMNS.index(f"{kind}{line}") for line in historic._CHILDREN] for kind in ("N", "A")]
        areas = [(0, "US", 0, np.sum(list(old.values()), axis=0))]
        for code, cells in sorted(old.items()):
            alone = code + 1 not in old and code % 100 == 1
            areas.append((code // 100, postal[code // 100], 0 if alone else code % 100, cells))
        rows = [["STATEFIPS", "STATE", "CONG_DISTRICT", "agi_stub", *COLUMNS, "N59660", "A59660"]]
        for fips, state, number, cells in areas:
            for stub, row in enumerate(cells):
                wholes = [row[of_kind].sum() for of_kind in children]
                rows.append([str(cell) for cell in (fips, state, number, stub, *row, *wholes)])
        return _write(path, rows)


HIDDEN = {117: Hidden.draw(PAIRS, 1), 118: Hidden.draw(PAIRS_118, 2)}


@pytest.fixture(scope="module")
def redistricted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of the 117th (tax year 2022) and the 118th Congress (2023, of which nothing is known yet)."""
    folder = tmp_path_factory.mktemp("redistricted")
    for congress, people in ((117, PAIRS), (118, PAIRS_118)):
        write_geocorr(folder, congress, people)
        HIDDEN[congress].write(folder / f"{congress - 95}incd.csv")
    return folder


@pytest.fixture
def known_years(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare that the districts of tax year 2023 are those of the 118th Congress."""
    more = [{"tax_year": "2023", "congress": "118", "source": "a test"}]
    monkeypatch.setattr(historic, "data_rows", lambda name: [*data_rows(name), *(more if name == "soi_congress.csv" else [])])


@pytest.mark.parametrize("congress", [117, 118])
@pytest.mark.usefixtures("known_years")
def test_districts_of_an_earlier_congress(redistricted: Path, congress: int) -> None:
    """Districts in force come out as they truly are: the people of an old district are alike, wherever they now belong."""
    year = 1905 + congress
    figures = DISTRICT_TABLE.read(RawFiles(redistricted), Scope.of(year, CODES))
    check_complete(DISTRICT_TABLE, figures, SCOPE)
    assert {f.period for f in figures} == {year}
    hidden, found = HIDDEN[congress], values_of(figures)
    truth = hidden.new()
    assert set(truth) == set(DISTRICTS)
    for line in LINES:
        columns = [COLUMNS.index(column) for column in line["columns"].split("+")]
        unit = 1 if line["columns"].startswith("N") else 1000
        for place, cells in truth.items():
            value = found[place, line["variable"], tuple(line["domain"].split())]
            # Rounding down to tens, nine times, of each old district that has a part in it.
            assert value == pytest.approx(unit * cells[0, columns].sum(), rel=0.02, abs=1000 * unit)
    notes = {f.notes for f in figures}
    assert all(
        note is not None and f"{congress}th Congress shared out by population (geocorr2022_cd{congress}_to_cd119.csv)" in note
        for note in notes
    )


@pytest.mark.parametrize("congress", [117, 118])
@pytest.mark.usefixtures("known_years")
def test_states_keep_what_they_have(redistricted: Path, congress: int) -> None:
    old = HIDDEN[congress].old()
    figures = DISTRICT_TABLE.read(RawFiles(redistricted), Scope.of(1905 + congress, CODES))
    by_family: dict[Any, dict[int, float]] = {}
    for figure in figures:
        assert figure.value is not None
        of_state = by_family.setdefault((figure.variable, figure.domain), {})
        of_state[figure.place // 100] = of_state.get(figure.place // 100, 0.0) + figure.value
    for line in LINES:
        columns = [COLUMNS.index(column) for column in line["columns"].split("+")]
        unit = 1 if line["columns"].startswith("N") else 1000
        domain = historic._lines()[LINES.index(line)].domain
        for fips, value in by_family[line["variable"], domain].items():
            published = unit * sum(int(cells[0, columns].sum()) for code, cells in old.items() if code // 100 == fips)
            assert value == pytest.approx(published, rel=1e-9)


@pytest.mark.usefixtures("known_years")
def test_districts_that_do_not_fit_their_congress(redistricted: Path, tmp_path: Path) -> None:
    """Texas has 36 districts in the 117th Congress and 38 in the 118th; Montana one and two."""
    for path in redistricted.glob("geocorr*"):
        shutil.copy(path, tmp_path)
    shutil.copy(redistricted / "23incd.csv", tmp_path / "22incd.csv")
    with pytest.raises(InputError, match=r"22incd\.csv (lacks|is not of the 117th Congress: it has) California district 53"):
        DISTRICT_TABLE.read(RawFiles(tmp_path), SCOPE)
    (tmp_path / "22incd.csv").unlink()
    shutil.copy(redistricted / "22incd.csv", tmp_path / "23incd.csv")
    with pytest.raises(InputError, match=r"23incd\.csv is not of the 118th Congress: it has California district 53"):
        DISTRICT_TABLE.read(RawFiles(tmp_path), SCOPE)
    text = (redistricted / "22incd.csv").read_text().splitlines(keepends=True)
    (tmp_path / "23incd.csv").unlink()
    (tmp_path / "22incd.csv").write_text("".join(line for line in text if not line.startswith("48,TX,36,")))
    with pytest.raises(InputError, match=r"22incd\.csv lacks Texas district 36"):
        DISTRICT_TABLE.read(RawFiles(tmp_path), SCOPE)


def test_districts_against_the_row_of_the_united_states(redistricted: Path, tmp_path: Path) -> None:
    shutil.copy(redistricted / "geocorr2022_cd117_to_cd119.csv", tmp_path)
    with (redistricted / "22incd.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    column = rows[0].index("N02500")
    for row in rows[1:]:
        if row[1] == "US":
            row[column] = str(2 * int(row[column]))
    _write(tmp_path / "22incd.csv", rows)
    with pytest.raises(InputError, match=r"column N02500, AGI_STUB 0 of the districts does not add up to US"):
        DISTRICT_TABLE.read(RawFiles(tmp_path), SCOPE)


def test_years_of_which_the_congress_is_not_known(redistricted: Path) -> None:
    with pytest.raises(InputError, match=r"23incd\.csv: the Congress whose districts a file of tax year 2023 has is not known"):
        DISTRICT_TABLE.read(RawFiles(redistricted), SCOPE)
    sources = {int(row["tax_year"]): row for row in data_rows("soi_congress.csv")}
    assert sources[2022]["congress"] == sources[2021]["congress"] == "117"
    assert all(row["source"] for row in sources.values())
