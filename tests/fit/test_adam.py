from __future__ import annotations

import numpy as np
import torch

from geocal_core.fit import adam


def test_steps_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=50)
    ours = [torch.from_numpy(values) for values in (start.copy(), np.zeros(50), np.zeros(50))]
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = torch.optim.Adam([theirs], lr=0.15)
    for epoch in range(1, 200):
        gradient = rng.normal(size=50) * 10.0 ** rng.integers(-9, 3, 50)
        gradient[0] = 0.0
        theirs.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
        for block in (slice(0, 20), slice(20, 50)):
            here = torch.from_numpy(gradient)[block]
            adam.step(*(values[block] for values in ours), here, epoch, 0.15, torch.empty_like(here))
    assert np.allclose(ours[0].numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert ours[0][0] == start[0]
