"""``geocal fit --records`` and ``geocal frontier``, as their user types them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.cli import main
from geocal_core.errors import ConfigError
from geocal_core.fit import sized
from geocal_core.fit.frontier import FILES as FRONTIER
from geocal_core.fit.output import FILES
from geocal_core.fit.stage import fit_package
from geocal_core.matrix.package import Package, write_package
from geocal_core.progress import Silent
from geocal_core.settings import FitSettings
from geocal_core.store import digest_path


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Path:
    write_package(tmp_path / "package", **package_parts)
    return tmp_path / "package"


@pytest.mark.parametrize("method", ["cube", "pps", "gates", "random"])
def test_all_files_of_a_fit_are_written_with_an_exact_number(method: str, package: Path, tmp_path: Path) -> None:
    output = tmp_path / "weights"
    own = ["--epochs", "60", "--preset", "national"] if method == "gates" else []
    assert main(["fit", str(package), "--output", str(output), "--records", "50", "--method", method, *own]) == 0
    assert {path.name for path in output.iterdir()} == set(FILES)
    weights = np.load(output / "calibration_weights.npy")
    assert np.count_nonzero(weights) == 50
    config = json.loads((output / "unified_run_config.json").read_text())
    assert (config["records"], config["method"], config["weight_nonzero"]) == (50, method, 50)
    assert config["weight_bounds"] == list(sized.POLISH_BOUNDS)
    assert 0 <= config["polish_gap"] <= 1e-4
    assert ("dense_gap" in config) == (method in ("cube", "pps"))
    assert ("lambda_l0" in config) == ("preset" in config) == (method == "gates")
    assert config["loss"] <= config["design_loss"]
    for name, digest in config["artifacts"].items():
        assert digest == f"sha256:{digest_path(output / name)}"
    diagnostics = pd.read_csv(output / "unified_diagnostics.csv")
    opened = Package.open(package)
    assert np.allclose(diagnostics["estimate"], opened.matrix.tocsr().astype(np.float64) @ weights, rtol=1e-12)
    log = pd.read_csv(output / "calibration_log.csv")
    assert log["epoch"].unique().tolist() == [0, 1, 2, 3]
    card = json.loads((output / "scorecard.json").read_text())
    assert card["optimality"]["loss"] == pytest.approx(config["loss"])
    assert not list(tmp_path.glob(".*"))  # neither scratch nor half a folder


def test_the_same_bytes_for_one_thread_or_two(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for workers in ("1", "2"):
        monkeypatch.setenv("GEOCAL_WORKERS", workers)
        assert main(["fit", str(package), "--records", "40", "--output", str(tmp_path / f"w{workers}")]) == 0
        command = ["frontier", str(package), "--sizes", "40", "80", "--output", str(tmp_path / f"f{workers}")]
        assert main(command) == 0
    assert digest_path(tmp_path / "w1") == digest_path(tmp_path / "w2")
    assert digest_path(tmp_path / "f1") == digest_path(tmp_path / "f2")


def test_a_run_that_is_interrupted_goes_on_by_the_same_command(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", str(package), "--records", "40", "--output"]
    assert main([*command, str(tmp_path / "whole")]) == 0

    def interrupted(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sized, "polish", interrupted)
        assert main([*command, str(tmp_path / "w")]) == 130
    assert not (tmp_path / "w").exists()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "w")]) == 0
    assert "going on after the selection" in capsys.readouterr().err
    assert digest_path(tmp_path / "w") == digest_path(tmp_path / "whole")
    assert main([*command, str(tmp_path / "again"), "--resume-from", str(tmp_path / "whole")]) == 0
    assert digest_path(tmp_path / "again") == digest_path(tmp_path / "whole")
    resumed = ["fit", str(package), "--output", str(tmp_path / "x"), "--resume-from", str(tmp_path / "whole")]
    assert main([*resumed, "--records", "41"]) == 2
    assert "belongs to another fit: records (there 40, here 41) differs" in capsys.readouterr().err
    assert main([*resumed, "--epochs", "20"]) == 2
    assert "belongs to another fit" in capsys.readouterr().err


def test_weights_of_an_exact_size_are_polished_again_after_the_targets_changed(
    package: Path, package_parts: dict[str, Any], tmp_path: Path
) -> None:
    assert main(["fit", str(package), "--records", "40", "--output", str(tmp_path / "old")]) == 0
    targets = package_parts["targets"]
    write_package(tmp_path / "changed", **{**package_parts, "targets": targets.assign(value=targets["value"] * 1.03)})
    old = tmp_path / "old" / "calibration_weights.npy"
    command = ["fit", str(tmp_path / "changed"), "--records", "40", "--start-from", str(old), "--output", str(tmp_path / "new")]
    assert main(command) == 0
    before, after = np.load(old), np.load(tmp_path / "new" / "calibration_weights.npy")
    assert ((before > 0) == (after > 0)).all()
    config = json.loads((tmp_path / "new" / "unified_run_config.json").read_text())
    assert config["loss"] < 1e-3 * config["initial_loss"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--records", "0"), "--records is 0; give 1 or more"),
        (("--records", "241"), "241 records are wanted and 240 of 240 columns start from a weight above 0"),
        (("--method", "pps"), "--method pps says how an exact number is kept; give --records N as well"),
        (("--records", "9", "--epochs", "0"), "--epochs means nothing for the method cube; it is for --method gates"),
        (("--records", "9", "--lambda-l0", "1"), "--lambda-l0 means nothing for the method cube"),
        (("--records", "9", "--method", "gates", "--epochs", "0"), "no gate closes in 0 epochs"),
        (("--records", "9", "--refit-epochs", "5"), "--refit-epochs is of a fit without --records"),
        (("--records", "9", "--device", "cuda"), "the method cube runs on the CPU and device 'cuda' was asked for"),
        (("--records", "9", "--start-from", "nowhere.npy"), "nowhere.npy to start from do not exist"),
        (("--records", "239", "--method", "gates", "--epochs", "300", "--lambda-l0", "1e-3"), "columns and 239 are wanted"),
    ],
)
def test_mistaken_sizes_are_one_line(
    flags: tuple[str, ...], words: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(package), "--output", str(tmp_path / "w"), *flags]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("geocal: error: ")
    assert words in line
    assert not (tmp_path / "w").exists()


def test_settings_that_contradict_each_other_are_refused(package: Path, tmp_path: Path) -> None:
    for settings, words in (
        (FitSettings(method="pps"), "set records as well"),
        (FitSettings(records=10, beta=0.5), "beta means nothing for the method cube"),
        (FitSettings(records=-1), "-1 records are wanted"),
        (FitSettings(records=10, method="x"), "no method 'x'"),
    ):
        with pytest.raises(ConfigError, match=words):
            fit_package(package, tmp_path / "w", tmp_path / "scratch", settings, Silent())


def test_the_frontier_is_written_as_a_whole(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text("holdout:\n- {variable: person_count, geo_level: state}\n")
    output = tmp_path / "frontier"
    command = ["frontier", str(package), "--sizes", "30", "90", "--methods", "cube", "gates", "random", "--epochs", "50"]
    assert main([*command, "--target-config", str(rules), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "| cube | 90 |" in printed.out
    assert {path.name for path in output.iterdir()} == set(FRONTIER)
    table = pd.read_csv(output / "frontier.csv")
    assert table["method"].tolist() == ["dense", *(name for name in ("cube", "gates", "random") for _ in range(2))]
    assert table["held_out_loss"].notna().all()
    content = json.loads((output / "frontier.json").read_text())
    assert (content["targets"], content["epochs"], content["sizes"]) == (str(rules), 50, [30, 90])
    assert len(content["rows"]) == len(table)
    (tmp_path / "frontier" / "mine.txt").write_text("mine")
    assert main([*command, "--output", str(output)]) == 2
    assert "holds other things" in capsys.readouterr().err
    assert (tmp_path / "frontier" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--sizes", "10", "10"), "sizes of the frontier are none or repeated"),
        (("--sizes", "10", "--beta", "0.5"), "--beta is a setting of gates; add gates to --methods"),
        (("--sizes", "999"), "999 records are wanted and 240 of 240"),
        (("--sizes", "9", "--device", "cuda"), "is for gates alone"),
    ],
)
def test_mistaken_frontiers_are_one_line(
    flags: tuple[str, ...], words: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", str(package), "--output", str(tmp_path / "f"), *flags]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_a_frontier_of_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frontier", str(tmp_path / "absent"), "--sizes", "5", "--output", str(tmp_path / "f")]) == 2
    assert "is not a calibration package" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (("fit", "--records", "50"), 1_000),  # the checkpoint of the dense weights
        (("fit", "--records", "50"), 7_000),  # the selection, or the files of the fit
        (("frontier", "--sizes", "40", "--methods", "pps"), 300),
        (("rake",), 1_000),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_output(
    command: tuple[str, ...], limit: int, package: Path, tmp_path: Path
) -> None:
    """In a process that may not write a file beyond ``limit`` bytes, as on a disk that is almost full; then with room again."""
    output = tmp_path / "out"
    name, *flags = command
    full = [sys.executable, "-m", "geocal_core.cli", name, str(package), "--output", str(output), *flags]

    def almost_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(full, check=False, capture_output=True, text=True, preexec_fn=almost_full)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("geocal: error: ")
    assert not output.exists()
    again = subprocess.run(full, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert output.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"package", "out"}, "nothing else is left"
