"""Who reported a program and who could be covered, told by hand for a small file, and what is kept by the adjustment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geocal_core.engine.anchors import (
    INCOMES,
    adjusted,
    anchors,
    could_be_eligible,
    poverty_ratio,
    reporters,
    share_of_reporters,
    without_reports,
)
from geocal_core.errors import ConfigError
from geocal_core.population import GROUPS, Population, id_name, link_name

MEDICAID, MARKETPLACE = "takes_up_medicaid_if_eligible", "takes_up_aca_if_eligible"


def five_households() -> Population:
    """A person each, but a couple in the first; poor, poor, poor, in the middle, rich; weights 1 to 5."""
    household = np.array([0, 0, 1, 2, 3, 4])
    person = {
        "person_id": np.arange(6),
        "age": np.array([30.0, 31.0, 70.0, 40.0, 50.0, 64.0]),
        "employment_income_before_lsr": np.array([10_000.0, 0.0, 5_000.0, 0.0, 30_000.0, 90_000.0]),
        "social_security_retirement": np.array([0.0, 0.0, 9_000.0, 0.0, 0.0, 0.0]),
        "has_esi": np.array([False, False, False, False, False, True]),
        "has_medicaid_health_coverage_at_interview": np.array([False, True, False, False, True, False]),
        "has_marketplace_health_coverage_at_interview": np.array([False, False, False, True, False, False]),
        **{link_name(group): household for group in GROUPS},
    }
    tables = {group: {id_name(group): np.arange(5)} for group in GROUPS}
    tables["household"]["household_weight"] = np.arange(1.0, 6.0)
    population = Population(2024, {"person": person, **tables})
    population.validate()
    return population


def test_incomes_are_measured_in_guidelines_of_the_size_of_the_unit() -> None:
    expected = [10_000 / 20_440, 14_000 / 15_060, 0, 30_000 / 15_060, 90_000 / 15_060]
    assert poverty_ratio(five_households()) == pytest.approx(expected)


def test_shares_are_of_those_who_could_be_eligible() -> None:
    population = five_households()
    # By income the couple (1 each) and the next two (2, 3), of whom one of the couple reports it; so does one who earns more.
    assert reporters(population, anchors()[MEDICAID], "person").tolist() == [False, True, False, False, True, False]
    assert could_be_eligible(population, anchors()[MEDICAID], "person").tolist() == [True] * 4 + [False] * 2
    assert share_of_reporters(population, anchors()[MEDICAID], "person") == pytest.approx(1 / 7)
    # The first three are too poor, though the third reports it, the fourth reports Medicaid, the last is covered at work.
    assert reporters(population, anchors()[MARKETPLACE], "tax_unit").tolist() == [False, False, True, False, False]
    assert not could_be_eligible(population, anchors()[MARKETPLACE], "tax_unit").any()
    covered = {"has_medicaid_health_coverage_at_interview": np.zeros(6, dtype=bool), "has_esi": np.zeros(6, dtype=bool)}
    covered[anchors()[MARKETPLACE].report] = np.array([False, False, True, False, True, False])
    alone = population.with_variables("person", covered)
    assert could_be_eligible(alone, anchors()[MARKETPLACE], "tax_unit").tolist() == [False, False, False, True, True]
    assert share_of_reporters(alone, anchors()[MARKETPLACE], "tax_unit") == pytest.approx(4 / 9)


def test_a_file_where_nobody_could_be_eligible_has_no_share() -> None:
    person = {
        "has_medicaid_health_coverage_at_interview": np.zeros(6, dtype=bool),
        "employment_income_before_lsr": np.full(6, 1e6),
    }
    assert share_of_reporters(five_households().with_variables("person", person), anchors()[MEDICAID], "person") == 0


@given(hnp.arrays(np.float64, 5, elements=st.floats(0, 1)), st.floats(0, 1))
def test_the_rate_of_all_is_kept_where_it_can_be(rates: np.ndarray, share: float) -> None:
    others = adjusted(rates, share)
    assert ((others >= 0) & (others <= 1 + 1e-12)).all()
    assert share + (1 - share) * others == pytest.approx(np.maximum(rates, share))
    assert (np.diff(adjusted(np.sort(rates), share)) >= 0).all()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("age", "no age"),
        ("has_esi", "no has_esi"),
        ("household_weight", "no household_weight"),
        ("employment_income_before_lsr", "no employment_income_before_lsr"),
        ("has_marketplace_health_coverage_at_interview", "no has_marketplace"),
    ],
)
def test_what_conditions_ask_for_must_be_there(missing: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        share_of_reporters(five_households().without([missing]), anchors()[MARKETPLACE], "tax_unit")


def test_a_year_without_a_guideline_is_refused() -> None:
    population = five_households()
    with pytest.raises(ConfigError, match="no poverty guideline of 1999"):
        poverty_ratio(Population(1999, population.tables))


def test_reports_are_left_behind_and_nothing_else() -> None:
    population = five_households()
    kept = without_reports(population).tables["person"]
    assert set(population.tables["person"]) - set(kept) == {anchor.report for anchor in anchors().values()}


@pytest.mark.engine
def test_reports_and_incomes_are_inputs_of_the_engine() -> None:
    from geocal_core.engine.variables import entity_of, is_input

    named = [*INCOMES, *(anchor.report for anchor in anchors().values())]
    named += [name for anchor in anchors().values() for name in anchor.ruled_out_by]
    assert all(is_input(name) and entity_of(name) == "person" for name in named)
