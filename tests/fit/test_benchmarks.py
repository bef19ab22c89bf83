"""The suite that runs fits side by side: does it say what is so, with no peer installed?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fit import ours, peers
from benchmarks.fit.apart import run_apart
from benchmarks.fit.case import Case, Options
from benchmarks.fit.outcome import Outcome, Pace, load, save
from benchmarks.fit.problems import Missing, Sources, build, prepared
from benchmarks.fit.quality import Judge
from benchmarks.fit.report import Row, Table, bound, goals, line
from benchmarks.fit.traffic import _covered, bytes_of_an_epoch
from geocal_core.fit.device import open_device
from geocal_core.fit.gated import GatedFit
from tests.conftest import REPOSITORY

NOWHERE = Sources(Path("nowhere"), Path("nowhere"), None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems") / "tiny"
    build("tiny", NOWHERE, folder)
    return folder


def test_quick_run_writes_one_table_of_all_contenders_of_geocal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fit", "--quick", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-4000:]
    table = pd.read_csv(tmp_path / "out" / "fit.csv").set_index("method")
    wanted = [ours.GATED, ours.PACE, ours.DENSE, ours.EXACT, ours.PPS, ours.RANDOM, ours.LEAST, ours.SAME_BYTES, ours.BANDWIDTH]
    assert set(wanted) <= set(table.index)
    assert not table["note"].str.startswith("failed").any()
    assert (table.loc[[ours.EXACT, ours.PPS, ours.RANDOM], "kept"] == 240).all()
    assert table.loc[ours.SAME_BYTES, "same"] == 1
    assert table.loc[ours.DENSE, "gap"] <= 1e-4
    assert table.loc[ours.LEAST, "loss"] <= table.loc[ours.RANDOM, "loss"]
    text = (tmp_path / "out" / "fit.md").read_text(encoding="utf-8")
    assert "| nation = sum of states = sum of districts | to 1e-06 |" in text
    assert all(f"| {method} |" in done.stdout for method in wanted)


def test_held_out_targets_are_a_share_of_each_level_and_none_is_0() -> None:
    level = np.repeat(["national", "state", "district"], [100, 200, 700])
    value = np.where(np.arange(1000) % 50 == 0, 0.0, 1.0)
    targets = pd.DataFrame({"geo_level": level, "value": value, "held_out": False})
    kept = prepared(targets, NOWHERE)
    assert (kept["value"] != 0).all()
    shares = kept.groupby("geo_level")["held_out"].mean()
    np.testing.assert_allclose(shares, NOWHERE.held_out, atol=0.01)
    again = prepared(kept, NOWHERE)
    pd.testing.assert_frame_equal(again, kept)


def test_a_problem_whose_package_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="make demo"):
        build("demo", NOWHERE, tmp_path / "demo")


def test_quality_is_that_of_the_explicit_matrix(tiny: Path) -> None:
    judge = Judge(tiny)
    package, made = judge.case.package, judge.case.made
    weights = np.random.default_rng(3).lognormal(3, 1, made.n_columns)
    found = judge.quality(weights)
    held = package.targets["held_out"].to_numpy()
    value = package.targets["value"].to_numpy()
    error = (package.matrix.tocsr().astype(np.float64) @ weights - value) / np.maximum(np.abs(value), 1)
    assert found.loss == pytest.approx(np.sum(error[~held] ** 2))
    assert found.held_loss == pytest.approx(np.sum(error[held] ** 2))
    assert found.held_capped == pytest.approx(np.minimum(np.abs(error[held]), 1).mean())
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert (found.kept, found.largest) == (made.n_columns, weights.max())
    assert judge.levels(weights) < 1e-12


def test_scipy_finds_the_least_loss_that_the_refit_finds(tiny: Path) -> None:
    case, options = Case.open(tiny), Options(epochs=3000, seconds=30)
    (peer,) = peers.lbfgs(case, options)
    (mine,) = ours.dense(case, options)
    losses = [case.made.loss(case.made.matrix.estimates(outcome.weights)) for outcome in (peer, mine)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_bytes_of_an_epoch_are_at_least_those_of_parameters_and_matrix(tiny: Path) -> None:
    made = Case.open(tiny).made
    device = open_device("cpu", 1)
    with device.at_work():
        moved = bytes_of_an_epoch(GatedFit(made, Options().settings, 0, device))
    parameters = 2 * 6 * 4 * made.n_columns
    assert parameters < moved < 3 * (parameters + 16 * made.matrix.atoms)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple), max_size=8))
def test_covered_bytes_count_each_once(pieces: list[tuple[int, int]]) -> None:
    assert _covered(iter(pieces)) == len({byte for begin, end in pieces for byte in range(begin, end)})


def test_outcomes_come_back_as_they_went(tmp_path: Path) -> None:
    with_weights = Outcome("a", np.arange(3.0), epochs=2, pace=Pace(1.0, 0.5), note="n", facts={"x": 1.5})
    save([with_weights, Outcome("b")], tmp_path)
    first, second = load(tmp_path)
    np.testing.assert_array_equal(first.weights, np.arange(3.0))
    assert (first.pace, first.note, first.facts) == (Pace(1.0, 0.5), "n", {"x": 1.5})
    assert second == Outcome("b")


def test_a_contender_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    (outcome,) = run_apart("gated", tmp_path / "nothing", Options())
    assert outcome.note.startswith("failed: ")
    assert "is no calibration package" in outcome.note


def test_a_contender_that_takes_too_long_is_a_row_that_says_so(tiny: Path) -> None:
    (outcome,) = run_apart("gated", tiny, Options(epochs=10**9), limit=1.0)
    assert outcome.note == "failed: stopped after 1 s"


def test_a_peer_that_cannot_hold_the_problem_is_told_before_it_starts() -> None:
    assert peers.refusal("lbfgs", 30_000, 5_000_000) == ""
    assert peers.refusal("clarabel", 30_000, 90_000) != ""
    assert peers.refusal("microcalibrate", 30_000, 5_000_000) != ""


def test_goals_are_met_or_not_by_what_was_measured() -> None:
    def timed(method: str, wall: float, **facts: float) -> Row:
        return Row("scale", Outcome(method, pace=Pace(wall, wall), epochs=1000, peak=2.0, facts=facts))

    rows = [timed(ours.BANDWIDTH, 1, bandwidth=1e10), timed(ours.GATED, 0.1, bytes=6e8, seconds_of_epochs=61.0)]
    assert "60% of the time per epoch" in bound(Table(rows), "scale")
    met = {goal.what: goal.met for goal in goals(Table([*rows, timed(peers.L0, 25.0)]), {"scale": 1e-9})}
    assert met == {
        "time per epoch against l0-python": True,
        "share of the bandwidth bound": True,
        "1,000 epochs of L0 with compaction": False,
        "nation = sum of states = sum of districts": True,
    }
    slower = {goal.what: goal.met for goal in goals(Table([*rows, timed(peers.L0, 19.0)]), {"scale": 2e-6})}
    assert not slower["time per epoch against l0-python"]
    assert not slower["nation = sum of states = sum of districts"]


def test_a_line_of_the_table_is_in_milliseconds_and_leaves_what_is_unknown_empty() -> None:
    rows = [Row("p", Outcome(ours.GATED, pace=Pace(0.002))), Row("p", Outcome(peers.L0, pace=Pace(0.5)))]
    table = Table(rows)
    assert table.figures(rows[1])["ratio"] == pytest.approx(250)
    assert line(table.figures(rows[1])).startswith("| p | l0-python |  |  | 500.00 |  |  | 250 |")
