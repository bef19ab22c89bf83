"""The fit of geocal and its peers, side by side on the same problems in one run, in one table.

    python -m benchmarks.fit [--problems demo,real,scale] [--peers l0-python,microcalibrate] [--epochs 1000] [--output FOLDER]
    python -m benchmarks.fit --quick

Problems: ``district`` and ``state``, the largest of the demo nation's alone; ``demo``, its package (`make demo`); ``real``, its
households x 430 clones (`python benchmarks/package.py`) with the targets of the agencies' own files (``--raw FOLDER``);
``scale``, made up, 12,000 households x 430 clones, 24,080 rows and 1e8 non-zeros; ``tiny``, made up, which ``--quick`` alone
takes. Each contender has a process of its own. A peer that is not installed (``pip install l0-python microcalibrate clarabel``)
or that a problem is too large for is named in the table. Where l0-python is trained, all methods of an exact size keep as many
columns as it does; elsewhere ``--records``.

The table comes on the terminal as it grows, and at the end in ``fit.md`` and ``fit.csv``, with the bytes of an epoch and the
goals beside what was measured. All of it takes 25 minutes on two cores and 10 GB. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fit import ours, peers
from benchmarks.fit.apart import run_apart
from benchmarks.fit.case import Options
from benchmarks.fit.outcome import Outcome
from benchmarks.fit.problems import PROBLEMS, Missing, Sources, build
from benchmarks.fit.quality import Judge
from benchmarks.fit.report import Row, Table, heading, line, summary, write

LAMBDA_L0 = 0.02
"""What the reference system raised the preset's 1e-4 to for its national file (changelog of PolicyEngine us-data)."""
_LARGE = 1_000_000  # columns from which only paces of l0-python are taken, and dense fits are left to raking
_PACE_OF_PEERS = 3
_SHORT = 20.0  # seconds that scipy, the dense fit and any peer on a small problem may take
_SMALL = 50_000  # columns


@dataclass
class Suite:
    """A run of the suite."""

    sources: Sources
    options: Options
    peers: tuple[str, ...]
    peer_seconds: float
    folder: Path

    def __post_init__(self) -> None:
        self.table = Table([])
        self.about: list[str] = []
        self.levels: dict[str, float] = {}

    def run(self, problem: str) -> None:
        """All contenders on one problem."""
        package, begun = self.folder / problem, time.perf_counter()
        try:
            what = build(problem, self.sources, package)
        except Missing as missing:
            self._show(Row(problem, Outcome("left out", note=str(missing))))
            return
        seconds = time.perf_counter() - begun
        judge = Judge(package)
        made = judge.case.made
        size = f"{len(made.target):,} targets fitted and {made.held_matrix.shape[0]:,} held out x {made.n_columns:,} columns"
        matrix = f"{made.matrix.nnz:,} non-zeros in {made.matrix.atoms:,} atoms"
        self.about.append(f"- `{problem}`: {what}; {size}, {matrix}; made in {seconds:.0f} s")
        print(f"\n{self.about[-1]}\n\n{heading()}", flush=True)
        for row in self._contest(problem, package, judge):
            self._show(row)

    def _show(self, row: Row) -> None:
        self.table.rows.append(row)
        print(line(self.table.figures(row)), flush=True)

    def _contest(self, problem: str, package: Path, judge: Judge) -> Iterator[Row]:
        made = judge.case.made
        for contender, options in self._plan(problem, made.n_columns):
            refusal = ""
            if contender in peers.CONTENDERS:
                refusal = peers.refusal(contender, len(made.target), made.n_columns)
            outcomes = [Outcome(contender, note=refusal)] if refusal else run_apart(contender, package, options)
            for outcome in outcomes:
                quality = None if outcome.weights is None else judge.quality(outcome.weights)
                if outcome.method == ours.EXACT and outcome.weights is not None:
                    self.levels[problem] = judge.levels(outcome.weights)
                yield Row(problem, replace(outcome, weights=None), quality)

    def _plan(self, problem: str, n_columns: int) -> Iterator[tuple[str, Options]]:
        """Contenders in turn, with what they are told; sizes wait for what l0-python keeps."""
        options, large = self.options, n_columns >= _LARGE
        short = replace(options, pace=_PACE_OF_PEERS, seconds=min(_SHORT, self.peer_seconds))
        trained = short if n_columns < _SMALL else replace(short, seconds=0.0 if large else self.peer_seconds)
        yield "one_thread", options
        yield "gated", options
        if "l0-python" in self.peers:
            yield "l0-python", trained
            row = self.table.of(problem, peers.L0)
            if row is not None and row.quality is not None and row.outcome.epochs:
                yield "equal", replace(options, epochs=row.outcome.epochs)
        sized = replace(options, records=self._records(problem, n_columns))
        yield "exact", sized
        yield "uniform", sized
        if not large:
            yield "dense", short
            yield "same_bytes", options
        for name in ("lbfgs", "microcalibrate", "clarabel"):
            if name in self.peers:
                yield name, short

    def _records(self, problem: str, n_columns: int) -> int:
        """As many columns as l0-python has kept.

        Where it was not trained, or too shortly to close half of its gates, the number asked for, but a tenth at most.
        """
        trained = self.table.quality(problem, peers.L0)
        if trained is not None and 0 < trained.kept <= n_columns // 2:
            return trained.kept
        return min(self.options.records, n_columns // 10)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suite, print and write its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=_listed(PROBLEMS), help="default: district,state,demo,real,scale")
    parser.add_argument("--peers", type=_listed(peers.CONTENDERS), help=f"default: {','.join(peers.CONTENDERS)}; '' for none")
    parser.add_argument("--epochs", type=int, help="of gated fits, and at most of the peers (1000)")
    parser.add_argument("--peer-seconds", type=float, default=270.0, help="that l0-python may train, below a million columns")
    parser.add_argument("--records", type=int, default=57_240, help="exact size where l0-python is not trained")
    parser.add_argument("--preset", default="national")
    parser.add_argument("--lambda-l0", type=float, default=LAMBDA_L0, help="price of an open gate, for all (%(default)g)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo", type=Path, default=Path("artifacts/demo/calibration/package"))
    parser.add_argument("--full", type=Path, default=Path("artifacts/full/calibration/package"))
    parser.add_argument("--raw", type=Path, help="folder of the agencies' own files")
    parser.add_argument("--households", type=int, default=12_000, help="of the problem scale")
    parser.add_argument("--clones", type=int, default=430, help="of each of them")
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks"))
    parser.add_argument("--quick", action="store_true", help="one tiny problem, few epochs, and no peers unless named")
    given = parser.parse_args(arguments)
    problems = given.problems or (["tiny"] if given.quick else [name for name in PROBLEMS if name != "tiny"])
    chosen = given.peers if given.peers is not None else ([] if given.quick else list(peers.CONTENDERS))
    epochs = given.epochs or (60 if given.quick else 1000)
    options = Options(
        epochs=epochs,
        records=given.records,
        threads=given.threads,
        preset=given.preset,
        lambda_l0=given.lambda_l0,
        seed=given.seed,
    )
    sources = Sources(given.demo, given.full, given.raw, given.households, given.clones, seed=given.seed)
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(sources, options, tuple(chosen), given.peer_seconds, Path(folder))
        for problem in problems:
            suite.run(problem)
            machine = f"{_machine()}; {given.threads} threads; preset {given.preset}, lambda_l0 {given.lambda_l0:g}\n"
            write(
                suite.table, [machine, *suite.about], suite.levels, given.output
            )  # what is there is not lost if the next one is stopped
    print("\n" + summary(suite.table, suite.levels))
    print(f"Written to {given.output / 'fit.md'} and fit.csv.")


def _listed(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    """What reads names, with commas between them, of which each must be known."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(known)}")
        return names

    return read


def _machine() -> str:
    """Processors, memory and load: what times depend on."""
    model = next((row.split(":")[1].strip() for row in _lines("/proc/cpuinfo") if row.startswith("model name")), "unknown")
    memory = int(next(row.split()[1] for row in _lines("/proc/meminfo") if row.startswith("MemTotal"))) / 1e6
    load = os.getloadavg()[0]
    processors = f"{os.cpu_count()} processors ({model}), {memory:.0f} GB"
    return f"{processors}, load {load:.1f} after the last problem; Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
