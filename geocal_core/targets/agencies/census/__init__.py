"""Census Bureau: its published files and the tables read from them, a module for each publication."""

from __future__ import annotations

from geocal_core.targets.agencies.census import subject_tables, tax_collections, women

SOURCES = (*subject_tables.SOURCES, *tax_collections.SOURCES, *women.SOURCES)
TABLES = (*subject_tables.TABLES, *tax_collections.TABLES)
