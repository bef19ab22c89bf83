"""Populated census blocks with their district and population, and the stage that writes them with all of their geographies.

Read from what the Census Bureau publishes: the block equivalency file of the 119th Congress (``cd119.zip`` with
``NationalCD119.txt``: GEOID, CDFP) and the 2020 PL 94-171 redistricting files (``<st>2020.pl.zip`` with a geographic header
and data segment 1, pipe-delimited). At-large districts (00) and the District of Columbia (98) become number 1. The county and
the tract are the head of a block's code; every other geography is read by ``geographies``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geocal_core.errors import InputError
from geocal_core.places.catalogue import CONGRESS
from geocal_core.places.codes import as_bytes, as_numbers
from geocal_core.places.geographies import read_geographies
from geocal_core.places.states import DISTRICTS, state_of_code
from geocal_core.places.tables import open_member, pipes, refuse_repeated

if TYPE_CHECKING:
    from geocal_core.context import StageContext
    from geocal_core.progress import Value

_STATE_LEVEL = "040"
_BLOCK_LEVEL = "750"
_NOT_A_DISTRICT = "ZZ"


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``blocks``: write the populated blocks as parquet, sorted by block.

    ``block_geoid`` (15 digits), ``district``, ``population``, and as dictionaries the columns of ``read_geographies``.
    """
    folder, states = context.inputs["raw_census_blocks"], context.settings.states
    blocks = read_blocks(folder, states)
    context.reporter.progress(f"{len(blocks):,} populated blocks in {blocks['district'].nunique()} districts")
    geographies = read_geographies(folder, as_numbers(as_bytes(blocks["block_geoid"])), states)
    table = pa.table(
        {
            "block_geoid": pa.array(blocks["block_geoid"], pa.string()),
            "district": pa.array(blocks["district"], pa.int32()),
            "population": pa.array(blocks["population"], pa.int64()),
            **geographies,
        }
    )
    pq.write_table(table, context.output, compression="zstd")
    return {
        "blocks": len(blocks),
        "districts": int(blocks["district"].nunique()),
        "population": int(blocks["population"].sum()),
        **{f"{name}_values": len(column.dictionary) - 1 for name, column in geographies.items()},
    }


def read_blocks(folder: Path, states: Sequence[str]) -> pd.DataFrame:
    """The populated blocks of some states.

    Parameters
    ----------
    folder : Path
        Holds ``cd119.zip`` and one ``<st>2020.pl.zip`` for each state.
    states : sequence of str
        Postal codes.

    Returns
    -------
    DataFrame
        ``block_geoid`` (str), ``district`` (int32, 100 * FIPS + number), ``population`` (int64, above 0).

    Raises
    ------
    InputError
        If a file is missing or damaged, a populated block has no district, or a district of the states has no block.
    """
    codes = [f"{state_of_code(code).fips:02d}" for code in states]
    file = folder / f"cd{CONGRESS}.zip"
    districts = read_districts(file, CONGRESS, codes)
    population = pd.concat([_population(folder / f"{code.lower()}2020.pl.zip") for code in states], ignore_index=True)
    repeated = population.loc[population["block_geoid"].duplicated(), "block_geoid"]
    if len(repeated):
        raise InputError(f"PL 94-171 files in {folder} list block {repeated.iloc[0]} twice")
    blocks = population[population["population"] > 0].merge(districts, on="block_geoid", how="left")
    homeless = blocks.loc[blocks["district"].isna(), "block_geoid"]
    if len(homeless):
        raise InputError(f"{len(homeless)} populated blocks have no district in {file}, the first is {homeless.iloc[0]}")
    blocks["district"] = blocks["district"].astype("int32")
    wanted = {district for code in states for district in state_of_code(code).districts}
    missing = sorted(wanted - set(blocks["district"].unique().tolist()))
    if missing:
        raise InputError(f"district {missing[0]} has no populated block in {folder}")
    return blocks.sort_values("block_geoid", ignore_index=True)[["block_geoid", "district", "population"]]


def read_districts(path: Path, congress: int, states: Sequence[str]) -> pd.DataFrame:
    """Districts of the blocks of some states, from a block equivalency file on blocks of 2020.

    Parameters
    ----------
    path : Path
        ``cd119.zip`` with a member ``NationalCD119.txt``, or ``cd118.zip`` with ``National_CD118.txt``.
    congress : int
        The Congress of the file; seats are those after the 2020 census, so from the 118th on.
    states : sequence of str
        Two-digit FIPS codes.

    Returns
    -------
    DataFrame
        ``block_geoid`` (str) and ``district`` (int64, 100 * FIPS + number); blocks outside of every district are left out.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another Congress.
    """
    member = f"NationalCD{congress}.txt"
    with open_member(path, member, f"National_CD{congress}.txt") as stream:
        try:
            table = pd.read_csv(stream, dtype=str, usecols=["GEOID", "CDFP"])
        except ValueError as error:
            raise InputError(f"{path}: {member} has no columns GEOID and CDFP ({error})") from error
    table = table[table["GEOID"].str[:2].isin(set(states)) & (table["CDFP"] != _NOT_A_DISTRICT)]
    malformed = table.loc[~table["GEOID"].str.fullmatch(r"\d{15}") | ~table["CDFP"].str.fullmatch(r"\d{2}"), "GEOID"]
    if len(malformed):
        raise InputError(f"{path}: {malformed.iloc[0]!r} is not a block with a two-digit district")
    refuse_repeated(table["GEOID"], f"{path}: {member}")
    number = table["CDFP"].astype(int).replace({0: 1, 98: 1})
    district = table["GEOID"].str[:2].astype(int) * 100 + number
    unknown = sorted(set(district.unique().tolist()) - set(DISTRICTS))
    if unknown:
        raise InputError(
            f"{path}: there is no district {unknown[0]} in the {congress}th Congress", "is it the file of another one?"
        )
    return pd.DataFrame({"block_geoid": table["GEOID"], "district": district})


def _population(path: Path) -> pd.DataFrame:
    """Block and population of one state, from the geographic header joined to data segment 1 by record number."""
    state = path.name[:2]
    header = pipes(path, f"{state}geo2020.pl", {2: "level", 7: "record", 9: "block_geoid"})
    segment = pipes(path, f"{state}000012020.pl", {4: "record", 5: "population"})
    refuse_repeated(header["record"], f"{path}: the geographic header")
    refuse_repeated(segment["record"], f"{path}: segment 1")
    whole = segment.loc[segment["record"].isin(header.loc[header["level"] == _STATE_LEVEL, "record"]), "population"]
    header = header[header["level"] == _BLOCK_LEVEL]
    blocks = header.merge(segment, on="record", how="left", validate="one_to_one")
    absent = blocks.loc[blocks["population"].isna(), "block_geoid"]
    if len(absent):
        raise InputError(f"{path}: block {absent.iloc[0]} of the header is not in segment 1", "the file is truncated")
    if not len(blocks):
        raise InputError(f"{path}: the geographic header has no block (summary level {_BLOCK_LEVEL})")
    population = pd.to_numeric(blocks["population"], errors="coerce")
    if population.isna().any() or (population < 0).any():
        raise InputError(f"{path}: segment 1 has a population that is not a count")
    if len(whole) and whole.iloc[0] != str(population.sum()):
        raise InputError(
            f"{path}: its blocks have {population.sum():,} people, its row of the state says {whole.iloc[0]!r}",
            "the file is truncated; fetch it again",
        )
    return pd.DataFrame({"block_geoid": blocks["block_geoid"], "population": population.astype("int64")})
