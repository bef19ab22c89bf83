"""The whole stage on a small file, with the real engine: each row times weights is what the engine says of the written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from geocal_core.context import StageContext
from geocal_core.engine.place import at_place
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix import builder
from geocal_core.matrix.package import Package
from geocal_core.places.assignment import Geography
from geocal_core.population import write_h5
from geocal_core.progress import Silent
from geocal_core.settings import PackageSettings
from geocal_core.store import Store, digest_path
from geocal_core.targets.constraints import Constraint
from tests.engine.households import YEAR, make_population

BASE = make_population(30, seed=6)
CLONES = 3
DISTRICT = np.random.default_rng(1).choice([1001, 5601], 30 * CLONES).astype(np.int32)
RULES = {
    1: (),
    2: (Constraint("age", "<", "18"),),
    3: (Constraint("snap", ">", "0"),),
    4: (Constraint("adjusted_gross_income", ">=", "50000"), Constraint("tax_unit_is_filer", "==", "1")),
    5: (Constraint("eitc", ">", "0"), Constraint("eitc_child_count", "==", "1"), Constraint("tax_unit_is_filer", "==", "1")),
    6: (Constraint("medicaid_enrolled", "==", "True"),),
}
MEASURED = (
    (1, "person_count"),
    (2, "person_count"),
    (3, "household_count"),
    (3, "snap"),
    (4, "tax_unit_count"),
    (4, "adjusted_gross_income"),
    (4, "person_count"),
    (5, "eitc"),
    (6, "spm_unit_count"),
)
PLACES = (("national", "US"), ("state", "10"), ("state", "56"), ("district", "1001"), ("district", "5601"))


def targets() -> pd.DataFrame:
    rows = [
        {"stratum_id": stratum, "variable": variable, "reform_id": 0, "geo_level": level, "geographic_id": place}
        for level, place in PLACES
        for stratum, variable in MEASURED
    ]
    frame = pd.DataFrame(rows)
    domain = {
        stratum: ",".join(sorted({c.variable for c in rules} - {"tax_unit_is_filer"})) for stratum, rules in RULES.items()
    }
    frame = frame.assign(domain_variable=frame["stratum_id"].map(domain), source="")
    return frame.assign(value=1.0, name=[f"{r.geographic_id}/{r.variable}/{r.stratum_id}" for r in frame.itertuples()])


def write_inputs(folder: Path) -> StageContext:
    folder.mkdir()
    write_h5(BASE, folder / "stratified.h5")
    block = np.array([f"{code // 100:02d}00100010{code:05d}" for code in DISTRICT], dtype="S15")
    with (folder / "geography.npz").open("wb") as stream:
        np.savez(
            stream,
            block_geoid=block,
            cd_geoid=DISTRICT,
            county_fips=block.astype("S5"),
            state_fips=DISTRICT // 100,
            n_records=np.array([30]),
            n_clones=np.array([CLONES]),
        )
    return StageContext(
        name="calibration_package",
        inputs={name: folder / name for name in ("target_db",)}
        | {"stratified_cps": folder / "stratified.h5", "geography": folder / "geography.npz"},
        input_digests={"target_db": "0", "stratified_cps": "1", "geography": "2"},
        output=folder / "package",
        scratch=folder / "scratch",
        settings=PackageSettings(year=YEAR, seed=8, targets="full"),
        reporter=Silent(),
        store=Store(folder),
        fingerprint="",
    )


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (targets(), RULES))
    return write_inputs(tmp_path / "inputs")


@pytest.mark.engine
def test_rows_times_weights_are_the_totals_of_the_file(context: StageContext, tmp_path: Path) -> None:
    facts = builder.build(context)
    assert context.reporter.checks == {"package_valid": True, "package_supported": True}
    assert (facts["rows"], facts["columns"], facts["quantities"]) == (len(targets()), 90, len(MEASURED))
    package = Package.open(context.output)
    assert facts["nonzeros"] == package.matrix.nnz
    np.testing.assert_allclose(package.initial_weights, np.tile(BASE.weights / CLONES, CLONES), rtol=1e-6)
    assert package.household_id.tolist() == BASE.ids("household").tolist()
    assert package.manifest["inputs"] == context.input_digests
    assert "policyengine-us==" in package.manifest["engine"]
    weights = np.random.default_rng(5).uniform(0, 100, 90)
    found = pd.Series(package.matrix.astype(np.float64) @ weights, index=package.targets["name"])
    for place in ("10", "1001"):
        expected = totals_of_file(tmp_path / f"{place}.h5", np.flatnonzero(DISTRICT == 1001), weights)
        for stratum, variable in MEASURED:
            assert found[f"{place}/{variable}/{stratum}"] == pytest.approx(expected[stratum, variable], rel=1e-4)
            assert found[f"US/{variable}/{stratum}"] == pytest.approx(
                found[f"10/{variable}/{stratum}"] + found[f"56/{variable}/{stratum}"], rel=1e-6
            )
    assert (found > 0).mean() > 0.9
    again = write_inputs(tmp_path / "again")
    builder.build(again)
    assert digest_path(again.output) == digest_path(context.output)


def totals_of_file(path: Path, columns: np.ndarray, weights: np.ndarray) -> dict[tuple[int, str], float]:
    """Weighted totals by pandas over persons, from the engine's own reading of a file with these columns."""
    from policyengine_us import Microsimulation

    placed = at_place(BASE, columns % 30, columns // 30, DISTRICT[columns] // 100, seed=8)
    write_h5(placed.with_variables("household", {"household_weight": weights[columns].astype(np.float32)}), path)
    simulation = Microsimulation(dataset=str(path))

    def on_persons(variable: str) -> np.ndarray:
        return np.asarray(simulation.calculate(variable, YEAR, map_to="person"))

    persons = pd.DataFrame({"age": on_persons("age"), "medicaid": on_persons("medicaid_enrolled")})
    for entity in ("household", "tax_unit", "spm_unit"):
        persons[entity] = placed.tables["person"][f"person_{entity}_id"]
    for name, entity in (
        ("snap", "spm_unit"),
        ("adjusted_gross_income", "tax_unit"),
        ("eitc", "tax_unit"),
        ("eitc_child_count", "tax_unit"),
        ("tax_unit_is_filer", "tax_unit"),
    ):
        persons[name] = np.asarray(simulation.calculate(name, YEAR))[persons[entity]]
    persons["weight"] = weights[columns][persons["household"]]
    rich = (persons["adjusted_gross_income"] >= 50_000) & persons["tax_unit_is_filer"]
    credited = (persons["eitc"] > 0) & (persons["eitc_child_count"] == 1) & persons["tax_unit_is_filer"]
    fed = persons["snap"] > 0

    def total(inside: pd.Series, unit: str | None = None, amount: str | None = None) -> float:
        chosen = persons[inside] if unit is None else persons[inside].drop_duplicates(unit)
        return float((chosen["weight"] * (chosen[amount].astype(float) if amount else 1.0)).sum())

    everyone = persons["age"] > -1
    return {
        (1, "person_count"): total(everyone),
        (2, "person_count"): total(persons["age"] < 18),
        (3, "household_count"): total(fed, "household"),
        (3, "snap"): total(fed, "spm_unit", "snap"),
        (4, "tax_unit_count"): total(rich, "tax_unit"),
        (4, "adjusted_gross_income"): total(rich, "tax_unit", "adjusted_gross_income"),
        (4, "person_count"): total(rich),
        (5, "eitc"): total(credited, "tax_unit", "eitc"),
        (6, "spm_unit_count"): total(persons["medicaid"].astype(bool), "spm_unit"),
    }


def test_inputs_that_do_not_fit_are_refused(context: StageContext) -> None:
    geography = Geography(np.array([b"100010001001001"] * 2), np.array([1001] * 2), np.array([10] * 2), 2, 1)
    with pytest.raises(ArtifactError, match="places 2 households, the stratified file has 30"):
        builder._check_same_file(BASE, geography, YEAR)
    context.settings = PackageSettings(year=2023)
    with pytest.raises(ConfigError, match="speaks of 2024, the package is to be of 2023"):
        builder.build(context)


def test_a_selection_chooses_the_rows_and_marks_the_held_out(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text(
        "exclude:\n- {variable: eitc}\n- {variable: spm_unit_count, geo_level: state}\n"
        "holdout:\n- {variable: household_count, geo_level: district, domain_variable: snap}\n"
    )
    context.settings = PackageSettings(year=YEAR, seed=8, targets=str(rules))
    monkeypatch.setattr(
        builder,
        "simulate_columns",
        lambda work, chunks, workers, reporter: sparse.csr_matrix(np.ones((len(work.quantities), len(DISTRICT)), np.float32)),
    )
    facts = builder.build(context)
    package = Package.open(context.output)
    every = targets()
    left_out = (every["variable"] == "eitc") | ((every["variable"] == "spm_unit_count") & (every["geo_level"] == "state"))
    assert package.targets["name"].tolist() == every.loc[~left_out, "name"].tolist()
    held = package.targets.loc[package.targets["held_out"], "name"].tolist()
    assert held == ["1001/household_count/3", "5601/household_count/3"]
    assert (facts["rows"], facts["rows_held_out"]) == (45 - 7, 2)
    assert package.supported.all()
    context.settings = PackageSettings(year=YEAR, targets=str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match="there is no selection of targets"):
        builder.build(context)


def test_a_file_that_supports_too_few_targets_is_refused(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = targets().assign(geo_level="state", geographic_id="6")
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (elsewhere, RULES))
    ones = sparse.csr_matrix(np.ones((len(MEASURED), len(DISTRICT)), dtype=np.float32))
    monkeypatch.setattr(builder, "simulate_columns", lambda work, chunks, workers, reporter: ones)
    with pytest.raises(ArtifactError, match="45 of 45 targets have no household in the file, such as US/person_count/1"):
        builder.build(context)
    assert context.reporter.checks == {"package_valid": True, "package_supported": False}
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (elsewhere.assign(value=0.0), RULES))
    context.output = context.output.with_name("zeros")
    facts = builder.build(context)
    assert (facts["rows_without_support"], facts["rows_out_of_reach"]) == (45, 0)  # nobody is what a total of 0 asks for
