"""Area files: the right households with the right weights, made once, made again only where something changed."""

from __future__ import annotations

import json
import os
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
from geocal_core.places.assignment import Geography, assign, write_geography
from geocal_core.places.catalogue import area
from geocal_core.population import Population, read_h5, write_h5
from geocal_core.progress import Silent
from geocal_core.settings import AreaSettings
from geocal_core.store import Store
from tests.population.conftest import random_population

KEYS = ("US", "DE", "DE-01", "NY", "NY-12", "WY", "WY-01", "NYC")


def small_blocks() -> pd.DataFrame:
    """Five blocks in each of four districts; the first two of each lie in a place, which has the same code in all states.

    The blocks of New York's 12th district are those of New York City, one in each borough.
    """
    boroughs = ["36005", "36047", "36061", "36081", "36085"]
    homes = {
        1001: (["10001"] * 5, "20100"),
        5601: (["56001"] * 5, ""),
        3612: (boroughs, "35620"),
        3601: (["36103"] * 5, "35620"),
    }
    rows = [
        (f"{county}{n:010d}", district, 100 + n, "00100" if n < 2 else "", cbsa, f"{district % 100:03d}")
        for district, (counties, cbsa) in homes.items()
        for n, county in enumerate(counties)
    ]
    columns = ["block_geoid", "district", "population", "place_fips", "cbsa_code", "sldu"]
    table = pd.DataFrame(rows, columns=columns).sort_values("block_geoid", ignore_index=True)
    empty = dict.fromkeys(("sldl", "vtd", "puma", "zcta"), "")
    kinds = {"district": "int32"} | dict.fromkeys((*columns[3:], *empty), "category")
    return table.assign(**empty).astype(kinds)


def small_geography(households: int, clones: int) -> Geography:
    blocks = small_blocks()
    agi = pd.Series(1.0, index=sorted(set(blocks["district"])))
    return assign(blocks, np.zeros(households, dtype=bool), agi, clones, 0)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    base = random_population(2, 30).without(["place"])
    geography = small_geography(30, 20)
    weights = np.random.default_rng(0).random(600) * (np.random.default_rng(1).random(600) < 0.7)
    write_h5(base, tmp_path / "base.h5")
    write_geography(tmp_path / "geography.npz", geography)
    small_blocks().to_parquet(tmp_path / "blocks.parquet", index=False)
    (tmp_path / "weights").mkdir()
    np.save(tmp_path / "weights" / "calibration_weights.npy", weights)
    inputs = {"stratified_cps": "a", "geography": "b", "blocks": "p", "target_db": "t"}
    calibrated = {"package_inputs": inputs, "package_seed": 0, "package_takeup": "counter"}
    (tmp_path / "weights" / "unified_run_config.json").write_text(json.dumps(calibrated))
    return StageContext(
        name="area_h5",
        inputs={
            "stratified_cps": tmp_path / "base.h5",
            "blocks": tmp_path / "blocks.parquet",
            "geography": tmp_path / "geography.npz",
            "weights": tmp_path / "weights",
        },
        input_digests={"stratified_cps": "a", "blocks": "p", "geography": "b", "weights": "c"},
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
        "NYC": np.isin(geography.county, [b"36005", b"36047", b"36061", b"36081", b"36085"]),
    }
    for key, chosen in inside.items():
        columns = [c for c in range(600) if chosen[c] and weights[c] > 0]
        population = read(context, key)
        population.validate()
        assert population.count("household") == len(columns)
        np.testing.assert_allclose(population.weights, weights[columns], rtol=1e-6)
        assert population["block_geoid"].tolist() == [geography.block[c].decode() for c in columns]
        of_block = small_blocks().astype(str).set_index("block_geoid").loc[population["block_geoid"]]
        for field in ("place_fips", "cbsa_code", "sldu", "sldl", "vtd", "puma", "zcta"):
            assert population[field].tolist() == of_block[field].tolist(), field
        assert population["county_fips"].tolist() == [block[:5] for block in population["block_geoid"].tolist()]
        assert population["tract_geoid"].tolist() == [block[:11] for block in population["block_geoid"].tolist()]
        assert population["congressional_district_geoid"].tolist() == [geography.district[c] for c in columns]
        ages = [base["age"][base.household_of("person") == c % 30] for c in columns]
        np.testing.assert_allclose(population["age"], np.concatenate(ages))
        for program in rates():
            assert population.entity_of(program.variable) == program.entity


def test_the_same_household_and_clone_has_the_same_draws_in_every_file(context: StageContext) -> None:
    build(context)
    nation, district = read(context, "US"), read(context, "NY-12")
    mine = np.flatnonzero(nation["congressional_district_geoid"] == 3612)
    for entity in nation.tables:
        assert set(district.ids(entity)) <= set(nation.ids(entity)), entity
    assert (nation.ids("household")[mine] == district.ids("household")).all()
    # Taking renumbers, so both are taken.
    part, whole = nation.take(mine), district.take(np.arange(len(mine)))
    for entity, table in part.tables.items():
        for name, values in table.items():
            assert (values == whole.tables[entity][name]).all(), name


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
    write_geography(context.inputs["geography"], moved)
    blocks = small_blocks()
    blocks.assign(district=blocks["district"].replace(3601, 3602)).to_parquet(context.inputs["blocks"], index=False)
    again = replace(context, reporter=Silent(), areas=("US", "DE", "NY"))
    build(again)
    assert isinstance(again.reporter, Silent)
    assert {key for key, facts in again.reporter.partitions.items() if not facts["reused"]} == {"US", "NY"}
    for key in ("US", "NY"):
        districts = read(again, key)["congressional_district_geoid"]
        assert 3602 in districts
        assert 3601 not in districts


OWN = """\
key,level,name,state,field,values,validation,source
ALBANY,city,A place of two blocks in each district of New York,NY,place_fips,00100,state,made up
METRO,metro,All of New York,,cbsa_code,35620,national,made up
LOWER,county,Two counties in two states,,county_fips,10001 36103,national,made up
"""


@pytest.fixture
def own_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(OWN)
    monkeypatch.setenv("GEOCAL_AREAS", str(path))
    return path


def test_an_area_by_a_line_of_data_holds_exactly_its_columns(context: StageContext, own_areas: Path) -> None:
    build(replace(context, areas=("ALBANY", "METRO", "LOWER")))
    weights, blocks = weights_of(context), small_blocks().astype(str).set_index("block_geoid")
    names = [block.decode() for block in small_geography(30, 20).block]
    inside = {
        "ALBANY": lambda block: block[:2] == "36" and blocks.loc[block, "place_fips"] == "00100",
        "METRO": lambda block: blocks.loc[block, "cbsa_code"] == "35620",
        "LOWER": lambda block: block[:5] in ("10001", "36103"),
    }
    folders = {"ALBANY": "cities", "METRO": "metros", "LOWER": "counties"}
    for key, rule in inside.items():
        assert area(key).artifact == f"areas/119/{folders[key]}/{key}.h5"
        columns = [c for c in range(600) if weights[c] > 0 and rule(names[c])]
        population = read(context, key)
        assert population["block_geoid"].tolist() == [names[c] for c in columns]
        np.testing.assert_allclose(population.weights, weights[columns], rtol=1e-6)


def test_a_code_that_no_block_has_is_refused_before_anything_is_made(context: StageContext, own_areas: Path) -> None:
    own_areas.with_name("wrong.csv").write_text(OWN.replace(",00100,", ",99999,"))
    os.environ["GEOCAL_AREAS"] = str(own_areas.with_name("wrong.csv"))  # taken back by the fixture
    with pytest.raises(ConfigError, match="no populated block of NY has place_fips '99999'"):
        build(replace(context, areas=("US", "METRO", "ALBANY")))
    assert not context.store.path("areas").exists()


def test_a_block_that_comes_to_lie_in_another_place_is_seen(context: StageContext) -> None:
    build(context)
    moved = small_blocks().astype({"sldu": str})
    moved.loc[moved["district"] == 5601, "sldu"] = "009"
    moved.astype({"sldu": "category"}).to_parquet(context.inputs["blocks"], index=False)
    path = context.inputs["weights"] / "unified_run_config.json"
    path.write_text(path.read_text().replace('"blocks": "p"', '"blocks": "q"'))
    again = replace(context, reporter=Silent(), input_digests={**context.input_digests, "blocks": "q"})
    build(again)
    assert isinstance(again.reporter, Silent)
    assert {key for key, facts in again.reporter.partitions.items() if not facts["reused"]} == {"US", "WY", "WY-01"}
    assert set(read(again, "WY")["sldu"]) == {"009"}


def test_a_geography_of_other_blocks_is_refused(context: StageContext) -> None:
    small_blocks().iloc[:-1].to_parquet(context.inputs["blocks"], index=False)
    with pytest.raises(ArtifactError, match="block 560010000000004 is not among the blocks of the crosswalk"):
        build(context)
    assert not context.store.path("areas").exists()


def test_a_geography_of_other_districts_is_refused(context: StageContext) -> None:
    geography = small_geography(30, 20)
    moved = replace(geography, district=np.where(geography.district == 3601, 3602, geography.district).astype(np.int32))
    write_geography(context.inputs["geography"], moved)
    with pytest.raises(ArtifactError, match="blocks of the geography lie in other districts by the crosswalk"):
        build(context)
    assert not context.store.path("areas").exists()


def of_another_file(context: StageContext) -> StageContext:
    return replace(context, input_digests={**context.input_digests, "stratified_cps": "other"})


def of_another_geography(context: StageContext) -> StageContext:
    return replace(context, input_digests={**context.input_digests, "geography": "other"})


def of_other_blocks(context: StageContext) -> StageContext:
    return replace(context, input_digests={**context.input_digests, "blocks": "other"})


def of_another_scheme(context: StageContext) -> StageContext:
    return replace(context, settings=AreaSettings(takeup="reference"))


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
        (of_other_blocks, ArtifactError, "weights of another blocks"),
        (
            of_another_scheme,
            ConfigError,
            "to be drawn with seed 0 and scheme 'reference'; give area_h5 the seed and the scheme",
        ),
        (of_another_seed, ConfigError, "drawn with seed 0 and scheme 'counter', the area files are to be drawn with seed 7"),
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
