from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.gates import Gates, column_words, mix, noise
from geocal_core.fit.presets import PRESETS, Hyperparameters, preset

SETTINGS = PRESETS["local"]


def _noise(n: int, epoch: int, seed: int = 0, first: int = 0) -> np.ndarray:
    words = torch.from_numpy(column_words(np.arange(first, first + n, dtype=np.int32), seed))
    logits = torch.empty(n)
    noise(words, epoch, seed, logits, torch.empty_like(words), torch.empty_like(words))
    return logits.numpy()


def _sampled(log_alpha: np.ndarray, logits: np.ndarray, settings: Hyperparameters = SETTINGS) -> tuple[np.ndarray, np.ndarray]:
    """The gates, and their derivatives by ``log_alpha``."""
    gates = Gates(settings)
    given = [torch.from_numpy(array.copy()) for array in (log_alpha, np.ones_like(log_alpha), logits.astype(log_alpha.dtype))]
    weight, slope, spare = (torch.empty_like(given[0]) for _ in range(3))
    gates.sample(*given, weight, slope, spare)
    return weight.numpy(), slope.numpy() * gates.steepness


def _median(log_alpha: np.ndarray, settings: Hyperparameters = SETTINGS) -> np.ndarray:
    return Gates(settings).median(torch.from_numpy(log_alpha)).numpy()


def _lowbias32(x: int) -> int:
    """The published function, in plain integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_mix_is_lowbias32_on_both_libraries(words: list[int]) -> None:
    array = np.array(words, dtype=np.uint32).view(np.int32)
    assert mix(array).view(np.uint32).tolist() == [_lowbias32(word) for word in words]
    assert mix(torch.from_numpy(array)).tolist() == mix(array).tolist()


def test_noise_is_uniform_and_independent_over_epochs_and_columns() -> None:
    n = 200_000
    draws = [1 / (1 + np.exp(-_noise(n, epoch).astype(np.float64))) for epoch in (0, 1, 999)]
    for uniform in draws:
        ordered = np.sort(uniform)
        distance = np.abs(ordered - (np.arange(n) + 0.5) / n).max()
        assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at the 0.1 % level
        assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 4 / math.sqrt(n)
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[left], draws[right])[0, 1]) < 4 / math.sqrt(n)


def test_noise_is_independent_of_what_a_column_had_before_and_of_its_neighbours_then() -> None:
    """Ranks of three draws of a column, and of neighbours in neighbouring epochs, fill a cube evenly."""
    n = 200_000
    first, second, third = (np.argsort(np.argsort(_noise(n, epoch, seed=3))) * 8 // n for epoch in (10, 11, 12))
    for cells in (first * 64 + second * 8 + third, first[1:] * 64 + second[:-1] * 8 + third[1:]):
        expected = len(cells) / 512
        chi = ((np.bincount(cells, minlength=512) - expected) ** 2 / expected).sum()
        assert abs(chi - 511) < 4.5 * math.sqrt(2 * 511)


def test_no_column_has_the_same_noise_in_all_epochs() -> None:
    zero = torch.zeros(1, dtype=torch.int32)  # the word that a product leaves alone
    draws = []
    for epoch in range(50):
        logits = torch.empty(1)
        noise(zero, epoch, 0, logits, torch.empty_like(zero), torch.empty_like(zero))
        draws.append(float(logits))
    assert len(set(draws)) == 50


def test_noise_of_a_column_does_not_depend_on_its_neighbours() -> None:
    whole = _noise(1000, 5, seed=7)
    assert np.array_equal(whole[300:400], _noise(100, 5, seed=7, first=300))
    assert not np.array_equal(whole, _noise(1000, 6, seed=7))
    assert np.abs(whole).max() <= math.log(1e6)


@pytest.mark.parametrize("log_alpha", [-2.0, -0.3, 0.0, 0.8, 3.0])
def test_open_probability_is_the_share_of_open_gates(log_alpha: float) -> None:
    n = 400_000
    values = np.full(n, log_alpha, np.float32)
    open_ = _sampled(values, _noise(n, 3))[0] > 0
    expected = 1 / (1 + math.exp(-(log_alpha - SETTINGS.beta * math.log(-SETTINGS.gamma / SETTINGS.zeta))))
    assert float(Gates(SETTINGS).open_probability(torch.tensor([log_alpha]))[0]) == pytest.approx(expected, rel=1e-6)
    assert abs(open_.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / n) + 1e-6


@pytest.mark.parametrize("probability", [1e-6, 1e-3, 0.2])
def test_a_retired_gate_opens_with_its_probability_at_most(probability: float) -> None:
    settings = preset("local", retire_below=probability)
    gates = Gates(settings)
    assert float(gates.open_probability(torch.tensor(settings.retired_logit, dtype=torch.float64))) == pytest.approx(
        probability
    )
    if probability == 1e-6:
        loudest = np.array([math.log(1e6), -math.log(1e6)])
        assert _sampled(np.full(2, settings.retired_logit - 1e-5), loudest)[0].tolist() == [0.0, 0.0]


def test_the_shipped_gate_is_the_median_of_the_trained_one() -> None:
    settings = preset("local", beta=0.65)
    for log_alpha in (-1.0, -0.2, 0.0, 0.4, 1.2, 2.0):
        values = np.full(100_001, log_alpha, np.float32)
        trained = np.median(_sampled(values, _noise(len(values), 1), settings)[0])
        assert _median(values[:1], settings)[0] == pytest.approx(trained, abs=0.01)


def test_gates_close_and_open_where_the_closed_form_says() -> None:
    edge = SETTINGS.beta * math.log((1 - SETTINGS.gamma) / (SETTINGS.zeta - 1))  # where the median gate becomes 1
    gate = _median(np.array([-edge - 1e-3, -edge + 1e-3, edge - 1e-3, edge + 1e-3], np.float32))
    assert gate[0] == 0.0
    assert 0.0 < gate[1] < gate[2] < 1.0
    assert gate[3] == 1.0


def test_slope_is_the_derivative_of_the_gate() -> None:
    log_alpha = np.linspace(-25, 25, 4001)
    logits = np.random.default_rng(0).normal(0, 2, 4001)
    step = 1e-6
    ends = [_sampled(log_alpha + sign * step, logits)[0] for sign in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * step)
    gate, slope = _sampled(log_alpha, logits)
    smooth = (np.abs(gate - 0.5) < 0.4999) | (np.abs(gate - 0.5) == 0.5)
    assert np.allclose(slope[smooth], numeric[smooth], atol=1e-6)
    assert (slope[(gate == 0) | (gate == 1)] == 0).all()


def test_open_slope_is_the_derivative_of_the_open_probability() -> None:
    log_alpha = torch.linspace(-9, 9, 101, dtype=torch.float64, requires_grad=True)
    gates = Gates(SETTINGS)
    gates.open_probability(log_alpha).sum().backward()
    out, spare = torch.empty_like(log_alpha), torch.empty_like(log_alpha)
    gates.open_slope(log_alpha.detach(), 3.0, out.detach_(), spare.detach_())
    assert torch.allclose(out, 3.0 * log_alpha.grad, rtol=1e-9)
