"""IRS Statistics of Income: its published files and the tables read from them, a module for each publication."""

from __future__ import annotations

from geocal_core.targets.agencies.irs import historic

SOURCES = historic.SOURCES
TABLES = historic.TABLES
