"""The consistency report: every kind of contradiction planted in a database and found, and what the real one holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from geocal_core.targets.consistency import Contradiction, find_contradictions
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import Figure, Scope
from geocal_core.targets.vocabulary import data_rows, target_variable
from geocal_core.targets.writer import write_database

SCOPE = Scope.of(2024, ("DE", "DC"))
FILER = (Constraint("tax_unit_is_filer", "==", "1"),)


def _figure(variable: str, value: float, place: int, source: str = "IRS SOI", *rules: Constraint, period: int = 2024) -> Figure:
    return Figure(variable, value, period, place, source, (rules,) if rules else ())


def _income(*texts: tuple[str, int]) -> tuple[Constraint, ...]:
    return (*FILER, *(Constraint("adjusted_gross_income", operation, str(value)) for operation, value in texts))


def _found(tmp_path: Path, figures: Sequence[Figure]) -> list[Contradiction]:
    write_database(tmp_path / "policy_data.db", figures, SCOPE)
    return find_contradictions(tmp_path / "policy_data.db", 2024)


def test_figures_that_agree(tmp_path: Path) -> None:
    figures = [_figure("snap", value, place, "USDA FNS SNAP") for place, value in {0: 30, 10: 10, 11: 20}.items()]
    assert _found(tmp_path, figures) == []


def test_levels(tmp_path: Path) -> None:
    official = [_figure("snap", value, place, "USDA FNS SNAP") for place, value in {0: 30, 10: 10, 11: 20}.items()]
    survey = [_figure("snap", 8, 1001, "Census ACS S2201"), _figure("snap", 100, 1101, "Census ACS S2201")]
    remaining, scaled = _found(tmp_path, [*official, *survey])
    assert (remaining.place, remaining.ratio, remaining.reconciled, remaining.follows) == ("11", 0.2, False, "")
    assert "not the same quantity" in remaining.why
    assert scaled == Contradiction(
        kind="levels",
        quantity="snap: whole and sum of its districts",
        place="10",
        value=10,
        other=8,
        source="USDA FNS SNAP",
        other_source="Census ACS S2201",
        follows="USDA FNS SNAP",
        why="the parts are scaled to the whole: trust 80 against 20",
        reconciled=True,
    )
    assert scaled.effect == pytest.approx(0.2)


def test_a_whole_that_follows_its_parts(tmp_path: Path) -> None:
    states = [_figure("eitc", value, place, "IRS SOI") for place, value in {10: 10, 11: 20}.items()]
    (found,) = _found(tmp_path, [_figure("eitc", 40, 0, "Treasury Tax Expenditures"), *states])
    assert (found.follows, found.place, found.reconciled) == ("IRS SOI", "US", True)
    assert found.why.startswith("the whole takes the sum of its parts: trust 70 against")


def test_parts_that_exceed_a_whole_though_one_is_missing(tmp_path: Path) -> None:
    figures = [_figure("snap", value, place, "USDA FNS SNAP") for place, value in {0: 30, 10: 50}.items()]
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.value, found.other, found.reconciled) == ("levels", 30, 50, False)


def test_alternatives(tmp_path: Path) -> None:
    figures = [
        _figure("social_security", 100, 0, "SSA Statistical Supplement"),
        _figure("social_security", 90, 0, "CBO Budget Projections"),
    ]
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.follows, found.other, found.reconciled) == ("sources", "SSA Statistical Supplement", 90, True)


def test_declared_equivalences(tmp_path: Path) -> None:
    """Benefits in a year of the nation against the sum over states of enrolment."""
    benefits, enrolled = Constraint("medicaid", ">", "0"), Constraint("medicaid_enrolled", "==", "True")
    figures = [
        _figure("person_count", 80, 0, "CMS National Health Expenditure", benefits),
        *(_figure("person_count", value, place, "CMS Medicaid", enrolled) for place, value in {10: 30, 11: 40}.items()),
    ]
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.place, found.value, found.other, found.follows) == ("sources", "US", 80, 70, "CMS Medicaid")
    assert "person_count [medicaid_enrolled==True]" in found.quantity


def test_an_equivalence_with_a_partition(tmp_path: Path) -> None:
    children = [("==", 0, 10), ("==", 1, 20), ("==", 2, 30), (">", 2, 41)]
    figures = [_figure("eitc", 100, 0, "Treasury Tax Expenditures")]
    for operation, number, value in children:
        rules = (*FILER, Constraint("eitc", ">", "0"), Constraint("eitc_child_count", operation, str(number)))
        figures.append(_figure("eitc", value, 0, "IRS SOI", *rules))
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.value, found.other, found.follows) == ("sources", 100, 101, "IRS SOI")


def test_a_sum_of_variables(tmp_path: Path) -> None:
    kinds = ("retirement", "disability", "survivors", "dependents")
    figures = [_figure(f"social_security_{kind}", 25, 0, "SSA Statistical Supplement") for kind in kinds]
    (found,) = _found(tmp_path, [_figure("social_security", 110, 0, "CBO Budget Projections"), *figures])
    assert (found.value, found.other) == (110, 100)


def test_bounds_in_two_wordings(tmp_path: Path) -> None:
    figures = [
        _figure("tax_unit_count", 10, 0, "IRS SOI", *_income((">=", 1), ("<", 10))),
        _figure("tax_unit_count", 12, 0, "IRS SOI Publication 1304", *_income((">", 1), ("<=", 10))),
    ]
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.follows) == ("sources", "IRS SOI Publication 1304")


def test_a_part_that_exceeds_its_whole(tmp_path: Path) -> None:
    receives = (*FILER, Constraint("eitc", ">", "0"))
    figures = [_figure("tax_unit_count", 10, 0, "IRS SOI", *FILER), _figure("tax_unit_count", 12, 0, "IRS SOI", *receives)]
    (found,) = _found(tmp_path, figures)
    assert (found.kind, found.value, found.other, found.follows) == ("parts", 10, 12, "")
    assert "is exceeded by its part tax_unit_count [eitc>0,tax_unit_is_filer==1]" in found.quantity


def test_net_amounts_may_exceed_their_whole(tmp_path: Path) -> None:
    figures = [
        _figure("adjusted_gross_income", 10, 0, "IRS SOI", *FILER),
        _figure("adjusted_gross_income", 12, 0, "IRS SOI", *_income((">=", 1))),
        _figure("adjusted_gross_income", -2, 0, "IRS SOI", *_income(("<", 1))),
    ]
    assert _found(tmp_path, figures) == []


@pytest.mark.parametrize(("fine", "number"), [(13, 0), (18, 1)])
def test_partitions(tmp_path: Path, fine: int, number: int) -> None:
    """All against the finest partition that there is, which here divides the top of the coarse one."""
    figures = [
        _figure("tax_unit_count", 100, 0, "IRS SOI", *FILER),
        _figure("tax_unit_count", 60, 0, "IRS SOI", *_income(("<", 1))),
        _figure("tax_unit_count", 40, 0, "IRS SOI", *_income((">=", 1))),
        _figure("tax_unit_count", 27, 0, "IRS SOI", *_income((">=", 1), ("<", 10))),
        _figure("tax_unit_count", fine, 0, "IRS SOI", *_income((">=", 10))),
    ]
    found = [one for one in _found(tmp_path, figures) if one.value == 100]
    assert [(one.kind, one.other) for one in found] == [("parts", 105)] * number
    assert all("and the sum of 3 parts by adjusted_gross_income" in one.quantity for one in found)


def test_those_that_remain_come_first_and_the_largest(tmp_path: Path) -> None:
    survey = [_figure("snap", value, place, "Census ACS S2201") for place, value in {1001: 8, 1101: 19}.items()]
    official = [_figure("snap", value, place, "USDA FNS SNAP") for place, value in {0: 30, 10: 10, 11: 20}.items()]
    receives = (*FILER, Constraint("eitc", ">", "0"))
    counts = [_figure("tax_unit_count", 10, 0, "IRS SOI", *FILER), _figure("tax_unit_count", 10.1, 0, "IRS SOI", *receives)]
    found = _found(tmp_path, [*official, *survey, *counts])
    assert [(one.kind, one.place) for one in found] == [("parts", "US"), ("levels", "10"), ("levels", "11")]


def test_equivalences_are_of_known_variables() -> None:
    for row in data_rows("equivalences.csv"):
        assert row["why"]
        for wording in (row["quantity"], row["equivalent"]):
            for term in wording.split(" + "):
                target_variable(term.split(" ")[0])
                inside = term.partition("[")[2].rstrip("]")
                assert inside.split(",") == sorted(inside.split(","))


@pytest.mark.raw
def test_the_real_database(published_db: Path) -> None:
    """SNAP in every state but none unseen, and what two sources say."""
    found = find_contradictions(published_db, 2024)
    snap = [one for one in found if one.quantity == "household_count [snap>0]: whole and sum of its districts"]
    assert len(snap) == 51
    assert {one.follows for one in snap} == {"USDA FNS SNAP"}
    assert max(snap, key=lambda one: one.ratio).place == "32"
    differ = {one.quantity.split(" and ")[0] for one in found if one.kind == "sources" and "; both stay targets" in one.why}
    assert {
        "aca_ptc",
        "employment_income",
        "income_tax_positive",
        "person_count [is_aca_ptc_eligible==True,used_aca_ptc>0]",
        "unemployment_compensation",
    } <= differ
    assert all(one.reconciled for one in found if one.kind == "levels")
    (eitc,) = [one for one in found if one.quantity.startswith("eitc and eitc [eitc>0")]
    assert (eitc.place, eitc.value) == ("US", 67_330_000_000)
