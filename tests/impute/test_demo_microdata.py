"""From the demo nation's published files to the stratified sample, on three states: what each step keeps of the one before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.engine.anchors import anchors
from geocal_core.engine.takeup import TakeUp, programs
from geocal_core.impute import extended, stratify
from geocal_core.population import Population, read_h5
from geocal_core.profiles import profile
from geocal_core.progress import Silent
from geocal_core.settings import ExtendedCpsSettings, StratifiedCpsSettings
from geocal_core.sources import collect
from geocal_core.surveys import cps, puf

TINY = profile("tiny").stages
CHEAP = {"extended_cps": ExtendedCpsSettings(trees=5), "stratified_cps": StratifiedCpsSettings(households=160)}
FIPS = {10, 36, 56}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every microdata artifact of the tiny profile, with wages in the place of simulated AGI."""
    folder = tmp_path_factory.mktemp("microdata")
    made: dict[str, Path] = {}

    def run(stage: Callable[[Any], object], name: str) -> None:
        made[name] = folder / name
        settings = CHEAP.get(name, TINY[name])
        stage(SimpleNamespace(name=name, settings=settings, inputs=made, output=made[name], reporter=Silent()))

    run(collect, "raw_census_asec")
    run(collect, "raw_irs_puf")
    run(cps.build, "cps")
    run(puf.build, "puf")
    run(extended.build, "extended_cps")
    doubled = read_h5(made["extended_cps"])
    made["household_agi"] = folder / "agi.parquet"
    wages = doubled.to_household(doubled["employment_income_before_lsr"], "person")
    table = {"household_id": doubled.ids("household"), "adjusted_gross_income": wages}
    pd.DataFrame(table).to_parquet(made["household_agi"])
    run(stratify.build, "stratified_cps")
    return made


def persons_by_state(population: Population) -> pd.Series:
    household = population.household_of("person")
    state = np.asarray(population["state_fips"])[household]
    return pd.Series(population.weights[household]).groupby(state).sum()


def test_files_lie_under_their_published_names(files: dict[str, Path]) -> None:
    assert [path.name for path in files["raw_census_asec"].iterdir()] == ["asecpub25csv.zip"]
    assert sorted(path.name for path in files["raw_irs_puf"].iterdir()) == ["demographics_2015.csv", "puf_2015.csv"]


def test_all_populations_are_whole(files: dict[str, Path]) -> None:
    for name in ("cps", "puf", "extended_cps", "stratified_cps"):
        read_h5(files[name]).validate()
    assert read_h5(files["cps"]).count("household") == 240
    assert read_h5(files["extended_cps"]).count("household") == 480
    assert read_h5(files["stratified_cps"]).count("household") == 160


def test_persons_and_households_are_carried_on(files: dict[str, Path]) -> None:
    survey, doubled, sample = (read_h5(files[name]) for name in ("cps", "extended_cps", "stratified_cps"))
    assert set(persons_by_state(survey).index) == FIPS
    assert persons_by_state(doubled).to_numpy() == pytest.approx(persons_by_state(survey).to_numpy(), rel=1e-6)
    assert persons_by_state(sample).sum() == pytest.approx(persons_by_state(survey).sum(), rel=1e-6)
    assert doubled.weights.sum() == pytest.approx(survey.weights.sum(), rel=1e-6)
    assert sample.weights.sum() == pytest.approx(survey.weights.sum(), rel=1e-6)
    assert set(sample.ids("household")) <= set(doubled.ids("household"))


def test_the_copy_holds_what_only_tax_returns_tell(files: dict[str, Path]) -> None:
    doubled = read_h5(files["extended_cps"])
    first, second = doubled.take(np.arange(240)), doubled.take(np.arange(240, 480))
    for name in ("s_corp_income", "partnership_income", "charitable_cash_donations"):
        assert not np.any(first[name])
        assert np.any(second[name])
    returns = read_h5(files["puf"])
    drawn = np.asarray(second["qualified_dividend_income"], dtype=np.float32)
    reported = np.asarray(first["qualified_dividend_income"], dtype=np.float32)
    changed = drawn != reported
    assert changed.any()
    assert np.isin(drawn[changed], np.asarray(returns["qualified_dividend_income"], dtype=np.float32)).all()


def test_reported_coverage_comes_through_and_anchors_take_up(files: dict[str, Path]) -> None:
    survey, doubled, sample = (read_h5(files[name]) for name in ("cps", "extended_cps", "stratified_cps"))
    takeup = TakeUp.of(sample)
    assert set(takeup.reported) == set(anchors())
    for variable, anchor in anchors().items():
        reported = np.asarray(survey[anchor.report])
        assert 0 < reported.mean() < 0.5
        assert np.asarray(doubled[anchor.report]).tolist() == 2 * reported.tolist()
        households = np.searchsorted(doubled.ids("household"), sample.ids("household"))
        assert np.asarray(sample[anchor.report]).tolist() == np.asarray(doubled.take(households)[anchor.report]).tolist()
        assert 0.05 < takeup.reported[variable] < 0.95
        certain = takeup.probability(variable, 48) == 1
        assert certain.sum() == len(np.unique(sample.tables["person"][link(variable)][np.asarray(sample[anchor.report])]))


def link(variable: str) -> str:
    entity = programs()[variable].entity
    return "person_id" if entity == "person" else f"person_{entity}_id"
