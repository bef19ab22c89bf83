"""Census Bureau, American Community Survey 1-year detailed table B01001: women aged 15 to 44 by state.

No targets come from it: births are held against it (``agencies/cdc.py``). The file is an answer of the Bureau's API with the
nine columns of these ages; the latest year not after the year wanted is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from geocal_core.errors import InputError
from geocal_core.published import PublishedFile
from geocal_core.targets.figures import TERRITORIES, Scope
from geocal_core.targets.files import RawFiles, read_api_table

# Women of 15-17, 18-19, 20, 21, 22-24, 25-29, 30-34, 35-39 and 40-44 years.
COLUMNS = tuple(f"B01001_{index:03d}E" for index in range(30, 39))
_FILE = r"census_b01001_female_15_44_(\d{4})\.json"


def women_of_15_to_44(raw: RawFiles, scope: Scope) -> tuple[Mapping[int, int], str]:
    """Women of these ages by state.

    Parameters
    ----------
    raw : RawFiles
    scope : Scope

    Returns
    -------
    mapping of int to int
        Women by the state's FIPS code, Puerto Rico left out.
    str
        Name of the file.

    Raises
    ------
    InputError
        If the file is missing or damaged, or has not exactly the states in scope.
    """
    path, _ = raw.latest(_FILE, scope.year, "cdc_births")
    women: dict[int, int] = {}
    for row in read_api_table(path, "state"):
        fips = row.whole("state")
        if fips in TERRITORIES:
            continue
        if fips in women:
            raise InputError(f"{row.where} is there twice", "get the file again from its publisher")
        women[fips] = sum(row.whole(column) for column in COLUMNS)
    scope.check_states(set(women), path.name)
    return women, path.name


SOURCES = (
    PublishedFile(
        "census_b01001_female_15_44_2023.json",
        "ACS 1-year table B01001 (sex by age), women of 15 to 44 years by state",
        f"https://api.census.gov/data/2023/acs/acs1?get={','.join(COLUMNS)}&for=state:*",
        lookalike="census_b01001_female_15_44_????.json",
        needed=False,
        columns=COLUMNS,
        tables=("cdc_births",),
    ),
)
