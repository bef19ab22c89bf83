"""County subdivisions of the demo nation: the real towns of Connecticut, one made-up subdivision for every other county.

A tract lies in one town. Towns are given to the tracts of a former county so that its people come out by planning region as the
published ones do (``places/data/connecticut.csv``), as far as whole tracts go.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from geocal_core.demo.districts import Integers, rows_of
from geocal_core.places.connecticut import people

WATER_TRACT = "990000"
NOT_DEFINED = "00000"
_CONNECTICUT = "09"


@cache
def towns_of() -> dict[tuple[str, str], tuple[str, ...]]:
    """Five-digit codes of the towns in each pair of a former county and a planning region."""
    towns: dict[tuple[str, str], list[str]] = {}
    for row in rows_of("connecticut_towns.csv"):
        towns.setdefault((row["town"][:5], row["region"]), []).append(row["town"][5:])
    return {pair: tuple(codes) for pair, codes in towns.items()}


def subdivisions(geoid: NDArray[np.str_], population: Integers) -> NDArray[np.str_]:
    """County subdivision of each block, five digits; ``00000`` on the water of Connecticut."""
    tracts, of_block = np.unique(geoid.astype("U11"), return_inverse=True)
    persons = np.bincount(of_block, weights=population)
    if not tracts[0].startswith(_CONNECTICUT):
        return np.array([f"9{tract[2:5]}0" for tract in tracts.tolist()])[of_block]
    chosen: list[str] = []
    lacking = {pair: float(number) for pair, number in people().items()}
    used = dict.fromkeys(lacking, 0)
    for tract, number in zip(tracts.tolist(), persons.tolist(), strict=True):
        if tract.endswith(WATER_TRACT):
            chosen.append(NOT_DEFINED)
            continue
        pair = max((pair for pair in lacking if pair[0] == tract[:5]), key=lambda pair: (lacking[pair], pair))
        lacking[pair] -= number
        chosen.append(towns_of()[pair][used[pair] % len(towns_of()[pair])])
        used[pair] += 1
    return np.array(chosen)[of_block]
