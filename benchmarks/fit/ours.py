"""The contenders of geocal: the gated fit and its pace, the dense reference, exact sizes, and a plain random sample."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit.case import Case, Options
from benchmarks.fit.outcome import Outcome, Pace, peak
from benchmarks.fit.traffic import bandwidth, bytes_by_atoms, bytes_of_an_epoch
from geocal_core.fit.balance import Balance
from geocal_core.fit.device import open_device
from geocal_core.fit.fitting import fit
from geocal_core.fit.gated import GatedFit
from geocal_core.fit.raking import rake
from geocal_core.fit.refit import Refit
from geocal_core.fit.sized import Dense, exact

Contender = Callable[[Case, Options], Iterator[Outcome]]

GATED = "geocal L0"
EQUAL = "geocal L0, as many epochs"
DENSE = "geocal dense (raking)"
LEAST = "geocal dense (least loss)"
EXACT = "geocal exact (cube + polish)"
PPS = "geocal exact (PPS + polish)"
RANDOM = "random + refit"
PACE = "geocal L0, 1 thread"
BANDWIDTH = "memory"
SAME_BYTES = "same bytes"
REFIT_ITERATIONS = 300
REFIT_SECONDS = 60.0


def gated(case: Case, options: Options) -> Iterator[Outcome]:
    """The gated fit: some epochs timed one by one, then the others, then the refit."""
    device = open_device("cpu", options.threads)
    with device.at_work():
        run = GatedFit(case.made, options.settings, options.seed, device)
        built, moved = case.since(), float(bytes_of_an_epoch(run))
        begun = time.perf_counter()
        pace = _timed(run.advance, min(options.pace, options.epochs))
        while run.epoch < options.epochs:
            run.advance()
        seconds = time.perf_counter() - begun
        facts = {
            "bytes": moved,
            "bytes_by_atoms": float(bytes_by_atoms(case.made.matrix)),
            "seconds_of_epochs": seconds,
            "columns_left": float(run.n_columns),
        }
        weights, left = run.weights(), run.n_columns
        run.release()
        yield Outcome(
            GATED,
            weights,
            build=built,
            epochs=options.epochs,
            pace=pace,
            total=case.since(),
            peak=peak(),
            note=f"{options.epochs:,} epochs in {seconds:.1f} s; {left:,} columns left at the end",
            facts=facts,
        )
        yield polished(case, weights, options, f"{GATED} + refit")


def equal(case: Case, options: Options) -> Iterator[Outcome]:
    """The gated fit after as many epochs as a peer has done, without a refit: the objectives are the same if losses are."""
    yield replace(next(gated(case, options)), method=EQUAL)


def one_thread(case: Case, options: Options) -> Iterator[Outcome]:
    """The pace of the gated fit on one thread; then, for what bounds it, the bytes a second that all threads read and write."""
    device = open_device("cpu", 1)
    with device.at_work():
        run = GatedFit(case.made, options.settings, options.seed, device)
        built = case.since()
        pace = _timed(run.advance, options.pace)
    yield Outcome(PACE, build=built, epochs=options.pace, pace=pace, peak=peak())
    rate = bandwidth(options.threads)
    yield Outcome(BANDWIDTH, note=f"{rate / 1e9:.1f} GB/s with {options.threads} threads", facts={"bandwidth": rate})


def dense(case: Case, options: Options) -> Iterator[Outcome]:
    """Every column kept, and no thought of how far weights go: the least loss that L-BFGS finds in the time given."""
    yield polished(case, case.made.initial_weights, options, LEAST, options.seconds)


def exactly(case: Case, options: Options) -> Iterator[Outcome]:
    """The dense reference to a gap of 1e-4, a balanced selection of exactly so many columns, and their polish; PPS besides."""
    made, package = case.made, case.package
    begun = time.perf_counter()
    raked = rake(made, gap=1e-4, threads=options.threads)
    seconds, steps = time.perf_counter() - begun, raked.iterations
    note = f"{steps} Newton steps to a gap of {raked.gap:.1e}"
    pace, facts = Pace(seconds / max(steps, 1)), {"gap": raked.gap}
    yield Outcome(DENSE, raked.weights, epochs=steps, pace=pace, total=case.since(), peak=peak(), note=note, facts=facts)
    dense = Dense(raked.weights, raked.multipliers, {})
    shared: dict[str, Any] = {"dense": dense, "seed": options.seed, "threads": options.threads}
    places = [package.district, package.state]
    balance = Balance(package, package.matrix, package.targets)
    begun = time.perf_counter()
    chosen = exact(made, options.records, "cube", strata=places, balance=balance, **shared)
    note = f"dense {seconds:.1f} s, selection and polish {time.perf_counter() - begun:.1f} s"
    yield Outcome(EXACT, chosen.weights, epochs=chosen.polished.iterations, total=case.since(), peak=peak(), note=note)
    chosen = exact(made, options.records, "pps", **shared)
    yield Outcome(PPS, chosen.weights, epochs=chosen.polished.iterations, peak=peak())


def uniform(case: Case, options: Options) -> Iterator[Outcome]:
    """So many columns drawn with equal chances, then the refit."""
    n = case.made.n_columns
    kept = np.random.default_rng(options.seed).choice(n, options.records, replace=False)
    start = np.zeros(n)
    start[kept] = case.made.initial_weights[kept] * (n / options.records)
    yield polished(case, start, options, RANDOM)


def same_bytes(case: Case, options: Options) -> Iterator[Outcome]:
    """Whether one thread, two threads and a fit that was cut in two give the same bytes, and raking on one and two threads."""

    def fitted(threads: int, epochs: int, checkpoint: Path | None = None) -> NDArray[np.float64]:
        done = fit(
            case.package.matrix,
            case.package.targets,
            preset=options.preset,
            initial_weights=case.made.initial_weights,
            epochs=epochs,
            refit_epochs=20,
            seed=options.seed,
            threads=threads,
            checkpoint=checkpoint,
        )
        return done.weights

    epochs = min(options.epochs, 60)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "checkpoint.npz"
        fitted(2, epochs // 2, state)
        resumed = fitted(1, epochs, state)
    fits = [fitted(1, epochs), fitted(2, epochs), resumed]
    raked = [rake(case.made, threads=threads).weights for threads in (1, 2)]
    same = all(len({_digest(weights) for weights in group}) == 1 for group in (fits, raked))
    note = f"{epochs} epochs and 20 of refit on 1 and on 2 threads, and cut in two; raking on 1 and on 2 threads"
    yield Outcome(SAME_BYTES, note=note, facts={"same": float(same)})


def polished(case: Case, start: NDArray[np.float64], options: Options, method: str, seconds: float = REFIT_SECONDS) -> Outcome:
    """The refit of the columns above 0, from these weights, for so many seconds at most."""
    device, begun = open_device("cpu", options.threads), time.perf_counter()
    with device.at_work():
        run = Refit(case.made, start, options.settings.lambda_l2, device)
        begun_iterations = time.perf_counter()
        while run.epoch < REFIT_ITERATIONS and not run.done and time.perf_counter() - begun_iterations < seconds:
            run.advance()
        now = time.perf_counter()
        pace = (now - begun_iterations) / max(run.epoch, 1)
        note = f"refit {now - begun:.1f} s" + ("" if run.done else ", not yet flat")
        return Outcome(method, run.weights(), epochs=run.epoch, pace=Pace(pace), total=case.since(), peak=peak(), note=note)


def _timed(work: Callable[[], object], times: int) -> Pace:
    """The pace of some runs of a piece of work, the first left out."""
    work()
    marks, processor = [time.perf_counter()], time.process_time()
    for _ in range(times - 1):
        work()
        marks.append(time.perf_counter())
    laps = np.diff(marks)
    return Pace(float(laps.mean()), float(laps.min()), (time.process_time() - processor) / len(laps))


def _digest(weights: NDArray[np.float64]) -> str:
    return hashlib.sha256(weights.tobytes()).hexdigest()


CONTENDERS: dict[str, Contender] = {
    "gated": gated,
    "equal": equal,
    "one_thread": one_thread,
    "dense": dense,
    "exact": exactly,
    "uniform": uniform,
    "same_bytes": same_bytes,
}
