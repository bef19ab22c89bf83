from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from geocal_core.fit import adam


def _written_out(steps: NDArray[np.float64], values: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Algorithm 1 of the paper, for a sequence of gradients."""
    first, second = np.zeros_like(values), np.zeros_like(values)
    for epoch, gradient in enumerate(steps, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        values = values - rate * (first / (1 - 0.9**epoch)) / (np.sqrt(second / (1 - 0.999**epoch)) + 1e-8)
    return values


def test_steps_are_those_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(2, 50))
    gradients = rng.normal(size=(200, 2, 50)) * 10.0 ** rng.integers(-9, 3, (200, 2, 50))
    gradients[:, :, 0] = 0.0
    state = [[torch.from_numpy(values.copy()) for values in part] for part in (start, np.zeros((2, 50)), np.zeros((2, 50)))]
    for epoch, gradient in enumerate(gradients, 1):
        for block in (slice(0, 20), slice(20, 50)):
            parts = [[values[block] for values in part] for part in state]
            adam.step(*parts, [torch.from_numpy(values)[block] for values in gradient], epoch, 0.15)
    for ours, values, steps in zip(state[0], start, gradients.transpose(1, 0, 2), strict=True):
        assert np.allclose(ours.numpy(), _written_out(steps, values, 0.15), rtol=1e-10, atol=1e-12)
        assert ours[0] == values[0]
