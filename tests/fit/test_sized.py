"""Exact sizes: as many columns as asked for, within bounds, better for the polish, the same however they came about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit import sized
from geocal_core.fit.balance import Balance
from geocal_core.fit.objective import LossSettings
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.raking import rake
from geocal_core.fit.selection import influence
from geocal_core.fit.sized import METHODS, POLISH_BOUNDS, Dense, TooFew, dense_of, exact, polish
from geocal_core.matrix.package import Package, write_package
from tests.fit.conftest import matrix_and_targets

GATES: dict[str, Any] = {"epochs": 60, "preset": "national"}


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Package:
    write_package(tmp_path / "package", **package_parts)
    return Package.open(tmp_path / "package")


def sample(seed: int, n_rows: int = 8, n_columns: int = 150) -> Problem:
    matrix, targets = matrix_and_targets(n_rows, n_columns, seed)
    return problem(matrix, targets, np.random.default_rng(seed).lognormal(3, 0.5, n_columns))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), records=st.integers(1, 150), method=st.sampled_from(METHODS))
def test_as_many_are_kept_as_are_wanted_within_bounds_and_no_worse_for_the_polish(seed: int, records: int, method: str) -> None:
    made = sample(seed)
    strata = np.arange(150) % 3
    gates: dict[str, Any] = {"epochs": 20, "lambda_l0": 1e-9} if method == "gates" else {}
    found = exact(made, records, method, strata=strata, seed=seed, **gates)
    assert np.count_nonzero(found.weights) == found.kept.sum() == records
    design = found.selection.weights()
    assert ((design > 0) == found.kept).all()
    ratio = found.weights[found.kept] / design[found.kept]
    assert (ratio >= POLISH_BOUNDS[0]).all()
    assert (ratio <= POLISH_BOUNDS[1]).all()
    estimate = made.matrix.tocsr().astype(np.float64) @ found.weights
    assert found.loss == pytest.approx(made.loss(estimate), rel=1e-9, abs=1e-15)
    # The polish starts from a distance of 0, so that at its optimum the loss is no higher, but for the gap.
    assert found.loss <= found.design_loss * (1 + 1e-3)
    assert found.polished.converged


def test_every_column_kept_is_the_dense_solution_polished() -> None:
    made = sample(3)
    found = exact(made, 150)
    assert found.kept.all()
    np.testing.assert_allclose(found.selection.weights(), found.dense.weights)
    assert found.loss <= found.dense_loss


def test_the_polish_is_raking_of_the_kept_columns_alone() -> None:
    """Against the explicit sub-matrix, set up anew."""
    made = sample(5)
    found = exact(made, 40, "pps", bounds=(0.5, 2.0), price=50.0, gap=1e-8)
    kept = np.flatnonzero(found.kept)
    part = made.matrix.tocsr()[:, kept]
    alone = problem(part, made.target, found.selection.design_weights)
    wanted = rake(alone, bounds=(0.5, 2.0), price=50.0, gap=1e-8)
    np.testing.assert_allclose(found.weights[kept], wanted.weights, rtol=1e-3)
    assert found.polished.bounds == (0.5, 2.0)


def test_small_targets_keep_the_few_columns_that_they_depend_on() -> None:
    """A target of three columns of small weight: chances by weights alone would nearly always lose it."""
    n = 600
    values = np.ones((2, n))
    values[1] = 0.0
    values[1, :3] = 1.0
    start = np.full(n, 100.0)
    start[:3] = 1.0
    made = problem(values, values @ start, start)
    losses = []
    for seed in range(20):
        found = exact(made, 60, "pps", seed=seed)
        assert found.kept[:3].all()
        losses.append(found.loss)
    assert max(losses) < 1e-6


def test_influence_is_the_root_of_summed_squares_by_the_explicit_matrix() -> None:
    matrix, targets = matrix_and_targets(6, 50, 2)
    importance = np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0])
    made = problem(matrix, targets, importance=importance, loss=LossSettings(floor=10.0))
    explicit = matrix.toarray().astype(np.float64)
    scale = np.maximum(np.abs(targets), 10.0)
    g = np.sqrt(importance @ (explicit / scale[:, None]) ** 2)
    np.testing.assert_allclose(influence(made), np.hypot(g, np.median(g[g > 0])))


def test_design_weights_stand_for_all_columns_on_average() -> None:
    """Horvitz and Thompson: the mean over samples of the estimates is the dense estimate."""
    made = sample(1)
    dense = dense_of(made, "pps")
    totals = [made.matrix.estimates(exact(made, 50, "pps", dense=dense, seed=seed).selection.weights()) for seed in range(120)]
    wanted = made.matrix.estimates(dense.weights)
    spread = np.std(totals, axis=0) / np.sqrt(len(totals))
    assert (np.abs(np.mean(totals, axis=0) - wanted) <= 4 * spread + 1e-9 * wanted).all()


def test_a_package_brings_strata_and_balance_and_levels_add_up(package: Package) -> None:
    found = exact(package, 60)
    made = problem(package.matrix, package.targets, package.initial_weights)
    same = exact(made, 60, strata=[package.district, package.state], balance=Balance(package, package.matrix, package.targets))
    assert (found.weights == same.weights).all()
    counts = [int(found.kept[package.district == code].sum()) for code in np.unique(package.district)]
    chances = [found.selection.chances[package.district == code].sum() for code in np.unique(package.district)]
    assert np.abs(np.array(counts) - chances).max() < 1
    estimate = dict(zip(package.targets["name"], found.diagnostics["estimate"], strict=True))
    for kind in ("[age<5]", "[age>4]"):
        districts = [estimate[f"cd_{code}/person_count/{kind}"] for code in (1001, 5601, 5602)]
        assert estimate[f"state_56/person_count/{kind}"] == pytest.approx(sum(districts[1:]), rel=1e-12)
        assert estimate[f"national/person_count/{kind}"] == pytest.approx(sum(districts), rel=1e-12)


def test_held_out_targets_change_no_byte(package: Package) -> None:
    held = package.targets["geo_level"] == "state"
    weights = []
    for factor in (1.0, 50.0):
        targets = package.targets.assign(held_out=held, value=package.targets["value"] * np.where(held, factor, 1.0))
        made = problem(package.matrix, targets, package.initial_weights)
        balance = Balance(package, package.matrix, targets)
        weights.append(exact(made, 60, strata=[package.district, package.state], balance=balance).weights)
    assert (weights[0] == weights[1]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bytes_for_any_number_of_threads_and_another_sample_for_another_seed(method: str, package: Package) -> None:
    own: dict[str, Any] = GATES if method == "gates" else {}
    one, two, other = (exact(package, 50, method, seed=seed, threads=n, **own) for seed, n in ((0, 1), (0, 2), (1, 2)))
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.log.equals(two.log)
    assert method == "gates" or (one.kept != other.kept).any()


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", ["cube", "gates"])
@pytest.mark.parametrize("step", ["dense_of", "_selected", "polish"])
def test_a_killed_run_goes_on_to_the_same_bytes_and_repeats_no_step(
    method: str, step: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: dict[str, Any] = GATES if method == "gates" else {}
    whole = exact(package, 50, method, **own)
    path = tmp_path / "checkpoint.npz"
    done: list[str] = []
    steps = {name: getattr(sized, name) for name in ("dense_of", "_selected", "polish")}

    def counting(name: str, dies: bool) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            if dies:
                raise Killed
            done.append(name)
            return steps[name](*arguments, **named)

        return run

    for name in steps:
        monkeypatch.setattr(sized, name, counting(name, dies=name == step))
    with pytest.raises(Killed):
        exact(package, 50, method, checkpoint=path, **own)
    for name in steps:
        monkeypatch.setattr(sized, name, counting(name, dies=False))
    said: list[str] = []
    found = exact(package, 50, method, checkpoint=path, progress=said.append, **own)
    assert done == list(steps)
    assert found.weights.tobytes() == whole.weights.tobytes()
    assert found.log.equals(whole.log)
    assert found.dense.facts == whole.dense.facts
    assert sum("going on" in line for line in said) == (step != "dense_of")
    assert [file.name for file in tmp_path.glob("*.npz")] == ["checkpoint.npz"]


def test_gates_killed_on_their_way_go_on_within(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.npz"
    whole = exact(package, 50, "gates", epochs=40)
    with monkeypatch.context() as patch:
        patch.setattr(sized, "write", _die)  # the gates are done and saved, the step is not
        with pytest.raises(Killed):
            exact(package, 50, "gates", epochs=40, checkpoint=path)
    assert [file.name for file in tmp_path.glob("*.npz")] == ["checkpoint.gates.npz"]
    said: list[str] = []
    found = exact(package, 50, "gates", epochs=40, checkpoint=path, progress=said.append)
    assert any("going on from epoch 40" in line for line in said)
    assert found.weights.tobytes() == whole.weights.tobytes()


def _die(*arguments: Any) -> None:
    raise Killed


def test_a_checkpoint_of_another_fit_is_refused_with_what_differs(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    exact(package, 50, checkpoint=path)
    with pytest.raises(ArtifactError, match=r"belongs to another fit: records \(there 50, here 51\) differs"):
        exact(package, 51, checkpoint=path)
    with pytest.raises(ArtifactError, match=r"method \(there cube, here pps\), seed \(there 0, here 1\) differs"):
        exact(package, 50, "pps", seed=1, checkpoint=path)
    changed = problem(package.matrix, package.targets["value"].to_numpy() * 1.01, package.initial_weights)
    with pytest.raises(ArtifactError, match="targets"):
        exact(changed, 50, checkpoint=path)
    given = Dense(package.initial_weights, np.zeros(12), {})
    with pytest.raises(ArtifactError, match="dense weights"):
        exact(package, 50, dense=given, checkpoint=path)
    with pytest.raises(ArtifactError, match="strata"):
        exact(package, 50, strata=package.state, checkpoint=path)
    exact(package, np.int64(50), checkpoint=path)  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="cannot be read"):
        exact(package, 50, checkpoint=path)


def test_dense_weights_serve_several_sizes(package: Package) -> None:
    made = problem(package.matrix, package.targets, package.initial_weights)
    dense = dense_of(made, "pps")
    for records in (30, 90):
        assert (exact(made, records, "pps", dense=dense).weights == exact(made, records, "pps").weights).all()


def test_gates_stand_for_what_they_leave_out(package: Package) -> None:
    found = exact(package, 50, "gates", **GATES)
    largest = np.sort(found.dense.weights)[::-1][:50]
    kept = found.selection.design_weights
    assert kept.sum() == pytest.approx(found.dense.weights.sum())
    np.testing.assert_allclose(np.sort(kept)[::-1] / kept.sum(), largest / largest.sum())


def test_an_unfinished_raking_or_polish_is_told(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sized, "rake", lambda *given, **named: rake(*given, **named, iterations=1))
    said: list[str] = []
    found = exact(package, 50, gap=1e-14, progress=said.append)
    assert not found.polished.converged
    assert any("the dense weights are at a gap of" in line for line in said)
    assert any("the polish ended at a gap of" in line for line in said)


def test_the_log_tells_of_every_step(package: Package) -> None:
    found = exact(package, 50, "pps")
    losses = found.log.groupby("epoch")["loss"].sum()
    wanted = [found.initial_loss, found.dense_loss, found.design_loss, found.loss]
    np.testing.assert_allclose(losses, wanted, rtol=1e-9)
    assert found.losses == {
        "loss": found.loss,
        "design_loss": found.design_loss,
        "dense_loss": found.dense_loss,
        "initial_loss": found.initial_loss,
    }
    assert found.unsupported_targets == ("state_10/snap/<&>",)
    assert not found.diagnostics["estimate"].isna().any()


@pytest.mark.parametrize(
    ("records", "method", "own", "words"),
    [
        (0, "cube", {}, "0 records are wanted and 150 of 150 columns start from a weight above 0; ask for 1 to 150"),
        (-5, "cube", {}, "-5 records are wanted"),
        (151, "pps", {}, "151 records are wanted"),
        (2.5, "pps", {}, "2.5 records are wanted"),
        (True, "pps", {}, "True records are wanted"),
        (10, "best", {}, "no method 'best' of an exact size; the methods are cube, pps, gates, random"),
        (10, "cube", {"epochs": 3}, "epochs means nothing for the method cube"),
        (10, "pps", {"device": "cuda"}, "the method pps runs on the CPU and device 'cuda' was asked for"),
        (10, "gates", {"preset": "x"}, "no preset 'x'"),
        (10, "cube", {"price": 0.0}, "price is 0.0"),
        (10, "random", {"bounds": (2.0, 3.0)}, "bounds of weights are 2 and 3"),
        (10, "random", {"start": np.zeros(3)}, "start is of shape"),
    ],
)
def test_bad_input_gets_one_clear_line(records: Any, method: str, own: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        exact(sample(0), records, method, **own)
    assert "\n" not in str(caught.value)


def test_gates_that_keep_too_few_are_refused() -> None:
    made = sample(0)
    dense = Dense(np.where(np.arange(150) < 20, 1.0, 0.0), np.zeros(8), {})
    with pytest.raises(TooFew, match="the gates kept 20 columns and 30 are wanted; lower lambda_l0"):
        exact(made, 30, "gates", dense=dense)
    with pytest.raises(TooFew, match="raking gave a weight above 0 to 20 columns and 30 are wanted; ask for at most 20"):
        exact(made, 30, "pps", dense=dense)


def test_a_selection_is_polished_by_itself() -> None:
    made = sample(4)
    found = exact(made, 30)
    again = polish(made, found.selection)
    assert (again.weights == found.weights[found.kept]).all()
