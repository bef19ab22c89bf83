"""The stratified sample: it adds up, is dense at high incomes, keeps its ids, and says when it cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.impute import stratify
from geocal_core.population import IMPUTED, Population, read_h5, write_h5
from geocal_core.settings import StratifiedCpsSettings
from tests.impute.conftest import survey

Context = Callable[..., Any]
N = 900


@pytest.fixture(scope="module")
def extended() -> Population:
    return survey(N, 11)


@pytest.fixture(scope="module")
def agi() -> np.ndarray:
    """Heavy upper tail: about a tenth above half a million dollars; some losses."""
    return np.random.default_rng(12).lognormal(11, 1.7, N) - 5_000


def persons_of(population: Population) -> np.ndarray:
    return np.bincount(population.household_of("person"), minlength=population.count("household")).astype(float)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(60, N), seed=st.integers(0, 1_000))
def test_households_of_each_stratum_and_persons_of_the_whole_add_up(
    extended: Population, agi: np.ndarray, n: int, seed: int
) -> None:
    sample, weights = stratify.stratified_sample(extended, agi, StratifiedCpsSettings(n, seed))
    assert len(sample) == len(np.unique(sample)) == n
    assert (weights > 0).all()
    stratum = stratify.strata(agi, extended.weights)
    whole = np.bincount(stratum, weights=extended.weights, minlength=15)
    assert np.bincount(stratum[sample], weights=weights, minlength=15) == pytest.approx(whole, rel=1e-10)
    assert weights @ persons_of(extended)[sample] == pytest.approx(extended.weights @ persons_of(extended), rel=1e-10)


def test_high_incomes_are_dense(extended: Population, agi: np.ndarray) -> None:
    sample, _ = stratify.stratified_sample(extended, agi, StratifiedCpsSettings(300))
    rich = agi >= 500_000
    assert 15 <= rich.sum() <= 200
    assert rich[sample].mean() > 1.1 * np.average(rich, weights=extended.weights)
    very = agi >= 5_000_000
    assert very[sample].sum() >= min(very.sum(), 8)


def test_all_are_taken_at_their_weights_when_all_are_wanted(extended: Population, agi: np.ndarray) -> None:
    sample, weights = stratify.stratified_sample(extended, agi, StratifiedCpsSettings(N))
    assert (sample == np.arange(N)).all()
    assert weights == pytest.approx(extended.weights, rel=1e-9)


def test_weighted_means_are_near_those_of_the_whole(extended: Population, agi: np.ndarray) -> None:
    errors = []
    for seed in range(20):
        sample, weights = stratify.stratified_sample(extended, agi, StratifiedCpsSettings(300, seed))
        age = extended.to_household(extended["age"], "person")
        errors.append(weights @ age[sample] / (extended.weights @ age) - 1)
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.04


def test_lower_strata_hold_equal_weights(extended: Population, agi: np.ndarray) -> None:
    stratum = stratify.strata(agi, extended.weights)
    mass = np.bincount(stratum, weights=extended.weights)
    lower = mass[: stratify.LOWER_STRATA]
    assert lower == pytest.approx(lower.mean(), rel=0.06)
    assert (np.diff([agi[stratum == number].max() for number in range(len(mass)) if (stratum == number).any()]) > 0).all()
    edges = [500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000]
    for number, edge in enumerate(edges):
        assert stratify.strata(np.array([0.0, edge]), np.ones(2))[1] == stratify.LOWER_STRATA + number


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.1, 50)), min_size=1, max_size=15), st.integers(0, 400))
def test_apportioned_seats_add_up_and_none_is_beyond_what_there_is(parts: list[tuple[int, float]], n: int) -> None:
    available = np.array([number for number, _ in parts])
    least = int((available > 0).sum())
    n = max(n, least)
    seats = stratify.apportion(n, np.array([share for _, share in parts]), available)
    assert seats.sum() == min(n, available.sum())
    assert ((seats <= available) & (seats >= np.minimum(available, 1))).all()


def written(tmp_path: Path, extended: Population, agi: np.ndarray, ids: np.ndarray | None = None) -> dict[str, Path]:
    write_h5(extended, tmp_path / "extended.h5")
    table = {"household_id": extended.ids("household") if ids is None else ids, "adjusted_gross_income": agi}
    pd.DataFrame(table).sample(frac=1, random_state=0).to_parquet(tmp_path / "agi.parquet")
    return {"extended_cps": tmp_path / "extended.h5", "household_agi": tmp_path / "agi.parquet"}


def test_stage_keeps_ids_and_values_and_gives_the_same_bytes(
    extended: Population, agi: np.ndarray, tmp_path: Path, stage_context: Context
) -> None:
    extended = extended.with_variables("household", {IMPUTED: np.random.default_rng(13).random(N) < 0.4})
    inputs = written(tmp_path, extended, agi)
    outputs = []
    for run in ("one", "two"):
        context = stage_context(StratifiedCpsSettings(200), inputs, run)
        numbers = stratify.build(context)
        outputs.append(context.output.read_bytes())
    assert outputs[0] == outputs[1]
    sample = read_h5(context.output)
    sample.validate()
    places = np.searchsorted(extended.ids("household"), sample.ids("household"))
    assert (extended.ids("household")[places] == sample.ids("household")).all()
    original = extended.take(places)
    for name in ("age", "tax_unit_role_input", "taxable_interest_income", IMPUTED):
        assert (np.asarray(sample[name]) == np.asarray(original[name], dtype=sample[name].dtype)).all()
    assert numbers["households"] == 200
    assert float(numbers["weighted_households"]) == pytest.approx(extended.weights.sum(), rel=1e-6)
    assert float(numbers["weighted_persons"]) == pytest.approx(extended.weights @ persons_of(extended), rel=1e-6)
    assert 100 < float(numbers["effective_households"]) <= 200


def test_refuses_agi_of_other_households(extended: Population, agi: np.ndarray, tmp_path: Path, stage_context: Context) -> None:
    for inputs in (
        written(tmp_path, extended, agi, extended.ids("household") + 1),
        written(tmp_path, extended, agi, np.zeros(N, dtype=int)),
    ):
        with pytest.raises(ArtifactError, match="household_agi"):
            stratify.build(stage_context(StratifiedCpsSettings(200), inputs))
    holes = written(tmp_path, extended, np.where(np.arange(N) == 0, np.nan, agi))
    with pytest.raises(ArtifactError, match="household 10 is missing"):
        stratify.build(stage_context(StratifiedCpsSettings(200), holes))


def test_refuses_sizes_that_cannot_be(extended: Population, agi: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="has 900"):
        stratify.stratified_sample(extended, agi, StratifiedCpsSettings(901))
    with pytest.raises(ConfigError, match="cannot cover"):
        stratify.stratified_sample(extended, agi, StratifiedCpsSettings(5))


def test_refuses_a_sample_that_cannot_carry_the_persons() -> None:
    with pytest.raises(ArtifactError, match="cannot carry"):
        stratify.tilt(np.ones(2), np.zeros(2, dtype=int), np.array([1.0, 2.0]), np.array([10.0]), 40.0)
