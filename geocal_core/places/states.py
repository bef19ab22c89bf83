"""The 50 states and the District of Columbia: postal code, FIPS code, name and seats.

Seats are those of the apportionment after the 2020 census (Census Bureau, 2020 Apportionment Results, Table 1), in force for
the 118th to 122nd Congress. The District has no voting seat; calibration counts it as one district (coded 98 by the Census
Bureau, 01 here).
"""

from __future__ import annotations

from dataclasses import dataclass

from geocal_core.errors import ConfigError

_TABLE = """
AL 1 7 Alabama|AK 2 1 Alaska|AZ 4 9 Arizona|AR 5 4 Arkansas|CA 6 52 California|CO 8 8 Colorado|CT 9 5 Connecticut
DE 10 1 Delaware|DC 11 0 District of Columbia|FL 12 28 Florida|GA 13 14 Georgia|HI 15 2 Hawaii|ID 16 2 Idaho
IL 17 17 Illinois|IN 18 9 Indiana|IA 19 4 Iowa|KS 20 4 Kansas|KY 21 6 Kentucky|LA 22 6 Louisiana|ME 23 2 Maine
MD 24 8 Maryland|MA 25 9 Massachusetts|MI 26 13 Michigan|MN 27 8 Minnesota|MS 28 4 Mississippi|MO 29 8 Missouri
MT 30 2 Montana|NE 31 3 Nebraska|NV 32 4 Nevada|NH 33 2 New Hampshire|NJ 34 12 New Jersey|NM 35 3 New Mexico
NY 36 26 New York|NC 37 14 North Carolina|ND 38 1 North Dakota|OH 39 15 Ohio|OK 40 5 Oklahoma|OR 41 6 Oregon
PA 42 17 Pennsylvania|RI 44 2 Rhode Island|SC 45 7 South Carolina|SD 46 1 South Dakota|TN 47 9 Tennessee|TX 48 38 Texas
UT 49 4 Utah|VT 50 1 Vermont|VA 51 11 Virginia|WA 53 10 Washington|WV 54 2 West Virginia|WI 55 8 Wisconsin|WY 56 1 Wyoming
"""


@dataclass(frozen=True)
class State:
    """A state or the District of Columbia.

    Attributes
    ----------
    code : str
        Postal code.
    fips : int
        FIPS code of the state.
    seats : int
        Voting seats in the House of Representatives.
    name : str
    """

    code: str
    fips: int
    seats: int
    name: str

    @property
    def districts(self) -> tuple[int, ...]:
        """Codes ``100 * fips + number`` of its districts; a state with one district has number 1, so has the District."""
        return tuple(100 * self.fips + number for number in range(1, max(self.seats, 1) + 1))


def _parse(entry: str) -> State:
    code, fips, seats, name = entry.split(" ", 3)
    return State(code, int(fips), int(seats), name.strip())


STATES: tuple[State, ...] = tuple(_parse(entry) for line in _TABLE.strip().splitlines() for entry in line.split("|"))
_BY_CODE = {state.code: state for state in STATES}
_BY_FIPS = {state.fips: state for state in STATES}
DISTRICTS: tuple[int, ...] = tuple(district for state in STATES for district in state.districts)


def state_of_code(code: str) -> State:
    """The state of a postal code."""
    if code not in _BY_CODE:
        raise ConfigError(f"there is no state {code!r}", "use one of the 51 postal codes, such as CA or DC")
    return _BY_CODE[code]


def state_of_fips(fips: int) -> State:
    """The state of a FIPS code."""
    if fips not in _BY_FIPS:
        raise ConfigError(f"there is no state with FIPS code {fips}")
    return _BY_FIPS[fips]
