"""The whole graph, as its user runs it: what it leaves, that it is repeatable, and that its files say what the weights say."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from geocal_core.areas.assembly import columns_of
from geocal_core.matrix.package import Package
from geocal_core.places.assignment import read_geography
from geocal_core.places.catalogue import area, areas_in
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.population import ENTITIES, GROUPS, IMPUTED, read_h5
from geocal_core.stages import STAGES
from geocal_core.store import Store, digest_path
from tests.conftest import materialise_tiny

TINY = ("DE", "NY", "WY")
KEYS = [one.key for one in areas_in(TINY)]


def digests(store: Store) -> dict[str, str]:
    folder = store.root / "manifests"
    return {str(p.relative_to(folder)): json.loads(p.read_text())["digest"] for p in sorted(folder.rglob("*.json"))}


def test_every_area_has_its_file_and_the_report_is_there(tiny: Store) -> None:
    assert len(KEYS) == 33
    assert sorted(p.name for p in tiny.path("areas").rglob("*.h5")) == sorted(f"{key}.h5" for key in KEYS)
    assert "<html" in tiny.path("report/index.html").read_text()
    assert not [p for p in tiny.root.rglob(".*") if p.name != ".gitignore"]
    assert not list((tiny.root / "scratch").glob("*"))


def test_a_second_run_does_nothing_and_says_so(tiny: Store) -> None:
    before = digests(tiny)
    made = {p: p.stat().st_mtime_ns for p in tiny.path("areas").rglob("*.h5")}
    done = materialise_tiny(tiny.root)
    assert done.returncode == 0, done.stderr
    assert digests(tiny) == before
    assert {p: p.stat().st_mtime_ns for p in tiny.path("areas").rglob("*.h5")} == made
    ends = [line for line in (done.stdout + done.stderr).splitlines() if "built in" in line or "nothing to do: reused" in line]
    assert len(ends) >= len(STAGES)
    assert not [line for line in ends if "built in" in line]


def test_another_run_with_one_worker_gives_the_same_bytes(tiny: Store, tmp_path: Path) -> None:
    done = materialise_tiny(tmp_path, GEOCAL_WORKERS="1", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert digests(Store(tmp_path)) == digests(tiny)
    assert digest_path(tmp_path / "areas") == digest_path(tiny.path("areas"))


def test_places_form_a_chain_and_weights_add_up(tiny: Store) -> None:
    totals: dict[str, float] = {}
    for key in KEYS:
        with h5py.File(tiny.path(area(key).artifact)) as file:
            read = {
                name: file[f"{name}/2024"][()]
                for name in (
                    "block_geoid",
                    "tract_geoid",
                    "county_fips",
                    "state_fips",
                    "congressional_district_geoid",
                    "household_weight",
                )
            }
        block = read["block_geoid"].astype(str)
        assert (block.astype("U11") == read["tract_geoid"].astype(str)).all()
        assert (block.astype("U5") == read["county_fips"].astype(str)).all()
        assert (block.astype("U2").astype(int) == read["state_fips"]).all()
        assert (read["congressional_district_geoid"] // 100 == read["state_fips"]).all()
        assert (read["household_weight"] > 0).all()
        if key == "NYC":
            assert set(block.astype("U5")) <= {"36005", "36047", "36061", "36081", "36085"}
        if area(key).level == "district":
            assert set(read["congressional_district_geoid"]) == set(area(key).districts)
        totals[key] = read["household_weight"].sum(dtype=np.float64)
    for state in TINY:
        districts = [totals[key] for key in KEYS if key.startswith(f"{state}-")]
        assert sum(districts) == pytest.approx(totals[state], rel=1e-6)
    assert sum(totals[state] for state in TINY) == pytest.approx(totals["US"], rel=1e-6)
    assert totals["NYC"] < totals["NY"]


def test_populations_of_the_files_are_closed(tiny: Store) -> None:
    for key in KEYS:
        read_h5(tiny.path(area(key).artifact)).validate()


class Simulated:
    """An area's file in policyengine-us, brought to one row a person: the brute-force way to a published total."""

    def __init__(self, path: Path) -> None:
        from policyengine_us import Microsimulation

        self.simulation = Microsimulation(dataset=str(path))
        ids = {group: np.asarray(self.simulation.calculate(f"person_{group}_id", 2024)) for group in GROUPS}
        self.persons = pd.DataFrame({"person": np.arange(len(ids["household"])), **ids})
        self.units = {group: np.asarray(self.simulation.calculate(f"{group}_id", 2024)) for group in GROUPS}
        weights = pd.Series(np.asarray(self.simulation.calculate("household_weight", 2024)), index=self.units["household"])
        self.persons["weight"] = weights.reindex(self.persons["household"]).to_numpy(dtype=float)
        self.known: dict[str, tuple[str, np.ndarray]] = {}

    def value(self, variable: str) -> tuple[str, np.ndarray]:
        """Entity of a variable, and its value for each person's unit of that entity."""
        if variable not in self.known:
            entity = self.simulation.tax_benefit_system.variables[variable].entity.key
            values = np.asarray(self.simulation.calculate(variable, 2024))
            if entity != "person":
                values = pd.Series(values, index=self.units[entity]).reindex(self.persons[entity]).to_numpy()
            self.known[variable] = entity, values
        return self.known[variable]

    def total(self, variable: str, constraints: list[tuple[str, str, str]]) -> float:
        """Weighted total over the units of the variable's entity that have a member who meets every constraint."""
        chosen = np.ones(len(self.persons), dtype=bool)
        for name, operation, text in constraints:
            values = self.value(name)[1].astype(float)
            limit = {"True": 1.0, "False": 0.0}.get(text) if text in ("True", "False") else float(text)
            chosen &= {
                "==": values == limit,
                "!=": values != limit,
                ">": values > limit,
                ">=": values >= limit,
                "<": values < limit,
                "<=": values <= limit,
            }[operation]
        if variable.endswith("_count"):
            entity, values = variable.removesuffix("_count"), np.ones(len(self.persons))
        else:
            entity, values = self.value(variable)
        rows = self.persons.assign(value=values)[chosen].drop_duplicates(entity)
        return float((rows["value"].astype(float) * rows["weight"]).sum())


@pytest.mark.engine
@pytest.mark.parametrize("key", ["DE-01", "WY", "NY-12", "NYC", "NY", "US"])
def test_the_matrix_times_the_weights_is_the_file(tiny: Store, key: str) -> None:
    package = Package.open(tiny.path("calibration/package"))
    weights = np.load(tiny.path("calibration/local/calibration_weights.npy"))
    geography = read_geography(tiny.path("calibration/geography_assignment.npz"))
    homes = ColumnPlaces.of(Crosswalk.open(tiny.path("places/blocks.parquet")), geography.block)
    inside = columns_of(area(key), geography, homes)
    calibrated = package.matrix.tocsr().astype(np.float64) @ np.where(inside, weights, 0.0)
    simulated = Simulated(tiny.path(area(key).artifact))
    with sqlite3.connect(tiny.path("targets/policy_data.db")) as connection:
        rules = pd.read_sql("SELECT * FROM stratum_constraints", connection)
    places = ("state_fips", "congressional_district_geoid")
    level = {"national": "US", "state": str(area(key).districts[0] // 100) if area(key).districts else "", "district": ""}
    level["district"] = str(area(key).districts[0]) if area(key).level == "district" else ""
    compared = 0
    for position, target in enumerate(package.targets.itertuples()):
        whole_area = target.geographic_id == level.get(area(key).level)
        if not (target.geo_level == "national" or whole_area):
            continue
        mine = rules[(rules["stratum_id"] == target.stratum_id) & ~rules["constraint_variable"].isin(places)]
        constraints = list(zip(mine["constraint_variable"], mine["operation"], mine["value"], strict=True))
        found = simulated.total(target.variable, constraints)
        assert found == pytest.approx(calibrated[position], rel=1e-4, abs=1e-4), target.name
        compared += 1
    assert compared >= 25


@pytest.mark.engine
def test_no_variable_that_the_engine_computes_is_stored(tiny: Store) -> None:
    from policyengine_us.system import system

    known = system.variables
    for artifact in ("microdata/cps_2024.h5", "microdata/stratified_extended_cps_2024.h5", area("DE").artifact):
        with h5py.File(tiny.path(artifact)) as file:
            links = {f"{entity}_id" for entity in ENTITIES} | {f"person_{group}_id" for group in GROUPS}
            # The one thing that is geocal's own: area files are without it.
            own = {IMPUTED} if artifact.startswith("microdata/stratified") else set()
            assert own <= set(file)
            names = set(file) - links - own
            entities = {name: file[f"{name}/2024"].attrs["entity"] for name in names}
        assert not [name for name in names if name not in known]
        assert not [name for name in names if not known[name].is_input_variable()]
        assert not [name for name in names if known[name].entity.key != entities[name]]


def test_the_fit_is_close_to_its_targets(tiny: Store) -> None:
    """As close as 160 households, living 40 times each, come to two thousand figures of 32 places."""
    table = pd.read_csv(tiny.path("calibration/local/unified_diagnostics.csv"))
    wanted = table[table["true_value"] != 0]  # a total of 0 has no relative error, and nobody to be out of reach
    assert wanted["achievable"].mean() > 0.95
    errors = wanted.loc[wanted["achievable"], "abs_rel_error"]
    assert errors.median() < 0.01
    assert (errors < 0.05).mean() > 0.9


def test_damage_is_refused_and_mended(tiny: Store) -> None:
    path = tiny.path(area("DE-01").artifact)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    config = {"root": str(tiny.root), "settings": {"year": 2024, "seed": 0}, "areas": ["DE-01", "WY-01"]}
    from geocal_core.cli import main

    assert main(["stage", "area_h5", "--config", json.dumps(config)]) == 0
    assert path.read_bytes() == whole
