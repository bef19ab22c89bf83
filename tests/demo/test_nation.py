"""The synthetic population: whole, reproducible, and like the country it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.demo.districts import county_parts, districts_of, published_totals
from geocal_core.demo.earnings import heavy_tailed
from geocal_core.demo.nation import Nation, draw_nation, share_out
from geocal_core.demo.structure import CHILD, PARTNER, REFERENCE, ROOMMATE, SPOUSE
from geocal_core.errors import ConfigError
from geocal_core.places.states import DISTRICTS
from geocal_core.population import GROUPS
from geocal_core.settings import ALL_STATES
from tests.demo.conftest import TINY, weighted_share


def small(seed: int, lean: float = 1.5) -> Nation:
    districts = districts_of(TINY)
    return draw_nation(districts, share_out(90, districts), stream="test", seed=seed, lean=lean, control="state")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), lean=st.floats(1.0, 3.0))
def test_every_sample_is_a_whole_population(seed: int, lean: float) -> None:
    nation = small(seed, lean)
    population, people = nation.population, nation.people
    population.validate()
    assert (np.bincount(people.household, weights=people.with_role(REFERENCE)) == 1).all()
    roles = population.tables["person"]["tax_unit_role_input"]
    unit = population.group_of_person("tax_unit")
    n = population.count("tax_unit")
    assert (np.bincount(unit[roles == "HEAD"], minlength=n) == 1).all()
    assert (np.bincount(unit[roles == "SPOUSE"], minlength=n) <= 1).all()
    couple = np.bincount(population.group_of_person("marital_unit"))
    assert set(np.unique(couple)) <= {1, 2}
    assert (couple == 2).sum() == people.with_role(SPOUSE).sum()
    assert ((people.age >= 0) & (people.age <= 99)).all()
    assert (people.age[people.with_role(CHILD)] < 18).all()
    for entity in ("person", *GROUPS):
        for name, column in population.tables[entity].items():
            assert column.dtype.kind != "f" or np.isfinite(column).all(), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_units_nest(seed: int) -> None:
    """A tax unit, a family and a couple lie within one SPM unit, and people who are not relatives file alone."""
    nation = small(seed)
    population, people = nation.population, nation.people
    spm = population.group_of_person("spm_unit")
    for group in ("tax_unit", "family", "marital_unit"):
        unit = population.group_of_person(group)
        pairs = len(np.unique(np.column_stack([unit, spm]), axis=0))
        assert pairs == population.count(group)
    alone = people.with_role(PARTNER, ROOMMATE)
    size = np.bincount(population.group_of_person("tax_unit"))
    assert (size[population.group_of_person("tax_unit")[alone]] == 1).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), control=st.sampled_from(["state", "district"]))
def test_weights_add_up_to_the_residents(seed: int, control: str) -> None:
    districts = districts_of(TINY)
    nation = draw_nation(districts, share_out(120, districts), stream="test", seed=seed, lean=1.7, control=control)
    by_person = nation.population.weights[nation.people.household]
    area = nation.district if control == "district" else nation.district // 100
    wanted = districts.code if control == "district" else districts.state
    for code in np.unique(wanted):
        found = by_person[area[nation.people.household] == code].sum()
        assert found == pytest.approx(districts.persons[wanted == code].sum(), rel=1e-9)


def test_same_seed_same_people_other_seed_others() -> None:
    first, again, other = small(3), small(3), small(4)
    for entity, table in first.population.tables.items():
        for name, column in table.items():
            assert (column == again.population.tables[entity][name]).all()
    assert len(first.people.age) != len(other.people.age) or (first.people.age != other.people.age).any()


def test_leaning_towards_the_rich_does_not_change_the_mean() -> None:
    """Weights make up for how often a fortune is drawn: means with and without it agree."""
    districts = districts_of(["OH"])
    counts = np.full(len(districts.code), 1_500)
    income = {}
    for lean in (1.0, 2.0):
        nation = draw_nation(districts, counts, stream="lean", seed=5, lean=lean, control="state")
        weights = nation.population.weights
        income[lean] = np.average(np.minimum(nation.income, 400_000), weights=weights)
        many = (nation.income > 1_000_000).sum()
        assert weighted_share(nation.income > 1_000_000, weights) == pytest.approx(0.006, abs=0.005)
    assert income[2.0] == pytest.approx(income[1.0], rel=0.03)
    assert many > 1.5 * 0.006 * counts.sum()


def test_the_nation_is_like_the_united_states(nation: Nation) -> None:
    people, weights = nation.people, nation.population.weights
    by_person = weights[people.household]
    assert by_person.sum() == pytest.approx(published_totals()["population_2024"], rel=1e-9)
    assert weights.sum() == pytest.approx(135e6, rel=0.04)
    # Census Bureau, ACS 1-year 2024, S0101: 21.4 percent are below 18, 18.0 percent are 65 or older.
    assert weighted_share(people.age < 18, by_person) == pytest.approx(0.214, abs=0.03)
    assert weighted_share(people.age >= 65, by_person) == pytest.approx(0.180, abs=0.02)
    assert weighted_share(people.age >= 85, by_person) == pytest.approx(0.019, abs=0.006)
    assert weighted_share(people.female, by_person) == pytest.approx(0.505, abs=0.01)
    # Census Bureau, P60-286: median household income of 2024 is 83,730 dollars; ACS: 65 percent own their homes.
    order = np.argsort(nation.income)
    median = nation.income[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]
    assert median == pytest.approx(83_730, rel=0.1)
    assert weighted_share(nation.spending.tenure != "RENTED", weights) == pytest.approx(0.65, abs=0.04)


def test_wages_and_gains_are_near_the_published_totals(nation: Nation) -> None:
    """IRS SOI, Publication 1304, 2023, carried to 2024; the tails make the smaller sources vary."""
    weights = nation.population.weights[nation.people.household]
    totals = {
        "employment_income_before_lsr": (10.8e12, 0.10),
        "taxable_private_pension_income": (0.98e12, 0.2),
        "social_security_retirement": (1.06e12, 0.15),
        "self_employment_income_before_lsr": (0.42e12, 0.35),
        "long_term_capital_gains_before_response": (1.0e12, 0.5),
    }
    for name, (total, tolerance) in totals.items():
        found = float((weights * nation.population[name]).sum())
        assert found == pytest.approx(total, rel=tolerance), name


def test_upper_tails_are_heavy(nation: Nation) -> None:
    weights = nation.population.weights
    assert 0.002 < weighted_share(nation.income > 1e6, weights) < 0.02
    assert 0.00003 < weighted_share(nation.income > 1e7, weights) < 0.001
    rich = nation.income > 1e6
    assert rich.sum() > 3 * weighted_share(rich, weights) * len(weights)
    top = np.sort(nation.income)[-200:]
    hill = 1 / np.mean(np.log(top / top[0]))
    assert 0.7 < hill < 2.5


def test_districts_differ(nation: Nation) -> None:
    place = np.searchsorted(np.array(sorted(DISTRICTS)), nation.district)
    weights = nation.population.weights
    total = np.bincount(place, weights=weights)
    median_like = np.bincount(place, weights=weights * np.log(np.maximum(nation.income, 1_000))) / total
    owners = np.bincount(place, weights=weights * (nation.spending.tenure != "RENTED")) / total
    by_person = weights[nation.people.household]
    where = place[nation.people.household]
    persons = np.bincount(where, weights=by_person)
    black = np.bincount(where, weights=by_person * (nation.people.race == 2)) / persons
    old = np.bincount(where, weights=by_person * (nation.people.age >= 65)) / persons
    for share, spread in ((median_like, 0.12), (owners, 0.05), (black, 0.05), (old, 0.02)):
        assert share.std() > spread
    prosperity = districts_of(ALL_STATES).prosperity
    assert np.corrcoef(prosperity, median_like)[0, 1] > 0.6


def test_heavy_tailed_is_lognormal_below_and_pareto_above_its_knee() -> None:
    assert heavy_tailed(np.array([0.5]), 100.0, 1.0, 0.9, 1.5)[0] == pytest.approx(100)
    at_knee, beyond = heavy_tailed(np.array([0.9, 0.99]), 100.0, 1.0, 0.9, 1.5)
    assert at_knee == pytest.approx(100 * np.exp(1.2815515655))
    assert beyond / at_knee == pytest.approx(10 ** (1 / 1.5))


@given(extra=st.integers(0, 2_000))
def test_share_out_gives_every_district_its_part(extra: int) -> None:
    districts = districts_of(TINY)
    n = len(districts.code)
    counts = share_out(n + extra, districts)
    assert counts.sum() == n + extra
    assert (counts >= 1).all()
    wish = 1 + extra * districts.persons / districts.persons.sum()
    assert (np.abs(counts - wish) < 1).all()


def test_share_out_refuses_fewer_households_than_districts() -> None:
    with pytest.raises(ConfigError, match="27 households cannot cover 28 districts"):
        share_out(27, districts_of(TINY))


def test_features_belong_to_the_nation_and_not_to_a_sample() -> None:
    whole, part = districts_of(ALL_STATES), districts_of(["NY"])
    at = np.searchsorted(whole.code, part.code)
    assert (whole.prosperity[at] == part.prosperity).all()
    assert whole.race.sum(axis=1) == pytest.approx(1)


def test_county_parts_are_the_published_populations() -> None:
    """2020 Census apportionment and PL 94-171 counts, to the hundreds they are rounded to."""
    parts = county_parts()
    assert sorted(set(parts.district.tolist())) == sorted(DISTRICTS)
    assert all(int(county[:2]) == district // 100 for county, district in zip(parts.county, parts.district, strict=True))
    assert parts.population.sum() == pytest.approx(331_449_281, rel=2e-4)
    counties = {county: int(parts.population[parts.county == county].sum()) for county in np.unique(parts.county)}
    new_york = {"36005": 1_472_654, "36047": 2_736_074, "36061": 1_694_251, "36081": 2_405_464, "36085": 495_747}
    others = {"06037": 10_014_009, "17031": 5_275_541, "24033": 967_201, "32003": 2_265_461, "56021": 100_512}
    for county, population in (new_york | others).items():
        assert counties[county] == pytest.approx(population, abs=700), county
    connecticut = {county for county in counties if county.startswith("09")}
    assert connecticut == {f"09{number:03d}" for number in range(1, 16, 2)}
    assert len(counties) == 3_143
