"""The CPS as a population: entities, roles, incomes and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError, InputError
from geocal_core.population import Population, read_h5
from geocal_core.settings import CpsSettings
from geocal_core.surveys import cps, entities, social_security
from geocal_core.surveys.retirement import desired_contributions
from tests.surveys.conftest import bits, households, people

Writer = Callable[..., Path]
Context = Callable[..., Any]


@pytest.fixture
def built(asec_folder: Writer, stage_context: Context) -> Population:
    context = stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder()})
    numbers = cps.build(context)
    assert numbers["households"] == 2
    assert numbers["households_without_interview"] == 1
    return read_h5(context.output)


def test_units_are_closed_and_in_the_order_of_their_households(built: Population) -> None:
    built.validate()
    assert bits(built.ids("household")) == [3, 7]
    assert bits(built.ids("person")) == [301, 701, 702, 703, 704, 705]
    assert bits(built["person_tax_unit_id"]) == [0, 1, 1, 2, 1, 3]
    assert bits(built["person_spm_unit_id"]) == [0, 1, 1, 1, 1, 2]
    assert bits(built["person_family_id"]) == [0, 1, 1, 1, 1, 2]
    assert bits(built["person_marital_unit_id"]) == [0, 1, 1, 2, 3, 4]
    assert bits(built["tax_unit_role_input"]) == ["HEAD", "HEAD", "SPOUSE", "HEAD", "DEPENDENT", "HEAD"]


def test_weights_states_and_tenure(built: Population) -> None:
    assert built.weights == pytest.approx([999.5, 1500.5])
    assert bits(built["state_fips"]) == [10, 36]
    assert bits(built["tenure_type"]) == ["RENTED", "OWNED_OUTRIGHT"]
    assert bits(built["spm_unit_tenure_type"]) == ["RENTER", "OWNER_WITHOUT_MORTGAGE", "RENTER"]


def test_incomes_follow_the_documented_shares(built: Population) -> None:
    assert bits(built["employment_income_before_lsr"]) == [0, 80_000, 30_000, 12_000, 0, 0]
    assert built["taxable_interest_income"] == pytest.approx([340, 680, 0, 0, 0, 0])
    assert built["tax_exempt_interest_income"] == pytest.approx([160, 320, 0, 0, 0, 0])
    assert bits(built["alimony_income"]) == [900, 0, 0, 0, 0, 0]
    assert bits(built["strike_benefits"]) == [0] * 6
    assert bits(built["taxable_ira_distributions"]) == [0, 0, 900, 0, 0, 4_000]
    assert bits(built["tax_exempt_ira_distributions"]) == [7_000, 0, 0, 0, 0, 0]
    assert built["weekly_hours_worked_before_lsr"] == pytest.approx([0, 40, 10, 10, 0, 0])
    assert bits(built["is_disabled"]) == [False] * 5 + [True]
    assert bits(built["is_female"]) == [True, False, True, True, False, True]
    assert bits(built["own_children_in_household"]) == [0, 2, 0, 0, 0, 0]


def test_coverage_reported_at_the_interview_is_kept(asec_folder: Writer, stage_context: Context) -> None:
    reported = people().assign(NOW_GRP=2, NOW_CAID=[2, 1, 2, 1, 0, 2], NOW_MRK=[1, 2, 2, 2, 2, 0], NOW_MCAID=1, NOW_MRKS=1)
    context = stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder(persons=reported)})
    cps.build(context)
    built = read_h5(context.output)
    assert bits(built.ids("person")) == [301, 701, 702, 703, 704, 705]
    assert bits(built["has_medicaid_health_coverage_at_interview"]) == [False, False, True, False, True, False]
    assert bits(built["has_marketplace_health_coverage_at_interview"]) == [False, True, False, False, False, False]


@pytest.mark.parametrize("column", ["NOW_CAID", "NOW_MRK"])
def test_a_supplement_that_does_not_tell_coverage_is_refused(asec_folder: Writer, stage_context: Context, column: str) -> None:
    folder = asec_folder(persons=people().drop(columns=column))
    with pytest.raises(InputError, match=column):
        cps.build(stage_context("cps", CpsSettings(), {"raw_census_asec": folder}))


def test_social_security_goes_to_the_strongest_reason_and_by_age_without_one(built: Population) -> None:
    assert bits(built["social_security_retirement"]) == [18_000, 0, 0, 0, 0, 12_000]
    parts = [built[kind] for kind in social_security.KINDS]
    assert bits(np.sum(parts, axis=0)) == [18_000, 0, 0, 0, 0, 12_000]


def test_ages_of_eighty_are_spread_and_depend_on_the_person_alone() -> None:
    persons = np.arange(5_000)
    drawn = cps.ages(np.full(5_000, 80), persons)
    assert set(drawn) == {80, 81, 82, 83, 84}
    assert np.bincount(drawn.astype(int))[80:].min() > 850
    assert bits(cps.ages(np.full(3, 80), persons[[7, 9, 8]])) == bits(drawn[[7, 9, 8]])
    assert bits(cps.ages(np.array([0, 79, 85]), persons[:3])) == [0, 79, 85]
    with pytest.raises(InputError, match="90"):
        cps.ages(np.array([90]), persons[:1])


def test_same_file_gives_same_bytes(asec_folder: Writer, stage_context: Context) -> None:
    outputs = []
    for run in ("one", "two"):
        context = stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder()}, run)
        cps.build(context)
        outputs.append(context.output.read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("TAX_ID", 5, 701, "TAX_ID 701"),
        ("SPM_ID", 5, 7001, "SPM_ID 7001"),
        ("TAX_ID", 2, 0, "no TAX_ID"),
        ("A_SPOUSE", 0, 3, "names"),
        ("A_SPOUSE", 4, 9, "names line 9"),
        ("A_LINENO", 1, 1, "twice"),
        ("A_AGE", 1, 99, "A_AGE"),
        ("PEPAR1", 3, 8, "PEPAR1"),
        ("SPM_TENMORTSTATUS", 0, 0, "SPM_TENMORTSTATUS"),
    ],
)
def test_refuses_records_that_contradict_each_other(
    asec_folder: Writer, stage_context: Context, column: str, row: int, value: int, words: str
) -> None:
    wrong = people()
    wrong.loc[row, column] = value
    context = stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder(persons=wrong)})
    with pytest.raises(InputError, match=words):
        cps.build(context)
    assert not context.output.exists()


@pytest.mark.parametrize(("column", "value", "words"), [("GESTFIPS", 3, "GESTFIPS"), ("HSUP_WGT", 0, "H_SEQ 7")])
def test_refuses_unusable_households(asec_folder: Writer, stage_context: Context, column: str, value: int, words: str) -> None:
    wrong = households()
    wrong.loc[0, column] = value
    context = stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder(households=wrong)})
    with pytest.raises(InputError, match=words):
        cps.build(context)


def test_contributions_add_up_for_earners_and_are_nothing_for_others() -> None:
    reported = np.array([10_000.0, 10_000, 10_000, 80_000])
    wages = np.array([50_000.0, 0, 0, 0])
    profit = np.array([0.0, 20_000, 0, 900_000])
    parts = desired_contributions(reported, wages, profit, 2024)
    assert np.sum(list(parts.values()), axis=0) == pytest.approx([10_000, 10_000, 0, 80_000])
    assert bits(parts["self_employed_pension_contributions_desired"]) == [0, 5_000, 0, 69_000]
    with pytest.raises(ConfigError, match="1999"):
        desired_contributions(reported, wages, profit, 1999)


def test_rules_name_one_entity_and_one_kind_for_each_variable() -> None:
    rules = pd.read_csv(cps._TABLE, keep_default_na=False)
    assert (rules.groupby("variable")[["entity", "kind"]].nunique() == 1).all(axis=None)
    assert rules["source"].str.len().min() > 0
    exhaustive = rules[rules["column"].isin(["INT_VAL", "DIV_VAL", "CAP_VAL", "PNSN_VAL", "ANN_VAL"])]
    assert exhaustive.groupby("column")["share"].sum().to_numpy() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_tax_unit_has_one_head_and_a_spouse_is_the_heads(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=8))
    household = np.repeat(np.arange(len(sizes)), sizes)
    line = np.concatenate([np.arange(1, size + 1) for size in sizes])
    spouse_line = np.zeros(len(line), dtype=np.int64)
    for number, size in enumerate(sizes):
        members = data.draw(st.permutations(range(1, size + 1)))
        couples = data.draw(st.integers(0, size // 2))
        where = np.flatnonzero(household == number)
        for couple in range(couples):
            one, two = members[2 * couple], members[2 * couple + 1]
            spouse_line[where[one - 1]], spouse_line[where[two - 1]] = two, one
    n = len(line)
    key = household * 10 + data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    age = np.array(data.draw(st.lists(st.integers(0, 85), min_size=n, max_size=n)))
    reference = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))

    partner = entities.spouse_positions(household, line, spouse_line)
    unit = entities.group_positions(household, key, "unit")
    roles = entities.tax_unit_roles(unit, partner, reference, age)

    assert (np.bincount(unit, weights=roles == entities.HEAD) == 1).all()
    assert (np.bincount(unit, weights=roles == entities.SPOUSE) <= 1).all()
    for person in np.flatnonzero(roles == entities.SPOUSE):
        assert roles[partner[person]] == entities.HEAD
        assert unit[partner[person]] == unit[person]
    assert (np.diff(household[np.unique(unit, return_index=True)[1]]) >= 0).all()
    assert len(np.unique(entities.couple_keys(partner))) == n - (partner >= 0).sum() // 2
