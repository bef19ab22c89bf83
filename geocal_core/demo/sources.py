"""The demo nation as a source: for each agency, the function that writes its files as published into a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from geocal_core.settings import RawSettings

Writer = Callable[[RawSettings, Path], None]


def _writer(module: str) -> Writer:
    """The ``write`` of a module of this package, imported when it is called."""

    def write(settings: RawSettings, folder: Path) -> None:
        importlib.import_module(f"geocal_core.demo.{module}").write(settings, folder)

    return write


WRITERS: Mapping[str, Writer] = {
    "census_asec": _writer("asec"),
    "irs_puf": _writer("puf"),
    "census": _writer("acs"),
    "usda": _writer("usda"),
    "irs": _writer("irs"),
    "census_blocks": _writer("blocks"),
}

TABLES = ("census_acs_s0101", "census_acs_s2201_district", "irs_soi_state", "irs_soi_district", "usda_snap")
"""Tables of the target database that can be read from what the demo nation publishes; a profile leaves all others out."""
