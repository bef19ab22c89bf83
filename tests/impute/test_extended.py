"""The doubled CPS: the first half is the survey, the second adds up and carries returns like those of the PUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from geocal_core.errors import ArtifactError
from geocal_core.impute import extended
from geocal_core.population import IMPUTED, Population, read_h5, write_h5
from geocal_core.settings import ExtendedCpsSettings
from geocal_core.surveys import entities, social_security
from tests.impute.conftest import INCOMES, survey

Context = Callable[..., Any]
SETTINGS = ExtendedCpsSettings(trees=10, training_records=5_000)
N = 300
TAXABLE = extended._RULES.loc[extended._RULES["taxable"] == "yes", "variable"].tolist()


def complete(population: Population) -> Population:
    """With every variable of the table, zero where the made-up survey tells nothing."""
    names = extended._RULES.loc[extended._RULES["holder"] != "benefits", "variable"]
    return extended.with_zeros(population, [*names, *social_security.KINDS])


@pytest.fixture(scope="module")
def cps() -> Population:
    return complete(survey(N, 1, more={"taxable_401k_distributions": 0.1}))


@pytest.fixture(scope="module")
def puf() -> Population:
    return complete(survey(800, 2, more={"partnership_income": 0.1, "charitable_cash_donations": 0.3}))


@pytest.fixture(scope="module")
def doubled(cps: Population, puf: Population) -> Population:
    return extended.double(cps, *extended.impute_returns(cps, puf, SETTINGS, 1))


def half(population: Population, number: int) -> Population:
    return population.take(np.arange(N) + number * N)


def test_every_household_stands_twice_with_half_its_weight(cps: Population, doubled: Population) -> None:
    doubled.validate()
    ids = doubled.ids("household")
    assert len(np.unique(ids)) == 2 * N
    assert (ids[:N] == cps.ids("household")).all()
    assert (ids[N:] - ids[:N] == cps.ids("household").max() + 1).all()
    assert doubled.weights == pytest.approx(np.tile(cps.weights / 2, 2))
    for entity in ("person", "tax_unit", "marital_unit"):
        assert doubled.count(entity) == 2 * cps.count(entity)


def test_first_half_is_the_survey(cps: Population, doubled: Population) -> None:
    first = half(doubled, 0)
    for entity in ("person", "household"):
        for name, values in cps.tables[entity].items():
            if not name.endswith("_id") and name != "household_weight":
                assert (np.asarray(first.tables[entity][name]) == np.asarray(values)).all(), name
    for name in ("partnership_income", "charitable_cash_donations"):
        assert not np.any(first[name])
        assert np.any(half(doubled, 1)[name])


def test_the_file_tells_which_households_have_an_imputed_return(cps: Population, doubled: Population) -> None:
    """Those of the copy with a unit that files, and no other: their wages may differ from the survey's, all others' do not."""
    files = extended.files_return(cps, extended.returns_of(cps), TAXABLE)
    filing = np.isin(np.arange(N), cps.household_of("tax_unit")[files])
    told = np.asarray(doubled[IMPUTED])
    assert told.dtype == bool
    assert told.tolist() == [False] * N + filing.tolist()
    assert 0 < filing.sum() < N
    wages = doubled.to_household(doubled["employment_income_before_lsr"], "person").reshape(2, N)
    assert (wages[0] == wages[1])[~filing].all()
    assert (wages[0] != wages[1])[filing].mean() > 0.5


def test_only_returns_are_imputed_and_dependents_keep_what_they_reported(cps: Population, doubled: Population) -> None:
    second = half(doubled, 1)
    returns = extended.returns_of(cps)
    files = extended.files_return(cps, returns, TAXABLE)
    assert 0 < (~files).sum() < len(files) / 2
    filer = np.zeros(cps.count("person"), dtype=bool)
    filer[returns.head[files]] = True
    filer[returns.spouse[files & (returns.spouse >= 0)]] = True
    for name in (*INCOMES, "taxable_401k_distributions"):
        assert (np.asarray(second[name])[~filer] == np.asarray(cps[name])[~filer]).all(), name
    for name in ("age", "is_female", "tax_unit_role_input", "weeks_unemployed", "state_fips"):
        assert (np.asarray(second[name]) == np.asarray(cps[name])).all()
    assert not np.asarray(second["taxable_401k_distributions"])[filer].any()


def test_returns_look_like_those_of_the_puf() -> None:
    """Zeros and distribution of a return's wages agree with the donors' of the same kind (couples, singles)."""
    cps, puf = complete(survey(2_000, 21)), complete(survey(2_500, 22))
    wages = "employment_income_before_lsr"
    puf = puf.with_variables("person", {wages: 3 * np.asarray(puf[wages])})  # so that reported wages would not pass
    copy, _ = extended.impute_returns(cps, puf, SETTINGS, 1)
    ours, theirs = extended.returns_of(cps), extended.returns_of(puf)
    files = extended.files_return(cps, ours, TAXABLE)
    for joint in (0.0, 1.0):
        alike = (ours.traits["joint"] == joint) & (ours.traits["head_age"] < 60) & (ours.traits["spouse_age"] < 60)
        others = (theirs.traits["joint"] == joint) & (theirs.traits["head_age"] < 60) & (theirs.traits["spouse_age"] < 60)
        drawn, given = ours.total(copy[wages])[files & alike], theirs.total(puf[wages])[others]
        assert np.mean(drawn > 0) == pytest.approx(np.mean(given > 0), abs=0.05)
        assert stats.ks_2samp(drawn, given).statistic < 0.08
        assert stats.ks_2samp(ours.total(cps[wages])[files & alike], given).statistic > 0.2


def test_benefits_add_up_to_their_total_and_keep_the_reported_kinds() -> None:
    cps = complete(survey(200, 3))
    returns = extended.returns_of(cps)
    total = np.linspace(0, 50_000, len(returns.head))
    values = extended.reconcile_benefits(cps, returns.head, returns.spouse, total)
    assert returns.total(np.sum(list(values.values()), axis=0)) == pytest.approx(total)
    retirement, disability = (values[name] for name in social_security.KINDS[:2])
    reported = returns.total(cps["social_security_disability"]) > 0
    no_retirement = returns.total(cps["social_security_retirement"]) == 0
    told = reported & no_retirement
    assert told.any()
    assert returns.total(retirement)[told] == pytest.approx(0)
    untold = ~reported & no_retirement
    old = np.maximum(returns.traits["head_age"], returns.traits["spouse_age"]) >= 62
    assert returns.total(disability)[untold & old] == pytest.approx(0)
    assert returns.total(retirement)[untold & ~old] == pytest.approx(0)


def test_training_sample_is_true_to_the_whole() -> None:
    rng = np.random.default_rng(9)
    weights = np.append(rng.uniform(100, 2_000, 5_000), [0.0])
    dollars = np.append(rng.lognormal(10, 2, 5_000), [1e9])
    settings = ExtendedCpsSettings(training_records=1_500)
    chosen, mass = extended.training_sample(weights, dollars, settings)
    assert len(np.unique(chosen)) == 1_500
    assert 5_000 not in chosen
    assert mass.sum() == pytest.approx(weights.sum(), rel=0.05)
    assert mass @ dollars[chosen] == pytest.approx(weights @ np.append(dollars[:-1], 0), rel=0.02)
    everyone, same = extended.training_sample(weights, dollars, ExtendedCpsSettings(training_records=5_000))
    assert len(everyone) == 5_000
    assert (same == weights[:-1]).all()


def test_files_who_must_by_income_and_who_has_wages() -> None:
    """The limits of 2024 for a single, for a couple of whom one is 65, and for a head of household, each from both sides."""
    incomes = {
        "single below": ([30], 0, 14_599, False),
        "single at": ([30], 0, 14_600, True),
        "senior below": ([70], 0, 16_549, False),
        "couple below": ([64, 66], 0, 30_749, False),
        "couple at": ([66, 64], 0, 30_750, True),
        "head of household below": ([40], 1, 21_899, False),
        "head of household at": ([40], 2, 21_900, True),
        "loss is no income": ([40], 0, -90_000, False),
    }
    role, unit, age, interest = [], [], [], []
    for number, (adults, children, amount, _) in enumerate(incomes.values()):
        members = [*adults, *[7] * children]
        role += ["HEAD", "SPOUSE"][: len(adults)] + ["DEPENDENT"] * children
        unit += [number] * len(members)
        age += members
        interest += [amount] + [0] * (len(members) - 1)
    places = np.array(unit)
    n = len(unit)
    person = {
        "age": np.array(age, dtype=float),
        "is_female": np.ones(n, dtype=bool),
        "tax_unit_role_input": np.array(role),
        "taxable_interest_income": np.array(interest, dtype=float),
        "employment_income_before_lsr": np.zeros(n),
        "self_employment_income_before_lsr": np.zeros(n),
    }
    groups = dict.fromkeys(("household", "tax_unit", "spm_unit", "family", "marital_unit"), places)
    population = entities.assemble(2024, np.arange(n), np.arange(len(incomes)), groups, {"person": person})
    wanted = [files for *_, files in incomes.values()]

    def files(population: Population) -> list[bool]:
        taxable = ["taxable_interest_income", "employment_income_before_lsr"]
        return extended.files_return(population, extended.returns_of(population), taxable).tolist()

    assert files(population) == wanted
    paid = population.with_variables("person", {"employment_income_before_lsr": np.ones(n)})
    assert all(files(paid))
    own = population.with_variables("person", {"self_employment_income_before_lsr": np.where(places == 0, 400.0, 0.0)})
    assert files(own) == [True, *wanted[1:]]


def test_spouse_share_is_that_of_earnings() -> None:
    cps = complete(survey(100, 4))
    returns = extended.returns_of(cps)
    share = extended.spouse_share(cps, returns, ["employment_income_before_lsr"])
    wages = np.asarray(cps["employment_income_before_lsr"])
    both = returns.total(wages)
    assert (share[returns.spouse < 0] == 0).all()
    earning = (returns.spouse >= 0) & (both > 0)
    assert (share * both)[earning] == pytest.approx(wages[returns.spouse[earning]])


def test_same_seed_same_bytes_for_any_number_of_workers(
    cps: Population, puf: Population, tmp_path: Path, stage_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_h5(cps, tmp_path / "cps.h5")
    write_h5(puf, tmp_path / "puf.h5")
    inputs = {"cps": tmp_path / "cps.h5", "puf": tmp_path / "puf.h5"}
    outputs = []
    for workers in ("1", "2"):
        monkeypatch.setenv("GEOCAL_WORKERS", workers)
        context = stage_context(ExtendedCpsSettings(trees=5), inputs, f"extended_{workers}")
        numbers = extended.build(context)
        assert numbers["households"] == 2 * N
        assert numbers["households_imputed"] == np.count_nonzero(read_h5(context.output)[IMPUTED]) > 0
        assert float(numbers["weighted_households"]) == pytest.approx(cps.weights.sum(), rel=1e-6)
        outputs.append(context.output.read_bytes())
    assert outputs[0] == outputs[1]
    read_h5(tmp_path / "extended_1").validate()


def test_refuses_units_without_a_head(cps: Population, puf: Population) -> None:
    headless = cps.with_variables("person", {"tax_unit_role_input": np.full(cps.count("person"), "DEPENDENT")})
    with pytest.raises(ArtifactError, match="one head"):
        extended.impute_returns(headless, puf, SETTINGS, 1)


def test_refuses_populations_without_a_variable(cps: Population, puf: Population) -> None:
    with pytest.raises(ArtifactError, match="cps holds no variable taxable_interest_income"):
        extended.impute_returns(cps.without(["taxable_interest_income"]), puf, SETTINGS, 1)
    with pytest.raises(ArtifactError, match="puf holds no variable s_corp_income"):
        extended.impute_returns(cps, puf.without(["s_corp_income"]), SETTINGS, 1)


def test_refuses_donors_with_missing_values(cps: Population, puf: Population) -> None:
    broken = np.asarray(puf["taxable_interest_income"]).copy()
    broken[0] = np.nan
    with pytest.raises(ArtifactError, match="missing"):
        extended.impute_returns(cps, puf.with_variables("person", {"taxable_interest_income": broken}), SETTINGS, 1)
