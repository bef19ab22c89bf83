"""The stages: what each reads, writes and runs. ``running`` runs one of them.

This registry is the one place that knows the graph; the command line runs stages from it and the factory makes its assets of
it. It imports no science: a stage's function is named by text and imported when it runs. Every agency of
``targets/agencies/`` that publishes files has a ``raw_`` stage by being there.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from geocal_core import settings as s
from geocal_core.errors import ConfigError
from geocal_core.published import PublishedFile
from geocal_core.store import digest_bytes, digest_path
from geocal_core.targets.registry import published_files

_PACKAGE = Path(__file__).parent
_FLOOR_0 = ("population", "places", "seeds.py", "errors.py", "store.py")
_SELECTION = "geocal_core.targets.selection:outside_digest"
_PACKAGE_READING = ("matrix/package.py", "matrix/factored.py", "matrix/variants.py", "matrix/quantity.py")


@dataclass(frozen=True)
class Stage:
    """One stage of the graph.

    Attributes
    ----------
    name : str
        Name of the stage and of its asset.
    output : str
        Path of its artifact below the store's root; for a partitioned stage, the folder of all of them.
    inputs : tuple of str
        Names of the stages whose artifacts it reads.
    settings : type
        Kind of its settings.
    run : str
        ``module:function``; the function takes a ``StageContext`` and returns the numbers to report.
    group : str
        Group of the asset: sources, microdata, targets, places, calibration, areas or report.
    description : str
        What the artifact is, for people.
    kinds : tuple of str
        Up to three technologies, for the catalogue.
    modules : tuple of str
        Files and folders of this package whose content decides the artifact (floor 0 is always counted).
    engine : bool
        Whether policyengine-us takes part.
    partitioned : bool
        Whether there is an artifact for each area; such a stage commits its artifacts itself.
    checks : tuple of str
        Names of the checks that it reports; each blocks what lies downstream. One that fails is reported, then raised, so an
        artifact that exists has passed.
    outside : str
        ``module:function`` of what the stage reads from outside the store; given source and settings, it tells its digest.
    """

    name: str
    output: str
    inputs: tuple[str, ...]
    settings: type
    run: str
    group: str
    description: str
    kinds: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    engine: bool = False
    partitioned: bool = False
    checks: tuple[str, ...] = ()
    outside: str = ""


def _raw_agency(name: str, files: tuple[PublishedFile, ...]) -> Stage:
    """The stage that brings the files of an agency together."""
    kinds = sorted({file.kind for file in files if file.kind})
    return _raw(name, "; ".join(dict.fromkeys(file.description for file in files)) + ".", *kinds[:3])


def _raw(source: str, description: str, *kinds: str) -> Stage:
    return Stage(
        name=f"raw_{source}",
        output=f"raw/{source}",
        inputs=(),
        settings=s.RawSettings,
        run="geocal_core.sources:collect",
        group="sources",
        description=description,
        kinds=kinds,
        modules=("demo", "sources.py", "published.py", "downloads.py", "surveys/sources.py", "surveys/data/sources.csv"),
        outside="geocal_core.sources:outside_digest",
    )


def _fit(name: str, output: str, description: str) -> Stage:
    return Stage(
        name=name,
        output=output,
        inputs=("calibration_package",),
        settings=s.FitSettings,
        run="geocal_core.fit.stage:build",
        group="calibration",
        description=description,
        kinds=("torch", "numpy"),
        modules=("fit", "sampling.py", *_PACKAGE_READING, "targets/selection.py", "targets/configs"),
        checks=("weights_valid", "fit_improved"),
        outside=_SELECTION,
    )


_AGENCIES = tuple(_raw_agency(name, files) for name, files in published_files().items() if files)

_STAGES = (
    _raw("census_asec", "CPS ASEC zip as the Census Bureau publishes it.", "csv"),
    _raw("irs_puf", "IRS public use file of tax returns with its demographic supplement.", "csv"),
    _raw("census_blocks", "Census files of blocks: districts, populations of 2020, and the places that blocks lie in.", "csv"),
    *_AGENCIES,
    Stage(
        name="cps",
        output="microdata/cps_2024.h5",
        inputs=("raw_census_asec",),
        settings=s.CpsSettings,
        run="geocal_core.surveys.cps:build",
        group="microdata",
        description="The CPS ASEC with the engine's entities and incomes.",
        kinds=("h5",),
        modules=("surveys",),
    ),
    Stage(
        name="puf",
        output="microdata/puf_2024.h5",
        inputs=("raw_irs_puf",),
        settings=s.PufSettings,
        run="geocal_core.surveys.puf:build",
        group="microdata",
        description="Tax returns of the public use file as persons and tax units.",
        kinds=("h5",),
        modules=("surveys",),
    ),
    Stage(
        name="extended_cps",
        output="microdata/extended_cps_2024.h5",
        inputs=("cps", "puf"),
        settings=s.ExtendedCpsSettings,
        run="geocal_core.impute.extended:build",
        group="microdata",
        description="The CPS beside a copy of it that carries incomes imputed from the PUF.",
        kinds=("h5", "scikitlearn"),
        modules=("impute", "sampling.py", "surveys/social_security.py"),
    ),
    Stage(
        name="household_agi",
        output="microdata/household_agi_2024.parquet",
        inputs=("extended_cps",),
        settings=s.HouseholdAgiSettings,
        run="geocal_core.engine.household_agi:build",
        group="microdata",
        description="Adjusted gross income of every household of the extended CPS, by which it is stratified and routed.",
        kinds=("parquet", "policyengine"),
        modules=("engine",),
        engine=True,
    ),
    Stage(
        name="stratified_cps",
        output="microdata/stratified_extended_cps_2024.h5",
        inputs=("extended_cps", "household_agi"),
        settings=s.StratifiedCpsSettings,
        run="geocal_core.impute.stratify:build",
        group="microdata",
        description="A stratified sample of the extended CPS, dense at high incomes, weighted to the population.",
        kinds=("h5",),
        modules=("impute", "sampling.py"),
    ),
    Stage(
        name="target_db",
        output="targets/policy_data.db",
        inputs=tuple(stage.name for stage in _AGENCIES),
        settings=s.TargetSettings,
        run="geocal_core.targets.stage:build",
        outside=_SELECTION,
        group="targets",
        description="Published totals with their strata and constraints.",
        kinds=("sqlite",),
        modules=("targets", "published.py"),
        checks=("targets_complete", "targets_known_totals", "targets_counts", "targets_hierarchy"),
    ),
    Stage(
        name="blocks",
        output="places/blocks.parquet",
        inputs=("raw_census_blocks",),
        settings=s.BlockSettings,
        run="geocal_core.places.blocks:build",
        group="places",
        description="Populated census blocks with their district, their 2020 population and all other geographies.",
        kinds=("parquet",),
    ),
    Stage(
        name="geography",
        output="calibration/geography_assignment.npz",
        inputs=("stratified_cps", "household_agi", "blocks", "target_db"),
        settings=s.GeographySettings,
        run="geocal_core.places.assignment:build",
        group="places",
        description="A census block for every (household, clone).",
        kinds=("numpy",),
        checks=("geography_proportional",),
    ),
    Stage(
        name="calibration_package",
        output="calibration/package",
        inputs=("stratified_cps", "target_db", "geography", "blocks"),
        settings=s.PackageSettings,
        run="geocal_core.matrix.builder:build",
        outside=_SELECTION,
        group="calibration",
        description="The calibration matrix, its targets and starting weights, memory-mapped.",
        kinds=("numpy", "policyengine"),
        modules=("matrix", "engine", "targets"),
        engine=True,
        checks=("values_exact", "package_valid", "package_supported"),
    ),
    _fit("weights", "calibration/local", "Household weights of the local fit, with diagnostics and the checkpoint."),
    _fit("national_weights", "calibration/national", "Household weights of the national fit, which keeps fewer records."),
    Stage(
        name="area_h5",
        output="areas/119",
        inputs=("stratified_cps", "blocks", "geography", "weights"),
        settings=s.AreaSettings,
        run="geocal_core.areas.stage:build",
        group="areas",
        description="A dataset for each area, loadable by policyengine-us.",
        kinds=("h5", "policyengine"),
        modules=("areas", "engine"),
        engine=True,
        partitioned=True,
        checks=("areas_valid",),
    ),
    Stage(
        name="report",
        output="report",
        inputs=("calibration_package", "weights"),
        settings=s.ReportSettings,
        run="geocal_core.report.stage:build",
        group="report",
        description="How far the calibrated totals are from their targets.",
        kinds=("html",),
        modules=("report", "fit", *_PACKAGE_READING),
    ),
)

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _STAGES}


def stage_named(name: str) -> Stage:
    """The stage of a name; an unknown name is an error that lists the known ones."""
    if name not in STAGES:
        raise ConfigError(f"there is no stage {name!r}", f"the stages are {', '.join(STAGES)}")
    return STAGES[name]


@cache
def code_version(name: str) -> str:
    """Digest of the source of the modules that decide a stage's artifact."""
    stage = stage_named(name)
    files: list[Path] = []
    for part in (*_FLOOR_0, *stage.modules):
        path = _PACKAGE / part
        inside = path.rglob("*") if path.is_dir() else [path]
        files += [p for p in inside if p.is_file() and "__pycache__" not in p.parts]
    lines = [f"{p.relative_to(_PACKAGE).as_posix()} {digest_path(p)}" for p in sorted(set(files))]
    return digest_bytes("\n".join(lines).encode())[:16]


def engine_version(stage: Stage) -> str:
    """Exact versions of the engine where it takes part in a stage, else the empty text."""
    if not stage.engine:
        return ""
    names = ("policyengine-us", "policyengine-core", "spm-calculator")
    try:
        return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in names)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"stage {stage.name} needs the package {error.name}", "pip install 'geocal[simulate]'") from error
