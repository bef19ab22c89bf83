"""Adam (Kingma and Ba 2015), written out: one step on a block of parameters, in place."""

from __future__ import annotations

import math

import torch

_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-8


def step(
    values: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    gradient: torch.Tensor,
    epoch: int,
    learning_rate: float,
    spare: torch.Tensor,
) -> None:
    """Move parameters against their gradient.

    Parameters
    ----------
    values, first, second : tensors of one shape and dtype
        The parameters with their first and second moments; changed.
    gradient : tensor
    epoch : int
        Counted from 1.
    learning_rate : float
    spare : tensor
        Overwritten.
    """
    first.lerp_(gradient, 1.0 - _BETA_1)
    second.mul_(_BETA_2).addcmul_(gradient, gradient, value=1.0 - _BETA_2)
    unbiased = math.sqrt(1.0 - _BETA_2**epoch)
    torch.sqrt(second, out=spare)
    spare.add_(_EPSILON * unbiased)
    values.addcdiv_(first, spare, value=-learning_rate * unbiased / (1.0 - _BETA_1**epoch))
