"""Each contender in a process of its own: its peak of memory is its own, and one that is killed takes nobody with it.

    python -m benchmarks.fit.apart CONTENDER PACKAGE OPTIONS FOLDER

is what the suite starts: one contender (a key of ``ours.CONTENDERS`` or ``peers.CONTENDERS``) on one package; its outcomes are
left in the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.fit.case import Case, Options
from benchmarks.fit.outcome import Outcome, load, save

LIMIT = 600.0
_ROOT = Path(__file__).resolve().parents[2]


def run_apart(contender: str, package: Path, options: Options, limit: float = LIMIT) -> list[Outcome]:
    """The outcomes of a contender, and one that says how it ended, if it failed or took more than ``limit`` seconds."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder:
        words = [contender, str(package), json.dumps(asdict(options)), folder]
        command = [sys.executable, "-m", "benchmarks.fit.apart", *words]
        environment = os.environ | {"PYTHONPATH": path}
        try:
            done = subprocess.run(
                command,
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            end = f"failed: stopped after {limit:.0f} s"
        else:
            last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
            end = f"failed: {last}" if done.returncode else ""
        return load(Path(folder)) + ([Outcome(contender, note=end)] if end else [])


def main() -> None:
    """Run one contender in this process."""
    from benchmarks.fit import ours, peers

    contender, package, options, folder = sys.argv[1:]
    case = Case.open(Path(package))
    run = (ours.CONTENDERS | peers.CONTENDERS)[contender]
    outcomes: list[Outcome] = []
    for outcome in run(case, Options(**json.loads(options))):
        outcomes.append(outcome)
        save(outcomes, Path(folder))  # after each: what is there is not lost if the next one fails


if __name__ == "__main__":
    main()
