from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.output import FILES
from geocal_core.fit.stage import build, fit_package
from geocal_core.matrix.package import Package, write_package
from geocal_core.progress import Silent
from geocal_core.running import run_stage
from geocal_core.settings import FitSettings
from geocal_core.store import Manifest, Store, digest_path

SETTINGS = FitSettings(epochs=60, refit_epochs=20)


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Path:
    write_package(tmp_path / "package", **package_parts)
    return tmp_path / "package"


def _context(package: Path, root: Path, settings: FitSettings = SETTINGS) -> StageContext:
    return StageContext(
        name="weights",
        inputs={"calibration_package": package},
        input_digests={},
        output=root / "weights",
        scratch=root / "scratch",
        settings=settings,
        reporter=Silent(),
        store=Store(root),
        fingerprint="",
    )


def test_the_folder_holds_what_the_next_stages_read(package: Path, tmp_path: Path) -> None:
    context = _context(package, tmp_path / "a")
    numbers = build(context)
    names = set(FILES)
    assert {path.name for path in context.output.iterdir()} == names
    opened = Package.open(package)
    weights = np.load(context.output / "calibration_weights.npy")
    assert weights.dtype == np.float64
    assert weights.shape == (opened.n_columns,)
    assert (weights >= 0).all()
    diagnostics = pd.read_csv(context.output / "unified_diagnostics.csv")
    assert diagnostics["target"].tolist() == opened.targets["name"].tolist()
    assert np.allclose(diagnostics["estimate"], opened.matrix.tocsr().astype(np.float64) @ weights, rtol=1e-12)
    assert diagnostics["achievable"].tolist() == [True] * 12 + [False]
    config = json.loads((context.output / "unified_run_config.json").read_text())
    assert config["unsupported_targets"] == ["state_10/snap/<&>"]
    assert config["weight_format"] == "clone_level"
    assert config["package_digest"] == opened.digest
    assert config["package_inputs"] == opened.manifest["inputs"]
    assert config["package_seed"] == opened.seed
    assert config["package_takeup"] == opened.manifest.get("takeup", "")
    assert config["weight_nonzero"] == np.count_nonzero(weights) == numbers["kept"]
    for name, digest in config["artifacts"].items():
        assert digest == f"sha256:{digest_path(context.output / name)}"
    assert set(config["artifacts"]) == names - {"unified_run_config.json"}
    assert isinstance(context.reporter, Silent)
    assert context.reporter.checks == {"weights_valid": True, "fit_improved": True}
    assert numbers["targets"] == 13
    assert numbers["imputed_share"] == "unknown"
    assert numbers["targets_unsupported"] == 1
    assert numbers["loss"] < numbers["initial_loss"]
    card = json.loads((context.output / "scorecard.json").read_text())
    assert card["optimality"]["loss"] == pytest.approx(numbers["loss"])
    assert card["fitted"]["all"][0]["max"] == pytest.approx(numbers["max"])
    assert all(isinstance(value, int | float | str | bool) for value in numbers.values())


def test_the_same_seed_gives_the_same_bytes_in_every_file(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for workers in ("1", "2"):
        monkeypatch.setenv("GEOCAL_WORKERS", workers)
        context = _context(package, tmp_path / workers)
        results.append((build(context), digest_path(context.output)))
    assert results[0] == results[1]


def test_settings_override_the_preset(package: Path, tmp_path: Path) -> None:
    context = _context(package, tmp_path / "a", FitSettings(preset="national", epochs=20, refit_epochs=0, beta=0.65))
    build(context)
    config = json.loads((context.output / "unified_run_config.json").read_text())
    assert (config["preset"], config["lambda_l0"], config["beta"]) == ("national", 1e-4, 0.65)


def test_the_scorecard_is_under_the_loss_of_the_fit(package: Path, tmp_path: Path) -> None:
    settings = FitSettings(epochs=20, refit_epochs=5, groups="geo_level", huber=0.1, scale="reference")
    context = _context(package, tmp_path / "a", settings)
    numbers = build(context)
    card = json.loads((context.output / "scorecard.json").read_text())
    assert card["optimality"]["loss"] == pytest.approx(numbers["loss"])


def test_a_checkpoint_in_scratch_is_taken_up(package: Path, tmp_path: Path) -> None:
    whole = _context(package, tmp_path / "a")
    build(whole)
    half = _context(package, tmp_path / "b", FitSettings(epochs=30, refit_epochs=0))
    build(half)
    rest = _context(package, tmp_path / "b")
    rest.output = tmp_path / "b" / "rest"
    build(rest)
    assert isinstance(rest.reporter, Silent)
    assert any("going on from epoch 30" in line for line in rest.reporter.messages)
    assert digest_path(rest.output) == digest_path(whole.output)


def test_a_fit_that_does_not_improve_is_refused(package: Path, tmp_path: Path, package_parts: dict[str, Any]) -> None:
    solved = tmp_path / "solved"
    exact = Package.open(package).matrix.matvec(package_parts["initial_weights"])
    exact[-1] = 7.0
    write_package(solved, **{**package_parts, "targets": package_parts["targets"].assign(value=exact)})
    reporter = Silent()
    with pytest.raises(ArtifactError, match="the fit did not improve on its starting weights"):
        fit_package(solved, tmp_path / "weights", tmp_path / "scratch", FitSettings(epochs=3, refit_epochs=0), reporter)
    assert reporter.checks == {"weights_valid": True, "fit_improved": False}
    assert not (tmp_path / "weights").exists()


def test_refusals_leave_nothing(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset"):
        fit_package(package, tmp_path / "weights", tmp_path / "scratch", FitSettings(preset="x"), Silent())
    (package / "variants" / "data.npy").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"data\.npy"):
        fit_package(package, tmp_path / "weights", tmp_path / "scratch", SETTINGS, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def _rules(folder: Path, text: str) -> FitSettings:
    path = folder / "mine.yaml"
    path.write_text(text)
    return FitSettings(epochs=60, refit_epochs=20, targets=str(path))


def test_a_selection_narrows_the_targets_of_a_package(package: Path, tmp_path: Path) -> None:
    settings = _rules(tmp_path, "exclude:\n- variable: snap\nholdout:\n- {variable: person_count, geo_level: district}\n")
    context = _context(package, tmp_path / "a", settings)
    numbers = build(context)
    diagnostics = pd.read_csv(context.output / "unified_diagnostics.csv")
    names = Package.open(package).targets["name"]
    assert diagnostics["target"].tolist() == names[:12].tolist()
    assert diagnostics["held_out"].tolist() == diagnostics["target"].str.startswith("cd_").tolist()
    assert (numbers["targets"], numbers["targets_held_out"], numbers["targets_unsupported"]) == (12, 6, 0)
    assert numbers["held_out_max"] == pytest.approx(diagnostics.loc[diagnostics["held_out"], "abs_rel_error"].max())
    assert numbers["max"] == pytest.approx(diagnostics.loc[~diagnostics["held_out"], "abs_rel_error"].max())
    assert numbers["max"] < numbers["held_out_max"]
    config = json.loads((context.output / "unified_run_config.json").read_text())
    assert (config["n_targets"], config["n_held_out"], config["targets"]) == (12, 6, settings.targets)
    assert config["held_out_mean_error_pct"] > config["mean_error_pct"]


def test_held_out_values_change_no_byte_of_the_weights(tmp_path: Path, package_parts: dict[str, Any]) -> None:
    written = []
    for factor in (1.0, 1000.0):
        targets = package_parts["targets"]
        held = targets["geo_level"] == "state"
        scaled = targets.assign(held_out=held, value=targets["value"] * np.where(held, factor, 1.0))
        folder = tmp_path / f"{factor:.0f}"
        write_package(folder / "package", **{**package_parts, "targets": scaled})
        build(_context(folder / "package", folder))
        written.append(folder / "weights")
    first, second = (digest_path(folder / "calibration_weights.npy") for folder in written)
    assert first == second
    scores = [
        pd.read_csv(folder / "unified_diagnostics.csv").query("held_out and achievable")["abs_rel_error"] for folder in written
    ]
    assert (scores[0].dropna() != scores[1].dropna()).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exclude:\n- variable: snpa\n", r"mine\.yaml, exclude rule 1 .* variable is one of 'snap'"),
        ("holdout:\n- variable: person_count\n- variable: snap\n", "holds out every target that it selects"),
        ("include:\n- variable: snap\n", "no target has a record with a non-zero value"),
    ],
)
def test_a_selection_that_leaves_nothing_to_fit_is_refused(package: Path, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises((ConfigError, ArtifactError), match=words):
        build(_context(package, tmp_path / "a", _rules(tmp_path, text)))
    assert not (tmp_path / "a" / "weights").exists()


def test_a_changed_file_of_rules_is_another_fit(package: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    artifact = store.path("calibration/package")
    artifact.parent.mkdir(parents=True)
    package.rename(artifact)
    store.commit(Manifest("calibration/package", digest_path(artifact), ""))
    reused = []
    for text in ("exclude: [{variable: snap}]\n", "# why\nexclude: [{variable: snap}]\n", "holdout: [{variable: snap}]\n"):
        settings = _rules(tmp_path, text)
        reused.append(run_stage("weights", settings, store, Silent()).reused)
    assert reused == [False, True, False]
