"""A problem as a contender meets it, and what it is told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from geocal_core.fit.presets import Hyperparameters, preset
from geocal_core.fit.problem import Problem, problem
from geocal_core.matrix.package import Package


@dataclass(frozen=True)
class Options:
    """What a contender is told; each takes what concerns it.

    Attributes
    ----------
    epochs : int
        Of a gated fit.
    pace : int
        Epochs that are timed one by one, with all columns.
    seconds : float
        That it may train; 0 for its pace alone.
    records : int
        Size of a selection.
    threads : int
    preset : str
    lambda_l0 : float or None
        Price of an open gate in place of the preset's.
    seed : int
    """

    epochs: int = 1000
    pace: int = 24
    seconds: float = 60.0
    records: int = 0
    threads: int = 2
    preset: str = "national"
    lambda_l0: float | None = None
    seed: int = 0

    @property
    def settings(self) -> Hyperparameters:
        return preset(self.preset, lambda_l0=self.lambda_l0)


@dataclass(frozen=True)
class Case:
    """A package, opened and set up.

    Attributes
    ----------
    package : Package
    made : Problem
    started : float
        When its opening began, by ``time.perf_counter``.
    """

    package: Package
    made: Problem
    started: float

    @classmethod
    def open(cls, folder: Path) -> Case:
        """The case of a package on disk."""
        started = time.perf_counter()
        package = Package.open(folder, verify=False)
        return cls(package, problem(package.matrix, package.targets, package.initial_weights), started)

    def since(self) -> float:
        """Seconds since its opening began."""
        return time.perf_counter() - self.started
