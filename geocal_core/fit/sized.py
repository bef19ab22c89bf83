"""A fit to an exact number of columns: weights of all of them, which to keep, and a polish of what is kept.

No search over a price of records. Dense weights come by ``rake``, or from gates; ``select`` keeps as many as are wanted; a
polish always follows. Each step is kept in a checkpoint as soon as it is done, and never done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geocal_core.errors import ConfigError
from geocal_core.fit.balance import Balance
from geocal_core.fit.checkpoint import Arrays, read, write
from geocal_core.fit.diagnostics import target_table
from geocal_core.fit.findings import log_table, lost_targets, repeated_targets, zero_targets
from geocal_core.fit.fitting import fit_problem
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.raking import PRICE, Raked, rake
from geocal_core.fit.selection import Selection, influence, select
from geocal_core.matrix.factored import Floats
from geocal_core.matrix.package import Package
from geocal_core.sampling import inclusion_probabilities
from geocal_core.store import digest_bytes

POLISH_BOUNDS = (0.02, 5.0)
"""A kept weight may become a fiftieth or five times its design weight: a choice by measurement, not a published bound."""
METHODS = ("cube", "pps", "gates", "random")


class TooFew(ConfigError):
    """Fewer columns than are wanted have a weight above 0."""


@dataclass(frozen=True)
class Dense:
    """Weights of all columns, from which some are selected.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_columns,)
    multipliers : ndarray of float64, shape (n_fitted,)
        Of the raking; zeros where gates gave the weights.
    facts : mapping
        How they were found: of raking ``dense_gap``, ``dense_primal`` and ``dense_iterations``; of gates their epochs and
        hyper-parameters.
    """

    weights: Floats
    multipliers: Floats
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Exact:
    """What a fit to an exact number of columns amounts to.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_columns,)
        Above 0 for the kept columns, exactly 0 for all others.
    kept : ndarray of bool, shape (n_columns,)
        ``records`` of them.
    method : str
    loss, design_loss, dense_loss, initial_loss : float
        The loss over the fitted targets: of the weights, of the selection before its polish, of the dense weights (of the gated
        ones where gates select), and of the starting weights.
    dense : Dense
    selection : Selection
    polished : Raked
        Of the kept columns alone: with its gap, the multipliers, and how many weights are at their bounds.
    diagnostics, log : DataFrame
        As of ``FitResult``; the log's epochs are 0 the start, 1 the dense weights, 2 the selection, 3 the polish.
    zero_targets, lost_targets, repeated_targets : tuple of str
        As of ``FitResult``.
    """

    weights: Floats
    kept: NDArray[np.bool_]
    method: str
    loss: float
    design_loss: float
    dense_loss: float
    initial_loss: float
    dense: Dense
    selection: Selection
    polished: Raked
    diagnostics: pd.DataFrame
    log: pd.DataFrame
    zero_targets: tuple[str, ...]
    lost_targets: tuple[str, ...]
    repeated_targets: tuple[str, ...]

    @property
    def losses(self) -> dict[str, float]:
        """The losses by name."""
        names = ("loss", "design_loss", "dense_loss", "initial_loss")
        return {name: getattr(self, name) for name in names}

    @property
    def unsupported_targets(self) -> tuple[str, ...]:
        """Targets without a non-zero value, which were left out of the loss."""
        return tuple(self.diagnostics.loc[~self.diagnostics["achievable"], "target"])


def exact(
    fitted: Package | Problem,
    records: int,
    method: str = "cube",
    *,
    strata: Any = None,
    balance: Any = None,
    seed: int = 0,
    bounds: tuple[float, float] | None = POLISH_BOUNDS,
    price: float = PRICE,
    gap: float = 1e-4,
    dense: Dense | None = None,
    start: ArrayLike | None = None,
    device: str = "cpu",
    threads: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
    **gates: Any,
) -> Exact:
    """Fit exactly ``records`` columns to the targets.

    Parameters
    ----------
    fitted : Package or Problem
        What is fitted. A package brings strata (its districts and states) and what is balanced in them.
    records : int
        Columns to keep, from 1 to the number of those whose dense weight is above 0.
    method : str
        ``cube``: a balanced sample by chances proportional to the dense weight times the column's ``influence``; ``pps``: one
        by such chances alone; ``gates``: the largest weights that a gated fit leaves, raised to the sum of all that it leaves;
        ``random``: columns at random, from the starting weights, to compare with.
    strata, balance
        For ``cube``, as in ``select``; ``balance`` may also be a ``Balance``.
    seed : int
        The same seed gives the same bytes, for any number of threads.
    bounds : pair of float, optional
        Least and greatest ratio of a kept weight to its design weight; None for no bounds.
    price : float
        Of a loss of 1, in units of a mean distance of 1: of the raking and of the polish.
    gap : float
        Relative duality gap at which raking and polish stop.
    dense : Dense, optional
        What ``dense_of`` gave, to fit the same problem to several sizes.
    start : array_like, shape (n_fitted,), optional
        Multipliers to start the polish from, if that is nearer than a start from nothing.
    device : str
        ``cpu``; or ``cuda`` for the gated fit.
    threads : int, optional
    checkpoint : path, optional
        File that keeps each step that is done; if it is there, the fit goes on from it.
    progress : callable, optional
        Given one line of text every few seconds.
    **gates
        For ``gates``: arguments of ``fit`` such as ``preset``, ``epochs`` and ``lambda_l0``.

    Raises
    ------
    ConfigError
        If a setting is out of its range or means nothing for the method, or fewer columns than wanted have a weight above 0.
    ArtifactError
        If inputs do not fit together, or the checkpoint belongs to another fit: the message says what differs.
    """
    if isinstance(fitted, Package):
        strata = [fitted.district, fitted.state] if strata is None else strata
        balance = Balance(fitted, fitted.matrix, fitted.targets) if balance is None else balance
        fitted = problem(fitted.matrix, fitted.targets, fitted.initial_weights)
    _check(fitted, records, method, device, gates)
    tell = progress or (lambda line: None)
    steps = _Steps(None if checkpoint is None else Path(checkpoint), tell)
    if checkpoint is not None:
        of_gates = {**gates, "device": device.partition(":")[0]} if method == "gates" else {}
        given = {"dense weights": None if dense is None else dense.weights, "strata": strata}
        arrays = {name: digest_bytes(np.array(one).tobytes()) for name, one in given.items() if one is not None}
        settings = {"method": method, "records": int(records), "seed": seed, "price": price, "gap": gap}
        steps.read({**fitted.digests(), **arrays, **settings, **of_gates})
    dense = dense or steps.dense()
    if dense is None:
        dense = dense_of(
            fitted,
            method,
            price=price,
            gap=gap,
            seed=seed,
            device=device,
            threads=threads,
            checkpoint=steps.gates,
            progress=tell,
            **gates,
        )
        steps.keep(dense)
    selection = steps.selection()
    if selection is None:
        selection = _selected(fitted, dense, records, method, strata, balance, seed)
        tell(f"kept {records:,} of {np.count_nonzero(dense.weights):,} columns by {method}")
        steps.keep(dense, selection)
    polished = polish(fitted, selection, bounds=bounds, price=price, gap=gap, start=start, threads=threads, progress=tell)
    return _result(fitted, method, dense, selection, polished)


def polish(
    fitted: Problem,
    selection: Selection,
    *,
    bounds: tuple[float, float] | None = POLISH_BOUNDS,
    price: float = PRICE,
    gap: float = 1e-4,
    start: ArrayLike | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Raked:
    """Rake the kept columns alone, from their design weights; arguments as of ``exact``."""
    small = fitted.of_columns(selection.kept, selection.design_weights)
    raked = rake(small, price=price, bounds=bounds, gap=gap, start=start, threads=threads, tell=progress)
    if not raked.converged and progress is not None:
        progress(f"the polish ended at a gap of {raked.gap:.1e} and not of {gap:.1e}")
    return raked


def dense_of(
    fitted: Problem,
    method: str,
    *,
    price: float = PRICE,
    gap: float = 1e-4,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[str], None] | None = None,
    **gates: Any,
) -> Dense:
    """Weights of all columns from which a method selects; arguments as of ``exact``, a checkpoint of the gated fit alone.

    For ``cube`` and ``pps`` by raking; for ``gates`` by gates without a refit, because a polish of what is kept follows; for
    ``random`` the starting weights.
    """
    nothing = np.zeros(len(fitted.target))
    if method == "random":
        return Dense(fitted.initial_weights, nothing, {})
    if method == "gates":
        result = fit_problem(
            fitted,
            refit_epochs=0,
            seed=seed,
            device=device,
            threads=threads,
            checkpoint=checkpoint,
            progress=progress,
            **gates,
        )
        facts = {"epochs": result.epochs, "stopped": result.stopped, **asdict(result.hyperparameters)}
        return Dense(result.weights, nothing, facts)
    raked = rake(fitted, price=price, gap=gap, threads=threads, tell=progress)
    if not raked.converged and progress is not None:
        progress(f"the dense weights are at a gap of {raked.gap:.1e} and not of {gap:.1e}: the fit goes on from there")
    facts = {"dense_gap": raked.gap, "dense_primal": raked.primal, "dense_iterations": raked.iterations}
    return Dense(raked.weights, raked.multipliers, facts)


def _check(fitted: Problem, records: int, method: str, device: str, gates: Mapping[str, Any]) -> None:
    """Refuse what can be refused before the first step."""
    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r} of an exact size", f"the methods are {', '.join(METHODS)}")
    possible = int(np.count_nonzero(fitted.initial_weights))
    if isinstance(records, bool) or not isinstance(records, int | np.integer) or not 1 <= records <= possible:
        raise ConfigError(
            f"{records} records are wanted and {possible:,} of {fitted.n_columns:,} columns start from a weight above 0",
            f"ask for 1 to {possible:,}",
        )
    if method != "gates":
        if gates:
            raise ConfigError(f"{next(iter(gates))} means nothing for the method {method}", "it is a setting of gates")
        if device != "cpu":
            raise ConfigError(f"the method {method} runs on the CPU and device {device!r} was asked for", "use device cpu")


def _selected(fitted: Problem, dense: Dense, records: int, method: str, strata: Any, balance: Any, seed: int) -> Selection:
    weights = dense.weights
    left = int(np.count_nonzero(weights))
    if left < records:
        how = "the gates kept" if method == "gates" else "raking gave a weight above 0 to"
        raise TooFew(
            f"{how} {left:,} columns and {records:,} are wanted",
            "lower lambda_l0 or lambda_share, or take the method cube" if method == "gates" else f"ask for at most {left:,}",
        )
    if method == "gates":
        largest = select(weights, records, "top")
        # They stand for those that are left out as well.
        whole = float(weights.sum()) / float(largest.design_weights.sum())
        return replace(largest, design_weights=whole * largest.design_weights)
    if method == "random":
        return select(weights, records, "pps", sizes=(weights > 0).astype(np.float64), seed=seed)
    sizes = weights * influence(fitted)
    if isinstance(balance, Balance) and method == "cube":
        balance = balance.rows(weights, inclusion_probabilities(sizes, records))
    return select(weights, records, method, sizes=sizes, balance=balance, strata=strata, seed=seed)


def _result(fitted: Problem, method: str, dense: Dense, selection: Selection, polished: Raked) -> Exact:
    weights = np.zeros(fitted.n_columns)
    weights[selection.kept] = polished.weights
    logged = [
        (epoch, fitted.all_estimates(at))
        for epoch, at in enumerate((fitted.initial_weights, dense.weights, selection.weights(), weights))
    ]
    initial, of_dense, design, loss = (fitted.loss(estimates[fitted.fitted]) for _, estimates in logged)
    return Exact(
        weights=weights,
        kept=weights > 0,
        method=method,
        loss=loss,
        design_loss=design,
        dense_loss=of_dense,
        initial_loss=initial,
        dense=dense,
        selection=selection,
        polished=polished,
        diagnostics=target_table(fitted.names, fitted.all_targets, logged[-1][1], fitted.supported, fitted.held_out),
        log=log_table(fitted, logged),
        zero_targets=zero_targets(fitted),
        lost_targets=lost_targets(fitted, weights),
        repeated_targets=repeated_targets(fitted),
    )


class _Steps:
    """The steps that are done, in a file if there is to be one."""

    def __init__(self, path: Path | None, tell: Callable[[str], None]) -> None:
        self.gates = None if path is None else path.with_name(f"{path.stem}.gates.npz")
        self._path, self._tell = path, tell
        self._identity: Mapping[str, Any] = {}
        self._facts: Mapping[str, Any] = {}
        self._arrays: Arrays = {}

    def read(self, identity: Mapping[str, Any]) -> None:
        """What the file has, if it is there and of this very fit."""
        self._identity = identity
        if self._path is not None and self._path.exists():
            self._facts, self._arrays = read(self._path, identity)
            done = "the selection" if "kept" in self._arrays else "the dense weights"
            self._tell(f"going on after {done} of the checkpoint {self._path}")

    def dense(self) -> Dense | None:
        arrays = self._arrays
        return Dense(arrays["dense"], arrays["multipliers"], self._facts) if "dense" in arrays else None

    def selection(self) -> Selection | None:
        arrays = self._arrays
        return Selection(arrays["kept"], arrays["design"], arrays["chances"]) if "kept" in arrays else None

    def keep(self, dense: Dense, selection: Selection | None = None) -> None:
        if self._path is None or self.gates is None:
            return
        arrays: Arrays = {"dense": dense.weights, "multipliers": dense.multipliers}
        if selection is not None:
            arrays |= {"kept": selection.kept, "design": selection.design_weights, "chances": selection.chances}
        write(self._path, self._identity, dense.facts, arrays)
        self.gates.unlink(missing_ok=True)
