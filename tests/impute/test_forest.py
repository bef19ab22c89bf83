"""The forest against distributions that are known: draws have the right law everywhere, tails and zeros included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from geocal_core import seeds
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.impute.forest import fit_forest, impute_in_sequence


def known(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A predictor of three values, and a normal variable whose mean and spread depend on it."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    return group[:, None].astype(float), rng.normal(np.array([0, 5, -20])[group], np.array([1, 3, 0.5])[group])


def uniforms(n: int, name: str = "test") -> np.ndarray:
    return seeds.uniform(name, np.arange(n))


def test_draws_follow_the_conditional_distribution_of_each_group() -> None:
    predictors, values = known(9_000, 1)
    forest = fit_forest(predictors, values, np.ones(9_000), trees=30, name="y", seed=0)
    points, _ = known(6_000, 2)
    drawn = forest.draw(points, uniforms(6_000))
    standard = (drawn - np.array([0, 5, -20])[points[:, 0].astype(int)]) / np.array([1, 3, 0.5])[points[:, 0].astype(int)]
    assert stats.kstest(standard, "norm").statistic < 0.03
    for level in (0.01, 0.05, 0.5, 0.95, 0.99):  # the tails are reached: no grid of quantiles cuts them off
        assert np.mean(standard < stats.norm.ppf(level)) == pytest.approx(level, abs=0.012)


def test_draws_have_the_weights_of_the_definition() -> None:
    """At one point, frequencies over many uniforms are the mean over trees of weight shares in the leaf, by brute force."""
    rng = np.random.default_rng(3)
    predictors, values = rng.random((60, 2)), rng.permutation(60).astype(float)
    weights = rng.uniform(0.5, 3, 60)
    forest = fit_forest(predictors, values, weights, trees=4, name="y", seed=1)
    point = np.array([[0.4, 0.6]])
    expected = np.zeros(60)
    for tree in forest.trees:
        leaves = tree.apply(predictors.astype(np.float32))  # type: ignore[attr-defined]
        inside = leaves == tree.apply(point.astype(np.float32))[0]  # type: ignore[attr-defined]
        expected += np.where(inside, weights, 0) / weights[inside].sum() / 4
    n = 200_000
    drawn = forest.draw(np.repeat(point, n, axis=0), (np.arange(n) + 0.5) / n)
    counts = np.bincount(drawn.astype(int), minlength=60)[values.astype(int)] / n
    assert counts == pytest.approx(expected, abs=1e-4)


def test_weights_of_donors_count() -> None:
    values = np.repeat([0.0, 1.0], 500)
    forest = fit_forest(np.zeros((1_000, 1)), values, np.where(values == 1, 3.0, 1.0), trees=20, name="y", seed=0)
    assert forest.draw(np.zeros((20_000, 1)), uniforms(20_000)).mean() == pytest.approx(0.75, abs=0.01)


def test_zeros_stay_zeros_and_no_value_is_made_up() -> None:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 2, 4_000)
    values = rng.lognormal(10, 2, 4_000) * (rng.random(4_000) < np.where(group == 1, 0.6, 0.1))
    forest = fit_forest(group[:, None].astype(float), values, np.ones(4_000), trees=20, name="y", seed=0)
    for number in (0, 1):
        drawn = forest.draw(np.full((5_000, 1), float(number)), uniforms(5_000, f"group {number}"))
        assert np.mean(drawn > 0) == pytest.approx(np.mean(values[group == number] > 0), abs=0.02)
        assert np.isin(drawn, values).all()


def test_sequence_keeps_the_dependence_between_variables_but_not_their_ranks() -> None:
    rng = np.random.default_rng(5)
    first = rng.normal(0, 1, 4_000)
    donors = {"x": np.zeros(4_000), "a": first, "b": first + rng.normal(0, 0.5, 4_000), "c": rng.normal(0, 1, 4_000)}
    receivers = {"x": np.zeros(3_000)}
    drawn = impute_in_sequence(donors, np.ones(4_000), receivers, ["a", "b", "c"], np.arange(3_000), trees=20, seed=0)
    wanted = np.corrcoef(donors["a"], donors["b"])[0, 1]
    assert np.corrcoef(drawn["a"], drawn["b"])[0, 1] == pytest.approx(wanted, abs=0.05)
    assert abs(np.corrcoef(drawn["a"], drawn["c"])[0, 1]) < 0.08


def test_same_seed_same_draws_for_any_number_of_workers() -> None:
    rng = np.random.default_rng(6)
    donors = {"x": rng.random(500), "a": rng.random(500), "b": rng.random(500)}
    receivers = {"x": rng.random(300)}
    runs = [
        impute_in_sequence(donors, np.ones(500), receivers, ["a", "b"], np.arange(300), trees=10, seed=seed, workers=workers)
        for seed, workers in ((0, 1), (0, 2), (1, 1))
    ]
    for name in ("a", "b"):
        assert (runs[0][name] == runs[1][name]).all()
        assert (runs[0][name] != runs[2][name]).any()


def test_a_draw_depends_on_its_receiver_alone() -> None:
    rng = np.random.default_rng(7)
    donors = {"x": rng.random(500), "a": rng.random(500)}
    points, keys = rng.random(300), np.arange(300)
    whole = impute_in_sequence(donors, np.ones(500), {"x": points}, ["a"], keys, trees=10, seed=0)["a"]
    part = impute_in_sequence(donors, np.ones(500), {"x": points[100:]}, ["a"], keys[100:], trees=10, seed=0)["a"]
    assert (whole[100:] == part).all()


def test_mean_agrees_with_the_forest_of_another_package() -> None:
    """The mean of draws is near the prediction of scikit-learn's own regression forest on the same data."""
    rng = np.random.default_rng(8)
    predictors = rng.random((3_000, 2))
    values = 10 * predictors[:, 0] + rng.normal(0, 1, 3_000)
    forest = fit_forest(predictors, values, np.ones(3_000), trees=50, name="y", seed=0)
    point = np.array([[0.3, 0.5]])
    drawn = forest.draw(np.repeat(point, 20_000, axis=0), uniforms(20_000))
    other = RandomForestRegressor(100, min_samples_leaf=5, random_state=0).fit(predictors, values).predict(point)[0]
    assert drawn.mean() == pytest.approx(other, abs=0.5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_refuses_missing_values(wrong: float) -> None:
    good = np.arange(10.0)
    bad = np.where(good == 3, wrong, good)
    with pytest.raises(ArtifactError, match="predictors of y"):
        fit_forest(bad[:, None], good, np.ones(10), trees=1, name="y", seed=0)
    with pytest.raises(ArtifactError, match="^y hold"):
        fit_forest(good[:, None], bad, np.ones(10), trees=1, name="y", seed=0)
    with pytest.raises(ArtifactError, match="weights of y"):
        fit_forest(good[:, None], good, bad, trees=1, name="y", seed=0)
    with pytest.raises(ArtifactError, match="receivers"):
        impute_in_sequence({"x": good, "y": good}, np.ones(10), {"x": bad}, ["y"], np.arange(10), trees=1, seed=0)


def test_refuses_useless_training() -> None:
    good = np.arange(10.0)
    with pytest.raises(ArtifactError, match="weight of 0"):
        fit_forest(good[:, None], good, good, trees=1, name="y", seed=0)
    with pytest.raises(ConfigError, match="0 trees"):
        fit_forest(good[:, None], good, np.ones(10), trees=0, name="y", seed=0)
