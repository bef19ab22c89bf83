"""A census block for every (household, clone): the assignment, its stage and its file.

Most households follow the people: a block's probability is its share of the population. The households of the highest AGI are
routed apart, p(b) = p_pop(b) * max(AGI(district), 0) / p_pop(district) up to a factor: a district's share is that of AGI, a
block's within it that of people. How a draw is made is the business of ``draw``, whether it came out right that of
``proportions``.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.codes import as_bytes, as_numbers
from geocal_core.places.crosswalk import Crosswalk
from geocal_core.places.draw import draw_blocks
from geocal_core.places.incomes import district_agi, household_agi
from geocal_core.places.proportions import proportions
from geocal_core.places.states import state_of_fips
from geocal_core.population import read_h5
from geocal_core.seeds import generator

if TYPE_CHECKING:
    from geocal_core.context import StageContext
    from geocal_core.progress import Value

_PARTS = ("block_geoid", "cd_geoid", "county_fips", "state_fips", "n_records", "n_clones")


@dataclass(frozen=True)
class Geography:
    """Where every column of the calibration matrix lives; column = clone * n_records + record.

    Attributes
    ----------
    block : ndarray of S15
        Census block of 2020.
    district, state : ndarray of int32
        Congressional district (100 * FIPS + number) and FIPS code of the state.
    n_records, n_clones : int
        Households of the stratified file, copies of each.
    """

    block: NDArray[np.bytes_]
    district: NDArray[np.int32]
    state: NDArray[np.int32]
    n_records: int
    n_clones: int

    @property
    def county(self) -> NDArray[np.bytes_]:
        """County of each column: the first five digits of its block."""
        return self.block.astype("S5")

    @property
    def household(self) -> NDArray[np.int64]:
        """Position of each column's household in the stratified file."""
        return np.tile(np.arange(self.n_records, dtype=np.int64), self.n_clones)

    @property
    def clone(self) -> NDArray[np.int64]:
        """Number of each column's clone."""
        return np.repeat(np.arange(self.n_clones, dtype=np.int64), self.n_records)


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``geography``: draw and write the assignment (``.npz``, names and layout of the reference system), and check it."""
    settings = context.settings
    if not 0 <= settings.top_agi_share <= 1:
        raise ConfigError(f"top_agi_share is {settings.top_agi_share}", "it is a share of the households: give 0 to 1")
    blocks = pd.read_parquet(context.inputs["blocks"], columns=["block_geoid", "district", "population"])
    agi = household_agi(context.inputs["household_agi"], read_h5(context.inputs["stratified_cps"]).ids("household"))
    routed = agi >= np.quantile(agi, 1 - settings.top_agi_share)
    by_district = district_agi(context.inputs["target_db"], settings.agi_level, settings.year, blocks)
    geography = assign(blocks, routed, by_district, settings.clones, settings.seed)
    found = proportions(geography, Crosswalk.open(context.inputs["blocks"]), routed, by_district)
    context.reporter.check("geography_proportional", found.passed, found.facts)
    if not found.passed:
        raise ArtifactError(f"the draw is not in proportion: {found.reason}", "this is a defect of geocal; please report it")
    write_geography(context.output, geography)
    context.reporter.progress(
        f"{len(geography.block):,} columns in {found.facts['districts']} districts, {found.facts['counties']} counties and "
        f"{found.facts['tracts']} tracts; {found.facts['counties_never_drawn']} counties without any"
    )
    return found.facts


def write_geography(path: Path, geography: Geography) -> None:
    """Write an assignment, the same bytes for the same content.

    Deflated at the lowest level, which takes a second for five million columns and leaves less than half of them; higher levels
    take ten times as long for a tenth less.
    """
    parts = {
        "block_geoid": geography.block,
        "cd_geoid": geography.district,
        "county_fips": geography.county,
        "state_fips": geography.state,
        "n_records": np.array([geography.n_records]),
        "n_clones": np.array([geography.n_clones]),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in _PARTS:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, parts[name], allow_pickle=False)


def read_geography(path: Path) -> Geography:
    """Read an assignment and check that it is consistent in itself.

    Raises
    ------
    ArtifactError
        If a part is missing, a length is wrong, or block, state and district disagree.
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            missing = sorted(set(_PARTS) - set(parts.files))
            if missing:
                raise ArtifactError(f"{path} has no part {missing[0]!r}", "materialise geography again")
            n_records, n_clones = int(parts["n_records"][0]), int(parts["n_clones"][0])
            geography = Geography(parts["block_geoid"], parts["cd_geoid"], parts["state_fips"], n_records, n_clones)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is not a whole geography assignment ({error})", "materialise geography again") from error
    if not len(geography.block) == len(geography.district) == len(geography.state) == n_records * n_clones:
        raise ArtifactError(f"{path} has {len(geography.block)} columns for {n_records} households x {n_clones} clones")
    if (geography.district // 100 != geography.state).any() or (
        geography.block.astype("S2").astype(int) != geography.state
    ).any():
        raise ArtifactError(f"{path}: a block, its district and its state disagree", "materialise geography again")
    return geography


def assign(
    blocks: pd.DataFrame, routed: NDArray[np.bool_], agi_of_district: pd.Series[float], n_clones: int, seed: int
) -> Geography:
    """Draw a block for every (household, clone).

    Parameters
    ----------
    blocks : DataFrame
        ``block_geoid``, ``district``, ``population``.
    routed : ndarray of bool, shape (n_households,)
        Households that follow the districts' AGI instead of their population.
    agi_of_district : Series
        AGI of each district, dollars; negative ones count as 0.
    n_clones : int
        Copies of each household, at least 1.
    seed : int

    Returns
    -------
    Geography
    """
    if n_clones < 1:
        raise ConfigError(f"{n_clones} clones of each household make no column", "set clones to at least 1")
    geoid = as_bytes(blocks["block_geoid"])
    of_block = blocks["district"].to_numpy(dtype=np.int64)
    order = np.lexsort((as_numbers(geoid), of_block))
    population = blocks["population"].to_numpy(dtype=np.float64)[order]
    districts, first = np.unique(of_block[order], return_index=True)
    people = np.add.reduceat(population, first)
    if (people <= 0).any():
        raise ArtifactError(f"nobody lives in district {districts[people <= 0][0]}", "materialise blocks again")
    agi = np.maximum(agi_of_district.reindex(districts).to_numpy(dtype=np.float64), 0.0)
    if not np.isfinite(agi).all() or agi.sum() <= 0:
        raise ArtifactError("a district of the block file has no AGI target", "build the target database for the same states")
    groups = (("population", ~routed, people / people.sum()), ("agi", routed, agi / agi.sum()))
    expected = sum(share * (households.sum() * n_clones) for _, households, share in groups)
    _refuse_too_few(districts, expected, len(routed), n_clones)
    first_block = np.append(first, len(population))
    chosen = np.empty((n_clones, len(routed)), dtype=np.int64)
    for name, households, share in groups:
        rng = generator(f"blocks/{name}", seed)
        chosen[:, households] = draw_blocks(share, first_block, population, int(households.sum()), n_clones, rng)
    rows = order[chosen.ravel()]
    district = of_block[rows].astype(np.int32)
    states = np.setdiff1d(districts // 100, district // 100)
    if len(states):
        raise ArtifactError(
            f"no clone of any household lives in {state_of_fips(int(states[0])).code}",
            "its districts have no AGI; lower top_agi_share of geography",
        )
    return Geography(geoid[rows], district, (district // 100).astype(np.int32), len(routed), n_clones)


def _refuse_too_few(districts: NDArray[np.int64], expected: NDArray[np.float64], n_households: int, n_clones: int) -> None:
    """Refuse a draw of so few columns that a district may be left without any."""
    least = int(np.argmin(np.where(expected > 0, expected, np.inf)))
    if expected[least] < 1:
        raise ConfigError(
            f"{n_clones} clones of {n_households} households are too few: district {districts[least]} can expect "
            f"{expected[least]:.2g} of them",
            f"set clones to at least {int(np.ceil(n_clones / expected[least]))}",
        )
