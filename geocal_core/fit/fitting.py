"""A whole fit: the gated epochs, then the refit of what they kept, with progress, log, checkpoint and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit import presets
from geocal_core.fit.checkpoint import Checkpoint, load
from geocal_core.fit.device import Device, open_device
from geocal_core.fit.diagnostics import effective_sample_size, relative_errors, target_table
from geocal_core.fit.findings import log_table, lost_targets, repeated_targets, zero_targets
from geocal_core.fit.gated import Diverged, GatedFit, memory_needed
from geocal_core.fit.objective import LossSettings
from geocal_core.fit.presets import Hyperparameters
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.refit import Refit
from geocal_core.matrix.factored import Floats

_PROGRESS_SECONDS = 3.0


@dataclass(frozen=True)
class FitResult:
    """What a fit amounts to.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_columns,)
        Not negative; exactly 0 for the columns that were dropped.
    kept : ndarray of bool, shape (n_columns,)
    loss, gated_loss, initial_loss : float
        The loss over the targets that are fitted (with support, not held out, not repeated): of the weights, of the gated fit
        before the refit, and of the starting weights.
    epochs, refit_epochs : int
        Epochs done with gates, and iterations of the refit.
    stopped : str
        Why the gated fit ended before its last epoch, at the best weights that its log knows; empty if it did not.
    diagnostics : DataFrame
        A row for each target (``geocal_core.fit.diagnostics.target_table``).
    log : DataFrame
        A row for each target and logged epoch.
    zero_targets, lost_targets, repeated_targets : tuple of str
        Targets of 0, which are measured against their starting estimate; targets whose every record was dropped; targets left
        out of the loss because another has the same row and value.
    hyperparameters : Hyperparameters
    """

    weights: Floats
    kept: NDArray[np.bool_]
    loss: float
    gated_loss: float
    initial_loss: float
    epochs: int
    refit_epochs: int
    stopped: str
    diagnostics: pd.DataFrame
    log: pd.DataFrame
    zero_targets: tuple[str, ...]
    lost_targets: tuple[str, ...]
    repeated_targets: tuple[str, ...]
    hyperparameters: Hyperparameters

    @property
    def losses(self) -> dict[str, float]:
        """The losses by name."""
        return {"loss": self.loss, "gated_loss": self.gated_loss, "initial_loss": self.initial_loss}

    @property
    def unsupported_targets(self) -> tuple[str, ...]:
        """Targets without a non-zero value, which were left out of the loss."""
        return tuple(self.diagnostics.loc[~self.diagnostics["achievable"], "target"])


def fit(
    matrix: Any,
    targets: ArrayLike | pd.DataFrame,
    *,
    preset: str = "local",
    initial_weights: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    held_out: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    loss: LossSettings | None = None,
    epochs: int = 1000,
    refit_epochs: int = 300,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    log_every: int = 100,
    progress: Callable[[str], None] | None = None,
    **hyperparameters: float | None,
) -> FitResult:
    """Find weights, many of them 0 if wanted, under which a sample meets its targets.

    Parameters
    ----------
    matrix : FactoredMatrix, scipy sparse matrix or 2-d array, shape (n_targets, n_columns)
        What one unit of weight on a column adds to each target.
    targets : array_like or DataFrame, shape (n_targets,)
        Wanted totals; of a table, the columns ``value``, ``name`` and ``held_out``.
    preset : str
        ``local`` or ``national``.
    initial_weights : array_like, shape (n_columns,), optional
        Starting weights; 1 where nothing is given. A column that starts at 0 stays there, so the weights of an earlier fit
        are a warm start: with ``epochs=0`` the refit alone moves what it kept to the targets of today.
    names : sequence of str, optional
        Names of the targets.
    held_out : array_like of bool, shape (n_targets,), optional
        Targets that are scored in diagnostics and log, and that nothing else depends on: the weights are the same bytes
        whatever their rows and values are.
    tolerance : array_like, shape (n_targets,), optional
        Distance from each target, in its own unit, that costs nothing, such as a publisher's margin of error.
    importance : array_like, shape (n_targets,), optional
        Factor of each target in the loss; ``fit.importance_of_groups`` makes it of labels.
    loss : LossSettings, optional
        Scales of the errors, and Huber's bound.
    epochs : int
        Epochs with gates; 0 leaves all gates open.
    refit_epochs : int
        Most iterations of the refit; 0 leaves the gated weights as they are.
    seed : int
        The same seed gives the same bytes on the same kind of device, for any number of threads.
    device : str
        ``cpu`` or ``cuda``.
    threads : int, optional
        Threads on the CPU.
    checkpoint : path, optional
        File to save the state to, every ``checkpoint_seconds`` and at the end. If it is there, the fit goes on from it.
    log_every : int
        Epochs between the rows of the log.
    progress : callable, optional
        Given one line of text every few seconds, for example ``print``.
    **hyperparameters : float
        Changes to the preset: ``lambda_l0`` or ``lambda_share``, ``lambda_l2``, ``beta``, ``learning_rate`` and the others of
        ``Hyperparameters``.

    Raises
    ------
    ArtifactError
        If the inputs do not fit together or hold bad numbers, or the checkpoint belongs to another fit.
    ConfigError
        If a setting is out of its range, CUDA or memory is missing, the fit diverges before anything is won, or every gate
        closes.
    """
    made = problem(matrix, targets, initial_weights, names, held_out, tolerance, importance, loss)
    return fit_problem(
        made,
        preset=preset,
        epochs=epochs,
        refit_epochs=refit_epochs,
        seed=seed,
        device=device,
        threads=threads,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        log_every=log_every,
        progress=progress,
        **hyperparameters,
    )


def fit_problem(
    problem: Problem,
    *,
    preset: str = "local",
    epochs: int = 1000,
    refit_epochs: int = 300,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    log_every: int = 100,
    progress: Callable[[str], None] | None = None,
    **hyperparameters: float | None,
) -> FitResult:
    """``fit`` of a problem that is set up already; arguments and errors as there."""
    for name, count, least in (("epochs", epochs, 0), ("refit_epochs", refit_epochs, 0), ("log_every", log_every, 1)):
        if count < least:
            raise ConfigError(f"{name} is {count}", f"it must be at least {least}")
    settings, opened = presets.preset(preset, **hyperparameters), open_device(device, threads)
    if epochs == 0:
        settings = replace(settings, log_weight_jitter=0.0)
    needed, free = memory_needed(problem), opened.memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"the fit needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free on {opened.name}",
            "free memory, or fit fewer targets or columns",
        )
    run = _Run(
        problem=problem,
        settings=settings.priced(problem.nothing, problem.n_columns),
        seed=seed,
        device=opened,
        epochs=epochs,
        refit_epochs=refit_epochs,
        log_every=log_every,
        path=None if checkpoint is None else Path(checkpoint),
        checkpoint_seconds=checkpoint_seconds,
        progress=progress or (lambda line: None),
    )
    return run.result()


@dataclass
class _Run:
    """One fit on its way; the attributes are the arguments of ``fit``, checked."""

    problem: Problem
    settings: Hyperparameters
    seed: int
    device: Device
    epochs: int
    refit_epochs: int
    log_every: int
    path: Path | None
    checkpoint_seconds: float
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self._log: list[tuple[int, Floats]] = []
        self._best: tuple[float, Floats] = (math.inf, np.zeros(0))
        self._stopped = ""
        self._saved = self._told = time.monotonic()
        self._identity: dict[str, Any] = {}
        if self.path is not None:
            self._identity = {
                **asdict(self.settings),
                **self.problem.digests(),
                "seed": self.seed,
                "log_every": self.log_every,
                "device": self.device.name.partition(":")[0],
            }

    def result(self) -> FitResult:
        """Run the fit, or the rest of it."""
        saved = load(self.path, self._identity) if self.path is not None and self.path.exists() else None
        with self.device.at_work():
            gated = GatedFit(self.problem, self.settings, self.seed, self.device)
            if saved is not None:
                self._take_up(saved, gated)
            gated_weights = self._run_gates(gated)
            if not (gated_weights > 0).any():
                raise ConfigError(
                    f"lambda_l0 {self.settings.lambda_l0} closed every gate: no record is kept", "lower lambda_l0"
                )
            gated.release()
            refit_epochs, weights = self._run_refit(gated, gated_weights, saved)
        if refit_epochs:
            self._log_estimates(gated.epoch + refit_epochs, weights)
        self._save(gated, progress={"finished": True, "refit_done": refit_epochs}, weights=weights)
        return self._report(gated.epoch, gated_weights, weights, refit_epochs)

    def _take_up(self, saved: Checkpoint, gated: GatedFit) -> None:
        epoch = int(saved.progress["epoch"])
        if epoch > self.epochs:
            raise ArtifactError(
                f"the checkpoint {self.path} is at epoch {epoch} and {self.epochs} epochs are wanted",
                f"ask for at least {epoch} epochs, or delete it",
            )
        gated.restore(epoch, saved.progress["loss"], saved.gated)
        logged = zip(saved.log["epochs"].tolist(), saved.log["estimates"], strict=True)
        self._log = [(at, row) for at, row in logged if at <= epoch and (at % self.log_every == 0 or at == self.epochs)]
        self._best = (
            min((self.problem.loss(row[self.problem.fitted]) for _, row in self._log), default=math.inf),
            saved.log["best"],
        )
        self.progress(f"going on from epoch {epoch} of the checkpoint {self.path}")

    def _run_gates(self, gated: GatedFit) -> Floats:
        """Do the epochs that are left; the weights after them, or the best that the log knows if the fit diverges."""
        started, first = time.monotonic(), gated.epoch
        while True:
            at_mark = gated.epoch % self.log_every == 0 or gated.epoch == self.epochs
            if at_mark and not (self._log and self._log[-1][0] == gated.epoch):
                self._mark(gated)
            if gated.epoch == self.epochs:
                return gated.weights()
            try:
                gated.advance()
            except Diverged as error:
                if len(self._log) < 2 or self._log[0][0] == gated.epoch:
                    raise
                self._stopped = error.what
                self.progress(f"{error.what}: going on from the best weights so far, with a loss of {self._best[0]:.6g}")
                return self._best[1]
            pace = (time.monotonic() - started) / (gated.epoch - first)
            self._tell("epoch", gated.epoch, self.epochs, gated.loss, gated.weights, pace)
            if self._due():
                self._save(gated)

    def _mark(self, gated: GatedFit) -> None:
        """Log an epoch, and remember its weights if no logged epoch was better."""
        weights = gated.weights()
        self._log_estimates(gated.epoch, weights)
        loss = self.problem.loss(self._log[-1][1][self.problem.fitted])
        if loss <= self._best[0]:
            self._best = loss, weights

    def _run_refit(self, gated: GatedFit, start: Floats, saved: Checkpoint | None) -> tuple[int, Floats]:
        """Iterations done and weights after them."""
        if self.refit_epochs == 0:
            return 0, start
        same = saved is not None and saved.progress["epoch"] == self.epochs and not self._stopped
        if same and saved is not None and saved.progress["finished"] and saved.progress["refit"] == self.refit_epochs:
            return int(saved.progress["refit_done"]), saved.weights
        refit = Refit(self.problem, start, self.settings.lambda_l2, self.device)
        if same and saved is not None and saved.refit and saved.progress["refit_done"] <= self.refit_epochs:
            refit.restore(saved.refit)
        started, first = time.monotonic(), refit.epoch
        while refit.epoch < self.refit_epochs and not refit.done:
            refit.advance()
            pace = (time.monotonic() - started) / (refit.epoch - first)
            self._tell("refit", refit.epoch, self.refit_epochs, refit.loss, refit.weights, pace)
            if self._due():
                self._save(gated, progress={"refit_done": refit.epoch}, refit=refit.state())
        return refit.epoch, refit.weights()

    def _log_estimates(self, epoch: int, weights: Floats) -> None:
        self._log.append((epoch, self.problem.all_estimates(weights)))

    def _due(self) -> bool:
        return self.path is not None and time.monotonic() - self._saved >= self.checkpoint_seconds

    def _save(
        self,
        gated: GatedFit,
        progress: dict[str, Any] | None = None,
        refit: dict[str, NDArray[Any]] | None = None,
        weights: Floats | None = None,
    ) -> None:
        if self.path is None:
            return
        numbers = {"epoch": gated.epoch, "loss": gated.loss, "refit": self.refit_epochs, "refit_done": 0, "finished": False}
        Checkpoint(
            self._identity,
            numbers | (progress or {}),
            dict(gated.parameters()),
            refit or {},
            {
                "epochs": np.array([at for at, _ in self._log]),
                "estimates": np.array([row for _, row in self._log]),
                "best": self._best[1],
            },
            np.zeros(0) if weights is None else weights,
        ).save(self.path)
        self._saved = time.monotonic()

    def _tell(self, kind: str, epoch: int, of: int, loss: float, weights: Callable[[], Floats], pace: float) -> None:
        """A line of progress, if the last one is some seconds old."""
        if epoch < of and time.monotonic() - self._told < _PROGRESS_SECONDS:
            return
        now = weights()
        problem = self.problem
        errors = np.abs(relative_errors(problem.target, problem.matrix.estimates(now)))
        error = float(np.sum(errors, where=problem.target != 0)) / max(int(np.count_nonzero(problem.target)), 1)
        self.progress(
            f"{kind} {epoch} of {of}: loss {loss:.6g}, {np.count_nonzero(now):,} records kept, "
            f"effective sample size {effective_sample_size(now):,.0f}, mean error {error:.2%}, {pace * (of - epoch):.0f} s left"
        )
        self._told = time.monotonic()

    def _report(self, gated_epochs: int, gated_weights: Floats, weights: Floats, refit_epochs: int) -> FitResult:
        problem = self.problem
        final = self._log[-1][1]
        return FitResult(
            weights=weights,
            kept=weights > 0,
            loss=problem.loss(final[problem.fitted]),
            gated_loss=problem.loss(problem.matrix.estimates(gated_weights)),
            initial_loss=problem.loss(problem.matrix.estimates(problem.initial_weights)),
            epochs=gated_epochs,
            refit_epochs=refit_epochs,
            stopped=self._stopped,
            diagnostics=target_table(problem.names, problem.all_targets, final, problem.supported, problem.held_out),
            log=log_table(problem, self._log),
            zero_targets=zero_targets(problem),
            lost_targets=lost_targets(problem, weights),
            repeated_targets=repeated_targets(problem),
            hyperparameters=self.settings,
        )
