"""``geocal fit --target-config``: as its user types it, and on a machine with the base install alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from geocal_core.cli import main
from geocal_core.matrix.package import Package, write_package

FAST = ("--epochs", "30")


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Path:
    write_package(tmp_path / "package", **package_parts)
    return tmp_path / "package"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("holdout:\n- {variable: person_count, geo_level: district}\n")
    return path


def test_rules_are_applied_without_a_new_package(package: Path, rules: Path, tmp_path: Path) -> None:
    output = tmp_path / "weights"
    assert main(["fit", str(package), "--output", str(output), "--target-config", str(rules), *FAST]) == 0
    assert pd.read_csv(output / "unified_diagnostics.csv")["held_out"].sum() == 6
    assert json.loads((output / "unified_run_config.json").read_text())["targets"] == str(rules)


def test_mistaken_rules_are_one_line(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("exclude:\n- {variable: person_cuont}\n")
    for config, words in ((str(path), "variable is one of 'person_count'"), ("defualt", "near it is default")):
        assert main(["fit", str(package), "--output", str(tmp_path / "w"), "--target-config", config, *FAST]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("geocal: error: ")
        assert words in line
    assert not (tmp_path / "w").exists()


def test_the_base_install_fits_and_says_what_yaml_needs(package: Path, rules: Path, tmp_path: Path) -> None:
    extras = ("policyengine_us", "h5py", "sqlalchemy", "dagster", "sklearn", "openpyxl", "xlrd", "yaml", "dagster_pipes")
    code = (
        "import sys\n"
        f"for name in {extras!r}: sys.modules[name] = None\n"
        "from geocal_core.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "fit", str(package), "--output", str(tmp_path / "weights"), *FAST]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "--target-config", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "geocal: error: mine.yaml is YAML, and PyYAML is not installed to read it; pip install pyyaml"
    )


def test_a_fit_is_resumed_from_a_checkpoint_lengthened_and_refused_to_another(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(output: str, *more: str) -> int:
        return main(["fit", str(package), "--output", str(tmp_path / output), "--log-freq", "10", *more])

    assert run("whole", "--epochs", "40") == 0
    assert run("half", "--epochs", "20", "--checkpoint-output", str(tmp_path / "kept.npz")) == 0
    assert (tmp_path / "kept.npz").is_file()
    for number, source in enumerate(("kept.npz", "half", "half/calibration_weights.npy")):
        assert run(f"rest{number}", "--epochs", "40", "--resume-from", str(tmp_path / source)) == 0
        found, whole = (tmp_path / name / "calibration_weights.npy" for name in (f"rest{number}", "whole"))
        assert found.read_bytes() == whole.read_bytes()
    capsys.readouterr()
    assert run("other", "--epochs", "40", "--beta", "0.6", "--resume-from", str(tmp_path / "kept.npz")) == 2
    assert "belongs to another fit: beta (there 0.35, here 0.6) differs" in capsys.readouterr().err
    assert run("none", "--resume-from", str(tmp_path / "nowhere")) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_changed_targets_are_fitted_from_old_weights(
    package: Path, package_parts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(package), "--output", str(tmp_path / "old"), *FAST]) == 0
    targets = package_parts["targets"]
    changed = {**package_parts, "targets": targets.assign(value=targets["value"] * 1.03)}
    write_package(tmp_path / "changed", **changed)
    weights = tmp_path / "old" / "calibration_weights.npy"
    command = ["fit", str(tmp_path / "changed"), "--output", str(tmp_path / "new"), "--start-from"]
    assert main([*command, str(weights)]) == 0
    config = json.loads((tmp_path / "new" / "unified_run_config.json").read_text())
    assert config["epochs"] == 0
    assert config["loss"] < 1e-3 * config["initial_loss"]
    for path, words in (
        ("nowhere.npy", "do not exist"),
        ("old/checkpoint.npz", "holds no weights of this package's 240 columns"),
    ):
        capsys.readouterr()
        assert main([*command, str(tmp_path / path)]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--scale", "x"), "no scale 'x'"),
        (("--groups", "x"), "no column 'x' to group by"),
        (("--group-weight", "snap=2"), "have weights and there is no column to group by; set groups"),
        (("--groups", "variable", "--group-weight", "snap"), "the weight of a group is given as 'snap'; write GROUP=NUMBER"),
        (("--groups", "variable", "--group-weight", "snap=two"), "is given as 'snap=two'"),
        (("--groups", "variable", "--group-weight", "snap=-2"), "the weight of the group snap is -2.0"),
        (("--groups", "variable", "--group-weight", "snap=inf"), "the weight of the group snap is inf"),
        (("--groups", "variable", "--group-weight", "snpa=2"), "no group of targets 'snpa'; the groups are person_count, snap"),
        (("--groups", "variable", *2 * ("--group-weight", "snap=2")), "the group snap has two weights"),
        (
            ("--groups", "variable", "--group-weight", "snap=0", "--group-weight", "person_count=0"),
            "every group of targets has the weight 0",
        ),
        (("--margins", "1"), "no margins of error"),
        (("--margins", "-1"), "margins is -1.0"),
        (("--lambda-l0", "1", "--lambda-share", "1"), "both lambda_l0 and lambda_share"),
    ],
)
def test_mistaken_flags_are_one_line(
    flags: tuple[str, ...], words: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(package), "--output", str(tmp_path / "w"), *flags]) == 2
    assert words in capsys.readouterr().err


def test_weights_of_groups_shape_the_loss(package: Path, tmp_path: Path) -> None:
    """At the start the loss is the sum of the levels' mean losses, each times its weight.

    Delaware's only district repeats the state's rows, and stays when states have no weight.
    """
    losses = []
    for output, weights in (
        ("even", ()),
        ("one", ("district=0", "state=0")),
        ("two", ("district=5", "national=0.5", "state=0")),
    ):
        flags = [flag for weight in weights for flag in ("--group-weight", weight)]
        command = ["fit", str(package), "--groups", "geo_level", *flags, *FAST, "--output", str(tmp_path / output)]
        assert main(command) == 0
        config = json.loads((tmp_path / output / "unified_run_config.json").read_text())
        assert config["group_weights"] == list(weights)
        losses.append(config["initial_loss"])
    even, national, weighted = losses
    district = (weighted - 0.5 * national) / 5
    assert 0 < national < even - district
    start = Package.open(package)
    estimate = start.matrix.estimates(start.initial_weights)
    value = start.targets["value"]
    means = (((estimate - value) / value.clip(1.0)) ** 2).groupby(start.targets["geo_level"]).mean()
    assert national == pytest.approx(means["national"])
    assert district == pytest.approx(means["district"])


def test_margins_and_groups_shape_the_loss(package_parts: dict[str, Any], tmp_path: Path) -> None:
    targets = package_parts["targets"]
    margins = targets.assign(tolerance=0.5 * targets["value"], original_value=2 * targets["value"])
    write_package(tmp_path / "package", **{**package_parts, "targets": margins})
    command = ["fit", str(tmp_path / "package"), "--groups", "geo_level", *FAST]
    losses = []
    for share in ("0", "1", "1000"):
        output = tmp_path / share
        status = main([*command, "--output", str(output), "--margins", share])
        assert status == (2 if share == "1000" else 0)  # where nothing is lost at the start, nothing is won
        if not status:
            losses.append(json.loads((output / "unified_run_config.json").read_text())["initial_loss"])
    assert losses[0] > losses[1] > 0
