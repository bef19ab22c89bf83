"""Real counties and districts for the households of tests."""

from __future__ import annotations

import numpy as np

from geocal_core.engine.copies import Copies
from geocal_core.engine.place import Places

WHERE = {
    2: ((201, "02020", "03000", ""), (201, "02013", "", "")),
    6: ((634, "06037", "44000", "90012"), (611, "06075", "67000", "94103"), (643, "06037", "", "91301")),
    10: ((1001, "10001", "", ""), (1001, "10003", "77580", "19801")),
    36: ((3612, "36061", "51000", "10001"), (3620, "36001", "01000", "12207")),
    48: ((4802, "48201", "35000", "77002"), (4837, "48453", "", "")),
    56: ((5601, "56021", "13900", "82001"),),
}
"""District, county, city and ZIP code area by state."""


def places_in(states: np.ndarray | list[int], seed: int = 0) -> Places:
    """A place for each of some households, in its state."""
    rng = np.random.default_rng([seed, 1])
    chosen = [WHERE[int(fips)][rng.integers(len(WHERE[int(fips)]))] for fips in np.asarray(states)]
    district, county, city, zcta = zip(*chosen, strict=True)
    return Places.of(district, [f"{code}000100{1000}" for code in county], city, zcta)


def copies_in(states: tuple[int, ...], households: int, clones: int, seed: int = 0) -> Copies:
    """Copies of every household, clone by clone, in states by chance."""
    rng = np.random.default_rng(seed)
    number = households * clones
    return Copies(
        np.tile(np.arange(households), clones),
        np.repeat(np.arange(clones), households),
        places_in(rng.choice(states, number), seed),
    )
