"""Hard-concrete gates (Louizos, Welling and Kingma 2018) with their derivatives, and the noise that drives them.

A gate is a random number in [0, 1] that is exactly 0 or exactly 1 with positive probability. As in the reference system the
gate that is shipped is the median of the trained one: it keeps the temperature. The noise of a gate is a pure function of
(seed, epoch, column), so a fit that was interrupted goes on as if it had not been.

Everything here works on tensors, of the CPU or of a GPU, and where it is done in every epoch it allocates nothing: what it
overwrites is said.
"""

from __future__ import annotations

from typing import Any

import torch

from geocal_core.fit.presets import NOISE_LIMIT, Hyperparameters
from geocal_core.seeds import stream_key


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


def noise(words: torch.Tensor, epoch: int, seed: int, out: torch.Tensor, bits: torch.Tensor, spare: torch.Tensor) -> None:
    """Logits of uniform draws in [1e-6, 1 - 1e-6], one for each column, for an epoch.

    Of a column's word, which is well mixed already, an epoch takes an affine function with an odd factor and an offset of its
    own, and mixes its bits once more.

    Parameters
    ----------
    words : int32, shape (n,)
        The columns' words.
    epoch, seed : int
    out : float32, shape (n,)
    bits, spare : int32, shape (n,)
        Overwritten.
    """
    key = stream_key(f"fit.gates.{epoch}", seed)
    offset = torch.tensor(_signed(key >> 32), dtype=torch.int32)
    torch.add(offset, words, alpha=_signed(key | 1), out=bits)
    torch.bitwise_right_shift(bits, 15, out=spare)  # with its sign, which keeps the step one to one
    bits.bitwise_xor_(spare).mul_(_signed(0x846CA68B))
    out.copy_(bits)
    torch.add(torch.tensor(0.5, dtype=out.dtype), out, alpha=2.0**-32, out=out)
    torch.logit(out, eps=NOISE_LIMIT, out=out)


class Gates:
    """The gate of each column as a function of its logit ``log_alpha``.

    Parameters
    ----------
    settings : Hyperparameters
        beta, gamma and zeta.

    Attributes
    ----------
    steepness : float
        Factor that ``sample`` leaves out of the slopes.
    """

    def __init__(self, settings: Hyperparameters) -> None:
        self._beta = settings.beta
        self._gamma = settings.gamma
        self._width = settings.zeta - settings.gamma
        self._shift = settings.open_shift
        self.steepness = self._width / self._beta

    def sample(
        self,
        log_alpha: torch.Tensor,
        value: torch.Tensor,
        logits: torch.Tensor,
        weight: torch.Tensor,
        slope: torch.Tensor,
        spare: torch.Tensor,
    ) -> None:
        """Put values under gates whose noise is given.

        Parameters
        ----------
        log_alpha, value : float32, shape (n,)
        logits : float32, shape (n,)
            The noise; overwritten.
        weight : float32, shape (n,)
            Becomes value * gate.
        slope : float32, shape (n,)
            Becomes the derivative of weight by ``log_alpha``, divided by ``steepness``: 0 where the gate is exactly 0 or 1.
        spare : float32, shape (n,)
            Overwritten.
        """
        soft = logits.add_(log_alpha).mul_(1.0 / self._beta).sigmoid_()
        torch.add(torch.tensor(self._gamma, dtype=soft.dtype), soft, alpha=self._width, out=spare)
        torch.clamp(spare, 0.0, 1.0, out=weight)
        weight.mul_(value)
        torch.ops.aten.sigmoid_backward.grad_input(value, soft, grad_input=slope)
        torch.ops.aten.hardtanh_backward.grad_input(slope, spare, 0.0, 1.0, grad_input=slope)

    def median(self, log_alpha: torch.Tensor) -> torch.Tensor:
        """The gate without noise, which is what is shipped."""
        return torch.sigmoid(log_alpha / self._beta).mul_(self._width).add_(self._gamma).clamp_(0.0, 1.0)

    def open_probability(self, log_alpha: torch.Tensor) -> torch.Tensor:
        """Probability that the gate is not 0."""
        return torch.sigmoid(log_alpha - self._shift)

    def open_slope(self, log_alpha: torch.Tensor, price: float, out: torch.Tensor, spare: torch.Tensor) -> None:
        """A price times the derivative of ``open_probability``, which is p (1 - p); overwrites ``spare``."""
        torch.sub(log_alpha, self._shift, out=spare)
        spare.sigmoid_()
        factor = torch.full((), price, dtype=out.dtype, device=out.device)
        torch.ops.aten.sigmoid_backward.grad_input(factor, spare, grad_input=out)
