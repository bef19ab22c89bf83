"""Seconds, memory and proportions of the draw of places: 12,000 households x 430 clones.

    python benchmarks/places.py [--blocks 6000000] [--households 12000] [--clones 430]

Over the blocks of the demo nation, then over so many made-up ones with the real districts and counties. Every case runs in a
process of its own, whose peak of resident memory is what the kernel reports.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geocal_core.demo.blocks import blocks_of
from geocal_core.demo.districts import county_parts
from geocal_core.places.assignment import assign, read_geography, write_geography
from geocal_core.places.crosswalk import Crosswalk
from geocal_core.places.proportions import proportions
from geocal_core.places.states import STATES

_ROUTED = 0.1
_BLOCKS_A_TRACT = 72  # of those with people, about as many as in truth


def demo_blocks() -> pd.DataFrame:
    """The populated blocks of the demo nation."""
    tables = []
    for state in STATES:
        blocks = blocks_of(state, 0, with_water=False)
        number = np.array([{"00": 1, "98": 1}.get(text, int(text)) for text in blocks.district.tolist()])
        table = {"block_geoid": blocks.geoid, "district": 100 * state.fips + number, "population": blocks.population}
        tables.append(pd.DataFrame(table)[blocks.population > 0])
    return pd.concat(tables, ignore_index=True)


def made_up_blocks(n: int) -> pd.DataFrame:
    """About ``n`` blocks, shared out over the parts of counties in districts by people, of very unequal sizes."""
    parts, rng = county_parts(), np.random.default_rng(0)
    count = np.maximum(parts.population * n // parts.population.sum(), 1)
    part = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(part)) - np.repeat(np.cumsum(count) - count, count)
    number = np.char.zfill((parts.district[part] % 100).astype("U2"), 2)  # tells the parts of a county apart
    tract = np.char.zfill((within // _BLOCKS_A_TRACT).astype("U4"), 4)
    block = np.char.zfill((1000 + within % _BLOCKS_A_TRACT).astype("U4"), 4)
    geoid = np.char.add(np.char.add(parts.county[part], number), np.char.add(tract, block))
    size = rng.lognormal(0.0, 1.0, len(part))
    people = parts.population[part] * size / np.bincount(part, size)[part]
    table = pd.DataFrame(
        {"block_geoid": geoid, "district": parts.district[part], "population": np.ceil(people).astype(np.int64)}
    )
    return table.sort_values("block_geoid", ignore_index=True)


def case(blocks: Path, folder: Path, households: int, clones: int) -> tuple[list[str], dict[str, object]]:
    """One draw: the steps with their seconds, and how it compares with the people."""
    steps: list[str] = []
    clock = time.perf_counter()

    def done(step: str) -> None:
        nonlocal clock
        steps.append(f"{step} {time.perf_counter() - clock:.2f} s")
        clock = time.perf_counter()

    table = pd.read_parquet(blocks, columns=["block_geoid", "district", "population"])
    done("read blocks")
    districts = np.unique(table["district"])
    agi = pd.Series(np.random.default_rng(1).lognormal(0.0, 0.5, len(districts)), districts)
    routed = np.arange(households) < _ROUTED * households
    geography = assign(table, routed, agi, clones, 42)
    done("draw")
    found = proportions(geography, Crosswalk.open(blocks), routed, agi)
    done("check")
    path = folder / "geography.npz"
    write_geography(path, geography)
    done("write")
    read_geography(path)
    done("read")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return steps, {
        **found.facts,
        "passed": found.passed,
        "peak_mb": round(peak),
        "file_mb": path.stat().st_size // 10**6,
        "digest": digest,
    }


def write_blocks(table: pd.DataFrame, path: Path) -> int:
    """The blocks as an artifact; they lie in no place."""
    nowhere = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), dtype=np.int32)), pa.array([""]))
    columns = {name: pa.array(table[name]) for name in table.columns}
    pq.write_table(pa.table({**columns, "place_fips": nowhere}), path, compression="zstd")
    return len(table)


def main() -> int:
    """Measure and print; the status is 1 if a draw is not in proportion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=6_000_000)
    parser.add_argument("--households", type=int, default=12_000)
    parser.add_argument("--clones", type=int, default=430)
    arguments = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, make in (("demo", demo_blocks), ("made up", lambda: made_up_blocks(arguments.blocks))):
            n = write_blocks(make(), folder / "blocks.parquet")
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                steps, facts = pool.apply(case, (folder / "blocks.parquet", folder, arguments.households, arguments.clones))
            print(f"\n{title}: {n:,} blocks\n  {', '.join(steps)}")
            for fact, value in facts.items():
                print(f"  {fact:28s} {value:,.6g}" if isinstance(value, float) else f"  {fact:28s} {value}")
            passed &= bool(facts["passed"])
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
