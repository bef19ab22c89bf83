"""Hard-concrete gates (Louizos, Welling and Kingma 2018) with their derivatives, and the noise that drives them.

A gate is a random number in [0, 1] that is exactly 0 or exactly 1 with positive probability. As in the reference system the
gate that is shipped is the median of the trained one: it keeps the temperature. The noise of a gate is a pure function of
(seed, epoch, column), so a fit that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import math
from typing import Any

from geocal_core.fit.presets import Hyperparameters
from geocal_core.seeds import stream_key

_LOGIT_LIMIT = 20.0
_NOISE_LIMIT = 1e-6
_LOW_24 = (1 << 24) - 1


def sigmoid(x: Any, xp: Any) -> Any:
    """1 / (1 + exp(-x)) by way of tanh, which has no overflow and is quick in both libraries."""
    result = xp.tanh(x * 0.5)
    result *= 0.5
    result += 0.5
    return result


def _signed(word: int) -> int:
    """A 32-bit word as the signed number with the same bits."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >= 1 << 31 else word


def mix(words: Any) -> Any:
    """Spread the bits of 32-bit words (int32 array), one to one: Wellons' lowbias32 (2018, hash-prospector)."""
    words = words ^ ((words >> 16) & 0xFFFF)
    words = words * _signed(0x7FEB352D)
    words ^= (words >> 15) & 0x1FFFF
    words *= _signed(0x846CA68B)
    words ^= (words >> 16) & 0xFFFF
    return words


def column_words(columns: Any, seed: int) -> Any:
    """A word for each column number (int32 array), the same for all epochs."""
    return mix(columns ^ _signed(stream_key("fit.gates.column", seed)))


def noise(words: Any, epoch: int, seed: int, like: Any, xp: Any) -> Any:
    """Logits of uniform draws in [1e-6, 1 - 1e-6], one for each column, for an epoch.

    Parameters
    ----------
    words : int32 array, shape (n,)
        The columns' words.
    epoch, seed : int
    like : float32 array, shape (n,)
        An array whose dtype and device the result takes.
    xp : module
        numpy or torch.
    """
    uniform = xp.empty_like(like)
    uniform[:] = (mix(words ^ _signed(stream_key(f"fit.gates.{epoch}", seed))) >> 8) & _LOW_24
    uniform += 0.5
    uniform *= 2.0**-24
    uniform = xp.clip(uniform, _NOISE_LIMIT, 1.0 - _NOISE_LIMIT)
    result = xp.log(uniform)
    result -= xp.log(1.0 - uniform)
    return result


class Gates:
    """The gate of each column as a function of its logit ``log_alpha``; all arrays have one shape.

    Parameters
    ----------
    settings : Hyperparameters
        beta, gamma and zeta.
    xp : module
        numpy or torch.
    """

    def __init__(self, settings: Hyperparameters, xp: Any) -> None:
        self._beta = settings.beta
        self._gamma = settings.gamma
        self._width = settings.zeta - settings.gamma
        self._shift = settings.beta * math.log(-settings.gamma / settings.zeta)
        self._xp = xp

    def soft(self, log_alpha: Any, logits: Any) -> Any:
        """The gate before it is stretched, in (0, 1), under noise whose logits are given."""
        x = self._xp.clip(log_alpha, -_LOGIT_LIMIT, _LOGIT_LIMIT)
        x += logits
        x /= self._beta
        return sigmoid(x, self._xp)

    def hard(self, soft: Any) -> Any:
        """The gate: stretched to (gamma, zeta) and clipped to [0, 1]."""
        return self._xp.clip(soft * self._width + self._gamma, 0.0, 1.0)

    def slope(self, log_alpha: Any, soft: Any) -> Any:
        """Derivative of the gate by ``log_alpha``: 0 where the gate is exactly 0 or 1, or the logit is clipped."""
        stretched = soft * self._width + self._gamma
        moving = (stretched > 0.0) & (stretched < 1.0) & (abs(log_alpha) <= _LOGIT_LIMIT)
        result = soft - soft * soft
        result *= self._width / self._beta
        result *= moving
        return result

    def median(self, log_alpha: Any) -> Any:
        """The gate without noise, which is what is shipped."""
        return self.hard(sigmoid(log_alpha / self._beta, self._xp))

    def open_probability(self, log_alpha: Any) -> Any:
        """Probability that the gate is not 0; its derivative by ``log_alpha`` is p (1 - p)."""
        return sigmoid(log_alpha - self._shift, self._xp)
