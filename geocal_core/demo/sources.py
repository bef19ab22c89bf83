"""The demo nation as a source: for each agency, the function that writes its files as published into a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from geocal_core.settings import RawSettings

Writer = Callable[[RawSettings, Path], None]


def _writer(*functions: str) -> Writer:
    """What writes all files of a source: ``module:function`` of this package, imported when it is called."""

    def write(settings: RawSettings, folder: Path) -> None:
        for named in functions:
            module, function = named.split(":")
            getattr(importlib.import_module(f"geocal_core.demo.{module}"), function)(settings, folder)

    return write


WRITERS: Mapping[str, Writer] = {
    "census_asec": _writer("asec:write"),
    "irs_puf": _writer("puf:write"),
    "census": _writer("acs:write", "programs:write_tax_collections"),
    "cms": _writer("programs:write_medicaid"),
    "irs": _writer("irs:write"),
    "ssa": _writer("programs:write_ssi"),
    "usda": _writer("usda:write"),
    "census_blocks": _writer("blocks:write", "geographies:write"),
}

TABLES = (
    *("census_acs_s0101", "census_acs_s2201_district", "census_state_income_tax"),
    *("cms_medicaid", "irs_soi_state", "irs_soi_district", "ssa_ssi", "usda_snap"),
)
"""Tables of the target database that can be read from what the demo nation publishes; a profile leaves all others out."""
