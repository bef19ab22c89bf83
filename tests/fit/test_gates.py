from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.gates import Gates, column_words, mix, noise, sigmoid
from geocal_core.fit.presets import PRESETS, preset

SETTINGS = PRESETS["local"]


def _noise(n: int, epoch: int, seed: int = 0) -> np.ndarray:
    words = column_words(np.arange(n, dtype=np.int32), seed)
    return noise(words, epoch, seed, np.zeros(n, np.float32), np)


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


def test_noise_of_a_column_does_not_depend_on_its_neighbours_or_the_library() -> None:
    words = column_words(np.arange(1000, dtype=np.int32), 7)
    whole = noise(words, 5, 7, np.zeros(1000, np.float32), np)
    part = noise(words[300:400], 5, 7, np.zeros(100, np.float32), np)
    assert np.array_equal(whole[300:400], part)
    tensors = noise(torch.from_numpy(words), 5, 7, torch.zeros(1000), torch)
    assert np.allclose(tensors.numpy(), whole, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(whole, noise(words, 6, 7, np.zeros(1000, np.float32), np))
    assert np.abs(whole).max() <= math.log(1e6)


@pytest.mark.parametrize("log_alpha", [-2.0, -0.3, 0.0, 0.8, 3.0])
def test_open_probability_is_the_share_of_open_gates(log_alpha: float) -> None:
    n = 400_000
    gates = Gates(SETTINGS, np)
    values = np.full(n, log_alpha, np.float32)
    open_ = gates.hard(gates.soft(values, _noise(n, 3))) > 0
    expected = 1 / (1 + math.exp(-(log_alpha - SETTINGS.beta * math.log(-SETTINGS.gamma / SETTINGS.zeta))))
    assert gates.open_probability(values[:1])[0] == pytest.approx(expected, rel=1e-6)
    assert abs(open_.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / n) + 1e-6


def test_the_shipped_gate_is_the_median_of_the_trained_one() -> None:
    gates = Gates(preset("local", beta=0.65), np)
    for log_alpha in (-1.0, -0.2, 0.0, 0.4, 1.2, 2.0):
        values = np.full(100_001, log_alpha, np.float32)
        trained = np.median(gates.hard(gates.soft(values, _noise(len(values), 1))))
        assert gates.median(values[:1])[0] == pytest.approx(trained, abs=0.01)


def test_gates_close_and_open_where_the_closed_form_says() -> None:
    gates = Gates(SETTINGS, np)
    edge = SETTINGS.beta * math.log((1 - SETTINGS.gamma) / (SETTINGS.zeta - 1))  # where the median gate becomes 1
    near = np.array([-edge - 1e-3, -edge + 1e-3, edge - 1e-3, edge + 1e-3], np.float32)
    gate = gates.median(near)
    assert gate[0] == 0.0
    assert 0.0 < gate[1] < gate[2] < 1.0
    assert gate[3] == 1.0


def test_slope_is_the_derivative_of_the_gate() -> None:
    gates = Gates(SETTINGS, np)
    log_alpha = np.linspace(-25, 25, 4001)
    logits = np.random.default_rng(0).normal(0, 2, 4001)
    step = 1e-6
    ends = [gates.hard(gates.soft(log_alpha + sign * step, logits)) for sign in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * step)
    slope = gates.slope(log_alpha, gates.soft(log_alpha, logits))
    gate = gates.hard(gates.soft(log_alpha, logits))
    smooth = (np.abs(gate - 0.5) < 0.4999) | (np.abs(gate - 0.5) == 0.5)
    assert np.allclose(slope[smooth], numeric[smooth], atol=1e-6)
    assert (slope[np.abs(log_alpha) > 20] == 0).all()


def test_sigmoid_neither_overflows_nor_leaves_its_range() -> None:
    x = np.array([-1e30, -100.0, 0.0, 100.0, 1e30])
    assert sigmoid(x, np).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
