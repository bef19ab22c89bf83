"""A census block for every (household, clone).

The draw is systematic: the blocks stand on a line in the order of their districts and codes, each as long as its share of
the population, and the line is cut into as many equal cells as there are columns. Every cell gets one column, every
household one cell in each of as many equal stretches of the line as there are clones. So every district and block receives
its share to within a column or two, and the clones of a household spread over the whole nation.

The households of the highest AGI are routed apart, on a line where a district's length is its share of AGI and, within it,
a block's is its share of the district's population.
"""

from __future__ import annotations

import sqlite3
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
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
    """Stage ``geography``: draw and write the assignment (``.npz``, names and layout of the reference system)."""
    settings = context.settings
    if not 0 <= settings.top_agi_share <= 1:
        raise ConfigError(f"top_agi_share is {settings.top_agi_share}", "it is a share of the households: give 0 to 1")
    household_ids = read_h5(context.inputs["stratified_cps"]).ids("household")
    blocks = pd.read_parquet(context.inputs["blocks"])
    agi = _household_agi(context.inputs["household_agi"], household_ids)
    routed = agi >= np.quantile(agi, 1 - settings.top_agi_share)
    district_agi = _district_agi(context.inputs["target_db"], settings.agi_level, settings.year, blocks)
    geography = assign(blocks, routed, district_agi, settings.clones, settings.seed)
    with context.output.open("wb") as stream:
        np.savez(
            stream,
            block_geoid=geography.block,
            cd_geoid=geography.district,
            county_fips=geography.county,
            state_fips=geography.state,
            n_records=np.array([geography.n_records]),
            n_clones=np.array([geography.n_clones]),
        )
    shares = _shares(geography, blocks, routed)
    context.reporter.progress(
        f"{len(geography.block):,} columns in {shares['districts']} districts; "
        f"worst district share {shares['worst_district_ratio']:.4f} of its population's"
    )
    return shares


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
    blocks: pd.DataFrame, routed: NDArray[np.bool_], district_agi: pd.Series[float], n_clones: int, seed: int
) -> Geography:
    """Draw a block for every (household, clone).

    Parameters
    ----------
    blocks : DataFrame
        ``block_geoid``, ``district``, ``population``.
    routed : ndarray of bool, shape (n_households,)
        Households that follow the districts' AGI instead of their population.
    district_agi : Series
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
    blocks = blocks.sort_values(["district", "block_geoid"], ignore_index=True)
    population = blocks["population"].to_numpy(dtype=np.float64)
    of_district = blocks.groupby("district")["population"].transform("sum").to_numpy(dtype=np.float64)
    by_agi = np.maximum(blocks["district"].map(district_agi).to_numpy(dtype=np.float64), 0.0) * population / of_district
    if not np.isfinite(by_agi).all() or by_agi.sum() <= 0:
        raise ArtifactError("a district of the block file has no AGI target", "build the target database for the same states")
    chosen = np.empty((n_clones, len(routed)), dtype=np.int64)
    for name, households, mass in (("population", ~routed, population), ("agi", routed, by_agi)):
        chosen[:, households] = _systematic(mass, int(households.sum()), n_clones, generator(f"blocks/{name}", seed))
    rows = chosen.ravel()
    district = blocks["district"].to_numpy(dtype=np.int32)[rows]
    block = blocks["block_geoid"].to_numpy(dtype="S15")[rows]
    return Geography(block, district, (district // 100).astype(np.int32), len(routed), n_clones)


def _systematic(mass: NDArray[np.float64], n_households: int, n_clones: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions on the line of masses, shape (n_clones, n_households): one in each of the equal cells.

    Clone c of any household lies in the c-th of ``n_clones`` equal stretches; which clone stands where is shuffled
    for each household at the end, so that a clone's number says nothing about its place.
    """
    cells = np.stack([rng.permutation(n_households) for _ in range(n_clones)])
    points = (np.arange(n_clones)[:, None] * n_households + cells + rng.random(cells.shape)) / max(cells.size, 1)
    points = rng.permuted(points, axis=0)
    edges = np.cumsum(mass)
    return np.minimum(np.searchsorted(edges, points * edges[-1], side="right"), len(mass) - 1)


def _household_agi(path: Path, household_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    table = pd.read_parquet(path).set_index("household_id")["adjusted_gross_income"]
    agi = table.reindex(household_ids).to_numpy(dtype=np.float64)
    if np.isnan(agi).any():
        raise ArtifactError(f"{path} lacks households of the stratified file", "materialise household_agi again")
    return agi


def _district_agi(database: Path, level: str, year: int, blocks: pd.DataFrame) -> pd.Series[float]:
    """AGI of each district: its own target, or its state's shared out by population (``level`` says which).

    Only the proportions matter, so targets are taken as published, the latest not after ``year``.
    """
    if level not in ("district", "state"):
        raise ConfigError(f"agi_level is {level!r}", "it is district or state")
    query = (
        "SELECT geographic_id, period, value FROM target_overview WHERE variable = 'adjusted_gross_income' AND active = 1 "
        "AND reform_id = 0 AND domain_variable IS NULL AND geo_level = ? AND period <= ? ORDER BY period"
    )
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query, (level, year)).fetchall()
    targets = pd.Series({int(place): float(value) for place, _, value in found}, dtype=float)
    population = blocks.groupby("district")["population"].sum()
    if level == "district":
        agi = targets.reindex(population.index)
    else:
        state = population.index.to_numpy() // 100
        share = population / population.groupby(state).transform("sum")
        agi = share * targets.reindex(state).to_numpy()
    missing = agi.index[agi.isna()]
    if len(missing):
        place = int(missing[0]) if level == "district" else state_of_fips(int(missing[0]) // 100).code
        raise ArtifactError(
            f"the target database has no AGI total for {level} {place}",
            "set agi_level of geography to state, or add the IRS district table to the targets",
        )
    return agi


def _shares(geography: Geography, blocks: pd.DataFrame, routed: NDArray[np.bool_]) -> dict[str, Value]:
    """How the columns of the households that follow the population compare with it, by district and by county."""
    plain = np.tile(~routed, geography.n_clones)
    drawn = pd.Series(geography.district[plain]).value_counts()
    population = blocks.groupby("district")["population"].sum()
    expected = population / population.sum() * int(plain.sum())
    difference = drawn.reindex(expected.index).fillna(0) - expected
    ratio = (drawn.reindex(expected.index).fillna(0) / expected).to_numpy()
    pairs = geography.household * 10_000 + geography.district
    return {
        "columns": len(geography.block),
        "households": geography.n_records,
        "clones": geography.n_clones,
        "districts": int(drawn.size),
        "counties": len(np.unique(geography.county)),
        "routed_households": int(routed.sum()),
        "worst_district_ratio": float(ratio[np.argmax(np.abs(np.log(np.maximum(ratio, 1e-9))))]),
        "district_chi_square": float((difference**2 / expected).sum()),
        "repeated_district_share": float(1 - len(np.unique(pairs)) / len(pairs)),
    }
