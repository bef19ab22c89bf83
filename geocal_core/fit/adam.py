"""Adam (Kingma and Ba 2015): one step on blocks of parameters, in place, by torch's kernel, which reads each number once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-8


def step(
    values: Sequence[torch.Tensor],
    first: Sequence[torch.Tensor],
    second: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    epoch: int,
    learning_rate: float,
) -> None:
    """Move parameters against their gradients.

    Parameters
    ----------
    values, first, second : sequences of tensors
        Parameters of one device and dtype with their first and second moments, of their shapes; changed.
    gradients : sequence of tensors
    epoch : int
        Counted from 1.
    learning_rate : float
    """
    steps = torch.full((), float(epoch), device=values[0].device)
    torch._fused_adam_(
        list(values),
        list(gradients),
        list(first),
        list(second),
        [],
        [steps] * len(values),
        lr=learning_rate,
        beta1=_BETA_1,
        beta2=_BETA_2,
        weight_decay=0.0,
        eps=_EPSILON,
        amsgrad=False,
        maximize=False,
    )
