from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError
from geocal_core.fit.stage import fit_package
from geocal_core.matrix.package import Package, write_package
from geocal_core.progress import Silent
from geocal_core.report.stage import build
from geocal_core.settings import FitSettings, ReportSettings
from geocal_core.store import Store, digest_path
from tests.fit.conftest import package_parts

__all__ = ["package_parts"]


class _Page(HTMLParser):
    """Collects the cells of the tables, all text, and whatever would be loaded from outside."""

    void = frozenset({"circle", "line", "meta", "path", "polyline", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.outside: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe"}:
            self.outside.append(tag)
        self.outside += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.void

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def context(tmp_path: Path, package_parts: dict[str, Any]) -> StageContext:
    package, weights = tmp_path / "package", tmp_path / "weights"
    parts = dict(package_parts)
    targets = parts["targets"].copy()
    targets.loc[1, "value"] = 0.0  # children of Delaware: a target of 0 that records add to
    write_package(package, **{**parts, "targets": targets})
    fit_package(package, weights, tmp_path / "scratch", FitSettings(epochs=40, refit_epochs=20), Silent())
    return StageContext(
        name="report",
        inputs={"calibration_package": package, "weights": weights},
        input_digests={},
        output=tmp_path / "report",
        scratch=tmp_path / "scratch",
        settings=ReportSettings(worst=5),
        reporter=Silent(),
        store=Store(tmp_path),
        fingerprint="",
    )


def test_errors_are_those_of_the_weights(context: StageContext) -> None:
    numbers = build(context)
    package = Package.open(context.inputs["calibration_package"])
    weights = np.load(context.inputs["weights"] / "calibration_weights.npy")
    errors = pd.read_csv(context.output / "errors.csv")
    exact = package.matrix.tocsr().toarray().astype(np.float64) @ weights
    value = package.targets["value"].to_numpy()
    assert errors["name"].tolist() == package.targets["name"].tolist()
    assert np.allclose(errors["estimate"], exact, rtol=1e-12)
    assert np.allclose(errors["error"], exact - value, rtol=1e-9, atol=1e-9)
    fitted = (value != 0) & package.supported
    relative = np.abs(exact - value)[fitted] / value[fitted]
    assert numbers["within_1"] == np.mean(relative <= 0.01)
    assert numbers["max"] == pytest.approx(relative.max())
    summary = json.loads((context.output / "summary.json").read_text())
    assert summary["overall"]["median"] == pytest.approx(np.median(relative))
    assert summary["unsupported"] == ["state_10/snap/<&>"]
    assert summary["zero"] == ["state_10/person_count/[age<5]"]
    assert [row["level"] for row in summary["levels"]] == ["national", "state", "district"]
    assert sum(row["targets"] for row in summary["families"]) == 13
    assert all(row["estimate_gap"] < 1e-12 for row in summary["additivity"])
    assert summary["weights"]["kept"] == np.count_nonzero(weights)


def test_the_page_is_whole_escaped_and_needs_nothing_from_outside(context: StageContext) -> None:
    build(context)
    content = (context.output / "index.html").read_text()
    parser = _Page()
    parser.feed(content)
    assert parser.open == []
    assert parser.outside == []
    assert "<&>" not in content
    assert "state_10/snap/<&>" in parser.text
    for words in ("Report of errors", "Errors by level", "Worst targets", "Targets without support (1)", "Targets of zero (1)"):
        assert words in parser.text
    for area in ("US", "DE", "WY-01"):
        assert area in parser.text
    assert content.count("<svg") == 2
    assert "url(" not in content
    assert "@import" not in content


def test_the_same_inputs_give_the_same_bytes(context: StageContext) -> None:
    build(context)
    first = digest_path(context.output)
    context.output = context.output.with_name("again")
    build(context)
    assert digest_path(context.output) == first


def _cut_weights(folder: Path) -> None:
    np.save(folder / "calibration_weights.npy", np.ones(3))


def _negative_weights(folder: Path) -> None:
    weights = np.load(folder / "calibration_weights.npy")
    np.save(folder / "calibration_weights.npy", -weights)


def _other_package(folder: Path) -> None:
    path = folder / "unified_run_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"package_digest": "0" * 64}))


def _no_config(folder: Path) -> None:
    (folder / "unified_run_config.json").unlink()


def _damaged_weights(folder: Path) -> None:
    (folder / "calibration_weights.npy").write_bytes(b"\x93NUMPY")


def _no_log(folder: Path) -> None:
    (folder / "calibration_log.csv").write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_cut_weights, r"calibration_weights\.npy holds float64 of shape \(3,\)"),
        (_negative_weights, "weights that are negative or not finite"),
        (_other_package, "belongs to package 0000"),
        (_no_config, r"unified_run_config\.json cannot be read"),
        (_damaged_weights, r"calibration_weights\.npy cannot be read"),
        (_no_log, r"calibration_log\.csv cannot be read"),
    ],
)
def test_weights_that_do_not_belong_are_refused(spoil: Callable[[Path], None], words: str, context: StageContext) -> None:
    spoil(context.inputs["weights"])
    with pytest.raises(ArtifactError, match=words):
        build(context)
    assert not context.output.exists()


def _without_diagnostics(folder: Path) -> None:
    (folder / "unified_diagnostics.csv").unlink()


def _other_targets(folder: Path) -> None:
    (folder / "unified_diagnostics.csv").write_text("target,held_out\nelsewhere,False\n")


def _unmarked(folder: Path) -> None:
    (folder / "unified_diagnostics.csv").write_text("target,held_out\nnational/person_count/[age<5],\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_diagnostics, r"unified_diagnostics\.csv cannot be read"),
        (_other_targets, r"unified_diagnostics\.csv does not list targets of the package"),
        (_unmarked, r"unified_diagnostics\.csv does not list targets of the package"),
    ],
)
def test_diagnostics_that_do_not_belong_are_refused(spoil: Callable[[Path], None], words: str, context: StageContext) -> None:
    spoil(context.inputs["weights"])
    with pytest.raises(ArtifactError, match=words):
        build(context)


def test_what_is_held_out_or_left_out_stands_apart(context: StageContext, tmp_path: Path) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text("exclude: [{variable: snap}]\nholdout: [{variable: person_count, geo_level: state}]\n")
    settings = FitSettings(epochs=40, refit_epochs=20, targets=str(rules))
    weights = tmp_path / "held"
    fit_package(context.inputs["calibration_package"], weights, tmp_path / "scratch2", settings, Silent())
    context.inputs = {**context.inputs, "weights": weights}
    numbers = build(context)
    errors = pd.read_csv(context.output / "errors.csv")
    assert errors["family"].unique().tolist() == ["person_count by age"]
    assert errors["held_out"].tolist() == (errors["level"] == "state").tolist()
    assert (numbers["targets"], numbers["targets_held_out"]) == (12, 4)
    summary = json.loads((context.output / "summary.json").read_text())
    assert [row["level"] for row in summary["levels"]] == ["national", "district"]
    assert [row["level"] for row in summary["held_out"]["levels"]] == ["state"]
    held = errors[errors["held_out"]]
    assert summary["held_out"]["overall"]["max"] == pytest.approx(held["abs_rel_error"].max())
    assert numbers["held_out_median"] == pytest.approx(held["abs_rel_error"].median())
    assert summary["zero"] == []  # the only target of zero is held out
    content = (context.output / "index.html").read_text()
    assert "The fit never saw them" in content
    assert ">held out</text>" in content
    assert summary["weights"]["effective_sample_size"] > 0
