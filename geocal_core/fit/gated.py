"""The gated fit: weights and hard-concrete gates moved together by Adam, with gradients written out by hand.

The objective is that of the reference system's L0 fit, but for its denominators, which are |y| + 1 here (y + 1 there)::

    sum(((y - X w) / scale)^2) + lambda_l0 * sum(P(gate open)) + lambda_l2 * sum(v^2),   w = v * gate,  v = exp(log_weight)

An epoch reads the matrix twice. Everything else of a column (its gradient, both Adam steps, the next noise, gate and weight)
happens while its block is in cache. The moments are never reset. All vectors over columns, checkpoints included, are in the
inner order of the matrix; jitter and noise are those of a column's own number, whatever its place in that order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.fit.adam import Adam
from geocal_core.fit.device import Device
from geocal_core.fit.gates import Gates, column_words, noise
from geocal_core.fit.presets import Hyperparameters
from geocal_core.fit.problem import Problem
from geocal_core.fit.products import Products
from geocal_core.matrix.factored import Floats
from geocal_core.seeds import generator

_LEAST_WEIGHT = 1e-8


class GatedFit:
    """State of a gated fit.

    Parameters
    ----------
    problem : Problem
    settings : Hyperparameters
    seed : int
    device : Device

    Attributes
    ----------
    epoch : int
        Epochs done.
    loss : float
        Sum of squared relative errors seen by the last epoch, under its noise; NaN before the first.
    """

    def __init__(self, problem: Problem, settings: Hyperparameters, seed: int, device: Device) -> None:
        self.epoch = 0
        self.loss = math.nan
        self._problem = problem
        self._settings = settings
        self._seed = seed
        self._device = device
        self._products = Products(problem.matrix, device)
        self._gates = Gates(settings, device.xp)
        self._blocks = self._products.blocks
        n, order = problem.n_columns, problem.matrix.order
        self._words = column_words(device.put(order, "int32"), seed)
        draws = generator("fit.jitter", seed).standard_normal((2, n))[:, order]
        log_weight = np.log(problem.initial_weights[order] + _LEAST_WEIGHT) + settings.log_weight_jitter * draws[0]
        log_alpha = math.log(settings.initial_keep / (1 - settings.initial_keep)) + settings.log_alpha_jitter * draws[1]
        self._log_weight = self._adam(log_weight)
        self._log_alpha = self._adam(log_alpha)
        self._value = device.zeros(n, "float32")
        self._soft = device.zeros(n, "float32")
        self._weight = device.zeros(n, "float32")
        device.each(self._sample, self._blocks)

    def _adam(self, values: Floats) -> Adam:
        size = len(values)
        return Adam(
            self._device.put(values, "float32"), self._device.zeros(size, "float32"), self._device.zeros(size, "float32")
        )

    def _sample(self, block: tuple[int, int]) -> None:
        """Draw the gates of a block for the coming epoch, and the weights under them."""
        here = slice(*block)
        log_alpha = self._log_alpha.values[here]
        logits = noise(self._words[here], self.epoch, self._seed, log_alpha, self._device.xp)
        soft = self._gates.soft(log_alpha, logits)
        with np.errstate(over="ignore"):  # a weight that overflows makes a loss that is not finite, which advance() refuses
            value = self._device.xp.exp(self._log_weight.values[here])
        self._soft[here] = soft
        self._value[here] = value
        self._weight[here] = value * self._gates.hard(soft)

    def _residual(self) -> Any:
        """Set the loss under the current noise; give its derivative by each estimate, on the device."""
        problem = self._problem
        relative = (self._products.forward(self._weight) - problem.target) / problem.scale
        self.loss = float(np.sum(relative**2))
        return self._products.coefficients(2.0 * relative / problem.scale)

    def _gradients(self, block: tuple[int, int], coefficients: Any) -> tuple[Any, Any]:
        """Gradients of the whole objective by ``log_weight`` and ``log_alpha`` of a block."""
        here = slice(*block)
        log_alpha, value = self._log_alpha.values[here], self._value[here]
        by_weight = self._products.backward(block, coefficients)
        by_log_weight = by_weight * self._weight[here]
        by_log_weight += value * value * (2.0 * self._settings.lambda_l2)
        by_log_alpha = self._gates.slope(log_alpha, self._soft[here])
        by_log_alpha *= by_weight
        by_log_alpha *= value
        open_ = self._gates.open_probability(log_alpha)
        by_log_alpha += (open_ - open_ * open_) * self._settings.lambda_l0
        return by_log_weight, by_log_alpha

    def gradients(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gradients of the objective under the current noise, each of shape (n_columns,), in the inner order; moves nothing."""
        coefficients = self._residual()
        parts = self._device.each(lambda block: self._gradients(block, coefficients), self._blocks)
        by_log_weight, by_log_alpha = zip(*parts, strict=True)
        get = self._device.get
        return np.concatenate([get(g) for g in by_log_weight]), np.concatenate([get(g) for g in by_log_alpha])

    def objective(self) -> float:
        """The whole objective under the current noise, penalties included."""
        self._residual()
        parameters = self.parameters()
        log_alpha, log_weight = (parameters[name].astype(np.float64) for name in ("log_alpha", "log_weight"))
        open_ = Gates(self._settings, np).open_probability(log_alpha).sum()
        squares = np.exp(2.0 * log_weight).sum()
        return float(self.loss + self._settings.lambda_l0 * open_ + self._settings.lambda_l2 * squares)

    def advance(self) -> None:
        """One epoch: both products, both Adam steps, and the noise of the next epoch.

        Raises
        ------
        ConfigError
            If the loss is no longer a finite number.
        """
        coefficients = self._residual()
        if not math.isfinite(self.loss):
            raise ConfigError(f"the fit diverged in epoch {self.epoch + 1} (its loss is {self.loss})", "lower learning_rate")
        self.epoch += 1
        rate, xp = self._settings.learning_rate, self._device.xp

        def move(block: tuple[int, int]) -> None:
            by_log_weight, by_log_alpha = self._gradients(block, coefficients)
            self._log_weight.step(slice(*block), by_log_weight, self.epoch, rate, xp)
            self._log_alpha.step(slice(*block), by_log_alpha, self.epoch, rate, xp)
            self._sample(block)

        self._device.each(move, self._blocks)

    def weights(self) -> Floats:
        """Weights under the gates without noise, float64, a column's at its own number; exactly 0 where the gate is closed."""
        parameters = self.parameters()
        gate = Gates(self._settings, np).median(parameters["log_alpha"])
        weights = np.empty(self._problem.n_columns)
        weights[self._problem.matrix.order] = np.exp(parameters["log_weight"].astype(np.float64)) * gate
        return weights

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Parameters and moments as numpy arrays in the inner order, for a checkpoint."""
        get = self._device.get
        return {
            f"{name}{part}": get(getattr(adam, field))
            for name, adam in (("log_weight", self._log_weight), ("log_alpha", self._log_alpha))
            for part, field in (("", "values"), ("_first", "first"), ("_second", "second"))
        }

    def restore(self, epoch: int, loss: float, parameters: Mapping[str, NDArray[np.float32]]) -> None:
        """Take up the state that ``parameters`` gave after an epoch; all that follows is as if it had never stopped."""
        put = self._device.put
        for name, adam in (("log_weight", self._log_weight), ("log_alpha", self._log_alpha)):
            adam.values = put(parameters[name], "float32")
            adam.first = put(parameters[f"{name}_first"], "float32")
            adam.second = put(parameters[f"{name}_second"], "float32")
        self.epoch, self.loss = epoch, loss
        self._device.each(self._sample, self._blocks)
