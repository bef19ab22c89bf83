"""Area files: the right households with the right weights, made once, made again only where something changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.areas.stage import build
from geocal_core.context import StageContext
from geocal_core.engine.takeup import rates
from geocal_core.errors import ArtifactError, ConfigError, GeocalError
from geocal_core.places.assignment import Geography, assign
from geocal_core.places.catalogue import area
from geocal_core.population import Population, read_h5, write_h5
from geocal_core.progress import Silent
from geocal_core.settings import AreaSettings
from geocal_core.store import Store
from tests.population.conftest import random_population

KEYS = ("US", "DE", "DE-01", "NY", "NY-12", "WY", "WY-01", "NYC")


def small_geography(households: int, clones: int) -> Geography:
    places = {1001: "10001", 5601: "56001", 3612: "36061", 3601: "36103"}
    rows = [(f"{county}{n:010d}", district, 100 + n) for district, county in places.items() for n in range(5)]
    blocks = pd.DataFrame(rows, columns=["block_geoid", "district", "population"]).sort_values("block_geoid", ignore_index=True)
    agi = pd.Series(1.0, index=sorted(places))
    return assign(blocks.astype({"district": "int32"}), np.zeros(households, dtype=bool), agi, clones, 0)


def save_geography(path: Path, geography: Geography) -> None:
    np.savez(
        path,
        block_geoid=geography.block,
        cd_geoid=geography.district,
        county_fips=geography.county,
        state_fips=geography.state,
        n_records=np.array([geography.n_records]),
        n_clones=np.array([geography.n_clones]),
    )


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    base = random_population(2, 30).without(["place"])
    geography = small_geography(30, 20)
    weights = np.random.default_rng(0).random(600) * (np.random.default_rng(1).random(600) < 0.7)
    write_h5(base, tmp_path / "base.h5")
    save_geography(tmp_path / "geography.npz", geography)
    (tmp_path / "weights").mkdir()
    np.save(tmp_path / "weights" / "calibration_weights.npy", weights)
    calibrated = {"package_inputs": {"stratified_cps": "a", "geography": "b", "target_db": "t"}, "package_seed": 0}
    (tmp_path / "weights" / "unified_run_config.json").write_text(json.dumps(calibrated))
    return StageContext(
        name="area_h5",
        inputs={
            "stratified_cps": tmp_path / "base.h5",
            "geography": tmp_path / "geography.npz",
            "weights": tmp_path / "weights",
        },
        input_digests={"stratified_cps": "a", "geography": "b", "weights": "c"},
        output=tmp_path / "unused",
        scratch=tmp_path / "scratch",
        settings=AreaSettings(),
        reporter=Silent(),
        store=Store(tmp_path / "store"),
        fingerprint="f",
        areas=KEYS,
    )


def weights_of(context: StageContext) -> np.ndarray:
    return np.load(context.inputs["weights"] / "calibration_weights.npy")


def set_weights(context: StageContext, weights: np.ndarray, digest: str = "d") -> StageContext:
    np.save(context.inputs["weights"] / "calibration_weights.npy", weights)
    return replace(context, input_digests={**context.input_digests, "weights": digest}, reporter=Silent())


def read(context: StageContext, key: str) -> Population:
    return read_h5(context.store.verified(area(key).artifact)[0])


def test_a_file_holds_the_weighted_copies_of_its_area(context: StageContext) -> None:
    build(context)
    base = read_h5(context.inputs["stratified_cps"])
    geography = small_geography(30, 20)
    weights = weights_of(context)
    inside = {
        "US": np.ones(600, dtype=bool),
        "DE": geography.state == 10,
        "NY-12": geography.district == 3612,
        "NYC": np.char.startswith(geography.block, b"36061"),
    }
    for key, chosen in inside.items():
        columns = [c for c in range(600) if chosen[c] and weights[c] > 0]
        population = read(context, key)
        population.validate()
        assert population.count("household") == len(columns)
        np.testing.assert_allclose(population.weights, weights[columns], rtol=1e-6)
        assert population["block_geoid"].tolist() == [geography.block[c].decode() for c in columns]
        assert population["congressional_district_geoid"].tolist() == [geography.district[c] for c in columns]
        ages = [base["age"][base.household_of("person") == c % 30] for c in columns]
        np.testing.assert_allclose(population["age"], np.concatenate(ages))
        for program in rates():
            assert population.entity_of(program.variable) == program.entity


def test_the_same_household_and_clone_has_the_same_draws_in_every_file(context: StageContext) -> None:
    build(context)
    nation, district = read(context, "US"), read(context, "NY-12")
    mine = np.flatnonzero(nation["congressional_district_geoid"] == 3612)
    part = nation.take(mine)
    for entity, table in part.tables.items():
        for name, values in table.items():
            assert (values == district.tables[entity][name]).all(), name


def test_levels_add_up_and_the_check_says_so(context: StageContext) -> None:
    build(context)
    reporter = context.reporter
    assert isinstance(reporter, Silent)
    assert reporter.checks == {"areas_valid": True}
    total = {key: float(reporter.partitions[key]["weighted_households"]) for key in KEYS}
    assert total["DE"] + total["NY"] + total["WY"] == pytest.approx(total["US"], rel=1e-12)
    assert total["US"] == pytest.approx(weights_of(context).sum(), rel=1e-12)


def test_only_areas_that_changed_are_made_again(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(context)
    assert not first["reused"]
    again = build(replace(context, reporter=Silent()))
    assert again["reused"]
    assert again["digest"] == first["digest"]
    weights = weights_of(context)
    weights[np.flatnonzero(small_geography(30, 20).state == 56)[0]] = 5.0
    changed = set_weights(context, weights)
    monkeypatch.setenv("GEOCAL_WORKERS", "1")
    build(changed)
    assert isinstance(changed.reporter, Silent)
    made = {key for key, facts in changed.reporter.partitions.items() if not facts["reused"]}
    assert made == {"US", "WY", "WY-01"}
    assert changed.reporter.checks == {"areas_valid": True}


def test_a_block_that_moves_to_another_district_is_seen_in_every_file_that_holds_it(context: StageContext) -> None:
    build(context)
    geography = small_geography(30, 20)
    moved = replace(geography, district=np.where(geography.district == 3601, 3602, geography.district).astype(np.int32))
    save_geography(context.inputs["geography"], moved)
    again = replace(context, reporter=Silent(), areas=("US", "DE", "NY"))
    build(again)
    assert isinstance(again.reporter, Silent)
    assert {key for key, facts in again.reporter.partitions.items() if not facts["reused"]} == {"US", "NY"}
    for key in ("US", "NY"):
        districts = read(again, key)["congressional_district_geoid"]
        assert 3602 in districts
        assert 3601 not in districts


def of_another_file(context: StageContext) -> StageContext:
    return replace(context, input_digests={**context.input_digests, "stratified_cps": "other"})


def of_another_geography(context: StageContext) -> StageContext:
    return replace(context, input_digests={**context.input_digests, "geography": "other"})


def of_another_seed(context: StageContext) -> StageContext:
    return replace(context, settings=AreaSettings(seed=7))


def of_nothing(context: StageContext) -> StageContext:
    (context.inputs["weights"] / "unified_run_config.json").write_text("{}")
    return context


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        (of_another_file, ArtifactError, "weights of another stratified_cps"),
        (of_another_geography, ArtifactError, "weights of another geography"),
        (of_another_seed, ConfigError, "drawn with seed 0, the area files are to be drawn with seed 7"),
        (of_nothing, ArtifactError, "does not say what was calibrated"),
    ],
)
def test_weights_that_were_fitted_to_other_columns_are_refused(
    context: StageContext, changed: Callable[[StageContext], StageContext], kind: type[GeocalError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        build(changed(context))
    assert not context.store.path("areas").exists()


def test_an_empty_area_is_refused_and_the_others_are_kept(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(context)
    emptied = set_weights(context, np.where(small_geography(30, 20).state == 56, 0.0, weights))
    monkeypatch.setenv("GEOCAL_WORKERS", "1")
    with pytest.raises(ArtifactError, match="no household of the calibrated file lies in WY"):
        build(emptied)
    assert not emptied.store.path(area("WY").artifact).exists()
    rest = build(replace(emptied, areas=("DE", "NY-12"), reporter=Silent()))
    assert rest["areas_reused"] == 2


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(599), "599 weights for 600 columns"),
        (np.full(600, np.nan), "negative or not finite"),
        (np.full(600, -1.0), "negative or not finite"),
    ],
)
def test_weights_that_do_not_match_are_refused(context: StageContext, weights: np.ndarray, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        build(set_weights(context, weights))
    assert not context.store.path("areas").exists()


def test_a_truncated_weights_file_is_refused(context: StageContext) -> None:
    path = context.inputs["weights"] / "calibration_weights.npy"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ArtifactError, match="not a whole weights file"):
        build(context)
