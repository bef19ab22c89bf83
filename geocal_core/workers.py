"""How many processes or threads a stage may use. It never changes a byte of what the stage makes."""

from __future__ import annotations

import os

from geocal_core.errors import ConfigError


def worker_count() -> int:
    """``GEOCAL_WORKERS``, or as many as there are processors, but at most two, for the sake of memory.

    Raises
    ------
    ConfigError
        If the variable is no whole number above 0.
    """
    wanted = os.environ.get("GEOCAL_WORKERS", str(min(2, os.cpu_count() or 1)))
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"GEOCAL_WORKERS is {wanted!r}", "set it to a whole number of at least 1, or leave it unset")
    return int(wanted)
