"""The profiles: settings of the whole graph at once, for three states, the nation in small, and the nation.

A profile knows what the demo nation publishes and what a folder or the publishers hold, and leaves out by name what is not
there. What the settings are is the business of ``settings``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from geocal_core.demo.sources import TABLES
from geocal_core.errors import ConfigError
from geocal_core.settings import (
    ALL_STATES,
    AreaSettings,
    BlockSettings,
    CpsSettings,
    ExtendedCpsSettings,
    FitSettings,
    GeographySettings,
    HouseholdAgiSettings,
    PackageSettings,
    PufSettings,
    RawSettings,
    ReportSettings,
    Settings,
    StratifiedCpsSettings,
    TargetSettings,
)
from geocal_core.sources import left_out
from geocal_core.targets.registry import published_files, tables

# The table whose figures place the households with the highest incomes in districts.
_DISTRICT_INCOMES = "irs_soi_district"


@dataclass(frozen=True)
class Profile:
    """Settings for the whole graph.

    Attributes
    ----------
    name : str
    states : tuple of str
        States in scope.
    stages : mapping of str to settings
        Stage name to its settings.
    """

    name: str
    states: tuple[str, ...]
    stages: dict[str, Settings] = field(default_factory=dict)

    def with_folder(self, folder: str) -> Profile:
        """The same profile with the targets' sources read from a folder of published files.

        Files that are not in it are left out by name, and so are the tables that need them; ``geocal_core.sources.left_out``
        tells which and why. Without the IRS district file, households are placed by the states' incomes.

        Raises
        ------
        GeocalError
            If there is no such folder.
        """
        return self._with_origin("folder", folder)

    def with_publisher(self, cache: str = "") -> Profile:
        """The same profile with the targets' sources fetched from their publishers, kept in a cache.

        Files that a publisher offers on a page for people only are left out, and so are the tables that need them.
        """
        return self._with_origin("publisher", cache)

    def _with_origin(self, origin: str, folder: str) -> Profile:
        published = RawSettings(origin=origin, folder=folder, states=self.states)
        missing = left_out(published)
        tables = tuple(dict.fromkeys(table for one in missing for table in one.tables))
        geography, targets = self.stages["geography"], self.stages["target_db"]
        assert isinstance(geography, GeographySettings)
        assert isinstance(targets, TargetSettings)
        stages: dict[str, Settings] = {
            **self.stages,
            **{
                f"raw_{agency}": replace(published, without=tuple(one.file.name for one in missing if one.source == agency))
                for agency, files in published_files().items()
                if files
            },
            "target_db": replace(targets, without=tables, known_totals=True),
            "geography": replace(geography, agi_level="state" if _DISTRICT_INCOMES in tables else "district"),
        }
        return replace(self, stages=stages)


def profile(name: str) -> Profile:
    """The settings of a named profile: ``tiny`` (three states), ``demo`` (the nation, small) or ``full``."""
    if name == "tiny":
        return _profile(name, ("DE", "NY", "WY"), asec=240, puf=600, stratified=160, clones=40, epochs=400)
    if name == "demo":
        return _profile(name, ALL_STATES, asec=2_400, puf=4_000, stratified=1_500, clones=60, epochs=1_000)
    if name == "full":
        return _profile(name, ALL_STATES, asec=60_000, puf=60_000, stratified=12_000, clones=430, epochs=1_000)
    raise ConfigError(f"there is no profile {name!r}", "the profiles are tiny, demo and full")


def _profile(name: str, states: tuple[str, ...], *, asec: int, puf: int, stratified: int, clones: int, epochs: int) -> Profile:
    raw = RawSettings(states=states)
    not_published = tuple(name for name in tables() if name not in TABLES)
    stages: dict[str, Settings] = {
        "raw_census_asec": replace(raw, households=asec),
        "raw_irs_puf": replace(raw, households=puf),
        "raw_census_blocks": raw,
        **{f"raw_{agency}": raw for agency, files in published_files().items() if files},
        "cps": CpsSettings(),
        "puf": PufSettings(),
        "extended_cps": ExtendedCpsSettings(),
        "household_agi": HouseholdAgiSettings(),
        "stratified_cps": StratifiedCpsSettings(households=stratified),
        "target_db": TargetSettings(states=states, without=not_published),
        "blocks": BlockSettings(states=states),
        "geography": GeographySettings(clones=clones),
        "calibration_package": PackageSettings(),
        "weights": FitSettings(preset="local", epochs=epochs),
        "national_weights": FitSettings(preset="national", epochs=epochs),
        "area_h5": AreaSettings(),
        "report": ReportSettings(),
    }
    return Profile(name, states, stages)
