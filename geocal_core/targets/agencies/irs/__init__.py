"""IRS Statistics of Income: its published files and the tables read from them, a module for each publication."""

from __future__ import annotations

from geocal_core.targets.agencies.irs import historic, publication_1304, retirement

SOURCES = (*historic.SOURCES, *publication_1304.SOURCES, *retirement.SOURCES)
TABLES = (*historic.TABLES, *publication_1304.TABLES, *retirement.TABLES)
