"""Series: every figure with a source, the engine's own where it says so, and what grows by what."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.targets import uprating
from geocal_core.targets.select import uprated_targets
from geocal_core.targets.uprating import factor, growth, published, series, series_of
from geocal_core.targets.vocabulary import SUMMED, data_rows, variables

UNITS = {"person", "household", "dollar", "index"}


def test_every_figure_has_a_source_and_stands_once() -> None:
    rows = data_rows("uprating.csv")
    assert all(row["source"] and row["unit"] in UNITS and float(row["value"]) > 0 for row in rows)
    assert len({(row["series"], row["year"]) for row in rows}) == len(rows)
    assert all(bool(row["parameter"]) == bool(row["instant"]) for row in rows)
    assert len({(row["series"], row["unit"]) for row in rows}) == len(published())


def test_series_are_whole() -> None:
    for name, values in series().items():
        assert sorted(values) == list(range(min(values), max(values) + 1)), name
        assert set(range(2022, 2027)) <= set(values), name
        assert all(value > 0 for value in values.values()), name


def test_what_grows_by_what_is_known() -> None:
    rows = data_rows("uprating_growth.csv")
    assert all(row["why"] for row in rows)
    assert len({row["series"] for row in rows}) == len(rows)
    for name, followed in growth().items():
        assert set(followed) <= set(series()), name


def test_every_series_is_of_a_variable_or_another_series() -> None:
    rows = data_rows("series.csv")
    assert len({(row["variable"], row["domain"]) for row in rows}) == len(rows)
    assert all(row["variable"] in variables() and (row["domain"] or row["variable"]) in variables() for row in rows)
    assert all(variables()[row["variable"]].unit in SUMMED for row in rows)
    used = {row["series"] for row in rows} | {name for followed in growth().values() for name in followed}
    assert used == set(series())


def test_published_figures_stay_and_others_grow() -> None:
    """Closed form: wages are published to 2023 and follow CBO's growth from there."""
    own, projected = published()["wages"], published()["wage_projection"]
    assert max(own) == 2023
    assert series()["wages"][2023] == own[2023] == 10_204_095_705_000
    assert series()["wages"][2025] == pytest.approx(own[2023] * projected[2025] / projected[2023])
    grown, name = factor("employment_income", 2023, 2025)
    assert grown == pytest.approx(11_367_300 / 10_260_300)
    assert name == "wages"


def test_a_product_of_series() -> None:
    rents = [published()["consumer_prices"][year] * series()["population"][year] for year in (2022, 2024)]
    grown, name = factor("rent", 2022, 2024)
    assert grown == pytest.approx(rents[1] / rents[0])
    assert name == "prices_and_population"


@pytest.mark.parametrize("name", sorted(growth()))
def test_growth_is_that_of_what_is_followed(name: str) -> None:
    """Brute force, year by year, outside of the published years."""
    values, own = series()[name], published().get(name, {})
    for year in values:
        if year + 1 in values and not {year, year + 1} <= set(own):
            followed = [series()[other] for other in growth()[name]]
            if all(year in other and year + 1 in other for other in followed):
                ratio = prod(other[year + 1] / other[year] for other in followed)
                assert values[year + 1] / values[year] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("variable", "domain", "name"),
    [
        ("person_count", ("age",), "population"),
        ("person_count", ("medicaid_enrolled",), "medicaid_enrollment"),
        ("person_count", ("aca_ptc", "is_aca_ptc_eligible"), "aca_ptc_count"),
        ("household_count", ("snap",), "snap_households"),
        ("tax_unit_count", ("adjusted_gross_income", "tax_unit_is_filer"), "population"),
        ("snap", ("snap",), "snap"),
        ("aca_ptc", ("aca_ptc", "tax_unit_is_filer"), "aca_ptc"),
        ("taxable_interest_income", (), "taxable_interest"),
        ("over_the_counter_health_expenses", (), "prices_and_population"),
        ("household_count", ("",), "population"),
    ],
)
def test_the_series_of_what_a_figure_is(variable: str, domain: tuple[str, ...], name: str) -> None:
    assert series_of(variable, domain) == name


def test_interest_is_not_uprated_like_prices() -> None:
    """What a price index would have made of the interest of 2022 is less than half of what was paid in 2023."""
    assert factor("taxable_interest_income", 2022, 2023)[0] == pytest.approx(313_812_674 / 133_596_569)
    assert factor("rent", 2022, 2023)[0] < 1.06


@given(
    st.sampled_from(sorted(row["variable"] for row in data_rows("series.csv"))),
    *[st.integers(2022, 2026)] * 3,
)
def test_factors_chain(variable: str, first: int, second: int, third: int) -> None:
    through = factor(variable, first, second)[0] * factor(variable, second, third)[0]
    assert factor(variable, first, third)[0] == pytest.approx(through)
    assert factor(variable, first, first) == (1.0, "")


def test_series_that_share_no_year_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uprating, "growth", lambda: {"wages": ("other",)})
    with pytest.raises(ConfigError, match="wages and what it follows have no year in common"):
        uprating._extend({"wages": {2015: 1.0}, "other": {2024: 1.0}}, "wages")


@pytest.mark.engine
def test_figures_of_the_engine_are_those_of_its_parameters() -> None:
    from policyengine_us import CountryTaxBenefitSystem

    parameters = CountryTaxBenefitSystem().parameters
    rows = [row for row in data_rows("uprating.csv") if row["parameter"]]
    assert len(rows) > 150
    for row in rows:
        assert float(row["value"]) == pytest.approx(_of_engine(parameters, row["parameter"], row["instant"]), abs=5e-4), row


def _of_engine(parameters: Any, path: str, instant: str) -> float:
    """A parameter at an instant, or, where the instant is a year, the mean of what was published in its months."""
    node = parameters
    for name in re.sub(r"\[(\d+)\]", r".\1", path).split("."):
        node = node.brackets[int(name)] if name.isdecimal() else getattr(node, name)
    if len(instant) > 4:
        return float(node(instant))
    return mean(float(at.value) for at in node.values_list if at.instant_str.startswith(instant))


@pytest.mark.raw
@pytest.mark.parametrize("year", [2022, 2023, 2024, 2025, 2026])
def test_every_target_of_the_real_build_can_be_uprated(published_db: Path, year: int) -> None:
    targets, _, _ = uprated_targets(published_db, year)
    assert (targets["uprating_factor"] > 0).all()
    moved = targets["period"] != year
    assert ((targets["uprating_series"] != "") == moved).all()
    assert set(targets.loc[moved, "uprating_series"]) <= set(series())
