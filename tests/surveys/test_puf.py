"""The public use file as tax returns of persons: who is on them, what they hold, how they grow, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.errors import ConfigError, GeocalError, InputError
from geocal_core.population import Population, read_h5
from geocal_core.settings import PufSettings
from geocal_core.surveys import entities, puf, puf_people
from tests.surveys.conftest import bits, supplement, tax_returns

Writer = Callable[..., Path]
Context = Callable[..., Any]
DATA = Path(puf.__file__).parent / "data"


@pytest.fixture
def built(puf_folder: Writer, stage_context: Context) -> Population:
    context = stage_context("puf", PufSettings(), {"raw_irs_puf": puf_folder()})
    numbers = puf.build(context)
    assert numbers["returns"] == 400
    assert numbers["aggregate_records_left_out"] == 4
    assert numbers["aggregate_returns_left_out"] == 1_200
    assert numbers["aggregate_agi_left_out"] == pytest.approx(1_200 * 50e6)
    assert 0 < float(numbers["share_of_agi_left_out"]) < 1
    assert 50 < int(numbers["returns_with_donated_demographics"]) < 120
    return read_h5(context.output)


def test_each_return_is_a_household_of_the_persons_it_names(built: Population) -> None:
    returns = tax_returns().iloc[:400]
    assert bits(built.ids("household")) == returns["RECID"].tolist()
    for group in ("tax_unit", "spm_unit", "family"):
        assert built.count(group) == 400
    joint = (returns["MARS"] == 2).to_numpy()
    dependents = np.clip(returns["XTOT"].to_numpy() - 1 - joint, 0, 3)
    unit = built.group_of_person("tax_unit")
    role = np.asarray(built["tax_unit_role_input"])
    assert bits(np.bincount(unit)) == bits(1 + joint + dependents)
    assert bits(np.bincount(unit, weights=role == entities.SPOUSE)) == bits(joint.astype(float))
    assert built.count("marital_unit") == built.count("person") - joint.sum()
    assert bits(np.bincount(unit, weights=built["is_separated"])) == bits((returns["MARS"] == 3).to_numpy(float))


def test_ages_lie_in_the_ranges_of_their_codes(built: Population) -> None:
    codes = json.loads((DATA / "puf_codes.json").read_text())
    people = supplement(tax_returns()).set_index("RECID")
    record = built.ids("household")[built.group_of_person("household")]
    role = np.asarray(built["tax_unit_role_input"])
    number = built.ids("person") % 10
    age = np.asarray(built["age"])
    for row in range(built.count("person")):
        if record[row] not in people.index or people.loc[record[row], "AGERANGE"] == 0:
            continue  # the codes are a donor's
        person = people.loc[record[row]]
        dependent = role[row] == entities.DEPENDENT
        code = person[f"AGEDP{number[row] - 2}"] if dependent else person["AGERANGE"]
        if code > 0:
            low, high = codes["dependent_age" if dependent else "filer_age"][str(code)]
            assert low <= age[row] < high
    assert age[role == entities.HEAD].min() >= 18
    assert age[role == entities.DEPENDENT].max() < 30


def test_amounts_grow_and_are_neither_lost_nor_doubled(built: Population) -> None:
    returns = tax_returns().iloc[:400]
    growth = puf.growth_per_return()
    unit = built.group_of_person("tax_unit")

    def held(*names: str) -> Any:
        return np.bincount(unit, weights=np.sum([built[name] for name in names], axis=0))

    assert held("employment_income_before_lsr") == pytest.approx(returns["E00200"] * growth["wages"], rel=1e-5)
    profit = (
        returns["E00900"].clip(0) * growth["business_profits"] + returns["E00900"].clip(upper=0) * growth["business_losses"]
    )
    assert held("self_employment_income_before_lsr") == pytest.approx(profit, rel=1e-5)
    shared = returns["E26270"].clip(0) * growth["partnership_s_corp_income"]
    shared += returns["E26270"].clip(upper=0) * growth["partnership_s_corp_losses"]
    assert held("partnership_income", "s_corp_income") == pytest.approx(shared, rel=1e-5)
    benefits = held("social_security_retirement", "social_security_disability")
    assert benefits == pytest.approx(returns["E02400"] * growth["social_security"], rel=1e-5)
    rest = (returns["E01500"] - returns["E01700"]) * growth["untaxed_pensions"]
    assert held("tax_exempt_private_pension_income") == pytest.approx(rest, rel=1e-4, abs=1)
    assert built.weights == pytest.approx(returns["S006"] / 100 * growth["returns"], rel=1e-6)


def test_only_a_couples_earnings_are_shared_with_the_spouse(built: Population) -> None:
    role = np.asarray(built["tax_unit_role_input"])
    spouse, dependent = role == entities.SPOUSE, role == entities.DEPENDENT
    assert np.asarray(built["employment_income_before_lsr"])[spouse].sum() > 0
    for name in pd.read_csv(DATA / "puf_variables.csv").query("holder == 'filer'")["variable"].unique():
        if name != "social_security":
            assert np.asarray(built[name])[spouse | dependent].sum() == 0


def test_growth_agrees_with_the_published_totals(raw_folder: Path) -> None:
    """Every figure of 2015 and 2023 that has a name of its own in the SOI cells is the published one."""
    cells = pd.read_csv(raw_folder / "irs" / "soi_targets.csv")
    whole = cells[
        (cells["Filing status"] == "All")
        & ~cells["Taxable only"]
        & np.isneginf(cells["AGI lower bound"])
        & np.isposinf(cells["AGI upper bound"])
    ]
    table = pd.read_csv(DATA / "puf_growth.csv").set_index("series")
    names = {
        "adjusted_gross_income": "adjusted_gross_income",
        "wages": "employment_income",
        "taxable_interest": "taxable_interest_income",
        "business_losses": "business_net_losses",
        "capital_gains": "capital_gains_gross",
        "partnership_s_corp_income": "partnership_and_s_corp_income",
        "taxable_pensions": "taxable_pension_income",
        "social_security": "total_social_security",
    }
    for year in (2015, 2023):
        published = whole[(whole["Year"] == year) & ~whole["Count"]].groupby("Variable")["Value"].first()
        for series, variable in names.items():
            assert table.loc[series, f"value_{year}"] == published[variable]
        counts = whole[(whole["Year"] == year) & whole["Count"] & (whole["Variable"] == "count")]["Value"]
        assert table.loc["returns", f"value_{year}"] == counts.iloc[0]


def test_growth_per_return_is_that_of_the_total_over_that_of_the_returns() -> None:
    growth = puf.growth_per_return()
    assert growth["returns"] == pytest.approx(1.0776, abs=1e-4)
    wages = 10_204_095_705 / 7_112_222_959 * 10_832.7 / 10_260.3
    assert growth["wages"] == pytest.approx(wages / growth["returns"])
    assert set(pd.read_csv(DATA / "puf_variables.csv")["series"]) <= set(growth)


def test_donated_demographics_come_from_returns_alike() -> None:
    returns = tax_returns()
    returns = returns[returns["MARS"] > 0].merge(supplement(returns), on="RECID", how="left").sort_values("RECID")
    completed = puf_people.complete_demographics(returns.reset_index(drop=True))
    assert (completed["AGERANGE"] > 0).all()
    assert (completed.loc[completed["MARS"] != 2, "EARNSPLIT"] == 0).all()
    told = (returns["AGERANGE"].fillna(0) > 0).to_numpy()
    kept = returns.loc[told, list(puf_people.DEMOGRAPHICS)].to_numpy()
    assert (completed.loc[told, list(puf_people.DEMOGRAPHICS)].to_numpy() == kept).all()
    alike = completed.assign(dependents=puf_people.dependents(completed), told=told)
    cells = alike.groupby(["MARS", "dependents"])
    for _, cell in cells:
        given = set(map(tuple, cell.loc[cell["told"], list(puf_people.DEMOGRAPHICS)].to_numpy()))
        assert not given or set(map(tuple, cell[list(puf_people.DEMOGRAPHICS)].to_numpy())) == given


def test_same_files_give_same_bytes(puf_folder: Writer, stage_context: Context) -> None:
    outputs = []
    for run in ("one", "two"):
        context = stage_context("puf", PufSettings(), {"raw_irs_puf": puf_folder()}, run)
        puf.build(context)
        outputs.append(context.output.read_bytes())
    assert outputs[0] == outputs[1]


def refused(stage_context: Context, folder: Path, *words: str, error: type[GeocalError] = InputError, year: int = 2024) -> None:
    context = stage_context("puf", PufSettings(year=year), {"raw_irs_puf": folder})
    with pytest.raises(error) as caught:
        puf.build(context)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_refuses_bad_files(puf_folder: Writer, stage_context: Context) -> None:
    returns = tax_returns()
    people = supplement(returns)
    refused(stage_context, puf_folder(returns.drop(columns="E26270")), "puf_2015.csv", "E26270")
    refused(stage_context, puf_folder(people=people.drop(columns="AGERANGE")), "demographics_2015.csv", "AGERANGE")
    refused(stage_context, puf_folder(returns.assign(MARS=9)), "MARS 9", "return 10")
    refused(stage_context, puf_folder(people=people.assign(AGERANGE=8)), "code 8", "AGERANGE")
    refused(stage_context, puf_folder(people=people.assign(RECID=people["RECID"] + 500)), "RECID", "lacks")
    refused(stage_context, puf_folder(pd.concat([returns, returns.iloc[:1]])), "RECID 10", "twice")
    refused(stage_context, puf_folder(returns.assign(S006=-1)), "S006")
    refused(stage_context, puf_folder(people=people.assign(AGERANGE=0)), "no return with MARS")
    refused(stage_context, puf_folder(), "2023", error=ConfigError, year=2023)


def test_refuses_a_folder_without_one_of_the_files(puf_folder: Writer, stage_context: Context) -> None:
    folder = puf_folder()
    (folder / "demographics_2015.csv").unlink()
    refused(stage_context, folder, "demographics_2015.csv", "2015")
