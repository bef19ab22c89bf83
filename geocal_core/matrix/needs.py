"""What a build of the package needs of memory and disk, known before it starts.

The figures per column and per process were measured at 12,000 households x 430 clones (docs/performance.md) and rounded up.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from geocal_core.errors import ConfigError
from geocal_core.matrix.chunks import CHUNK_COLUMNS

GB = 10**9
OF_A_PROCESS = 1_800_000_000
"""Bytes of a process that simulates, beside its chunk: the engine, New York's system of an earlier year, the layers."""
OF_A_SIMULATED_COLUMN = 50_000
"""Bytes of a column in the chunk that is being simulated."""
OF_A_COLUMN = 320
"""Bytes of a column while the package is put together."""


def needed_memory(columns: int, workers: int) -> int:
    """Bytes of memory at the peak of a build; ``workers`` is 0 where nothing is to be simulated."""
    simulating = workers * (OF_A_PROCESS + min(columns, CHUNK_COLUMNS) * OF_A_SIMULATED_COLUMN)
    return max(simulating, columns * OF_A_COLUMN)


def needed_disk(columns: int, groups: int) -> int:
    """Bytes of disk at the peak: the values of the groups as they were simulated, and the package (two bytes at most for each
    column and group, and what every column has)."""
    return columns * (2 * 2 * groups + 16)


def check_needs(columns: int, groups: int, workers: int, folder: Path) -> None:
    """Refuse a build that this machine has not the memory or the disk for.

    Raises
    ------
    ConfigError
        With the figure that is needed and the one that is there.
    """
    memory, there = needed_memory(columns, workers), available_memory()
    if there is not None and memory > there:
        raise ConfigError(
            f"{columns:,} columns by {workers} processes need {memory / GB:.1f} GB of memory, {there / GB:.1f} GB are free",
            "set GEOCAL_WORKERS lower, or use fewer clones",
        )
    disk, free = needed_disk(columns, groups), shutil.disk_usage(folder).free
    if disk > free:
        raise ConfigError(
            f"{columns:,} columns of {groups} groups of quantities need {disk / GB:.1f} GB below {folder}, {free / GB:.1f} GB "
            "are free",
            "free some, or use fewer clones",
        )


def available_memory() -> int | None:
    """Bytes of memory that can be had without swapping; None where the system does not say."""
    status = Path("/proc/meminfo")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
