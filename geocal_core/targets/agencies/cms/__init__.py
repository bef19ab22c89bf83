"""CMS: its published files and the tables read from them, a module for each publication."""

from __future__ import annotations

from geocal_core.targets.agencies.cms import credits, effectuated, medicaid, open_enrollment

SOURCES = (*medicaid.SOURCES, *effectuated.SOURCES, *credits.SOURCES, *open_enrollment.SOURCES)
TABLES = (*medicaid.TABLES, *credits.TABLES, *open_enrollment.TABLES)
