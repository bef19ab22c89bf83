"""Seconds and memory of building the target database from published files, and of handing out its targets.

    python benchmarks/targets.py FOLDER [--without TABLE ...]

FOLDER holds the agencies' files. Each step runs in a process of its own, whose peak of resident memory is what the kernel
reports; the database is built twice, and the bytes are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geocal_core.progress import Silent
from geocal_core.settings import TargetSettings
from geocal_core.targets.build import build_database
from geocal_core.targets.consistency import find_contradictions
from geocal_core.targets.select import load_targets


def build(raw: Path, output: Path, without: tuple[str, ...]) -> str:
    """Build, and tell how many targets there are."""
    facts = build_database(raw, output, TargetSettings(without=without, known_totals=True), Silent())
    return f"{facts['active']:,} active targets, {facts['known_totals_met']} known totals met"


def load(database: Path) -> str:
    """Hand out the targets of 2024."""
    return f"{len(load_targets(database, 2024)[0]):,} targets of 2024"


def check(database: Path) -> str:
    """Report contradictions."""
    return f"{len(find_contradictions(database, 2024)):,} contradictions"


def measured(step: Callable[..., str], *arguments: Any) -> tuple[str, float, float]:
    """What a step says, its seconds and its megabytes."""
    started = time.perf_counter()
    said = step(*arguments)
    return said, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure every step and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--without", nargs="*", default=["irs_soi_district", "cdc_births"])
    arguments = parser.parse_args()
    print("| step | seconds | peak MB | result |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first.db"), Path(folder, "second.db")
        without = tuple(arguments.without)
        steps = [
            ("build", build, (arguments.raw, first, without)),
            ("build again", build, (arguments.raw, second, without)),
            ("load_targets", load, (first,)),
            ("find_contradictions", check, (first,)),
        ]
        for name, step, given in steps:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                said, seconds, megabytes = pool.apply(measured, (step, *given))
            print(f"| {name} | {seconds:.1f} | {megabytes:.0f} | {said} |")
        digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)}
        print(f"\nThe same bytes twice: {'yes' if len(digests) == 1 else 'NO'}")
    return 0 if len(digests) == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
