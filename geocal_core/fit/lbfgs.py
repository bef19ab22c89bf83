"""Limited-memory BFGS (Nocedal 1980; two-loop recursion) with a weak-Wolfe line search (Lewis and Overton 2013).

Its whole state can be taken out and put back, so that a search that was interrupted goes on bit for bit, and its inner
products are summed in one order, which those of scipy's optimisers are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.fit.device import Device

_DECREASE = 1e-4
_CURVATURE = 0.9
_TRIALS = 30

Evaluate = Callable[[Any], tuple[float, Any]]


class Lbfgs:
    """A search for the least value of a smooth function.

    Parameters
    ----------
    evaluate : callable
        Point (float64 array of the device) to value and gradient.
    start : array
        Where the search begins.
    device : Device
    memory : int
        Pairs of steps and gradient changes that are kept.
    longest : float
        Longest step in any one coordinate.

    Attributes
    ----------
    iteration : int
    point, value, gradient
        The best so far.
    done : bool
        No step in any direction that it knows lowers the value any more.
    """

    def __init__(self, evaluate: Evaluate, start: Any, device: Device, memory: int = 20, longest: float = 1.0) -> None:
        self._evaluate = evaluate
        self._device = device
        self._memory = memory
        self._longest = longest
        self._steps: list[Any] = []
        self._changes: list[Any] = []
        self.iteration = 0
        self.done = False
        self.point = start
        self.value, self.gradient = evaluate(start)

    def advance(self) -> None:
        """One iteration: a direction, a line search, and a new pair."""
        self.iteration += 1
        direction = self._direction()
        slope = self._device.dot(direction, self.gradient)
        if slope >= 0:  # rounding made the model useless: begin again with steepest descent
            self._steps, self._changes = [], []
            direction = -self.gradient
            slope = self._device.dot(direction, self.gradient)
        largest = float(abs(direction).max())
        if slope == 0 or largest == 0:
            self.done = True
            return
        found = self._search(direction, slope, self._longest / largest)
        if found is None:
            if not self._steps:
                self.done = True
            self._steps, self._changes = [], []
            return
        point, value, gradient = found
        step, change = point - self.point, gradient - self.gradient
        if self._device.dot(step, change) > 0:
            self._steps = [*self._steps, step][-self._memory :]
            self._changes = [*self._changes, change][-self._memory :]
        self.point, self.value, self.gradient = point, value, gradient

    def _direction(self) -> Any:
        """Minus the inverse-Hessian model times the gradient."""
        dot = self._device.dot
        direction = -self.gradient
        pairs = list(zip(self._steps, self._changes, strict=True))
        if not pairs:
            return direction
        inverse = [1.0 / dot(step, change) for step, change in pairs]
        shares = []
        for (step, change), rho in zip(reversed(pairs), reversed(inverse), strict=True):
            share = rho * dot(step, direction)
            direction -= share * change
            shares.append(share)
        _, change = pairs[-1]
        direction *= 1.0 / (inverse[-1] * dot(change, change))
        for (step, change), rho, share in zip(pairs, inverse, reversed(shares), strict=True):
            direction += (share - rho * dot(change, direction)) * step
        return direction

    def _search(self, direction: Any, slope: float, limit: float) -> tuple[Any, float, Any] | None:
        """A point along the direction with enough decrease and, if it can be had, a flatter slope; None if there is none."""
        low, high, length = 0.0, np.inf, min(1.0, limit)
        best = None
        for _ in range(_TRIALS):
            point = self.point + length * direction
            value, gradient = self._evaluate(point)
            if not value <= self.value + _DECREASE * length * slope:
                high = length
            else:
                best = point, value, gradient
                if self._device.dot(gradient, direction) >= _CURVATURE * slope or length >= limit:
                    return best
                low = length
            length = (low + high) / 2 if np.isfinite(high) else min(2 * low, limit)
        return best

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the search knows, as numpy arrays."""
        get = self._device.get
        stack = [get(array) for array in (*self._steps, *self._changes)]
        return {
            "point": get(self.point),
            "gradient": get(self.gradient),
            "pairs": np.array(stack).reshape(2, len(self._steps), len(get(self.point))),
            "numbers": np.array([self.value, self.iteration, self.done]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what ``state`` gave."""
        put = self._device.put
        self.point, self.gradient = put(state["point"], "float64"), put(state["gradient"], "float64")
        self._steps, self._changes = ([put(row, "float64") for row in rows] for rows in state["pairs"])
        self.value, iteration, done = (float(number) for number in state["numbers"])
        self.iteration, self.done = int(iteration), bool(done)
