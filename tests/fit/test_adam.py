from __future__ import annotations

import numpy as np
import torch

from geocal_core.fit.adam import Adam


def test_steps_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=50)
    ours = Adam(start.copy(), np.zeros(50), np.zeros(50))
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = torch.optim.Adam([theirs], lr=0.15)
    for epoch in range(1, 200):
        gradient = rng.normal(size=50) * 10.0 ** rng.integers(-9, 3, 50)
        gradient[0] = 0.0
        theirs.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
        for block in (slice(0, 20), slice(20, 50)):
            ours.step(block, gradient[block].copy(), epoch, 0.15, np)
    assert np.allclose(ours.values, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert ours.values[0] == start[0]
