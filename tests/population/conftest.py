"""Random populations for property tests."""

from __future__ import annotations

import numpy as np

from geocal_core.population import GROUPS, Population, id_name, link_name


def random_population(seed: int, n_households: int) -> Population:
    """Households of 1 to 5 persons whose persons fall into random groups that never span two households."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, n_households)
    household = np.repeat(np.arange(n_households), sizes)
    tables: dict[str, dict[str, np.ndarray]] = {
        "person": {
            "person_id": rng.permutation(len(household)) + 1000,
            "age": rng.integers(0, 90, len(household)).astype(float),
        }
    }
    for group in GROUPS:
        within = np.zeros(len(household), dtype=int) if group == "household" else rng.integers(0, 3, len(household))
        keys, units = np.unique(household * 10 + within, return_inverse=True)
        ids = np.sort(rng.choice(10 * len(keys) + 10, len(keys), replace=False))
        rng.shuffle(ids)
        tables[group] = {id_name(group): ids, f"{group}_value": rng.random(len(keys))}
        tables["person"][link_name(group)] = ids[units]
    tables["household"]["household_weight"] = rng.random(n_households)
    tables["household"]["place"] = rng.choice(np.array(["AB", "C"]), n_households)
    return Population(2024, tables)
