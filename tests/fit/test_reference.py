"""``geocal rake``: weights with a certificate, and the names of targets that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.cli import main
from geocal_core.fit.reference import FILES
from geocal_core.matrix.package import Package, write_package


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Path:
    """Its two states' adults are a quarter fewer than the nation's."""
    targets = package_parts["targets"].copy()
    fought = (targets["quantity"] == 1) & (targets["geo_level"] == "state")
    targets.loc[fought, "value"] *= 0.75
    write_package(tmp_path / "package", **{**package_parts, "targets": targets})
    return tmp_path / "package"


def test_it_certifies_its_weights_and_names_who_fights(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "dense"
    assert main(["rake", str(package), "--output", str(output), "--bounds", "0.2", "5", "--gap", "1e-6"]) == 0
    assert {path.name for path in output.iterdir()} <= FILES
    facts = json.loads((output / "rake.json").read_text())
    assert facts["converged"]
    assert 0 <= facts["gap"] <= 1e-6
    assert facts["weight_bounds"] == [0.2, 5.0]
    opened = Package.open(package)
    weights = np.load(output / "calibration_weights.npy")
    ratio = weights / opened.initial_weights
    assert ratio.min() >= 0.2
    assert ratio.max() <= 5.0
    prices = pd.read_csv(output / "shadow_prices.csv").set_index("target")
    estimates = pd.Series(opened.matrix.estimates(weights), index=opened.targets["name"])
    assert np.allclose(prices["estimate"], estimates[prices.index], rtol=1e-9)
    sums = pd.read_csv(output / "conflicting_sums.csv").set_index("whole")
    nation = sums.loc["national/person_count/[age>4]"]
    assert nation["relative"] == pytest.approx(-0.25)
    assert nation["estimate"] == pytest.approx(estimates["national/person_count/[age>4]"])
    text = (output / "conflicts.md").read_text()
    assert "national/person_count/[age>4] is to be" in text
    assert "no weights meet both" in text
    assert text in capsys.readouterr().out
    worst = pd.read_csv(output / "conflicts.csv")
    assert worst["gain"].notna().sum() == 3
    assert (worst["gain"].dropna() <= worst["gain_first_order"][worst["gain"].notna()] * (1 + 1e-6)).all()


def test_without_bounds_no_weight_is_held(package: Path, tmp_path: Path) -> None:
    output = tmp_path / "dense"
    assert main(["rake", str(package), "--output", str(output), "--no-bounds", "--solved", "0"]) == 0
    facts = json.loads((output / "rake.json").read_text())
    assert facts["weight_bounds"] is None
    assert facts["at_lower"] == facts["at_upper"] == 0
    assert "Weights without bounds" in (output / "conflicts.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--bounds", "2", "5"), "bounds"),
        (("--price", "-1"), "price is -1"),
        (("--gap", "0"), "gap is 0"),
        (("--most", "-1"), "most is -1"),
        (("--target-config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    assert main(["rake", str(package), "--output", str(tmp_path / "dense"), *flags]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("geocal: error: ")
    assert words in line
    assert not (tmp_path / "dense").exists()


def test_a_folder_of_other_things_is_left_alone(package: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    assert main(["rake", str(package), "--output", str(tmp_path / "home")]) == 2
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
