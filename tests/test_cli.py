"""The command: one clear line for what a user can mend, and never a half-written result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from geocal_core.cli import main
from geocal_core.places.catalogue import AREA_KEYS


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith("geocal: error: ")
    assert "Traceback" not in captured.err
    return lines[-1].removeprefix("geocal: error: ")


def test_unknown_names_are_refused_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no stage 'weight'" in refused(capsys, "stage", "weight", "--config", '{"root": "x"}')
    assert "no profile 'huge'" in refused(capsys, "demo", "--profile", "huge", "--root", str(tmp_path))
    assert "no entry" not in refused(capsys, "stage", "cps", "--config", "{}")
    assert "'rot'" in refused(capsys, "stage", "cps", "--config", json.dumps({"root": str(tmp_path), "rot": 1}))
    assert "is not JSON" in refused(capsys, "stage", "cps", "--config", "{")
    assert "does not exist" in refused(capsys, "stage", "cps", "--config", str(tmp_path / "absent.json"))
    assert "not a folder" in refused(capsys, "targets", "build", "--raw", str(tmp_path / "absent"))
    assert "not a calibration package" in refused(capsys, "fit", str(tmp_path / "absent"), "--output", str(tmp_path / "w"))
    assert "no area 'XX'" in refused(capsys, "areas", "validate", "XX", "--root", str(tmp_path))


@pytest.mark.parametrize(
    ("stage", "config", "words"),
    [
        ("geography", {"settings": {"clones": "x"}}, "setting clones of GeographySettings is 'x'; it must be a whole number"),
        ("geography", {"settings": {"clones": 1.5}}, "setting clones"),
        ("geography", {"settings": {"clones": True}}, "setting clones"),
        ("geography", {"settings": {"clones": 10**30}}, "setting clones"),
        ("geography", {"settings": {"seed": None}}, "setting seed"),
        ("geography", {"settings": {"top_agi_share": float("nan")}}, "it must be a finite number"),
        ("geography", {"settings": {"agi_level": 5}}, "it must be a text"),
        ("blocks", {"settings": {"states": "CA"}}, "it must be a list of texts"),
        ("blocks", {"settings": {"states": [5]}}, "it must be a list of texts"),
        ("blocks", {"settings": {"states": []}}, "none or repeated"),
        ("blocks", {"settings": {"states": ["DE", "DE"]}}, "none or repeated"),
        ("blocks", {"settings": []}, "settings of the configuration are no object"),
        ("area_h5", {"areas": "DE"}, "areas of the configuration are no list of keys"),
        ("area_h5", {"areas": [5]}, "areas of the configuration are no list of keys"),
        ("report", {"areas": ["DE"]}, "stage report is not made by areas"),
        ("blocks", {"root": "~nobody-of-this-name/x"}, "is no folder"),
        ("blocks", {"root": "a\0b"}, "is no folder"),
    ],
)
def test_configurations_of_another_form(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stage: str, config: dict[str, object], words: str
) -> None:
    assert words in refused(capsys, "stage", stage, "--config", json.dumps({"root": str(tmp_path), **config}))
    assert list(tmp_path.iterdir()) == []


def test_an_output_never_replaces_what_it_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The folder of another thing, such as the package itself, would be lost with all that it holds."""
    (tmp_path / "home").mkdir()
    precious = tmp_path / "home" / "file"
    precious.write_text("precious")
    package = str(tmp_path / "home")
    for output in (package, str(precious), "/"):
        assert "give --output a new folder" in refused(capsys, "fit", package, "--output", output)
    assert "is a folder" in refused(capsys, "targets", "build", "--raw", package, "--output", package)
    assert precious.read_text() == "precious"


def test_a_stage_without_its_input_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    message = refused(capsys, "stage", "cps", "--config", json.dumps({"root": str(tmp_path)}))
    assert "raw/census_asec is not in the store" in message
    assert not (tmp_path / "microdata").exists()


def test_the_catalogue_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["areas", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(AREA_KEYS)


def test_own_areas_are_listed_after_the_488(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "key,level,name,state,field,values,validation,source\nKINGS,county,Kings County,NY,county_fips,36047,state,Census\n"
    )
    monkeypatch.setenv("GEOCAL_AREAS", str(path))
    assert main(["areas", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["KINGS", "county", "Kings", "County"]
    monkeypatch.setenv("GEOCAL_AREAS", str(tmp_path / "none.csv"))
    assert "does not exist; name a csv file of areas" in refused(capsys, "areas", "list")


def test_the_command_is_light_to_start() -> None:
    heavy = ("torch", "pandas", "policyengine_us", "h5py", "sklearn", "dagster")
    script = f"import sys, geocal_core.cli; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
