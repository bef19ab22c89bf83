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

_ROOT = Path(__file__).resolve().parents[2]


def run_apart(contender: str, package: Path, options: Options) -> list[Outcome]:
    """The outcomes of a contender; one that says how it ended, if it failed."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder:
        words = [contender, str(package), json.dumps(asdict(options)), folder]
        command = [sys.executable, "-m", "benchmarks.fit.apart", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
        if done.returncode == 0:
            return load(Path(folder))
    last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
    return [Outcome(contender, note=f"failed: {last}", facts={"failed": 1.0})]


def main() -> None:
    """Run one contender in this process."""
    from benchmarks.fit import ours, peers

    contender, package, options, folder = sys.argv[1:]
    case = Case.open(Path(package))
    run = (ours.CONTENDERS | peers.CONTENDERS)[contender]
    save(list(run(case, Options(**json.loads(options)))), Path(folder))


if __name__ == "__main__":
    main()
