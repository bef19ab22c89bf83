"""Single national figures: every line has its publication, and those of the engine's parameters are the engine's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES
from geocal_core.targets.agencies import published
from geocal_core.targets.figures import NATION, Figure, Scope
from geocal_core.targets.files import RawFiles
from geocal_core.targets.vocabulary import data_rows, sources, target_variable, variables

(TABLE,) = published.TABLES
LINES = data_rows("published.csv")
COLUMNS = "variable period value unit constraints reform_id source publication url parameter note"


def read(folder: Path, year: int) -> list[Figure]:
    return TABLE.read(RawFiles(folder), Scope(year, STATES))


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['variable']}-{line['period']}-{line['source']}")
def test_every_line_is_quoted_whole(line: dict[str, str]) -> None:
    assert list(line) == COLUMNS.split()
    assert all(line[column] for column in COLUMNS.split() if column not in ("constraints", "parameter"))
    assert target_variable(line["variable"]).unit == line["unit"]
    assert re.fullmatch(r"https://[\w./%()-]+", line["url"])
    assert re.fullmatch(r"\d+", line["value"])
    assert 2022 <= int(line["period"]) <= 2025
    assert len(line["publication"]) > 20
    assert line["source"] in sources()
    assert {constraint.variable for rules in published._domain(line["constraints"]) for constraint in rules} <= set(variables())


def test_no_line_is_there_twice() -> None:
    keys = [tuple(line[c] for c in ("variable", "period", "constraints", "reform_id", "source")) for line in LINES]
    assert len(set(keys)) == len(keys)


def test_the_engine_has_the_same_figures() -> None:
    """Parameters of policyengine-us that quote CBO and the Treasury, read from its files."""
    spec = importlib.util.find_spec("policyengine_us")
    if spec is None or spec.origin is None:
        pytest.skip("the engine is not installed")
    checked = 0
    for line in LINES:
        if line["parameter"]:
            path = Path(spec.origin).parent / "parameters" / (line["parameter"].replace(".", "/") + ".yaml")
            found = {key.year: value for key, value in yaml.safe_load(path.read_text())["values"].items()}
            assert found[int(line["period"])] == float(line["value"]), line
            checked += 1
    assert checked == 17


def test_the_latest_of_each_publication_is_read(tmp_path: Path) -> None:
    found = {(f.variable, f.source, f.period): f.value for f in read(tmp_path, 2024)}
    assert found["social_security", "CBO Budget Projections", 2024] == 1_454_424_000_000
    assert found["medicaid", "CMS National Health Expenditure", 2023] == 871_700_000_000
    assert not {key for key in found if key[0] == "social_security" and key[2] != 2024}
    later = {(f.variable, f.source, f.period) for f in read(tmp_path, 2025)}
    assert ("social_security", "CBO Budget Projections", 2025) in later
    assert ("medicaid", "CMS National Health Expenditure", 2023) in later
    earlier = read(tmp_path, 2022)
    assert [(f.variable, f.period, f.value) for f in earlier] == [("person_count", 2022, 11_000_000)]


def test_tax_expenditures_are_reforms(tmp_path: Path) -> None:
    figures = read(tmp_path, 2024)
    assert {f.reform_id: (f.variable, f.value) for f in figures if f.reform_id} == {
        1: ("salt_deduction", 21.247e9),
        2: ("medical_expense_deduction", 11.4e9),
        3: ("charitable_deduction", 65.301e9),
        4: ("deductible_mortgage_interest", 24.8e9),
        5: ("qualified_business_income_deduction", 63.1e9),
    }
    assert {f.place for f in figures} == {NATION}


def test_the_data_file_is_among_the_sources(tmp_path: Path) -> None:
    raw = RawFiles(tmp_path)
    TABLE.read(raw, Scope(2024, STATES))
    assert [path.name for path in raw.take_used()] == ["published.csv"]


def test_no_line_repeats_what_a_file_gives_better() -> None:
    """Kinds of Social Security are in SSA's own file; IRA contributions in those of the IRS."""
    assert not {line["variable"] for line in LINES} & {
        "social_security_retirement",
        "traditional_ira_contributions",
        "roth_ira_contributions",
        "tanf",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unit": "count"}, "eitc is in count, the engine's in dollar"),
        ({"variable": "eitcc"}, "'eitcc' is no variable of the engine; near it are eitc"),
        ({"variable": "state_code"}, "cannot be added up"),
        ({"constraints": "snap"}, "'snap' is no constraint"),
        ({"constraints": "snap>some"}, "'snap>some' is no constraint|compares with 'some', which is not a number"),
    ],
)
def test_a_spoilt_line(change: dict[str, str], words: str) -> None:
    line = next(line for line in LINES if line["variable"] == "eitc") | change
    with pytest.raises(ConfigError, match=words):
        published._figure(line)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["snap", "age", "is_pregnant"]),
            st.sampled_from(["==", "!=", ">", ">=", "<", "<="]),
            st.integers(-9, 99),
        ),
        max_size=4,
    )
)
def test_constraints_are_read_as_written(rules: list[tuple[str, str, int]]) -> None:
    domain = published._domain(" ".join(f"{variable}{operation}{value}" for variable, operation, value in rules))
    assert [(c.variable, c.operation, int(c.value)) for of in domain for c in of] == rules
