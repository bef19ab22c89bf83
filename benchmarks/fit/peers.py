"""The contenders of others, each on the very rows that geocal fits, from the same starting weights; none is needed to run.

l0-python holds the reference's objective and optimiser; microcalibrate an Adam over a dense matrix; scipy L-BFGS without any
thought of this problem; Clarabel, an interior-point solver, the optimum itself, where a problem is small enough.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import optimize, sparse

from benchmarks.fit.case import Case, Options
from benchmarks.fit.ours import Contender, polished
from benchmarks.fit.outcome import Outcome, Pace, peak
from geocal_core.fit.device import open_device
from geocal_core.fit.raking import PRICE, rake

L0 = "l0-python"
MICRO = "microcalibrate"
LBFGS = "scipy L-BFGS-B"
CLARABEL = "Clarabel"
REFITTED = f"{L0} + refit"

_MOST_OF_CLARABEL = 500
_DENSE_COPIES = 3  # of a table and the two tensors that are made of it
_SHARE_OF_MEMORY = 0.6
_MICRO_RATE = 0.1
_GATED_STAGES = 3  # epochs of microcalibrate with gates are twice those without, and come on top


_MODULES = {"l0-python": "l0", "microcalibrate": "microcalibrate", "lbfgs": "scipy", "clarabel": "clarabel"}


def refusal(peer: str, n_targets: int, n_columns: int) -> str:
    """Why a peer cannot run on a problem of this size here; empty if it can."""
    if importlib.util.find_spec(_MODULES[peer]) is None:
        return "not installed"
    if peer == "microcalibrate":
        needed, free = 4 * _DENSE_COPIES * n_targets * n_columns, open_device("cpu").memory() or 0
        if needed > _SHARE_OF_MEMORY * free:
            return f"its dense matrix needs {needed / 1e9:,.0f} GB in {_DENSE_COPIES} copies; {free / 1e9:.0f} GB are free"
    if peer == "clarabel" and n_targets > _MOST_OF_CLARABEL:
        return f"for problems of up to {_MOST_OF_CLARABEL} targets"
    return ""


def l0_python(case: Case, options: Options) -> Iterator[Outcome]:
    """Its pace, epoch by epoch; then, where there is time to train, a whole fit, and the refit of what it keeps."""
    from l0.calibration import SparseCalibrationWeights

    settings, made = options.settings, case.made
    torch.set_num_threads(options.threads)
    matrix, target = made.matrix.tocsr(), made.target

    def model() -> SparseCalibrationWeights:
        torch.manual_seed(options.seed)
        return SparseCalibrationWeights(
            n_features=made.n_columns,
            beta=settings.beta,
            gamma=settings.gamma,
            zeta=settings.zeta,
            init_keep_prob=settings.initial_keep,
            init_weights=made.initial_weights,
            log_weight_jitter_sd=settings.log_weight_jitter,
            log_alpha_jitter_sd=settings.log_alpha_jitter,
            seed=options.seed,
        )

    def train(on: SparseCalibrationWeights, epochs: int) -> None:
        on.fit(
            matrix,
            target,
            lambda_l0=settings.lambda_l0,
            lambda_l2=settings.lambda_l2,
            lr=settings.learning_rate,
            epochs=epochs,
            loss_type="relative",
            verbose=False,
        )

    first = model()
    train(first, 1)  # converts the matrix
    built, laps, processor = case.since(), [], time.process_time()
    for _ in range(options.pace):
        begun = time.perf_counter()
        train(first, 1)
        laps.append(time.perf_counter() - begun)
    spent = (time.process_time() - processor) / options.pace
    pace = Pace(float(np.mean(laps)), min(laps), spent)
    epochs = min(options.epochs, int(options.seconds / pace.wall))
    if epochs < 1:
        yield Outcome(L0, build=built, epochs=options.pace, pace=pace, peak=peak(), note="its pace alone")
        return
    del first
    begun, second = time.perf_counter(), model()
    train(second, epochs)
    seconds = time.perf_counter() - begun
    weights = second.get_weights(deterministic=True).detach().cpu().numpy().astype(np.float64)
    note = f"{epochs:,} epochs in {seconds:.0f} s" + ("" if epochs == options.epochs else ", all that the time allowed")
    yield Outcome(L0, weights, built, epochs, pace, total=built + seconds, peak=peak(), note=note)
    if (weights > 0).any():
        begun = time.perf_counter()
        outcome = polished(case, weights, options, REFITTED)
        yield replace(outcome, total=built + seconds + time.perf_counter() - begun)


def microcalibrate(case: Case, options: Options) -> Iterator[Outcome]:
    """Its dense fit, and its second stage with gates, at its own prices."""
    module, made = importlib.import_module("microcalibrate"), case.made
    torch.set_num_threads(options.threads)
    np.random.seed(options.seed)  # noqa: NPY002  # it draws from the global one
    torch.manual_seed(options.seed)
    names = [f"t{number}" for number in range(len(made.target))]
    table = pd.DataFrame(made.matrix.tocsr().T.toarray(), columns=names)

    def run(epochs: int, gates: bool) -> tuple[float, Any]:
        fit = module.Calibration(
            weights=made.initial_weights.copy(),
            targets=made.target,
            estimate_matrix=table,
            epochs=epochs,
            noise_level=0.0,
            learning_rate=_MICRO_RATE,
            regularize_with_l0=gates,
        )
        begun = time.perf_counter()
        fit.calibrate()
        return time.perf_counter() - begun, fit

    _, once, few = (run(epochs, gates=False)[0] for epochs in (1, 1, 1 + options.pace))
    pace = max((few - once) / options.pace, 1e-9)
    epochs = max(1, min(options.epochs, int(options.seconds / pace / _GATED_STAGES)))
    seconds, done = run(epochs, gates=True)
    note = f"{epochs:,} epochs and {2 * epochs:,} with gates in {seconds:.0f} s"
    both = [np.asarray(weights, dtype=np.float64) for weights in (done.weights, done.sparse_weights)]
    yield Outcome(MICRO, both[0], case.since() - seconds, epochs, Pace(pace), total=seconds, peak=peak(), note=note)
    yield Outcome(f"{MICRO} with gates", both[1], epochs=2 * epochs, peak=peak())


def lbfgs(case: Case, options: Options) -> Iterator[Outcome]:
    """The same loss over all columns in the logarithm of the weights, with products of an explicit CSR matrix in float64."""
    matrix, objective, made = case.made.matrix.tocsr().astype(np.float64), case.made.objective, case.made
    transpose, laps = matrix.T, list[float]()

    def evaluate(log_weight: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        begun = time.perf_counter()
        weight = np.exp(log_weight)
        estimate = matrix @ weight
        gradient = weight * (transpose @ objective.slope(estimate))
        laps.append(time.perf_counter() - begun)
        return objective.loss(estimate), gradient

    built, begun, processor = case.since(), time.perf_counter(), time.process_time()

    def watch(intermediate_result: optimize.OptimizeResult) -> None:
        if time.perf_counter() - begun > options.seconds:
            raise StopIteration

    start = np.log(np.maximum(made.initial_weights, np.finfo(float).tiny))
    limits = {"maxiter": options.epochs, "maxfun": 10 * options.epochs}
    found = optimize.minimize(evaluate, start, jac=True, method="L-BFGS-B", options=limits, callback=watch)
    seconds = time.perf_counter() - begun
    ended = f"stopped after {seconds:.0f} s" if seconds > options.seconds else str(found.message).lower()
    yield Outcome(
        LBFGS,
        np.exp(found.x),
        build=built,
        epochs=len(laps),
        pace=Pace(seconds / len(laps), min(laps), (time.process_time() - processor) / len(laps)),
        total=case.since(),
        peak=peak(),
        note=f"{found.nit} iterations, {len(laps)} evaluations; {ended}",
    )


def clarabel(case: Case, options: Options) -> Iterator[Outcome]:
    """Least squares with weights of at least 0, and raking without bounds: the optimum, and how far ours is from it."""
    scaled = sparse.diags(1 / case.made.scale) @ case.made.matrix.tocsr().astype(np.float64)
    wanted, start = case.made.target / case.made.scale, case.made.initial_weights
    rows = (scaled @ sparse.diags(start)).tocsc()  # by ratios to the starting weights
    begun = time.perf_counter()
    ratio, least = _least_squares(rows, wanted)
    took = time.perf_counter() - begun
    mine = polished(case, start, options, "")
    assert mine.weights is not None
    loss = case.made.loss(case.made.matrix.estimates(mine.weights))
    note = f"optimum {least:.6g}; refit of geocal from the start {loss:.6g}"
    facts = {"optimum": least, "ours": loss}
    yield Outcome(f"{CLARABEL}, QP", np.maximum(ratio, 0) * start, total=took, peak=peak(), note=note, facts=facts)
    begun = time.perf_counter()
    ratio, optimum = _raked(rows, wanted, start / start.sum(), PRICE)
    took = time.perf_counter() - begun
    raked = rake(case.made, bounds=None, gap=1e-9, threads=options.threads)
    apart = abs(raked.primal / optimum - 1)
    note = f"optimum {optimum:.9g}; raking of geocal {raked.primal:.9g} with a gap of {raked.gap:.0e}: {apart:.0e} apart"
    facts = {"optimum": optimum, "ours": raked.primal}
    yield Outcome(f"{CLARABEL}, raking", np.maximum(ratio, 0) * start, total=took, peak=peak(), note=note, facts=facts)


def _solver() -> Any:
    return importlib.import_module("clarabel")


def _least_squares(rows: sparse.csc_matrix, wanted: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """min |r|^2 over x >= 0, with rows x + r = wanted: x, and the least value."""
    m, n = rows.shape
    quadratic = sparse.block_diag([sparse.csc_matrix((n, n)), 2 * sparse.identity(m)], format="csc")
    equal = sparse.hstack([rows, sparse.identity(m)])
    above = sparse.hstack([-sparse.identity(n), sparse.csc_matrix((n, m))])
    solver = _solver()
    cones = [solver.ZeroConeT(m), solver.NonnegativeConeT(n)]
    constraints = sparse.vstack([equal, above], format="csc")
    solution = _solved(quadratic, np.zeros(n + m), constraints, np.concatenate([wanted, np.zeros(n)]), cones)
    return solution[:n], float(np.sum(solution[n : n + m] ** 2))


def _raked(
    rows: sparse.csc_matrix, wanted: NDArray[np.float64], share: NDArray[np.float64], price: float
) -> tuple[NDArray[np.float64], float]:
    """min sum of share (x ln x - x + 1) and price |r|^2, with rows x + r = wanted: x, and the least value.

    x ln x <= t is that (-t, x, 1) lies in the exponential cone.
    """
    m, n = rows.shape
    quadratic = sparse.block_diag([sparse.csc_matrix((2 * n, 2 * n)), 2 * price * sparse.identity(m)], format="csc")
    linear = np.concatenate([-share, share, np.zeros(m)])  # of x, t and r
    equal = sparse.hstack([rows, sparse.csc_matrix((m, n)), sparse.identity(m)])
    column = np.arange(n)
    values, places = np.tile([1.0, -1.0], n), np.stack([3 * column, 3 * column + 1], axis=1).ravel()
    into = np.stack([n + column, column], axis=1).ravel()
    cone = sparse.csc_matrix((values, (places, into)), shape=(3 * n, 2 * n + m))
    offset = np.tile([0.0, 0.0, 1.0], n)
    solver = _solver()
    cones = [solver.ZeroConeT(m), *(solver.ExponentialConeT() for _ in range(n))]
    constraints = sparse.vstack([equal, cone], format="csc")
    solution = _solved(quadratic, linear, constraints, np.concatenate([wanted, offset]), cones)
    x, t, r = solution[:n], solution[n : 2 * n], solution[2 * n :]
    return x, float(np.sum(share * (t - x + 1)) + price * np.sum(r**2))


def _solved(
    quadratic: sparse.csc_matrix,
    linear: NDArray[np.float64],
    constraints: sparse.csc_matrix,
    limits: NDArray[np.float64],
    cones: list[object],
) -> NDArray[np.float64]:
    solver = _solver()
    settings = solver.DefaultSettings()
    settings.verbose = False
    solution = solver.DefaultSolver(sparse.triu(quadratic, format="csc"), linear, constraints, limits, cones, settings).solve()
    if str(solution.status) not in ("Solved", "AlmostSolved"):
        raise RuntimeError(f"Clarabel ends with {solution.status}")
    return np.array(solution.x)


CONTENDERS: dict[str, Contender] = {
    "l0-python": l0_python,
    "microcalibrate": microcalibrate,
    "lbfgs": lbfgs,
    "clarabel": clarabel,
}
