"""Written crosswalks and district files of an earlier Congress, from hidden rates of each of its districts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geocal_core.places.states import STATES

# Seats after the 2010 census where they differ from those after the 2020 census.
SEATS_2010 = {"CA": 53, "CO": 7, "FL": 27, "IL": 18, "MI": 14, "MT": 1, "NC": 13, "NY": 27, "OH": 16, "OR": 5, "PA": 18}
SEATS_2010 |= {"TX": 36, "WV": 3}
_SHARE_OF_PAIRS = 0.1


def pairs(seats: dict[str, int], seed: int = 7) -> dict[tuple[int, int], int]:
    """People by old and new district of all states, the old ones numbered by these seats (others as now)."""
    generator = np.random.default_rng(seed)
    found = {}
    for state in STATES:
        old = [100 * state.fips + number for number in range(1, 1 + max(1, seats.get(state.code, state.seats)))]
        for i, new in enumerate(state.districts):
            for j, of in enumerate(old):
                if i % len(old) == j or j % len(state.districts) == i or generator.random() < _SHARE_OF_PAIRS:
                    found[of, new] = int(generator.integers(1_000, 400_000))
    return found


PAIRS = pairs(SEATS_2010)
PAIRS_118 = pairs({}, seed=8)


def write_geocorr(folder: Path, congress: int, people: dict[tuple[int, int], int] = PAIRS) -> Path:
    """A table in the layout of Geocorr 2022: at-large districts are 00, the District of Columbia and Puerto Rico 98."""
    lines = [
        f'"state","cd119","cd{congress}","stab","pop20","afact2","afact"',
        '"State code","Congressional district code (119th Congress)",'
        f'"Congressional district code ({congress}th Congress)","State abbr.","Total population (2020 Census)",'
        f'"cd{congress}-to-cd119 allocation factor","cd119-to-cd{congress} allocation factor"',
    ]
    postal = {state.fips: state.code for state in STATES}
    for old, new in sorted(people, key=lambda pair: (pair[1], pair[0])):
        of_old = sum(n for (o, _), n in people.items() if o == old)
        of_new = sum(n for (_, m), n in people.items() if m == new)
        number = people[old, new]
        sides = [_number(code, {o if side == 0 else m for o, m in people}) for side, code in enumerate((old, new))]
        shares = f"{round(number / of_old, 4):g},{round(number / of_new, 4):g} "
        lines.append(f'"{new // 100:02d}","{sides[1]}","{sides[0]}","{postal[new // 100]}",{number},{shares}')
    lines.append('"72","98","98","PR",3285874,1,1 ')
    path = folder / f"geocorr2022_cd{congress}_to_cd119.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _number(code: int, codes: set[int]) -> str:
    if code == 1101:
        return "98"
    return "00" if code % 100 == 1 and code + 1 not in codes else f"{code % 100:02d}"
