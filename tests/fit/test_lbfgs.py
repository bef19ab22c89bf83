from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from geocal_core.fit.device import open_device
from geocal_core.fit.lbfgs import Lbfgs

CPU = open_device("cpu", 1)


def _rosenbrock(point: np.ndarray) -> tuple[float, np.ndarray]:
    return float(rosen(point)), rosen_der(point)


def _run(search: Lbfgs, most: int) -> Lbfgs:
    while search.iteration < most and not search.done:
        search.advance()
    return search


def test_the_valley_of_rosenbrock_is_followed_to_its_end() -> None:
    search = _run(Lbfgs(_rosenbrock, np.full(10, -1.0), CPU), 300)
    assert np.allclose(search.point, 1.0, atol=1e-5)
    assert search.iteration < 200


def test_an_ill_conditioned_quadratic_is_solved_as_well_as_by_scipy() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    hessian = basis @ np.diag(np.geomspace(1, 1e4, 40)) @ basis.T
    target = rng.normal(size=40)

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        return float(0.5 * point @ hessian @ point - target @ point), hessian @ point - target

    search = _run(Lbfgs(evaluate, np.zeros(40), CPU), 400)
    scipys = minimize(evaluate, np.zeros(40), jac=True, method="L-BFGS-B", options={"maxiter": 400, "maxcor": 20})
    exact = evaluate(np.linalg.solve(hessian, target))[0]
    assert search.value <= exact + 1e-8 * abs(exact)
    assert search.value <= scipys.fun + 1e-8 * abs(exact)


def test_values_never_rise_and_no_coordinate_leaps() -> None:
    search = Lbfgs(_rosenbrock, np.array([-1.2, 1.0, 3.0]), CPU, longest=0.25)
    for _ in range(60):
        before, point = search.value, search.point.copy()
        search.advance()
        assert search.value <= before
        assert np.abs(search.point - point).max() <= 0.25 * (1 + 1e-12)


def test_it_is_done_at_a_minimum() -> None:
    search = Lbfgs(lambda x: (float(x @ x), 2 * x), np.zeros(3), CPU)
    search.advance()
    assert search.done


@pytest.mark.parametrize("at", [0, 1, 7, 30])
def test_a_restored_search_is_the_uninterrupted_one(at: int) -> None:
    whole = _run(Lbfgs(_rosenbrock, np.full(6, -1.0), CPU, memory=5), 40)
    half = _run(Lbfgs(_rosenbrock, np.full(6, -1.0), CPU, memory=5), at)
    later = Lbfgs(_rosenbrock, np.zeros(6), CPU, memory=5)
    later.restore(half.state())
    assert _run(later, 40).point.tobytes() == whole.point.tobytes()
