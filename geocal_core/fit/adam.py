"""Adam (Kingma and Ba 2015), written out: one step on a block of parameters, in place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-8


@dataclass
class Adam:
    """A vector of parameters with its first and second moments.

    Attributes
    ----------
    values, first, second : float32 arrays of one shape
    """

    values: Any
    first: Any
    second: Any

    def step(self, block: slice, gradient: Any, epoch: int, learning_rate: float, xp: Any) -> None:
        """Move the parameters of a block against their gradient; ``epoch`` counts from 1. Overwrites ``gradient``."""
        first = self.first[block]
        first *= _BETA_1
        first += gradient * (1.0 - _BETA_1)
        second = self.second[block]
        second *= _BETA_2
        gradient *= gradient
        gradient *= 1.0 - _BETA_2
        second += gradient
        size = xp.sqrt(second)
        size /= math.sqrt(1.0 - _BETA_2**epoch)
        size += _EPSILON
        move = first / size
        move *= learning_rate / (1.0 - _BETA_1**epoch)
        self.values[block] -= move
