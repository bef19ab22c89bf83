"""Which variables of the engine depend on state, place and take-up: the table that geocal ships, made again.

``python benchmarks/dependence.py [--root artifacts/demo]`` runs the engine with a tracer for the households of a demo in each
state, asks for every variable that a target can be uprated for and some more, and writes
``geocal_core/engine/data/dependence.csv``. A few minutes on two cores; to be run when the pinned version of the engine changes.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np

from geocal_core.engine import dependence
from geocal_core.engine.copies import BASELINE, Copies, Question
from geocal_core.engine.dependence import Dependence, dependences_in
from geocal_core.engine.layers import reads_of
from geocal_core.engine.place import places_of_columns
from geocal_core.engine.takeup import TakeUp
from geocal_core.engine.variables import nonlocal_variables, tax_benefit_system
from geocal_core.places.assignment import read_geography
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.population import read_h5

# Asked for beside the variables of targets/data/series.csv: what constraints look at, and what users score.
FURTHER = (
    "age",
    "chip",
    "chip_enrolled",
    "eitc_child_count",
    "early_head_start",
    "head_start",
    "household_market_income",
    "household_net_income",
    "household_tax_before_refundable_credits",
    "is_pregnant",
    "is_wic_eligible",
    "medicaid_enrolled",
    "spm_unit_is_in_spm_poverty",
    "spm_unit_net_income",
    "spm_unit_spm_threshold",
    "ssn_card_type",
    "state_income_tax_before_refundable_credits",
    "tax_unit_is_filer",
    "tax_unit_itemizes",
    "is_medicaid_eligible",
    "is_aca_ptc_eligible",
)

_question: Question | None = None
_copies: Copies | None = None


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("artifacts/demo"), help="a materialised demo")
    parser.add_argument("--output", type=Path, default=Path("geocal_core/engine/data/dependence.csv"))
    arguments = parser.parse_args()
    global _question, _copies
    base = read_h5(arguments.root / "microdata" / "stratified_extended_cps_2024.h5")
    geography = read_geography(arguments.root / "calibration" / "geography_assignment.npz")
    _question = Question(base, TakeUp.of(base), {BASELINE: asked()})
    crosswalk = Crosswalk.open(arguments.root / "places" / "blocks.parquet")
    places = places_of_columns(ColumnPlaces.of(crosswalk, geography.block))
    _copies = Copies(geography.household, geography.clone, places)
    states = np.unique(places.state).tolist()
    found: dict[str, Dependence] = {}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        for fips, of_state in zip(states, pool.map(in_state, states), strict=True):
            new = {name for name, one in of_state.items() if found.get(name, Dependence()) | one != found.get(name)}
            print(f"state {fips:02d}: {len(of_state)} variables depend on something local, {len(new)} of them not known so far")
            for name, one in of_state.items():
                found[name] = found.get(name, Dependence()) | one
    arguments.output.write_text(dependence.table(found, f"policyengine-us {version('policyengine-us')}"), encoding="utf-8")
    print(f"{len(found)} variables written to {arguments.output}")


def asked() -> tuple[str, ...]:
    """The variables that are asked for."""
    text = resources.files("geocal_core.targets").joinpath("data/series.csv").read_text(encoding="utf-8")
    of_targets = {name for row in csv.DictReader(text.splitlines()) for name in (row["variable"], row["domain"])}
    known = set(tax_benefit_system().variables)
    return tuple(sorted(((of_targets & known) | set(FURTHER)) - set(nonlocal_variables())))


def in_state(fips: int) -> dict[str, Dependence]:
    """What the households of a state read, each household once."""
    assert _question is not None
    assert _copies is not None
    inside = _copies.take(np.flatnonzero(_copies.places.state == fips))
    _, first = np.unique(inside.households, return_index=True)
    return dependences_in(reads_of(_question, inside.take(first)))


if __name__ == "__main__":
    main()
