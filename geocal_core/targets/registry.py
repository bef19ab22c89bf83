"""Which agencies there are: every module of ``agencies/`` that declares ``SOURCES`` and ``TABLES``.

A new agency is one new file there. ``SOURCES`` are its published files, ``TABLES`` what is read from them; either may be empty.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType

from geocal_core.published import PublishedFile
from geocal_core.targets import agencies
from geocal_core.targets.figures import Table


@cache
def published_files() -> Mapping[str, tuple[PublishedFile, ...]]:
    """The published files of each agency, by the agency's name, in alphabetical order."""
    return {name: tuple(_module(name).SOURCES) for name in _names()}


@cache
def tables() -> Mapping[str, Table]:
    """All tables by name: agencies in alphabetical order, an agency's tables in the order in which it declares them."""
    found: dict[str, Table] = {}
    for name in _names():
        for table in _module(name).TABLES:
            if table.name in found:
                raise AssertionError(f"two tables are called {table.name}")
            found[table.name] = table
    return found


def tables_of(agency: str) -> tuple[str, ...]:
    """Names of the tables of one agency."""
    return tuple(table.name for table in _module(agency).TABLES)


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(agencies.__path__))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{agencies.__name__}.{name}")
