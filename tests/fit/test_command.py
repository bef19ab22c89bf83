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
from geocal_core.matrix.package import write_package

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
