"""Seconds and memory of every stage of the demo, and the peak of all processes together.

    python benchmarks/demo.py [--profile demo] [--targets-from FOLDER]

Materialises the whole graph into a fresh folder with ``geocal demo`` and prints a Markdown table. The peak of all processes is
the largest sum of their proportional set sizes (shared pages counted once), sampled twice a second; Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from geocal_core.stages import STAGES


def descendants(root: int) -> set[int]:
    """A process and all that it has started, and they in turn."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = set(), [root]
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting += children.get(process, [])
    return found


def memory_mb(processes: set[int]) -> float:
    """Proportional set size of some processes together."""
    kilobytes = 0
    for process in processes:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kilobytes += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kilobytes / 1024


def main() -> int:
    """Run the demo and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--targets-from", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "geocal_core.cli", "demo", "--profile", arguments.profile, "--root", root]
        if arguments.targets_from:
            command += ["--targets-from", arguments.targets_from]
        started, peak = time.monotonic(), 0.0
        demo = subprocess.Popen(command)
        while demo.poll() is None:
            peak = max(peak, memory_mb(descendants(demo.pid)))
            time.sleep(0.5)
        wall = time.monotonic() - started
        if demo.returncode != 0:
            return demo.returncode
        costs = json.loads((Path(root) / "logs" / "timings.json").read_text())
    print("\n| stage | seconds | peak MB |\n|---|--:|--:|")
    for name in STAGES:
        print(f"| `{name}` | {costs[name]['seconds']:.1f} | {costs[name]['peak_mb']:,.0f} |")
    print(f"| all, as a user sees it | {wall:.0f} | {peak:,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
