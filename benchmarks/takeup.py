"""Take-up draws per second on one core, in either scheme.

    python benchmarks/takeup.py [--households 12000] [--clones 430] [--scheme counter]

A made-up base file (households of one to six persons, coverage reported by some) is drawn for every clone in states by turns. A
draw is whole: finding the units of each copy, the uniform number, the probability of the unit's record in the state, and the
comparison of both. Threads of numpy's libraries are held to one.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np

from geocal_core.engine.draws import SCHEMES
from geocal_core.engine.takeup import TakeUp, rates
from geocal_core.places.states import STATES
from geocal_core.population import GROUPS, Population, id_name, link_name
from geocal_core.seeds import generator


def made_up(households: int) -> Population:
    """A base file: ages, wages, reported coverage; the third adult is a tax unit and an SPM unit of their own."""
    rng = generator("take-up benchmark")
    size = rng.choice(np.arange(1, 7), households, p=[0.28, 0.34, 0.16, 0.13, 0.06, 0.03])
    household = np.repeat(np.arange(households), size)
    count = len(household)
    place = np.arange(count) - np.repeat(np.cumsum(size) - size, size)
    apart = np.unique(household * 2 + (place == 2), return_inverse=True)[1]
    links = {group: apart if group in ("tax_unit", "spm_unit") else household for group in GROUPS}
    person = {
        "person_id": np.arange(count),
        "age": rng.integers(0, 90, count),
        "employment_income_before_lsr": rng.lognormal(10, 1, count),
        "has_esi": rng.random(count) < 0.5,
        "has_medicaid_health_coverage_at_interview": rng.random(count) < 0.2,
        "has_marketplace_health_coverage_at_interview": rng.random(count) < 0.06,
        **{link_name(group): links[group] for group in GROUPS},
    }
    tables = {group: {id_name(group): np.arange(links[group].max() + 1)} for group in GROUPS}
    tables["household"]["household_weight"] = rng.uniform(500, 3_000, households)
    return Population(2024, {"person": person, **tables})


def main() -> None:
    """Print seconds and draws per second by program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--households", type=int, default=12_000)
    parser.add_argument("--clones", type=int, default=430)
    parser.add_argument("--scheme", choices=SCHEMES, nargs="*", default=list(SCHEMES))
    arguments = parser.parse_args()
    base = made_up(arguments.households)
    columns = arguments.households * arguments.clones
    households, clones = np.arange(columns) % arguments.households, np.arange(columns) // arguments.households
    states = np.array([state.fips for state in STATES])[np.arange(columns) % len(STATES)]
    for scheme in arguments.scheme:
        started = time.perf_counter()
        takeup = TakeUp.of(base, scheme=scheme)
        print(f"{scheme}: {columns:,} columns; set up once in {time.perf_counter() - started:.3f} s")
        print("| program | draws, million | seconds | million draws per second | share |\n|---|---|---|---|---|")
        total, spent = 0, 0.0
        for program in rates():
            started = time.perf_counter()
            taken = takeup.units(program.variable, households, clones, states)
            seconds = time.perf_counter() - started
            total, spent = total + len(taken), spent + seconds
            row = (program.variable, len(taken) / 1e6, seconds, len(taken) / 1e6 / seconds, taken.mean())
            print("| {} | {:.1f} | {:.2f} | {:.1f} | {:.3f} |".format(*row), flush=True)
        print(f"| all | {total / 1e6:.1f} | {spent:.2f} | {total / 1e6 / spent:.1f} | |\n")
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
