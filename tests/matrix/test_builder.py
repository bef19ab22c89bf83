"""The whole stage on a small file, with the real engine: each row times weights is what the engine says of the written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.context import StageContext
from geocal_core.engine.place import Places, at_place
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix import builder, needs
from geocal_core.matrix.chunks import Chunk, Work
from geocal_core.matrix.package import Package
from geocal_core.places.assignment import Geography
from geocal_core.population import IMPUTED, Population, write_h5
from geocal_core.progress import Silent
from geocal_core.settings import PackageSettings
from geocal_core.store import Store, digest_path
from geocal_core.targets.constraints import Constraint
from tests.engine.households import YEAR, make_population

BASE = make_population(30, seed=6)
CLONES = 3
DISTRICT = np.random.default_rng(1).choice([1001, 5601], 30 * CLONES).astype(np.int32)
BLOCK = np.array([("100010401001001" if code == 1001 else "560210002001000") for code in DISTRICT], dtype="S15")
TAKEUP = TakeUp.of(BASE, seed=8)
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


def write_inputs(folder: Path, base: Population = BASE) -> StageContext:
    folder.mkdir()
    write_h5(base, folder / "stratified.h5")
    pd.DataFrame(
        {
            "block_geoid": ["100010401001001", "560210002001000"],
            "district": np.array([1001, 5601], dtype=np.int32),
            "population": [989_948, 576_851],
            "place_fips": ["", "13900"],
            "zcta": ["19901", "82001"],
        }
    ).to_parquet(folder / "blocks.parquet")
    with (folder / "geography.npz").open("wb") as stream:
        np.savez(
            stream,
            block_geoid=BLOCK,
            cd_geoid=DISTRICT,
            county_fips=BLOCK.astype("S5"),
            state_fips=DISTRICT // 100,
            n_records=np.array([30]),
            n_clones=np.array([CLONES]),
        )
    return StageContext(
        name="calibration_package",
        inputs={name: folder / name for name in ("target_db",)}
        | {
            "stratified_cps": folder / "stratified.h5",
            "geography": folder / "geography.npz",
            "blocks": folder / "blocks.parquet",
        },
        input_digests={"target_db": "0", "stratified_cps": "1", "geography": "2", "blocks": "3"},
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
    assert context.reporter.checks == {"values_exact": True, "package_valid": True, "package_supported": True}
    assert facts["columns_simulated_twice"] == 20
    assert (facts["rows"], facts["columns"], facts["quantities"]) == (len(targets()), 90, len(MEASURED))
    package = Package.open(context.output)
    assert facts["nonzeros"] == package.matrix.nnz
    np.testing.assert_allclose(package.initial_weights.reshape(CLONES, 30).sum(axis=0), BASE.weights, rtol=1e-5)
    assert sorted(set(package.county.tolist())) == [b"10001", b"56021"]
    assert package.household_id.tolist() == BASE.ids("household").tolist()
    assert package.manifest["inputs"] == context.input_digests
    assert "policyengine-us==" in package.manifest["engine"]
    weights = np.random.default_rng(5).uniform(0, 100, 90)
    found = pd.Series(package.matrix.estimates(weights), index=package.targets["name"])
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

    city = np.where(DISTRICT == 5601, "13900", "")
    places = Places.of(DISTRICT, np.char.decode(BLOCK, "ascii"), city)
    placed = at_place(BASE, columns % 30, columns // 30, places.take(columns), TAKEUP)
    write_h5(placed.with_variables("household", {"household_weight": weights[columns].astype(np.float32)}), path)
    simulation = Microsimulation(dataset=str(path))

    def on_persons(variable: str) -> np.ndarray:
        return np.asarray(simulation.calculate(variable, YEAR, map_to="person"))

    persons = pd.DataFrame({"age": on_persons("age"), "medicaid": on_persons("medicaid_enrolled")})
    for entity in ("household", "tax_unit", "spm_unit"):
        persons[entity] = placed.group_of_person(entity)
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


def written(work: Work, chunks: tuple[Chunk, ...], value: float) -> int:
    for chunk in chunks:
        work.batch.write(chunk.name, np.full((len(work.batch.quantities), len(chunk.columns)), value, dtype=np.float32))
    return 0


def one_everywhere(work: Work, chunks: tuple[Chunk, ...], workers: int, reporter: Silent) -> int:
    """In place of the simulation: every quantity is 1 in every column."""
    return written(work, chunks, 1.0)


def nobody(work: Work, chunks: tuple[Chunk, ...], workers: int, reporter: Silent) -> int:
    return written(work, chunks, 0.0)


def test_one_change_simulates_what_it_needs(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure changes: nothing is simulated. A target of a new quantity comes: that alone is."""
    asked: list[tuple[str, ...]] = []

    def remembered(work: Work, chunks: tuple[Chunk, ...], workers: int, reporter: Silent) -> int:
        asked.append(tuple(map(str, work.batch.quantities)))
        return written(work, chunks, 1.0)

    monkeypatch.setattr(builder, "simulate_chunks", remembered)
    builder.build(context)
    first = Package.open(context.output)
    changed = targets()
    changed.loc[3, "value"] = 77.0
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (changed, RULES))
    context.output = context.output.with_name("changed")
    builder.build(context)
    assert len(asked) == 1
    second = Package.open(context.output)
    assert second.targets.loc[3, "value"] == 77.0
    assert second.manifest["digests"]["variants/data.npy"] == first.manifest["digests"]["variants/data.npy"]
    new = changed.iloc[[0]].assign(stratum_id=7, name="US/person_count/7")
    more = pd.concat([changed, new], ignore_index=True)
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (more, {**RULES, 7: (Constraint("ssi", ">", "0"),)}))
    context.output = context.output.with_name("more")
    builder.build(context)
    assert asked[1:] == [("person_count[ssi>0]",)]
    fewer = changed.iloc[:2]
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (fewer, RULES))
    context.output = context.output.with_name("fewer")
    builder.build(context)
    assert len(asked) == 2


def test_what_the_file_tells_of_its_records_goes_into_the_package(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not tell what is imputed, as earlier ones, makes a package that does not say."""
    monkeypatch.setattr(builder, "simulate_chunks", one_everywhere)
    builder.build(context)
    assert Package.open(context.output).imputed is None
    imputed = np.arange(30) % 4 == 1
    told = write_inputs(tmp_path / "told", BASE.with_variables("household", {IMPUTED: imputed}))
    builder.build(told)
    found = Package.open(told.output).imputed
    assert found is not None
    assert found.tolist() == imputed.tolist()


def test_a_block_outside_the_crosswalk_is_refused(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "simulate_chunks", one_everywhere)
    blocks = pd.read_parquet(context.inputs["blocks"])
    blocks.iloc[:1].to_parquet(context.inputs["blocks"])
    with pytest.raises(ArtifactError, match="block 560210002001000 is not among the blocks"):
        builder.build(context)
    assert not context.output.exists()


def test_a_state_without_clones_is_named(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = pd.concat([targets(), targets().iloc[[9]].assign(geo_level="state", geographic_id="6")], ignore_index=True)
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (elsewhere, RULES))
    with pytest.raises(ArtifactError, match="no clone lives in California, and 0 districts' and 1 state's targets"):
        builder.build(context)


def test_too_little_memory_or_disk_is_said_before_the_work(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object) -> int:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(builder, "simulate_chunks", begun)
    monkeypatch.setattr(needs, "available_memory", lambda: 100_000_000)
    with pytest.raises(ConfigError, match=r"90 columns by \d process.* need .* GB of memory, 0.1 GB are free; set GEOCAL"):
        builder.build(context)
    monkeypatch.setattr(needs, "available_memory", lambda: None)
    monkeypatch.setattr(needs, "needed_disk", lambda columns, groups: 10**18)
    with pytest.raises(ConfigError, match=r"groups of quantities need 1000000000.0 GB below .*, .* GB are free"):
        builder.build(context)
    assert needs.needed_memory(5_160_000, 2) < 8 * 10**9
    assert needs.needed_memory(5_160_000, 0) < needs.needed_memory(5_160_000, 2)
    assert needs.needed_disk(5_160_000, 15) > 5_160_000 * 15


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
    monkeypatch.setattr(builder, "simulate_chunks", one_everywhere)
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
    elsewhere = targets()
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (elsewhere, RULES))
    monkeypatch.setattr(builder, "simulate_chunks", nobody)
    with pytest.raises(ArtifactError, match="45 of 45 targets have no household in the file, such as US/person_count/1"):
        builder.build(context)
    assert context.reporter.checks == {"values_exact": True, "package_valid": True, "package_supported": False}
    monkeypatch.setattr(builder, "load_targets", lambda db, year: (elsewhere.assign(value=0.0), RULES))
    context.output = context.output.with_name("zeros")
    facts = builder.build(context)
    assert (facts["rows_without_support"], facts["rows_out_of_reach"]) == (45, 0)  # nobody is what a total of 0 asks for


def test_places_of_targets() -> None:
    rows = pd.DataFrame({"geo_level": ["national", "state", "district"], "geographic_id": ["US", "6", "601"]})
    assert builder.places_of(rows).tolist() == [0, 6, 601]
    with pytest.raises(ConfigError, match="level 'county'"):
        builder.places_of(pd.DataFrame({"geo_level": ["county"], "geographic_id": ["06037"]}))
