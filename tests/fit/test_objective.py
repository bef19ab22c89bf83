from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.objective import LossSettings, Objective, importance_of_groups


def _objective(seed: int, bound: float) -> tuple[Objective, np.ndarray]:
    rng = np.random.default_rng(seed)
    target, scale = rng.normal(0, 100, 9), rng.uniform(1, 100, 9)
    made = Objective(target, scale, rng.uniform(0, 0.3, 9) * (rng.random(9) < 0.5), rng.uniform(0, 3, 9), bound)
    return made, target + scale * rng.normal(0, 1, 9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 1.0, math.inf]))
def test_the_slope_is_that_of_autograd(seed: int, bound: float) -> None:
    """Against the formula as torch has it: Huber's loss of what is beyond the tolerance."""
    made, estimate = _objective(seed, bound)
    x = torch.tensor(estimate, requires_grad=True)
    relative = (x - torch.from_numpy(made.target)) / torch.from_numpy(made.scale)
    excess = torch.relu(relative.abs() - torch.from_numpy(made.tolerance))
    shape = (
        excess**2
        if math.isinf(bound)
        else 2 * torch.nn.functional.huber_loss(excess, torch.zeros_like(excess), delta=bound, reduction="none")
    )
    loss = (torch.from_numpy(made.importance) * shape).sum()
    loss.backward()
    assert made.loss(estimate) == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(made.slope(estimate), x.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_nothing_is_lost_inside_the_tolerance() -> None:
    made = Objective(np.array([100.0, 100.0]), np.array([100.0, 100.0]), np.array([0.05, 0.0]), np.ones(2))
    assert made.losses(np.array([104.9, 104.9])).tolist() == pytest.approx([0.0, 0.049**2])
    assert made.slope(np.array([95.1, 95.1])).tolist() == pytest.approx([0.0, -2 * 0.049 / 100])
    assert made.losses(np.array([110.0, 110.0])).tolist() == pytest.approx([0.05**2, 0.1**2])


def test_a_target_out_of_reach_pulls_with_a_limited_force_and_is_not_given_up() -> None:
    made = Objective(np.array([10.0]), np.array([10.0]), np.zeros(1), np.ones(1), bound=1.0)
    assert made.slope(np.array([1e6])).tolist() == made.slope(np.array([30.0])).tolist() == [0.2]
    assert made.loss(np.array([30.0])) == 3.0  # 2 * 2 * 1 - 1


def test_groups_share_the_loss_evenly() -> None:
    assert importance_of_groups(["a", "b", "a", "a"]).tolist() == [1 / 3, 1.0, 1 / 3, 1 / 3]
    assert importance_of_groups(["a", "b", "a", "a"], {"a": 6.0}).tolist() == [2.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"c": 1.0}, "no group of targets 'c'; the groups are a, b"), ({"a": -1.0}, "weight of the group a is -1.0")],
)
def test_bad_weights_of_groups_are_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        importance_of_groups(["a", "b"], weights)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": "unsafe"}, "no scale 'unsafe'; the scales are safe, reference"),
        ({"floor": 0.0}, "floor is 0.0; it must be above 0"),
        ({"huber": math.nan}, "huber is nan"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LossSettings(**arguments)
