"""The scorecard against pandas on the explicit matrix, its invariants, its files, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from geocal_core.errors import ArtifactError
from geocal_core.fit.output import CHARTS, FILES, SCORECARD_FILES, write_scorecard
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.rendering import markdown
from geocal_core.fit.scorecard import Scorecard, scorecard
from geocal_core.matrix.package import Package, write_package
from geocal_core.store import atomic, digest_path


@pytest.fixture
def package(tmp_path: Path, package_parts: dict[str, Any]) -> Package:
    targets = package_parts["targets"].copy()
    targets.loc[1, "value"] = 0.0
    targets["held_out"] = np.arange(len(targets)) % 5 == 3
    imputed = np.arange(40) % 3 > 0
    write_package(tmp_path / "package", **{**package_parts, "targets": targets}, imputed=imputed)
    return Package.open(tmp_path / "package")


@pytest.fixture
def weights(package: Package) -> np.ndarray:
    rng = np.random.default_rng(8)
    return rng.lognormal(5, 1, package.n_columns) * (rng.random(package.n_columns) < 0.7)


def test_every_group_is_what_pandas_makes_of_it(package: Package, weights: np.ndarray) -> None:
    card = scorecard(package, weights)
    frame = package.targets.assign(
        estimate=package.matrix.tocsr().toarray().astype(float) @ weights,
        family=["person_count by age"] * 12 + ["snap"],
        supported=[True] * 12 + [False],
    )
    frame["error"] = (frame["estimate"] - frame["value"]).abs()
    frame["relative"] = frame["error"] / frame["value"]
    for row in card.table.to_dict("records"):
        mine = frame[frame["held_out"] == row["held_out"]]
        for key, column in (("level", "geo_level"), ("family", "family"), ("geographic_id", "geographic_id")):
            if row[key]:
                mine = mine[mine[column] == row[key]]
        scored = mine[mine["supported"] & (mine["value"] != 0)]
        zero = mine[mine["supported"] & (mine["value"] == 0)]
        counts = {"targets": len(mine), "unsupported": (~mine["supported"]).sum(), "zero": len(zero), "scored": len(scored)}
        assert {name: row[name] for name in counts} == counts
        wanted = {
            f"within_{name}": (scored["relative"] <= at).mean() for name, at in (("0_5", 0.005), ("5", 0.05), ("10", 0.1))
        }
        wanted |= {f"p{q}": scored["relative"].quantile(q / 100) for q in (90, 99)}
        wanted |= {"median": scored["relative"].median(), "max": scored["relative"].max()}
        wanted |= {"zero_median": zero["error"].median(), "zero_max": zero["error"].max()}
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, nan_ok=True)
    for held_out in (False, True):
        n = int((frame["held_out"] == held_out).sum())
        for by in ("all", "level", "family", "level and family", "area"):
            assert card.group(by, held_out)["targets"].sum() == n
    assert card.group("area")["geographic_id"].tolist()[0] == "US"


def test_weights_and_districts_are_described(package: Package, weights: np.ndarray) -> None:
    card = scorecard(package, weights)
    by_district = pd.Series(weights).groupby(package.district)
    assert card.districts["district"].tolist() == [1001, 5601, 5602]
    assert card.districts["sum"].tolist() == pytest.approx(by_district.sum().tolist())
    assert card.weights["effective_sample_size_of_district_least"] == pytest.approx(
        (by_district.sum() ** 2 / by_district.apply(lambda w: (w**2).sum())).min()
    )
    assert card.weights["kept"] == np.count_nonzero(weights) == len(card.columns)


def test_the_weight_of_imputed_records_is_told_overall_and_by_district(package: Package, weights: np.ndarray) -> None:
    card = scorecard(package, weights)
    frame = pd.DataFrame({"w": weights, "district": package.district, "imputed": [i % 40 % 3 > 0 for i in range(len(weights))]})
    imputed = frame[frame["imputed"]]
    assert card.weights["imputed_share"] == pytest.approx(imputed["w"].sum() / weights.sum())
    assert card.weights["imputed_share_of_kept"] == pytest.approx((imputed["w"] > 0).sum() / (weights > 0).sum())
    shares = imputed.groupby("district")["w"].sum() / frame.groupby("district")["w"].sum()
    assert card.districts["imputed_share"].tolist() == pytest.approx(shares.tolist())
    assert f"| imputed share | {100 * card.weights['imputed_share']:.2f} % |" in markdown(card)


def test_what_is_not_known_to_be_imputed_is_unknown_and_not_nothing(
    package: Package, package_parts: dict[str, Any], weights: np.ndarray, tmp_path: Path
) -> None:
    write_package(tmp_path / "untold", **package_parts)
    card = scorecard(Package.open(tmp_path / "untold"), weights)
    told = _read(tmp_path / "a", card)
    assert [told["weights"][name] for name in ("imputed_share", "imputed_share_of_kept")] == [None, None]
    assert "| imputed share | unknown |" in (tmp_path / "a" / "scorecard.md").read_text()
    assert pd.read_csv(tmp_path / "a" / "scorecard_districts.csv")["imputed_share"].isna().all()
    assert scorecard(package, 0 * weights).weights["imputed_share"] == 0
    assert scorecard(package, np.where(package.imputed_columns, weights, 0)).weights["imputed_share"] == 1


def test_levels_add_up_to_rounding(package: Package, weights: np.ndarray) -> None:
    gaps = scorecard(package, weights).additivity
    assert set(gaps) == {"national_gap", "state_gap"}
    assert max(gaps.values()) < 1e-12


def test_the_order_of_targets_and_columns_does_not_matter(package: Package, weights: np.ndarray) -> None:
    card = scorecard(package, weights)
    rng = np.random.default_rng(2)
    rows, columns = rng.permutation(len(package.targets)), rng.permutation(package.n_columns)
    matrix, targets = package.matrix.tocsr()[rows][:, columns], package.targets.iloc[rows].reset_index(drop=True)
    made = problem(matrix, targets, package.initial_weights[columns])
    imputed = package.imputed_columns
    assert imputed is not None
    other = scorecard(made, weights[columns], targets, package.district[columns], imputed[columns])
    pd.testing.assert_frame_equal(other.table, card.table, rtol=1e-9)
    pd.testing.assert_frame_equal(other.districts, card.districts, rtol=1e-12)
    assert other.weights == pytest.approx(card.weights)
    assert other.optimality == pytest.approx(card.optimality)


def test_optimality_is_that_of_the_loss(package: Package, weights: np.ndarray) -> None:
    made = problem(package.matrix, package.targets, package.initial_weights)
    found = scorecard(package, weights).optimality
    rows = made.matrix.tocsr().toarray().astype(float)
    scaled, wanted = rows / made.scale[:, None], made.target / made.scale
    gradient = 2 * scaled.T @ (scaled @ weights - wanted)
    free = np.where(weights > 0, gradient, np.minimum(gradient, 0))
    assert found["loss"] == pytest.approx(np.sum((scaled @ weights - wanted) ** 2))
    assert found["projected_gradient"] == pytest.approx(np.linalg.norm(free))
    assert found["projected_gradient_kept"] == pytest.approx(np.linalg.norm(gradient[weights > 0]))
    assert found["loss_slope"] == pytest.approx(np.abs(gradient * weights).sum() / found["loss"])
    best, _ = nnls(scaled, wanted)
    assert scorecard(package, best).optimality["projected_gradient"] < 1e-4 * found["projected_gradient"]


def test_a_problem_without_a_table_has_one_level_and_no_districts(small: Problem) -> None:
    card = scorecard(small, small.initial_weights)
    assert card.table["by"].tolist() == ["all", "level", "family", "level and family", "area"]
    assert card.table["targets"].tolist() == [12] * 5
    assert card.additivity == {}
    assert card.districts.empty
    assert "districts" not in card.weights


def _read(folder: Path, card: Scorecard) -> dict[str, Any]:
    folder.mkdir()
    write_scorecard(folder, card)
    return json.loads((folder / "scorecard.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def test_the_files_tell_the_same(package: Package, weights: np.ndarray, tmp_path: Path) -> None:
    card = scorecard(package, weights)
    told = _read(tmp_path / "a", card)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == set(SCORECARD_FILES) <= FILES
    table = pd.read_csv(tmp_path / "a" / "scorecard.csv", keep_default_na=False, na_values={"max": "", "median": ""})
    assert table["max"].tolist() == pytest.approx(card.table["max"].tolist(), nan_ok=True)
    (overall,) = told["fitted"]["all"]
    assert overall["median"] == pytest.approx(card.group("all")["median"].iloc[0])
    assert [row["level"] for row in told["held_out"]["level"]] == ["state", "district"]
    assert told["weights"]["kept"] == np.count_nonzero(weights)
    assert told["optimality"] == pytest.approx(card.optimality)
    for name in CHARTS.values():
        tree = ElementTree.parse(tmp_path / "a" / name).getroot()
        assert [child.tag.rpartition("}")[2] for child in tree][:2] == ["style", "title"]
    text = (tmp_path / "a" / "scorecard.md").read_text()
    assert "nan" not in text
    for heading in ("## Fitted targets", "## Targets held out", "## Weights", "## Do the levels add up", "## Optimality"):
        assert heading in text
    widths = {line.count("|") for line in text.split("## Weights")[1].split("##")[0].splitlines() if line}
    assert widths == {3}
    _read(tmp_path / "b", scorecard(package, weights))
    assert digest_path(tmp_path / "a") == digest_path(tmp_path / "b")


def test_a_card_of_nothing_but_zeros_can_be_written(small: Problem, tmp_path: Path) -> None:
    card = scorecard(small, np.zeros(60))
    told = _read(tmp_path / "a", card)
    assert told["weights"]["effective_sample_size"] == 0
    assert told["held_out"]["all"] == []
    assert not (tmp_path / "a" / CHARTS["districts"]).exists()
    assert "Targets held out" not in markdown(card)
    assert math.isfinite(card.optimality["projected_gradient"])


@pytest.mark.parametrize("name", SCORECARD_FILES)
def test_a_full_disk_leaves_nothing(name: str, package: Package, weights: np.ndarray, tmp_path: Path) -> None:
    card = scorecard(package, weights)

    def write() -> None:
        with atomic(tmp_path / "fit") as temporary:
            temporary.mkdir()
            (temporary / name).symlink_to("/dev/full")
            write_scorecard(temporary, card)

    with pytest.raises(OSError, match="No space left"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: scorecard(p, np.ones(59)), r"there are 60 columns and weights of shape \(59,\)"),
        (lambda p: scorecard(p, np.full(60, np.nan)), "the weight of column 0 is nan"),
        (lambda p: scorecard(p, -np.ones(60)), "the weight of column 0 is -1"),
        (lambda p: scorecard(p, np.ones(60), pd.DataFrame({"name": ["a"]})), "12 targets and the table tells of 1"),
        (lambda p: scorecard(p, np.ones(60), district=np.ones(3, int)), r"districts of shape \(3,\)"),
        (lambda p: scorecard(p, np.ones(60), imputed=np.ones(3, bool)), r"imputed records of shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[Problem], object], words: str, small: Problem) -> None:
    with pytest.raises(ArtifactError, match=words):
        call(small)
