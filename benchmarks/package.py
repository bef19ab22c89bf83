"""The calibration package at full size: seconds, memory and disk, whole and after one target has changed.

    python benchmarks/package.py [--profile full] [--root artifacts/full] [--targets default] [--plain 200]

Materialises what the package needs (profile ``full``: 12,000 households x 430 clones, all states), then

* runs the layers of the nation and of all states alone, for about 70 variables (``--states`` for only that);
* builds the package from nothing, each process's memory watched;
* changes the value of one target and builds again, the draw of places included;
* simulates ``--plain`` columns of every state plainly and compares them with the package, value for value.

Prints Markdown tables. Linux only, for the watching.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from demo import descendants, memory_mb
from dependence import asked

from geocal_core.engine import layers
from geocal_core.engine.copies import BASELINE, Copies, Question
from geocal_core.engine.layers import Nation, nation_layer, state_layer
from geocal_core.engine.place import places_of_columns
from geocal_core.engine.takeup import TakeUp
from geocal_core.engine.variables import tax_benefit_system
from geocal_core.matrix.chunks import values_of, wanted_variables
from geocal_core.matrix.package import Package
from geocal_core.matrix.quantity import listed_quantities
from geocal_core.places.assignment import read_geography
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.population import read_h5
from geocal_core.profiles import profile
from geocal_core.settings import as_config
from geocal_core.stages import STAGES
from geocal_core.store import Store, digest_path, remove, size_of

PACKAGE = "calibration_package"
VARIABLES = 70


def main() -> int:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--root", type=Path, default=Path("artifacts/full"))
    parser.add_argument("--targets", default="default", help="selection of targets that get a row")
    parser.add_argument("--plain", type=int, default=200, help="columns of each state to simulate plainly")
    parser.add_argument("--states", action="store_true", help="only the layers of the nation and the states")
    parser.add_argument("--inputs", action="store_true", help="only materialise what the package needs")
    arguments = parser.parse_args()
    store = Store(arguments.root)
    settings = dict(profile(arguments.profile).stages)
    settings[PACKAGE] = replace(settings[PACKAGE], targets=arguments.targets)  # type: ignore[type-var]
    for name in needed_by(PACKAGE):
        seconds, peak, _ = watched(name, settings[name], arguments.root)
        print(f"{name:22s} {seconds:7.1f} s  {peak:7,.0f} MB", flush=True)
    if arguments.inputs:
        return 0
    print("\n| step | seconds | peak MB, all processes | largest process MB |\n|---|--:|--:|--:|")
    if not arguments.states:
        remove(store.path("cache"))
        remove(store.path(STAGES[PACKAGE].output))
        row("the whole package", *watched(PACKAGE, settings[PACKAGE], arguments.root))
        change_a_value(store)
        places = watched("geography", settings["geography"], arguments.root)
        again = watched(PACKAGE, settings[PACKAGE], arguments.root)
        row("one target's value changed", places[0] + again[0], max(places[1], again[1]), max(places[2], again[2]))
        compare(store, arguments.plain)
        sizes(store)
    state_layers(store)
    return 0


def row(what: str, seconds: float, together: float, largest: float) -> None:
    """A line of the table."""
    print(f"| {what} | {seconds:.1f} | {together:,.0f} | {largest:,.0f} |", flush=True)


def needed_by(name: str) -> list[str]:
    """The stages upstream of one, in the order of the registry."""
    wanted: set[str] = set()
    waiting = list(STAGES[name].inputs)
    while waiting:
        source = waiting.pop()
        if source not in wanted:
            wanted.add(source)
            waiting += STAGES[source].inputs
    return [stage for stage in STAGES if stage in wanted]


def watched(name: str, settings: Any, root: Path) -> tuple[float, float, float]:
    """Seconds of a stage, the peak of its processes together and that of its largest, MB."""
    config = json.dumps({"root": str(root), "settings": as_config(settings)})
    started, together, largest = time.monotonic(), 0.0, 0.0
    running = subprocess.Popen([sys.executable, "-m", "geocal_core.cli", "stage", name, "--config", config])
    while running.poll() is None:
        family = descendants(running.pid)
        together = max(together, memory_mb(family))
        largest = max([largest, *(memory_mb({one}) for one in family)])
        time.sleep(2)
    if running.returncode != 0:
        raise SystemExit(f"stage {name} failed")
    return time.monotonic() - started, together, largest


def change_a_value(store: Store) -> None:
    """Raise one target of a district by a thousandth, as a new edition of the target database would.

    It is none of the incomes by which households are placed, so that they stay where they are; the draw is made again to see.
    """
    stage = STAGES["target_db"]
    path = store.path(stage.output)
    changed = path.with_suffix(".changed")
    shutil.copy(path, changed)
    with sqlite3.connect(changed) as connection:
        connection.execute(
            "UPDATE targets SET value = value * 1.001 WHERE target_id = (SELECT min(target_id) FROM target_overview "
            "WHERE geo_level = 'district' AND active = 1 AND value > 0 AND variable = 'person_count')"
        )
    connection.close()
    changed.replace(path)
    manifest = store.manifest(stage.output)
    assert manifest is not None
    store.commit(replace(manifest, digest=digest_path(path)))


def sizes(store: Store) -> None:
    """What lies on disk."""
    package = Package.open(store.path(STAGES[PACKAGE].output))
    values = size_of(store.path("cache"))
    print(f"\n{len(package.targets):,} targets of {package.variants.n_quantities} quantities, {package.n_columns:,} columns")
    stored = len(package.variants.data)
    print(f"{package.matrix.nnz:,} explicit non-zeros, {package.matrix.atoms:,} atoms, {stored:,} stored values")
    print(f"package {size_of(package.folder) / 1e6:,.0f} MB, kept values {values / 1e6:,.0f} MB")


def opened(store: Store, wanted: dict[str, tuple[str, ...]]) -> tuple[Question, Copies]:
    """The question that a package answers, and all of its columns."""
    base = read_h5(store.path(STAGES["stratified_cps"].output))
    geography = read_geography(store.path(STAGES["geography"].output))
    crosswalk = Crosswalk.open(store.path(STAGES["blocks"].output))
    places = places_of_columns(ColumnPlaces.of(crosswalk, geography.block))
    return Question(base, TakeUp.of(base), wanted), Copies(geography.household, geography.clone, places)


def compare(store: Store, number: int) -> None:
    """Columns of every state, simulated plainly, against the package."""
    package = Package.open(store.path(STAGES[PACKAGE].output))
    quantities = listed_quantities(package.quantities)
    question, copies = opened(store, wanted_variables(quantities))
    rng = np.random.default_rng(1)
    compared = different = 0
    started = time.monotonic()
    for fips in np.unique(copies.places.state).tolist():
        inside = np.flatnonzero(copies.places.state == fips)
        some = np.sort(rng.choice(inside, min(number, len(inside)), replace=False))
        plain = values_of(quantities, question.answer(copies.take(some)))
        stored = np.stack([package.variants.column(column) for column in some.tolist()], axis=1)
        compared, different = compared + plain.size, different + int((plain != stored).sum())
    print(
        f"\n{compared:,} values simulated plainly in {time.monotonic() - started:.0f} s, {different} other than in the package"
    )


_shared: list[tuple[Nation, Copies]] = []


def state_layers(store: Store) -> None:
    """The layers of the nation and of all states, the small ones too, for about 70 variables, two processes."""
    layers.COST_OF_A_LAYER = (0, 0)
    known = tax_benefit_system().variables
    amounts = [name for name in asked() if known[name].value_type in (float, int, bool)]
    variables = tuple(sorted(amounts)[:: max(1, len(amounts) // VARIABLES)][:VARIABLES])
    question, copies = opened(store, {BASELINE: variables})
    started = time.monotonic()
    inside = np.flatnonzero(copies.places.state == 48)
    households = np.arange(question.base.count("household"))
    place = copies.places.take(inside[households % len(inside)])
    nation = nation_layer(question, Copies(households, np.zeros(len(households), dtype=np.int64), place))
    _shared.append((nation, copies))
    states = sorted(np.unique(copies.places.state).tolist(), key=lambda fips: fips != 36)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        peaks = list(pool.map(one_state, states))
    row(
        f"layers of the nation and {len(states)} states, {len(variables)} variables",
        time.monotonic() - started,
        float("nan"),
        max(peaks),
    )


def one_state(fips: int) -> float:
    """The layer of a state; memory of this process afterwards at its largest, MB."""
    nation, copies = _shared[0]
    state_layer(nation, copies.take(np.flatnonzero(copies.places.state == fips)))
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
