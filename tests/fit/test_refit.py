from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import lsq_linear

from geocal_core.fit.device import Device, open_device
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.refit import Refit

CPU = open_device("cpu", 1)


def _run(made: Problem, start: NDArray[np.float64], epochs: int, device: Device = CPU, lambda_l2: float = 0.0) -> Refit:
    refit = Refit(made, start, lambda_l2, device)
    with device.at_work():
        while refit.epoch < epochs and not refit.done:
            refit.advance()
    return refit


def test_the_least_loss_is_that_of_bounded_least_squares() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.random((30, 8)).astype(np.float32)
    targets = matrix @ rng.uniform(1, 5, 8) * rng.normal(1, 0.1, 30)  # contradictory: no weights meet them all
    made = problem(matrix, targets)
    refit = _run(made, np.ones(8), 500)
    exact = lsq_linear(matrix / made.scale[:, None], made.target / made.scale, bounds=(0, np.inf), tol=1e-14)
    assert refit.loss == pytest.approx(2 * exact.cost, rel=1e-6)
    assert (exact.x > 0.01).all()
    assert np.allclose(refit.weights(), exact.x, rtol=1e-3)


def test_consistent_targets_are_met(small: Problem) -> None:
    refit = _run(small, small.initial_weights, 500)
    assert refit.loss < 1e-8
    assert np.allclose(small.matrix.matvec(refit.weights()), small.target, rtol=1e-3)


def test_dropped_columns_stay_dropped(small: Problem) -> None:
    start = small.initial_weights.copy()
    start[::4] = 0.0
    weights = _run(small, start, 100).weights()
    assert (weights[::4] == 0).all()
    assert (weights[start > 0] > 0).all()


def test_squares_cost_what_lambda_says(small: Problem) -> None:
    lambda_l2 = 1e-3
    refit = _run(small, small.initial_weights, 200, lambda_l2=lambda_l2)
    weights = refit.weights()
    expected = small.loss(small.matrix.tocsr().astype(np.float64) @ weights) + lambda_l2 * np.sum(weights**2)
    assert refit.loss == pytest.approx(expected, rel=1e-9)
    assert np.sum(weights**2) < np.sum(_run(small, small.initial_weights, 200).weights() ** 2)


def test_contradictory_targets_share_the_error() -> None:
    made = problem(np.ones((2, 1), np.float32), [1.0, 3.0])
    # Minimum of (1 - w)^2 + ((3 - w) / 3)^2 by hand.
    assert _run(made, np.ones(1), 100).weights()[0] == pytest.approx(1.2, rel=1e-6)


def test_any_number_of_threads_gives_the_same_bytes(wide: tuple[sparse.csr_matrix, NDArray]) -> None:
    made = problem(*wide)
    start = np.ones(made.n_columns)
    results = [_run(made, start, 8, open_device("cpu", threads)).weights() for threads in (1, 2, 3)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_tensors_and_arrays_go_the_same_way(small: Problem) -> None:
    ours = [_run(small, small.initial_weights, 20, device).weights() for device in (CPU, Device("cpu", torch))]
    assert np.allclose(*ours, rtol=1e-6)
