"""The gated fit: weights and hard-concrete gates moved together by Adam, with gradients written out by hand.

The objective is that of the reference system's L0 fit, with the loss of ``fit.objective``::

    loss(X w) + lambda_l0 * sum(P(gate open)) + lambda_l2 * sum(v^2),   w = v * gate,  v = exp(log_weight)

An epoch goes over the tiles of the matrix once. All that happens to a column happens while its block is in cache: its gradient,
both Adam steps, the next noise, gate and weight, and what that weight adds to the next estimates. The moments are never reset.

A gate that opens with a probability below ``retire_below`` and moves down is closed for good at the next check; once a tenth
of the columns are, the matrix is put together anew without them, and they cost nothing any more. At the least value of that
setting no noise opens such a gate, so nothing but rounding tells the fit from one that keeps them. A column whose starting
weight is 0 never takes part.

All vectors over columns, checkpoints included, are in the inner order of the matrix; jitter and noise are those of a column's
own number, whatever its place in that order and whoever stands beside it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.fit import adam
from geocal_core.fit.device import Device
from geocal_core.fit.gates import Gates, column_words, noise
from geocal_core.fit.presets import Hyperparameters
from geocal_core.fit.problem import Problem
from geocal_core.fit.products import open_products
from geocal_core.matrix.factored import Floats
from geocal_core.seeds import generator

_CHECK_EPOCHS = 25
_WORTH_COMPACTING = 0.1
_FAR = 1e3
_STATE = ("log_weight", "log_weight_first", "log_weight_second", "log_alpha", "log_alpha_first", "log_alpha_second")


def memory_needed(problem: Problem) -> int:
    """Bytes that a gated fit of a problem takes besides the problem itself: its matrix by rows and by columns, its vectors."""
    return 16 * problem.matrix.atoms + 4 * (len(_STATE) + 4) * problem.n_columns


class Diverged(ConfigError):
    """The loss of a fit is no finite number any more, or far above what no weights at all would give."""


@dataclass
class _Columns:
    """What is known of some columns: all of them, or a block, whose arrays are views."""

    log_weight: torch.Tensor
    log_weight_first: torch.Tensor
    log_weight_second: torch.Tensor
    log_alpha: torch.Tensor
    log_alpha_first: torch.Tensor
    log_alpha_second: torch.Tensor
    words: torch.Tensor
    weight: torch.Tensor
    slope: torch.Tensor

    def block(self, here: slice) -> _Columns:
        return _Columns(**{name: array[here] for name, array in vars(self).items()})


class _Scratch(threading.local):
    """Memory of a thread that a block of columns overwrites: it stays in the core's cache."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._made: dict[int, tuple[torch.Tensor, ...]] = {}

    def of(self, size: int) -> tuple[torch.Tensor, ...]:
        """Four tensors of float32 and two of int32."""
        if size not in self._made:
            memory = torch.empty((6, size), dtype=torch.float32, device=self._device)
            self._made[size] = (*memory[:4], *memory[4:].view(torch.int32))
        return self._made[size]


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
    """

    def __init__(self, problem: Problem, settings: Hyperparameters, seed: int, device: Device) -> None:
        self.epoch = 0
        self._loss: Any = math.nan
        self._problem = problem
        self._objective = problem.objective.on(lambda array: device.put(array, "float64"))
        self._settings = settings
        self._seed = seed
        self._device = device
        self._gates = Gates(settings)
        self._scratch = _Scratch(device.name)
        order = problem.matrix.order
        order = order[problem.initial_weights[order] > 0]
        draws = generator("fit.jitter", seed).standard_normal((2, problem.n_columns))[:, order]
        log_weight = np.log(problem.initial_weights[order]) + settings.log_weight_jitter * draws[0]
        log_alpha = math.log(settings.initial_keep / (1 - settings.initial_keep)) + settings.log_alpha_jitter * draws[1]
        state = dict.fromkeys(_STATE, np.zeros(len(order), np.float32)) | {"log_weight": log_weight, "log_alpha": log_alpha}
        self._set(order, state)
        first = float(self._objective.loss(self._products.total(self._parts)))
        self._limit = _FAR * max(problem.nothing, first if math.isfinite(first) else 0.0)

    @property
    def loss(self) -> float:
        """The loss seen by the last epoch, under its noise; NaN before the first."""
        return float(self._loss)

    @property
    def n_columns(self) -> int:
        """Columns that are not closed for good."""
        return len(self._order)

    def _set(self, order: NDArray[np.int32], state: Mapping[str, NDArray[np.floating]]) -> None:
        """Hold the columns of these numbers, in the inner order, and draw their gates for the coming epoch."""
        self._order = order
        kept = np.zeros(self._problem.n_columns, dtype=np.bool_)
        kept[order] = True
        self._products = open_products(self._problem.matrix.columns(kept), self._device)
        moving = {name: self._tensor(np.array(state[name], dtype=np.float32)) for name in _STATE}
        rest = {name: self._tensor(np.zeros(len(order), np.float32)) for name in ("weight", "slope")}
        self._all = _Columns(**moving, **rest, words=self._tensor(column_words(order, self._seed)))
        self._views = {block: self._all.block(slice(*block)) for block in self._products.blocks}
        self._parts = self._device.each(self._sample, self._products.blocks)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device.name)

    def _native(self, tensor: torch.Tensor) -> Any:
        """A tensor as an array of the device, in the same memory."""
        return tensor.numpy() if self._device.xp is np else tensor

    def _sample(self, block: tuple[int, int]) -> Any:
        """Draw the gates of a block for the coming epoch, and the weights under them; their part of the estimates."""
        at = self._views[block]
        logits, value, spare, _, bits, more_bits = self._scratch.of(len(at.words))
        noise(at.words, self.epoch, self._seed, logits, bits, more_bits)
        torch.exp(at.log_weight, out=value)
        self._gates.sample(at.log_alpha, value, logits, at.weight, at.slope, spare)
        return self._products.part(block, self._native(at.weight))

    def _residual(self) -> Any:
        """Set the loss under the current noise; give its derivative by each estimate. Nobody waits for the device."""
        estimate = self._products.total(self._parts)
        self._loss = self._objective.loss(estimate)
        return self._products.coefficients(self._objective.slope(estimate))

    def _gradients(self, block: tuple[int, int], coefficients: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of the whole objective by ``log_weight`` and ``log_alpha`` of a block."""
        at, settings = self._views[block], self._settings
        by_log_weight, by_log_alpha, spare, out, _, _ = self._scratch.of(len(at.words))
        by_weight = torch.as_tensor(self._products.backward(block, coefficients, self._native(out)))
        torch.mul(by_weight, at.weight, out=by_log_weight)
        if settings.lambda_l2:
            torch.exp(at.log_weight, out=spare)
            by_log_weight.addcmul_(spare, spare, value=2.0 * settings.lambda_l2)
        self._gates.open_slope(at.log_alpha, settings.lambda_l0, by_log_alpha, spare)
        by_log_alpha.addcmul_(by_weight, at.slope, value=self._gates.steepness)
        return by_log_weight, by_log_alpha

    def gradients(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gradients of the objective under the current noise, each of shape (n_columns,), in the inner order; moves nothing."""
        coefficients = self._residual()

        def copied(block: tuple[int, int]) -> list[NDArray[np.float32]]:
            return [gradient.cpu().numpy().copy() for gradient in self._gradients(block, coefficients)]

        by_log_weight, by_log_alpha = zip(*self._device.each(copied, self._products.blocks), strict=True)
        return np.concatenate(by_log_weight), np.concatenate(by_log_alpha)

    def objective(self) -> float:
        """The whole objective under the current noise, penalties included."""
        self._residual()
        open_ = float(self._gates.open_probability(self._all.log_alpha.double()).sum())
        squares = float(torch.exp(2.0 * self._all.log_weight.double()).sum())
        return self.loss + self._settings.lambda_l0 * open_ + self._settings.lambda_l2 * squares

    def advance(self) -> None:
        """One epoch: both products, both Adam steps, and the noise of the next epoch.

        Raises
        ------
        Diverged
            If the loss is no longer a finite number, or a thousand times that of no weights at all and of the start.
        ConfigError
            If every gate is closed for good.
        """
        before, coefficients = self._loss, self._residual()
        # A GPU is asked only now and then: it would have to be waited for.
        if (self._device.xp is np or self.epoch % _CHECK_EPOCHS == 0) and not self.loss <= self._limit:
            found, self._loss = self.loss, before
            raise Diverged(f"the fit diverged in epoch {self.epoch + 1} (its loss is {found:.6g})", "lower learning_rate")
        self.epoch += 1
        rate = self._settings.learning_rate

        def move(block: tuple[int, int]) -> Any:
            at = self._views[block]
            gradients = self._gradients(block, coefficients)
            first, second = (at.log_weight_first, at.log_alpha_first), (at.log_weight_second, at.log_alpha_second)
            adam.step((at.log_weight, at.log_alpha), first, second, gradients, self.epoch, rate)
            return self._sample(block)

        self._parts = self._device.each(move, self._products.blocks)
        if self.epoch % _CHECK_EPOCHS == 0:
            self._compact()

    def _compact(self) -> None:
        """Let the gates that are closed for good leave, if they are many."""
        held = (self._all.log_alpha > self._settings.retired_logit) | (self._all.log_alpha_first < 0)
        kept = held.cpu().numpy()
        n_kept = int(np.count_nonzero(kept))
        if n_kept == 0:
            raise ConfigError(
                f"in epoch {self.epoch} lambda_l0 {self._settings.lambda_l0} closed every gate: no record is kept",
                "lower lambda_l0",
            )
        if n_kept <= (1.0 - _WORTH_COMPACTING) * len(kept):
            self._set(self._order[kept], {name: array[kept] for name, array in self.parameters().items() if name in _STATE})

    def release(self) -> None:
        """Let go of all that an epoch needs; weights and parameters stay."""
        del self._products, self._views, self._parts

    def weights(self) -> Floats:
        """Weights under the gates without noise, float64, a column's at its own number; exactly 0 where the gate is closed."""
        weights = np.zeros(self._problem.n_columns)
        inner = torch.exp(self._all.log_weight.double()) * self._gates.median(self._all.log_alpha)
        weights[self._order] = inner.cpu().numpy()
        return weights

    def parameters(self) -> dict[str, NDArray[Any]]:
        """For a checkpoint: parameters and moments of the columns that are left, and ``order``, their numbers, in numpy."""
        state = {name: getattr(self._all, name).cpu().numpy() for name in _STATE}
        return {**state, "order": self._order}

    def restore(self, epoch: int, loss: float, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Take up the state that ``parameters`` gave after an epoch; all that follows is as if it had never stopped."""
        self.epoch, self._loss = epoch, loss
        self._set(parameters["order"], parameters)
