"""What a contender has to show: its pace, its memory and its weights; and how that travels from its process to the suite's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = "outcomes.json"
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch, an iteration or an evaluation: the mean, the least, and those of all processors together."""

    wall: float
    best: float | None = None
    processor: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A row of the table.

    Attributes
    ----------
    method : str
    weights : ndarray of float64, shape (n_columns,), or None
    build : float or None
        Seconds from the package on disk to the first epoch.
    epochs : int or None
        Epochs, iterations or evaluations.
    pace : Pace or None
        Of one of them.
    total : float or None
        Seconds of all, from the package on disk to the weights.
    peak : float or None
        Gigabytes that its process held at most until then.
    note : str
    facts : dict of str to float
        What else was measured.
    """

    method: str
    weights: NDArray[np.float64] | None = None
    build: float | None = None
    epochs: int | None = None
    pace: Pace | None = None
    total: float | None = None
    peak: float | None = None
    note: str = ""
    facts: dict[str, float] = field(default_factory=dict)


def peak() -> float:
    """Gigabytes that this process held at most so far; of a process that it came from nothing is counted."""
    return int(_STATUS.read_text().split("VmHWM:")[1].split()[0]) / 1e6


def save(outcomes: list[Outcome], folder: Path) -> None:
    """Write outcomes into a folder that is there."""
    plain = []
    for number, outcome in enumerate(outcomes):
        if outcome.weights is not None:
            np.save(folder / f"{number}.npy", outcome.weights)
        plain.append(asdict(replace(outcome, weights=None)))
    (folder / _FILE).write_text(json.dumps(plain), encoding="utf-8")


def load(folder: Path) -> list[Outcome]:
    """What ``save`` wrote; nothing if it did not."""
    outcomes: list[Outcome] = []
    if not (folder / _FILE).exists():
        return outcomes
    for number, fields in enumerate(json.loads((folder / _FILE).read_text(encoding="utf-8"))):
        weights, pace = folder / f"{number}.npy", fields.pop("pace")
        outcome = Outcome(**fields, pace=Pace(**pace) if pace else None)
        outcomes.append(replace(outcome, weights=np.load(weights)) if weights.exists() else outcome)
    return outcomes
