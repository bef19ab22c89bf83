from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.fit.device import Device, open_device
from geocal_core.fit.gated import GatedFit
from geocal_core.fit.gates import column_words, noise
from geocal_core.fit.presets import Hyperparameters, preset
from geocal_core.fit.problem import Problem, problem
from geocal_core.matrix.factored import FactoredMatrix

SETTINGS = preset("local", lambda_l0=0.02, lambda_l2=1e-5, initial_keep=0.6, log_alpha_jitter=1.0, learning_rate=0.05)
CPU = open_device("cpu", 1)


def _after(made: Problem, epochs: int, device: Device = CPU, settings: Hyperparameters = SETTINGS) -> GatedFit:
    fit = GatedFit(made, settings, 5, device)
    with device.at_work():
        for _ in range(epochs):
            fit.advance()
    return fit


def _reference(made: Problem, fit: GatedFit, log_weight: torch.Tensor, log_alpha: torch.Tensor) -> torch.Tensor:
    """The objective as its formula reads, in dense float64 torch, under the noise of the fit's next epoch."""
    s = SETTINGS
    n = made.n_columns
    words, logits = torch.from_numpy(column_words(np.arange(n, dtype=np.int32), 5)), torch.empty(n)
    noise(words, fit.epoch, 5, logits, torch.empty_like(words), torch.empty_like(words))
    soft = torch.sigmoid((logits.double() + log_alpha) / s.beta)
    gate = (soft * (s.zeta - s.gamma) + s.gamma).clamp(0, 1)
    value = log_weight.exp()
    estimate = torch.from_numpy(made.matrix.tocsr().toarray().astype(np.float64)) @ (value * gate)
    target = torch.from_numpy(made.target)
    loss = (((target - estimate) / target.abs().clamp(min=1)) ** 2).sum()
    penalty = torch.sigmoid(log_alpha - s.beta * math.log(-s.gamma / s.zeta)).sum()
    return loss + s.lambda_l0 * penalty + s.lambda_l2 * (value**2).sum()


@pytest.mark.parametrize("epochs", [0, 1, 25])
@pytest.mark.parametrize("device", [CPU, Device("cpu", torch)], ids=["cpu", "tensors"])
@pytest.mark.parametrize("columns", [7, 1000])
def test_gradients_are_those_of_autograd(small: Problem, epochs: int, device: Device, columns: int) -> None:
    small = replace(small, matrix=FactoredMatrix.of(small.matrix.tocsr(), columns))
    fit = _after(small, epochs, device)
    state = fit.parameters()
    parameters = [torch.tensor(state[name], dtype=torch.float64, requires_grad=True) for name in ("log_weight", "log_alpha")]
    value = _reference(small, fit, *parameters)
    value.backward()
    assert fit.objective() == pytest.approx(value.item(), rel=1e-4)
    for ours, theirs in zip(fit.gradients(), parameters, strict=True):
        wanted = theirs.grad.numpy()
        assert np.allclose(ours, wanted, rtol=2e-3, atol=1e-4 * np.abs(wanted).max())
        assert np.abs(wanted).max() > 0


def test_gradients_are_those_of_finite_differences(small: Problem) -> None:
    fit = _after(small, 10)
    state = fit.parameters()
    start = [torch.tensor(state[name], dtype=torch.float64) for name in ("log_weight", "log_alpha")]
    step = 1e-6
    for which, ours in enumerate(fit.gradients()):
        for column in range(0, small.n_columns, 7):
            ends = []
            for sign in (1, -1):
                moved = [values.clone() for values in start]
                moved[which][column] += sign * step
                ends.append(_reference(small, fit, *moved).item())
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert ours[column] == pytest.approx(numeric, rel=5e-3, abs=1e-4 * float(np.abs(ours).max()))


def test_epochs_are_those_of_autograd_with_torch_adam(small: Problem) -> None:
    ours = GatedFit(small, SETTINGS, 5, CPU)
    state = ours.parameters()
    parameters = [
        torch.tensor(state[name].copy(), dtype=torch.float64, requires_grad=True) for name in ("log_weight", "log_alpha")
    ]
    optimiser = torch.optim.Adam(parameters, lr=SETTINGS.learning_rate)
    for _ in range(40):
        optimiser.zero_grad()
        _reference(small, ours, *parameters).backward()
        optimiser.step()
        ours.advance()
    after = ours.parameters()
    assert np.allclose(after["log_weight"], parameters[0].detach().numpy(), atol=2e-3)
    assert np.allclose(after["log_alpha"], parameters[1].detach().numpy(), atol=2e-2)


def test_tensors_and_arrays_go_the_same_way(small: Problem) -> None:
    ours = [_after(small, 60, device).weights() for device in (CPU, Device("cpu", torch))]
    assert np.allclose(*ours, rtol=1e-2, atol=1e-2)


def test_any_number_of_threads_gives_the_same_bytes(wide: tuple[sparse.csr_matrix, NDArray]) -> None:
    made = problem(*wide)
    states = [_after(made, 12, open_device("cpu", threads)).parameters() for threads in (1, 2, 3)]
    for name, values in states[0].items():
        assert all(values.tobytes() == state[name].tobytes() for state in states[1:])


def test_a_restored_fit_is_the_uninterrupted_one(small: Problem) -> None:
    whole = _after(small, 30)
    half = _after(small, 13)
    later = GatedFit(small, SETTINGS, 5, CPU)
    later.restore(half.epoch, half.loss, half.parameters())
    for _ in range(17):
        later.advance()
    assert later.loss == whole.loss
    assert later.weights().tobytes() == whole.weights().tobytes()


def test_seeds_differ(small: Problem) -> None:
    one, other = GatedFit(small, SETTINGS, 0, CPU), GatedFit(small, SETTINGS, 1, CPU)
    assert not np.array_equal(one.parameters()["log_weight"], other.parameters()["log_weight"])


def test_without_penalties_open_gates_stay(small: Problem) -> None:
    fit = _after(small, 100, settings=preset("local", lambda_l0=0.0, lambda_l2=0.0))
    assert (fit.weights() > 0).all()


def test_a_diverging_fit_stops(small: Problem) -> None:
    with pytest.raises(ConfigError, match=r"the fit diverged in epoch \d+ .*lower learning_rate"):
        _after(small, 50, settings=preset("local", learning_rate=1e3))


def _closing(made: Problem, epochs: int, retire_below: float, price: float = 3e-2, **changes: float) -> GatedFit:
    return _after(made, epochs, settings=preset("local", lambda_l0=price, retire_below=retire_below, **changes))


def test_columns_that_no_noise_opens_leave_without_a_trace(small: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the least probability the fit that goes on with a smaller matrix is the one that keeps all columns."""
    monkeypatch.setattr("geocal_core.fit.gated._WORTH_COMPACTING", 2.0)
    kept = _closing(small, 200, 1e-6, initial_keep=1e-3, log_alpha_jitter=10.0)
    monkeypatch.setattr("geocal_core.fit.gated._WORTH_COMPACTING", 0.0)
    compacted = _closing(small, 200, 1e-6, initial_keep=1e-3, log_alpha_jitter=10.0)
    assert compacted.n_columns < kept.n_columns == small.n_columns
    assert compacted.loss == pytest.approx(kept.loss, rel=1e-3)
    assert np.allclose(compacted.weights(), kept.weights(), rtol=1e-2, atol=1e-3)
    gone = np.setdiff1d(np.arange(small.n_columns), compacted.parameters()["order"])
    assert (kept.weights()[gone] == 0).all()


def test_a_compacted_fit_goes_on_bit_for_bit(small: Problem) -> None:
    whole, half = _closing(small, 300, 1e-2), _closing(small, 180, 1e-2)
    assert whole.n_columns < half.n_columns < small.n_columns
    later = GatedFit(small, preset("local", lambda_l0=3e-2, retire_below=1e-2), 5, CPU)
    later.restore(half.epoch, half.loss, half.parameters())
    for _ in range(120):
        later.advance()
    assert later.n_columns == whole.n_columns
    assert later.weights().tobytes() == whole.weights().tobytes()


def test_a_price_that_closes_every_gate_is_told_when_it_happens(small: Problem) -> None:
    with pytest.raises(ConfigError, match=r"in epoch \d+ lambda_l0 1000\.0 closed every gate: no record is kept"):
        _closing(small, 200, 0.2, price=1e3)
