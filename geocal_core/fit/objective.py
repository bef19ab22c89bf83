"""The loss of a fit: how far estimates are from their targets, in units that let counts and dollars stand side by side.

Of each target e = max(|estimate - y| / scale - tolerance, 0), squared up to a bound and linear beyond it (Huber 1964), so that
a target that cannot be met pulls with a limited force and is never given up; times its importance. What a penalty on weights
adds belongs to the fits. One text of arithmetic serves numpy arrays and torch tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError

Floats = NDArray[np.float64]

SCALES = ("safe", "reference")


@dataclass(frozen=True)
class LossSettings:
    """What shapes the loss.

    Attributes
    ----------
    scale : str
        ``safe``: max(|y|, floor); ``reference``: |y| + 1, as in the reference system but for the sign, which there makes a
        target of -1 divide by zero. In both a target of 0 has what the starting weights give its row in place of |y|.
    floor : float
        Least scale, above 0, in the target's own unit.
    huber : float or None
        Relative error above 0 beyond which the loss grows linearly; None for never.
    """

    scale: str = "safe"
    floor: float = 1.0
    huber: float | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ConfigError(f"there is no scale {self.scale!r}", f"the scales are {', '.join(SCALES)}")
        for name, value in (("floor", self.floor), ("huber", self.huber)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}", "it must be above 0")

    def scales(self, size: Floats) -> Floats:
        """Scales of targets from their sizes."""
        return size + 1.0 if self.scale == "reference" else np.maximum(size, self.floor)


@dataclass(frozen=True)
class Objective:
    """The loss of some targets; all arrays have one shape.

    Attributes
    ----------
    target, scale : ndarray of float64
        ``scale`` is above 0.
    tolerance : ndarray of float64
        Relative error that costs nothing, at least 0.
    importance : ndarray of float64
        Factor of each target, at least 0.
    bound : float
        Relative error, beyond its tolerance, at which the loss turns linear.
    """

    target: Floats
    scale: Floats
    tolerance: Floats
    importance: Floats
    bound: float = math.inf

    def on(self, put: Callable[[Floats], Any]) -> Objective:
        """The same with its arrays where ``put`` puts them: its methods then take and give what lives there."""
        return Objective(put(self.target), put(self.scale), put(self.tolerance), put(self.importance), self.bound)

    def _excess(self, estimate: Any) -> Any:
        """Relative error beyond the tolerance, with its sign."""
        relative = (estimate - self.target) / self.scale
        return relative - relative.clip(-self.tolerance, self.tolerance)

    def losses(self, estimate: Any) -> Any:
        """The part of each target in the loss."""
        excess = abs(self._excess(estimate))
        inside = excess.clip(max=self.bound)
        with np.errstate(over="ignore", invalid="ignore"):  # of weights that overflow: a fit refuses a loss that is not finite
            return self.importance * inside * (2.0 * excess - inside)

    def loss(self, estimate: Any) -> Any:
        """The loss: a number, or a tensor of one, for which nobody has to wait yet."""
        return self.losses(estimate).sum()

    def slope(self, estimate: Any) -> Any:
        """Derivative of the loss by each estimate."""
        return 2.0 * self.importance * self._excess(estimate).clip(-self.bound, self.bound) / self.scale


def importance_of_groups(groups: Sequence[object], weights: Mapping[str, float] | None = None) -> Floats:
    """Importance that makes the loss a sum over groups of the mean loss of their targets, each times the group's weight.

    Parameters
    ----------
    groups : sequence, length n_targets
        Label of the group of each target.
    weights : mapping, optional
        Weights, at least 0, of groups by their labels; 1 for those not named.

    Raises
    ------
    ArtifactError
        If a weight names no group, or is negative or not finite.
    """
    labels, member, size = np.unique(np.array([str(label) for label in groups]), return_inverse=True, return_counts=True)
    factor = np.ones(len(labels))
    for name, weight in (weights or {}).items():
        place = np.flatnonzero(labels == name)
        if not len(place):
            raise ArtifactError(f"there is no group of targets {name!r}", f"the groups are {', '.join(labels[:20])}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ArtifactError(f"the weight of the group {name} is {weight}", "it must be a number of at least 0")
        factor[place[0]] = weight
    return np.asarray((factor / size)[member], dtype=np.float64)
