from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit import FitResult, fit
from geocal_core.fit.checkpoint import Checkpoint
from tests.fit.conftest import matrix_and_targets
from tests.matrix.test_factored import random_case

MATRIX, TARGETS = matrix_and_targets(12, 60)
QUICK: dict[str, Any] = {"initial_weights": np.full(60, 15.0), "epochs": 40, "refit_epochs": 20, "log_every": 10}


def _quick(**changes: Any) -> FitResult:
    return fit(MATRIX, TARGETS, **(QUICK | changes))


def test_a_diagonal_problem_is_solved_exactly() -> None:
    wanted = np.array([3.0, 50.0, 700.0, 1e6, 2.5e9])
    result = fit(sparse.identity(5, format="csr", dtype=np.float32), wanted, lambda_l0=0.0, lambda_l2=0.0, epochs=300)
    assert np.allclose(result.weights, wanted, rtol=1e-4)
    assert result.loss < 1e-7
    assert result.loss <= result.gated_loss <= result.initial_loss


def test_an_overdetermined_problem_has_its_closed_form() -> None:
    result = fit([[1.0], [1.0]], [1.0, 3.0], lambda_l0=0.0, lambda_l2=0.0, epochs=50)
    assert result.weights[0] == pytest.approx(1.2, rel=1e-6)


def test_the_refit_improves_on_the_gates_and_both_on_the_start() -> None:
    result = _quick(preset="national", epochs=200, refit_epochs=100)
    assert result.loss < result.gated_loss < result.initial_loss
    assert result.loss < 1e-6


def test_a_higher_price_keeps_fewer_records_and_drops_exactly() -> None:
    kept = []
    for price in (0.0, 3e-3, 3e-2):
        result = _quick(lambda_l0=price, epochs=400)
        kept.append(int(result.kept.sum()))
        assert np.array_equal(result.kept, result.weights > 0)
        assert (result.weights[~result.kept] == 0).all()
    assert 60 == kept[0] > kept[1] > kept[2] > 0


def test_a_price_that_closes_every_gate_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"lambda_l0 1000\.0 closed every gate: no record is kept; lower lambda_l0"):
        _quick(lambda_l0=1000.0, epochs=200)


def test_without_any_penalty_nothing_is_dropped() -> None:
    assert _quick(lambda_l0=0.0, lambda_l2=0.0).kept.all()


def test_tables_have_their_columns_and_figures() -> None:
    table = pd.DataFrame({"value": TARGETS, "name": [f"state_1/v{row}" for row in range(12)]})
    result = fit(MATRIX, table, **QUICK)
    exact = MATRIX.astype(np.float64) @ result.weights
    diagnostics = result.diagnostics
    assert list(diagnostics) == ["target", "true_value", "estimate", "rel_error", "abs_rel_error", "achievable", "held_out"]
    assert diagnostics["target"].tolist() == table["name"].tolist()
    assert np.allclose(diagnostics["estimate"], exact, rtol=1e-12)
    assert np.allclose(diagnostics["rel_error"], exact / TARGETS - 1, atol=1e-12)
    names = "target_name estimate target epoch error rel_error abs_error rel_abs_error loss achievable held_out"
    assert list(result.log) == names.split()
    assert result.log["epoch"].unique().tolist() == [0, 10, 20, 30, 40, 60]
    last = result.log[result.log["epoch"] == 60]
    assert np.allclose(last["estimate"], exact, rtol=1e-12)
    assert last["loss"].sum() == pytest.approx(result.loss)
    assert result.log.loc[result.log["epoch"] == 40, "loss"].sum() == pytest.approx(result.gated_loss)


@pytest.mark.parametrize("factor", [1e-6, 0.5, 1.0, 1e9, -3.0, 0.0])
def test_what_is_held_out_moves_no_weight_and_is_scored(factor: float) -> None:
    held = np.zeros(12, dtype=bool)
    held[[0, 4, 11]] = True
    alone = fit(MATRIX[~held], TARGETS[~held], **QUICK)
    table = pd.DataFrame({"value": np.where(held, factor * TARGETS, TARGETS), "held_out": held})
    result = fit(MATRIX, table, **QUICK)
    assert result.weights.tobytes() == alone.weights.tobytes()
    assert (result.loss, result.gated_loss, result.initial_loss) == (alone.loss, alone.gated_loss, alone.initial_loss)
    assert result.refit_epochs == alone.refit_epochs
    assert np.allclose(result.diagnostics["estimate"], MATRIX.astype(np.float64) @ result.weights, rtol=1e-12)
    assert result.diagnostics["held_out"].tolist() == held.tolist()
    scored = result.diagnostics.loc[held, "abs_rel_error"]
    assert scored.notna().all() == (factor != 0)
    assert not set(result.zero_targets) & set(result.diagnostics.loc[held, "target"])
    log = result.log
    assert log["loss"].isna().tolist() == log["held_out"].tolist()
    assert log.loc[log["held_out"], "epoch"].nunique() > 2  # held-out errors can be followed through the epochs
    pd.testing.assert_frame_equal(
        log[~log["held_out"]].drop(columns="target_name").reset_index(drop=True), alone.log.drop(columns="target_name")
    )


def test_the_rows_of_what_is_held_out_move_no_weight_either() -> None:
    held = np.arange(12) == 5
    other = MATRIX.toarray()
    other[5] *= 7
    other[5, :3] = 2
    first = fit(MATRIX, TARGETS, held_out=held, **QUICK)
    second = fit(other, TARGETS, held_out=held, **QUICK)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.weights.tobytes() != fit(MATRIX, TARGETS, **QUICK).weights.tobytes()


def test_unsupported_zero_and_lost_targets_are_named() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 2]], np.float32))
    names = ["sum", "nobody", "none wanted", "none wanted twice"]
    result = fit(matrix, [100.0, 5.0, 0.0, 0.0], names=names, initial_weights=[10, 10, 1e5], epochs=300, lambda_l0=1e-3)
    assert result.unsupported_targets == ("nobody",)
    assert result.zero_targets == ("none wanted", "none wanted twice")
    assert result.lost_targets == ("none wanted", "none wanted twice")  # dropping its record is how a zero is met
    assert result.weights[2] == 0
    assert result.weights[:2].sum() == pytest.approx(100, rel=1e-3)
    assert result.diagnostics["rel_error"].isna().tolist() == [False, False, True, True]


def test_threads_and_runs_do_not_change_the_bytes(wide: tuple[sparse.csr_matrix, NDArray], tmp_path: Path) -> None:
    results = []
    for threads in (1, 2, 2):
        path = tmp_path / f"{len(results)}.npz"
        result = fit(*wide, epochs=8, refit_epochs=4, seed=3, threads=threads, checkpoint=path)
        results.append((result.weights.tobytes(), result.log.to_csv(), path.read_bytes()))
    assert results[0] == results[1] == results[2]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = fit(*wide, epochs=8, refit_epochs=4, seed=3, threads=1)
    torch.set_num_threads(before)
    assert alone.weights.tobytes() == results[0][0]
    assert fit(*wide, epochs=8, refit_epochs=4, seed=4).weights.tobytes() != results[0][0]


def test_a_factored_matrix_is_fitted_as_the_explicit_one_in_another_order(tmp_path: Path) -> None:
    """The fit lives in the inner order; jitter, noise and weights are those of a column's own number."""
    case = random_case(9)
    matrix, explicit = case.in_tiles(20), case.matrix.tocsr()
    assert len(matrix.tiles) > 3
    assert not np.array_equal(matrix.order, np.arange(matrix.shape[1]))
    hidden = np.random.default_rng(0).lognormal(3, 0.5, matrix.shape[1])
    arguments: dict[str, Any] = {"epochs": 15, "refit_epochs": 0, "initial_weights": hidden[::-1], "lambda_l0": 1e-3}
    ours = fit(matrix, matrix.matvec(hidden), threads=1, checkpoint=tmp_path / "one.npz", **arguments)
    theirs = fit(explicit, matrix.matvec(hidden), **arguments)
    assert np.allclose(ours.weights, theirs.weights, rtol=1e-3)
    assert np.allclose(ours.diagnostics["estimate"], theirs.diagnostics["estimate"], rtol=1e-3)
    fit(matrix, matrix.matvec(hidden), threads=2, checkpoint=tmp_path / "two.npz", **arguments)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    refitted = fit(matrix, matrix.matvec(hidden), **arguments | {"refit_epochs": 100, "lambda_l0": 0.0})
    assert np.allclose(explicit.astype(np.float64) @ refitted.weights, matrix.matvec(hidden), rtol=0.05, atol=1)
    fit(matrix, matrix.matvec(hidden), checkpoint=tmp_path / "half.npz", **arguments | {"epochs": 7})
    later = fit(matrix, matrix.matvec(hidden), checkpoint=tmp_path / "half.npz", **arguments)
    assert later.weights.tobytes() == ours.weights.tobytes()


class _Killed(Exception):
    pass


@pytest.mark.parametrize("saves", [1, 7, 10, 20, 39, 40, 41, 47, 59, 60])
def test_a_fit_killed_after_any_save_goes_on_bit_for_bit(saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _quick(checkpoint=tmp_path / "whole.npz")
    path = tmp_path / "killed.npz"
    save, count = Checkpoint.save, 0

    def save_and_die(self: Checkpoint, to: Path) -> None:
        nonlocal count
        save(self, to)
        count += 1
        if count == saves:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_die)
        with pytest.raises(_Killed):
            _quick(checkpoint=path, checkpoint_seconds=0.0)
    lines: list[str] = []
    resumed = _quick(checkpoint=path, progress=lines.append)
    assert lines[0] == f"going on from epoch {min(saves, 40)} of the checkpoint {path}"
    assert resumed.weights.tobytes() == whole.weights.tobytes()
    assert resumed.log.equals(whole.log)
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_fit_killed_by_the_system_goes_on_bit_for_bit(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.fit.test_fitting import MATRIX, TARGETS, QUICK; from geocal_core.fit import fit;"
        "fit(MATRIX, TARGETS, **(QUICK | {'epochs': 20000}), checkpoint=sys.argv[1], checkpoint_seconds=0.0)"
    )
    path = tmp_path / "checkpoint.npz"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with np.load(path) as saved:
        reached = int(saved["log.epochs"][-1])
    assert 0 <= reached < 20000
    epochs = reached + 50
    resumed = _quick(checkpoint=path, epochs=epochs)
    whole = _quick(checkpoint=tmp_path / "whole.npz", epochs=epochs)
    assert resumed.weights.tobytes() == whole.weights.tobytes()
    assert resumed.log.equals(whole.log)
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_finished_fit_can_be_asked_again_lengthened_or_refitted(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    first = _quick(checkpoint=path)
    assert _quick(checkpoint=path).weights.tobytes() == first.weights.tobytes()
    longer = _quick(checkpoint=path, epochs=75)
    assert longer.weights.tobytes() == _quick(epochs=75).weights.tobytes()
    assert longer.log.equals(_quick(epochs=75).log)
    refitted = _quick(checkpoint=path, epochs=75, refit_epochs=5)
    assert refitted.weights.tobytes() == _quick(epochs=75, refit_epochs=5).weights.tobytes()
    unrefitted = _quick(checkpoint=path, epochs=75, refit_epochs=0)
    assert unrefitted.weights.tobytes() == _quick(epochs=75, refit_epochs=0).weights.tobytes()
    assert unrefitted.loss == unrefitted.gated_loss


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.5}, r"belongs to another fit: beta \(there 0.35, here 0.5\) differs"),
        ({"seed": 1}, r"seed \(there 0, here 1\) differs"),
        ({"preset": "national"}, r"lambda_l0 \(there 1e-08, here 0.0001\) differs"),
        ({"initial_weights": np.full(60, 14.0)}, r"another fit: starting weights \(there .*\) differs"),
        ({"log_every": 20}, "log_every .* differs"),
        ({"epochs": 30}, "is at epoch 40 and 30 epochs are wanted; ask for at least 40 epochs"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    _quick(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=words):
        _quick(checkpoint=path, **changes)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"checkpoint\.npz cannot be read .*; delete it and fit again"):
        _quick(checkpoint=path)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    _quick(checkpoint=path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArtifactError, match="cannot be read"):
        _quick(checkpoint=path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": -1}, "epochs is -1"),
        ({"refit_epochs": -1}, "refit_epochs is -1"),
        ({"log_every": 0}, "log_every is 0"),
        ({"preset": "regional"}, "no preset 'regional'"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"lambda_l0": 1.0, "lambda_share": 0.1}, "both lambda_l0 and lambda_share are given"),
        ({"retire_below": 0.5}, "retire_below is 0.5; it must be from 1e-06 to below 0.5"),
        ({"lambda_l1": 1.0}, "no hyper-parameter 'lambda_l1'"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _quick(**changes)


def test_progress_tells_the_state_of_the_fit() -> None:
    lines: list[str] = []
    _quick(progress=lines.append)
    assert lines[0].startswith("epoch 40 of 40: loss ")
    assert lines[-1].startswith("refit 20 of 20: loss ")
    for words in ("60 records kept", "effective sample size", "mean error", "s left"):
        assert words in lines[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 30), st.sampled_from(["local", "national"]))
def test_weights_are_finite_not_negative_and_never_worse(seed: int, n_rows: int, n_columns: int, preset: str) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.6)
    values[0, 0] = 1.0
    targets = np.where(rng.random(n_rows) < 0.2, 0.0, rng.normal(0, 10.0 ** rng.integers(0, 9), n_rows))
    result = fit(values, targets, preset=preset, epochs=25, refit_epochs=10, seed=seed)
    assert np.isfinite(result.weights).all()
    assert (result.weights >= 0).all()
    assert result.kept.any()
    assert result.loss <= result.gated_loss * (1 + 1e-6) + 1e-3


def test_old_weights_are_a_warm_start_for_changed_targets() -> None:
    """The refit alone, of what the earlier fit kept, ends where a fit of those records from scratch would."""
    old = _quick(lambda_l0=3e-2, epochs=300, refit_epochs=200)
    assert 12 < old.kept.sum() < 60
    changed = TARGETS * np.linspace(0.98, 1.02, 12)
    warm = fit(MATRIX, changed, initial_weights=old.weights, epochs=0, refit_epochs=200)
    assert warm.epochs == 0
    assert np.array_equal(warm.kept, old.kept)
    assert warm.loss < 1e-8 < 1e-4 < warm.initial_loss
    same = fit(MATRIX, TARGETS, initial_weights=old.weights, epochs=0, refit_epochs=0)
    assert np.allclose(same.weights, old.weights, rtol=1e-5)


def test_columns_that_start_at_nothing_stay_there() -> None:
    start = np.where(np.arange(60) % 3 == 0, 0.0, 15.0)
    result = _quick(initial_weights=start, lambda_l0=0.0)
    assert np.array_equal(result.kept, start > 0)


def test_a_fit_that_diverges_on_its_way_ends_at_its_best_weights(tmp_path: Path) -> None:
    lines: list[str] = []
    arguments: dict[str, Any] = {"learning_rate": 400.0, "log_every": 1, "refit_epochs": 100}
    result = _quick(progress=lines.append, checkpoint=tmp_path / "one.npz", **arguments)
    assert "the fit diverged in epoch" in result.stopped
    assert any("going on from the best weights so far" in line for line in lines)
    assert result.epochs < 40
    assert result.loss < result.initial_loss
    assert result.gated_loss == pytest.approx(min(result.log.groupby("epoch")["loss"].sum().iloc[:-1]))
    again = _quick(checkpoint=tmp_path / "one.npz", **arguments)
    assert (again.stopped, again.weights.tobytes()) == (result.stopped, result.weights.tobytes())
    assert not _quick().stopped


def test_repeated_rows_are_named_and_left_out() -> None:
    """Of the same row, one target counts; another value for it is a contradiction, which stays."""
    matrix = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    names = ["one", "again", "otherwise", "two"]
    result = fit(matrix, [4.0, 4.0, 6.0, 8.0], names=names, lambda_l0=0.0, lambda_l2=0.0, epochs=50)
    assert result.repeated_targets == ("again",)
    assert result.weights[0] == pytest.approx((1 / 4 + 1 / 6) / (1 / 16 + 1 / 36), rel=1e-5)
    assert result.diagnostics["estimate"].tolist() == pytest.approx([result.weights[0]] * 3 + [8.0], rel=1e-5)
    assert result.log["loss"].isna().tolist() == [False, True, False, False] * (len(result.log) // 4)


def test_a_margin_of_error_costs_nothing() -> None:
    result = fit([[1.0], [1.0]], [90.0, 110.0], tolerance=[0.0, 25.0], lambda_l0=0.0, lambda_l2=0.0, epochs=100)
    assert result.weights[0] == pytest.approx(90.0, rel=1e-4)
    assert result.loss < 1e-8


def test_an_important_target_wins() -> None:
    result = fit([[1.0], [1.0]], [90.0, 110.0], importance=[1.0, 1e6], lambda_l0=0.0, lambda_l2=0.0, epochs=100)
    assert result.weights[0] == pytest.approx(110.0, rel=1e-4)


def test_lambda_share_means_the_same_for_a_problem_twice_as_large() -> None:
    """Twice the columns at half of the weight: the same price of all gates, so half of it for each."""
    alone = _quick(lambda_share=0.5)
    doubled = fit(sparse.hstack([MATRIX, MATRIX]), TARGETS, **QUICK | {"initial_weights": np.full(120, 7.5)}, lambda_share=0.5)
    assert alone.hyperparameters.lambda_l0 == pytest.approx(0.5 * 12 / 60)
    assert doubled.hyperparameters.lambda_l0 == pytest.approx(alone.hyperparameters.lambda_l0 / 2)


def test_memory_that_will_not_suffice_is_told_with_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 1 kB\n")
    monkeypatch.setattr("geocal_core.fit.device._MEMORY", tmp_path / "meminfo")
    with pytest.raises(ConfigError, match=r"the fit needs 0\.0 GB of memory and 0\.0 GB are free on cpu; free memory"):
        _quick()
    monkeypatch.setattr("geocal_core.fit.device._MEMORY", tmp_path / "none")
    assert _quick().kept.any()
