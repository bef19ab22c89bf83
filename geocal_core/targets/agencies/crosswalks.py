"""Crosswalks between the districts of different Congresses: published files that other tables are carried over by.

No table of its own; ``targets/redistricting.py`` reads them.
"""

from __future__ import annotations

from geocal_core.published import PublishedFile
from geocal_core.targets.figures import Table
from geocal_core.targets.redistricting import SHARES_FILE

SOURCES = (
    PublishedFile(
        "geocorr2022_cd???_to_cd119.csv",
        "Geocorr 2022: people of 2020 by district of an earlier Congress and of the 119th",
        "https://mcdc.missouri.edu/applications/geocorr2022.html",
        lookalike="geocorr*.csv",
        needed=False,
        columns=("state", "pop20", "afact2", "afact"),
    ),
    PublishedFile(
        SHARES_FILE,
        "Shares of the districts of the 116th Congress in those of the 119th",
        "https://github.com/PolicyEngine/policyengine-us-data",
        lookalike="district_mapping*.csv",
        needed=False,
        columns=("code_old", "code_new", "proportion"),
    ),
)
TABLES: tuple[Table, ...] = ()
