"""The refit: the kept columns alone, without gates, moved to the least loss by L-BFGS in the logarithm of the weights.

The same loss as the gated fit, in float64, warm-started. Weights stay above 0 by construction; what the gates dropped stays
dropped. Published gated weights of such fits score about half as well as a refit of the same records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.fit.device import Device
from geocal_core.fit.lbfgs import Lbfgs
from geocal_core.fit.problem import Problem
from geocal_core.fit.products import open_products
from geocal_core.matrix.factored import Floats

_WINDOW = 10
_LEAST_GAIN = 1e-7
_MEMORY = 20
_MEMORY_NUMBERS = 1 << 26  # at most half a gigabyte of past steps and gradient changes


class Refit:
    """State of a refit.

    Parameters
    ----------
    problem : Problem
    start : ndarray of float64, shape (n_columns,)
        Weights of the gated fit; the refit moves those above 0.
    lambda_l2 : float
        Price of the sum of squared weights.
    device : Device

    Attributes
    ----------
    kept : ndarray of bool, shape (n_columns,)
    """

    def __init__(self, problem: Problem, start: Floats, lambda_l2: float, device: Device) -> None:
        self.kept = start > 0
        self._objective = problem.objective.on(lambda array: device.put(array, "float64"))
        self._lambda_l2 = lambda_l2
        self._device = device
        matrix = problem.matrix.columns(self.kept)
        self._products = open_products(matrix, device, dtype="float64")
        self._order = np.flatnonzero(self.kept)[matrix.order]
        n_kept = len(self._order)
        self._values: list[float] = []
        memory = max(4, min(_MEMORY, _MEMORY_NUMBERS // (2 * n_kept)))
        self._search = Lbfgs(self._evaluate, device.put(np.log(start[self._order]), "float64"), device, memory)

    def _evaluate(self, log_weight: Any) -> tuple[float, Any]:
        """The objective and its gradient by the logarithms of the weights."""
        weight = self._device.xp.exp(log_weight)
        estimate = self._products.forward(weight)
        value = float(self._objective.loss(estimate)) + self._lambda_l2 * self._device.dot(weight, weight)
        coefficients = self._products.coefficients(self._objective.slope(estimate))
        gradient = self._device.xp.empty_like(weight)

        def fill(block: tuple[int, int]) -> None:
            here = slice(*block)
            by_weight = self._products.backward(block, coefficients)
            gradient[here] = (by_weight + (2.0 * self._lambda_l2) * weight[here]) * weight[here]

        self._device.each(fill, self._products.blocks)
        return value, gradient

    @property
    def epoch(self) -> int:
        """Iterations done."""
        return self._search.iteration

    @property
    def loss(self) -> float:
        """The objective: the loss plus the price of squared weights."""
        return self._search.value

    @property
    def done(self) -> bool:
        """Nothing more to gain: ten iterations lowered the objective by less than a ten-millionth of it."""
        window = self._values[-_WINDOW - 1 :]
        flat = len(window) > _WINDOW and window[0] - window[-1] <= _LEAST_GAIN * window[0]
        return self._search.done or flat

    def advance(self) -> None:
        """One iteration of L-BFGS."""
        if not self._values:
            self._values.append(self._search.value)
        self._search.advance()
        self._values = [*self._values, self._search.value][-_WINDOW - 1 :]

    def weights(self) -> Floats:
        """Weights of all columns, shape (n_columns,): above 0 where kept, exactly 0 elsewhere."""
        full = np.zeros(len(self.kept))
        full[self._order] = np.exp(self._device.get(self._search.point))
        return full

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the refit knows, for a checkpoint."""
        return {**self._search.state(), "values": np.array(self._values)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what ``state`` gave."""
        self._search.restore(state)
        self._values = [float(value) for value in state["values"]]
