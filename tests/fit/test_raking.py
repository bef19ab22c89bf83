"""Raking against closed forms, raking by hand, and scipy's own solvers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import brentq, minimize

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.arrow import system
from geocal_core.fit.device import open_device
from geocal_core.fit.distances import distance_within
from geocal_core.fit.dual import Dual, interior_point
from geocal_core.fit.elastic import Elastic
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.raking import BOUNDS, rake
from geocal_core.matrix.factored import Floats
from tests.fit.test_arrow import nation
from tests.fit.test_distances import phi

Bounds = tuple[float, float] | None
NEARLY_EXACT = 1e9
EVERY_BOUNDS: list[Bounds] = [None, BOUNDS, (0.5, 2.0)]


def random_problem(seed: int, misfit: float = 0.3, n_rows: int = 6, n_columns: int = 25) -> Problem:
    """Targets near what other weights give; one is there twice, with two values, and one is 0."""
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 1, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.6)
    values[0] = 1
    values[-1] = values[1]
    start = rng.lognormal(2, 0.5, n_columns)
    target = (values @ (start * rng.lognormal(0, misfit, n_columns))) * rng.lognormal(0, misfit / 10, n_rows)
    target[2] = 0.0
    return problem(values.astype(np.float32), target, start)


def eased(made: Problem, **loss: Any) -> Problem:
    """The problem with another tolerance (as a share of the scale), importance or bound."""
    return replace(made, objective=replace(made.objective, **loss))


def primal(made: Problem, weights: Floats, bounds: Bounds, price: float) -> float:
    """The primal value of any weights, by its definition."""
    mean = np.average(phi(distance_within(bounds), weights / made.initial_weights), weights=made.initial_weights)
    return float(mean + price * made.loss(made.matrix.tocsr().astype(np.float64) @ weights))


def test_one_target_is_an_exponential_tilt() -> None:
    x, start = np.array([1.0, 2.0, 3.0, 0.0, 5.0]), np.array([4.0, 3.0, 2.0, 7.0, 1.0])
    raked = rake(problem(x[None, :], [40.0], start), bounds=None, price=NEARLY_EXACT, gap=1e-14)
    tilt = brentq(lambda t: x @ (start * np.exp(t * x)) - 40.0, -5, 5, xtol=1e-15)
    np.testing.assert_allclose(raked.weights, start * np.exp(tilt * x), rtol=1e-7)
    assert raked.weights[3] == pytest.approx(7.0)
    assert raked.targets["shadow_price"][0] == pytest.approx(tilt / start.sum(), rel=1e-6)


@pytest.mark.parametrize("price", [0.1, 3.0, 200.0])
def test_one_target_at_a_price_ends_where_both_forces_are_equal(price: float) -> None:
    x, start = np.array([1.0, 2.0, 3.0]), np.array([4.0, 3.0, 2.0])
    raked = rake(problem(x[None, :], [40.0], start), bounds=None, price=price, gap=1e-13)
    total, scale = start.sum(), 40.0

    def force(m: float) -> float:
        return float((40.0 - x @ (start * np.exp(m * total * x / scale))) / scale - m / (2 * price))

    wanted = brentq(force, 0, 50, xtol=1e-15)
    assert raked.multipliers[0] == pytest.approx(wanted, rel=1e-6)
    miss = raked.targets["residual"][0] / scale
    assert 2 * price * miss == pytest.approx(wanted, rel=1e-6)
    assert raked.cost == pytest.approx(price * miss**2, rel=1e-6)


def test_two_margins_are_iterative_proportional_fitting() -> None:
    rng = np.random.default_rng(0)
    table = rng.lognormal(2, 0.7, (4, 5))
    goal = table * rng.lognormal(0, 0.4, (4, 5))
    rows, columns = goal.sum(axis=1), goal.sum(axis=0)
    matrix = np.vstack([np.kron(np.eye(4), np.ones(5)), np.kron(np.ones(4), np.eye(5))])
    fitted = table.copy()
    for _ in range(500):
        fitted *= (rows / fitted.sum(axis=1))[:, None]
        fitted *= columns / fitted.sum(axis=0)
    raked = rake(problem(matrix, np.concatenate([rows, columns]), table.ravel()), bounds=None, price=NEARLY_EXACT, gap=1e-10)
    np.testing.assert_allclose(raked.weights.reshape(4, 5), fitted, rtol=1e-6)


def test_two_targets_by_hand() -> None:
    """Columns of one target each: each is multiplied by what it lacks."""
    matrix = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    raked = rake(problem(matrix, [30.0, 5.0], [5.0, 10.0, 10.0]), bounds=None, price=NEARLY_EXACT, gap=1e-12)
    np.testing.assert_allclose(raked.weights, [10.0, 20.0, 5.0], rtol=1e-6)


def test_bounds_are_met_where_the_target_asks_for_more() -> None:
    made = problem(np.array([[1.0, 1.0, 0.0]]), [100.0], [5.0, 10.0, 10.0])
    raked = rake(made, bounds=(0.5, 2.0), price=1e6, gap=1e-10)
    assert (raked.weights <= 2 * made.initial_weights).all()
    np.testing.assert_allclose(raked.weights, [10.0, 20.0, 10.0], rtol=1e-3)
    assert (raked.at_lower, raked.at_upper) == (0, 2)
    down = rake(problem(np.array([[1.0, 1.0, 0.0]]), [1.0], [5.0, 10.0, 10.0]), bounds=(0.5, 2.0), price=1e6, gap=1e-9)
    assert (down.weights >= 0.5 * made.initial_weights).all()
    assert (down.at_lower, down.at_upper) == (2, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(EVERY_BOUNDS),
    st.sampled_from([0.5, 100.0, 1e4]),
    st.sampled_from([0.0, 0.02]),
    st.sampled_from([math.inf, 0.05]),
)
def test_the_certificate_holds(seed: int, bounds: Bounds, price: float, margin: float, huber: float) -> None:
    made = random_problem(seed)
    importance = np.random.default_rng(seed).choice([0.3, 1.0, 2.0], len(made.target))
    made = eased(made, tolerance=np.full(len(made.target), margin), importance=importance, bound=huber)
    raked = rake(made, bounds=bounds, price=price, gap=1e-6)
    assert raked.gap >= 0
    assert raked.converged
    assert raked.gap <= 1e-6
    assert raked.dual <= raked.primal
    assert (raked.history["gap"] >= 0).all()
    assert raked.history["dual"].iloc[-1] == pytest.approx(raked.dual, rel=1e-7, abs=1e-11)
    low, high = distance_within(bounds).bounds
    ratio = raked.weights / made.initial_weights
    assert (ratio >= low).all()
    assert (ratio <= high * (1 + 1e-12)).all()
    assert raked.primal == pytest.approx(primal(made, raked.weights, bounds, price), rel=1e-6, abs=1e-11)
    assert raked.cost == pytest.approx(raked.targets["cost"].sum(), rel=1e-6, abs=1e-11)
    rng = np.random.default_rng(seed)
    for size in (0.001, 0.1, 1.0):
        other = np.clip(raked.weights * rng.lognormal(0, size, len(ratio)), 1.0001 * low * made.initial_weights, None)
        other = np.minimum(other, 0.9999 * high * made.initial_weights)
        assert primal(made, other, bounds, price) >= raked.dual - 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(EVERY_BOUNDS))
def test_scipy_finds_no_higher_dual(seed: int, bounds: Bounds) -> None:
    made, price = random_problem(seed), 50.0
    raked = rake(made, bounds=bounds, price=price, gap=1e-10)
    total = made.initial_weights.sum()
    z, share = made.target / made.scale, made.initial_weights / total
    dense = total * made.matrix.tocsr().toarray().astype(np.float64) / made.scale[:, None]
    distance = distance_within(bounds)

    def negative(m: Floats) -> tuple[float, Floats]:
        ratio, conjugate = distance.dual(dense.T @ m)
        value = m @ z - share @ conjugate - m @ m / (4 * price)
        return -value, -(z - dense @ (share * ratio) - m / (2 * price))

    found = minimize(negative, np.zeros(len(z)), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15})
    assert -found.fun <= raked.primal + 1e-9
    assert raked.dual >= -found.fun - 1e-9 * max(1, raked.primal)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("margin", "huber"), [(0.0, math.inf), (0.05, math.inf), (0.01, 0.02)])
def test_scipy_finds_no_lower_primal(seed: int, margin: float, huber: float) -> None:
    made, bounds, price = random_problem(seed, n_rows=4, n_columns=8), (0.3, 4.0), 20.0
    made = eased(made, tolerance=np.full(4, margin), bound=huber)
    raked = rake(made, bounds=bounds, price=price, gap=1e-9)
    start = made.initial_weights
    found = minimize(
        lambda ratio: primal(made, ratio * start, bounds, price),
        np.ones(len(start)),
        method="SLSQP",
        bounds=[(0.3 + 1e-9, 4.0 - 1e-9)] * len(start),
        options={"maxiter": 2000, "ftol": 1e-14},
    )
    assert found.fun >= raked.dual - 1e-9
    assert raked.primal <= found.fun + 1e-6 * found.fun


@pytest.mark.parametrize("seed", range(8))
def test_misses_within_the_margin_are_free(seed: int) -> None:
    made = random_problem(seed, misfit=0.1)
    share = np.random.default_rng(seed).choice([0.0, 0.05, 0.5], len(made.target))
    margin = share * made.scale
    raked = rake(eased(made, tolerance=share), price=1e4, gap=1e-11)
    assert raked.converged
    size = raked.targets["residual"].abs().to_numpy()
    slack = size < margin * (1 - 1e-6)
    assert (raked.targets["cost"].to_numpy()[slack] == 0).all()
    np.testing.assert_allclose(raked.multipliers[slack], 0, atol=1e-4)
    assert rake(made, price=1e4, gap=1e-8).primal >= raked.dual


def hard_problem(seed: int) -> Problem:
    """Rows of unequal scales, doubled and added up, with targets off by up to several times, margins and unequal importance."""
    rng = np.random.default_rng(seed)
    n_rows, n_columns = int(rng.integers(4, 14)), int(rng.integers(3, 60))
    values = rng.lognormal(0, rng.choice([0.3, 2.0]), (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.6)
    values[0], values[-1], values[-2] = 1, values[1], values[1] + values[2]
    values[np.arange(n_rows), rng.integers(0, n_columns, n_rows)] += 1
    values *= 10.0 ** rng.uniform(-3, 6, (n_rows, 1))
    start = rng.lognormal(2, 0.5, n_columns)
    misfit = rng.choice([0.1, 0.3, 1.0])
    target = values @ (start * rng.lognormal(0, misfit, n_columns)) * rng.lognormal(0, misfit, n_rows)
    made = problem(values.astype(np.float32), target, start)
    tolerance = rng.choice([0.0, 1e-4, 0.01, 0.05, 0.3], len(made.target))
    return eased(made, tolerance=tolerance, importance=rng.choice([0.01, 0.3, 1.0, 20.0], len(made.target)))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 100_000),
    st.sampled_from([None, BOUNDS, (0.5, 2.0), (0.9, 1.1), (0.0, 1.5)]),
    st.sampled_from([0.1, 100.0, 1e5, 1e8]),
    st.sampled_from([math.inf, 0.5, 0.05]),
)
def test_hard_problems_come_to_the_gap_too(seed: int, bounds: Bounds, price: float, huber: float) -> None:
    made = eased(hard_problem(seed), bound=huber)
    raked = rake(made, bounds=bounds, price=price, gap=1e-6)
    assert raked.converged
    value = primal(made, raked.weights, bounds, price)
    assert value == pytest.approx(raked.primal, rel=1e-6, abs=1e-9)
    assert raked.dual <= value * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bounds", [(0.0, 100.0), (0.5, 2.0), (0.9, 1.1)])
def test_scipy_finds_no_better_weights_of_hard_problems(seed: int, bounds: tuple[float, float]) -> None:
    """L-BFGS-B on the weights themselves, from the start and from those found, is never below the dual nor much below these."""
    made, price = eased(hard_problem(seed), bound=0.5), 100.0
    raked = rake(made, bounds=bounds, price=price, gap=1e-7)
    start, total = made.initial_weights, made.initial_weights.sum()
    dense, distance = made.matrix.tocsr().toarray().astype(np.float64), distance_within(bounds)

    def value(ratio: Floats) -> tuple[float, Floats]:
        phi_, pull = distance.primal(ratio)
        estimate = dense @ (start * ratio)
        slope = start * (pull / total + price * dense.T @ made.objective.slope(estimate))
        return float(start @ phi_ / total + price * made.loss(estimate)), slope

    inner = (bounds[0] + 1e-9, bounds[1] - 1e-9)
    for begin in (np.ones_like(start), np.clip(raked.weights / start, *inner)):
        found = minimize(value, begin, jac=True, method="L-BFGS-B", bounds=[inner] * len(start), options={"maxiter": 3000})
        assert found.fun >= raked.dual - 1e-9
        assert raked.primal <= found.fun * (1 + 1e-6) + 1e-9


def test_targets_met_at_the_start_leave_the_weights_alone() -> None:
    made = random_problem(0)
    at_start = problem(made.matrix, made.matrix.estimates(made.initial_weights), made.initial_weights)
    raked = rake(at_start)
    assert raked.iterations == 0
    assert raked.converged
    np.testing.assert_allclose(raked.weights, made.initial_weights, rtol=1e-12)


def test_levels_add_up_and_threads_do_not_matter() -> None:
    matrix = nation(5, n_records=60, n_clones=20)
    rng = np.random.default_rng(5)
    start = rng.lognormal(2, 0.4, matrix.shape[1])
    target = matrix.estimates(start * rng.lognormal(0, 0.5, len(start))) * rng.lognormal(0, 0.02, matrix.shape[0])
    made = problem(matrix, target, start)
    one, two = (rake(made, threads=threads, gap=1e-8) for threads in (1, 2))
    assert one.method == "arrow"
    assert one.converged
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.multipliers.tobytes() == two.multipliers.tobytes()
    np.testing.assert_allclose(matrix.estimates(one.weights), one.targets["estimate"], rtol=1e-9)
    explicit = rake(problem(matrix.tocsr(), target, start), gap=1e-8)
    np.testing.assert_allclose(explicit.weights, one.weights, rtol=1e-3)
    assert explicit.primal == pytest.approx(one.primal, rel=1e-7)


def test_duplicated_and_contradictory_targets_share_the_miss() -> None:
    matrix = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    raked = rake(problem(matrix, [100.0, 110.0, 40.0], [30.0, 30.0]), price=1e4, gap=1e-10)
    assert raked.converged
    assert raked.targets["residual"][0] == pytest.approx(-raked.targets["residual"][1] * (100 / 110) ** 2, rel=0.01)
    assert raked.targets["shadow_price"][0] < 0 < raked.targets["shadow_price"][1]
    assert raked.weights.sum() == pytest.approx(105, rel=0.01)


def test_targets_without_importance_have_no_say() -> None:
    made = random_problem(9)
    importance = np.ones(len(made.target))
    importance[3] = 0
    raked = rake(eased(made, importance=importance), gap=1e-9)
    kept = np.flatnonzero(importance)
    alone = rake(problem(made.matrix.rows(kept), made.target[kept], made.initial_weights), gap=1e-9)
    np.testing.assert_allclose(raked.weights, alone.weights, rtol=1e-9)
    assert raked.multipliers[3] == raked.targets["cost"][3] == 0
    assert raked.targets["estimate"][3] == pytest.approx(made.matrix.estimates(raked.weights)[3])


def test_a_bound_limits_what_one_impossible_target_does() -> None:
    made = random_problem(10)
    target = made.target.copy()
    target[3] *= 1e3
    wild = problem(made.matrix, target, made.initial_weights)
    limited = rake(eased(wild, bound=0.01), price=50.0, gap=1e-9)
    assert limited.converged
    assert np.abs(limited.multipliers).max() <= 2 * 50.0 * 0.01
    others = np.arange(len(target)) != 3
    error = [np.abs(raked.targets["residual"] / made.scale)[others].median() for raked in (limited, rake(wild, price=50.0))]
    assert error[0] < error[1]


def test_starting_weights_of_0_stay_and_what_only_they_reach_is_missed() -> None:
    matrix = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    raked = rake(problem(matrix, [40.0, 7.0], [10.0, 10.0, 0.0]), price=1e4, gap=1e-9)
    assert raked.converged
    assert raked.weights[2] == 0
    np.testing.assert_allclose(raked.weights[:2], 20, rtol=1e-3)
    assert raked.targets["estimate"].tolist() == pytest.approx([40.0, 0.0], rel=1e-3)


def test_conjugate_gradients_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_problem(3)
    dense = rake(made, gap=1e-8)
    monkeypatch.setattr("geocal_core.fit.dual.system", partial(system, most=3))
    iterative = rake(made, gap=1e-8)
    assert (dense.method, iterative.method) == ("dense", "conjugate gradients")
    assert iterative.converged
    assert iterative.primal == pytest.approx(dense.primal, rel=1e-7)


def test_targets_far_away_are_reached_step_by_step() -> None:
    rng = np.random.default_rng(1)
    values = rng.lognormal(0, 1.5, (8, 300))
    target = values @ np.exp(rng.normal(0, 2, 300))
    raked = rake(problem(values, target, np.full(300, 1e-3)), bounds=None, price=1e12, gap=1e-8)
    assert raked.converged
    assert raked.targets["residual"].abs().max() / target.min() < 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_targets_that_bounds_put_out_of_reach_do_not_stop_it(seed: int) -> None:
    made = random_problem(seed)
    raked = rake(made, bounds=(0.5, 2.0), price=1e5, gap=1e-6)
    assert raked.converged
    assert raked.at_lower + raked.at_upper > 0


def test_a_warm_start_needs_fewer_steps() -> None:
    made = random_problem(4)
    cold = rake(made, gap=1e-9)
    warm = rake(made, gap=1e-9, start=cold.multipliers)
    assert warm.iterations == 0 < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, rtol=1e-4, atol=1e-6)
    shifted = replace(made, objective=replace(made.objective, target=1.001 * made.target))
    assert rake(shifted, gap=1e-9, start=cold.multipliers).iterations < rake(shifted, gap=1e-9).iterations


def test_a_start_that_is_worse_than_none_is_left_for_none() -> None:
    made = random_problem(4)
    far = rake(made, bounds=None, gap=1e-9, start=np.full(len(made.target), 1e6))
    assert far.weights.tobytes() == rake(made, bounds=None, gap=1e-9).weights.tobytes()


def test_rounding_ends_what_no_step_can_better() -> None:
    made = random_problem(6)
    device = open_device("cpu", 1)
    elastic = Elastic(np.full(len(made.target), 100.0), np.zeros(len(made.target)))
    with device.at_work():
        dual = Dual(made.matrix, made.target, made.scale, made.initial_weights, distance_within(None), elastic, device)
        solution = interior_point(dual, np.zeros(len(made.target)), gap=0.0, iterations=60)
    assert solution.point.relative_gap < 1e-15
    assert len(solution.history) < 61


def test_few_iterations_say_that_they_did_not_suffice() -> None:
    raked = rake(random_problem(7, misfit=1.0), gap=1e-12, iterations=1)
    assert not raked.converged
    assert raked.iterations == 1
    assert raked.gap > 1e-12


def test_lines_tell_each_iteration() -> None:
    lines: list[str] = []
    raked = rake(random_problem(8), tell=lines.append)
    assert len(lines) == raked.iterations + 1
    assert lines[-1].startswith(f"iteration {raked.iterations}: gap ")


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"price": 0.0}, "price is 0.0; it must be a finite number above 0"),
        ({"price": math.nan}, "price is nan"),
        ({"gap": 0.0}, "gap is 0.0"),
        ({"gap": math.nan}, "gap is nan"),
        ({"iterations": 0}, "iterations is 0"),
        ({"bounds": (1.0, 2.0)}, "the bounds of weights are 1 and 2"),
        ({"start": [1.0]}, r"start is of shape \(1,\)"),
        ({"start": [math.nan] * 6}, "give a finite multiplier for each of 6 fitted targets"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_settings_are_refused_with_one_line(settings_: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        rake(random_problem(0), **settings_)
    assert "\n" not in str(caught.value)


def test_bad_numbers_never_reach_the_solver() -> None:
    with pytest.raises(ArtifactError, match="is nan"):
        problem(np.eye(2), [1.0, math.nan])


def test_targets_of_weights_of_0_alone_are_refused() -> None:
    made = problem(sparse.csr_matrix(np.array([[0.0, 1.0]], dtype=np.float32)), [1.0], [1.0, 0.0])
    with pytest.raises(ArtifactError, match="no target of importance has a record whose starting weight is above 0"):
        rake(made)
