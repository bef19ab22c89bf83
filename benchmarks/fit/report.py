"""The table of all outcomes, on the terminal, as Markdown and as CSV, and the goals beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.fit import ours, peers
from benchmarks.fit.outcome import Outcome
from benchmarks.fit.quality import Quality

_COLUMNS: Mapping[str, tuple[str, str]] = {  # of a row: heading and format
    "problem": ("problem", "s"),
    "method": ("method", "s"),
    "build": ("build, s", ".1f"),
    "epochs": ("epochs", ",.0f"),
    "wall": ("ms per epoch", ",.2f"),
    "best": ("best", ",.2f"),
    "processor": ("of processors", ",.2f"),
    "ratio": ("times ours", ",.0f"),
    "total": ("in all, s", ",.1f"),
    "peak": ("peak, GB", ".2f"),
    "loss": ("loss", ".5g"),
    "held_loss": ("held-out loss", ".5g"),
    "held_capped": ("held-out mean error, capped", ".2%"),
    "within": ("within 1 %", ".1%"),
    "kept": ("kept", ",.0f"),
    "effective": ("effective size", ",.0f"),
    "largest": ("largest weight", ",.0f"),
    "note": ("", "s"),
}
_MILLISECONDS = ("wall", "best", "processor")
_LEVELS_LIMIT = 1e-6
_AREAS = ("district", "state")  # parts of problems, for what cannot hold a whole one: no goal speaks of them


@dataclass(frozen=True)
class Row:
    """An outcome and how good its weights are."""

    problem: str
    outcome: Outcome
    quality: Quality | None = None

    @property
    def method(self) -> str:
        return self.outcome.method


@dataclass
class Table:
    """Rows of all problems, in the order in which they came."""

    rows: list[Row]

    def of(self, problem: str, method: str) -> Row | None:
        """The row of a method on a problem that has something to show, if there is one."""
        return next((row for row in self.rows if (row.problem, row.method) == (problem, method)), None)

    def fact(self, problem: str, method: str, name: str) -> float:
        """Something else that was measured; NaN where it was not."""
        row = self.of(problem, method)
        return row.outcome.facts.get(name, math.nan) if row else math.nan

    def pace(self, problem: str, method: str, which: str = "wall") -> float:
        """Seconds of an epoch; NaN where there is none."""
        row = self.of(problem, method)
        value = getattr(row.outcome.pace, which, None) if row else None
        return math.nan if value is None else float(value)

    def quality(self, problem: str, method: str) -> Quality | None:
        row = self.of(problem, method)
        return row.quality if row else None

    def figures(self, row: Row) -> dict[str, object]:
        """What a line of the table says, in the units of its heading."""
        known: dict[str, Any] = {name: value for name, value in asdict(row.outcome).items() if name in _COLUMNS}
        known |= {"problem": row.problem, **(asdict(row.quality) if row.quality else {})}
        if row.method in (peers.L0, peers.MICRO, peers.LBFGS):
            known["ratio"] = self.pace(row.problem, row.method) / self.pace(row.problem, ours.GATED)
        for name in _MILLISECONDS:
            known[name] = 1e3 * self.pace(row.problem, row.method, name)
        return {name: known.get(name) for name in _COLUMNS}

    def frame(self) -> pd.DataFrame:
        """All figures and facts, without rounding."""
        return pd.DataFrame([self.figures(row) | row.outcome.facts for row in self.rows])


def heading() -> str:
    """The two first lines of the table."""
    return f"| {' | '.join(name for name, _ in _COLUMNS.values())} |\n|{'---|' * len(_COLUMNS)}"


def line(figures: Mapping[str, object]) -> str:
    """A line of the table."""
    return f"| {' | '.join(_shown(figures[name], form) for name, (_, form) in _COLUMNS.items())} |"


def _shown(value: object, form: str) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else format(value, form)


def bound(table: Table, problem: str) -> str:
    """Bytes counted, bandwidth measured and the share of the bound, in one line; empty where the fit was not timed."""
    moved, rate = table.fact(problem, ours.GATED, "bytes"), table.fact(problem, ours.BANDWIDTH, "bandwidth")
    wall, best = (table.pace(problem, ours.GATED, which) for which in ("wall", "best"))
    if math.isnan(moved / rate * wall):
        return ""
    least, plain = moved / rate, table.fact(problem, ours.GATED, "bytes_by_atoms")
    return (
        f"{problem}: an epoch of all columns moves {moved / 1e6:,.1f} MB ({plain / 1e6:,.1f} if every atom were read); "
        f"bandwidth measured {rate / 1e9:.1f} GB/s; bound {1e3 * least:.2f} ms: {least / wall:.0%} of the time per epoch, "
        f"{least / best:.0%} of the best ({plain / rate / wall:.0%} and {plain / rate / best:.0%} if every atom were read)."
    )


@dataclass(frozen=True)
class Goal:
    """A goal, what was measured, and whether that meets it."""

    problem: str
    what: str
    wanted: str
    measured: str
    met: bool


def goals(table: Table, levels: Mapping[str, float]) -> list[Goal]:
    """The goals of which something was measured."""
    problems = [name for name in dict.fromkeys(row.problem for row in table.rows) if name not in _AREAS]
    found: list[Goal] = []
    for problem in problems:
        found += [*_speed(table, problem), *_of_quality(table, problem)]
        same = table.fact(problem, ours.SAME_BYTES, "same")
        if not math.isnan(same):
            found.append(
                Goal(problem, "same bytes on 1 and 2 threads, resumed or not", "yes", "yes" if same else "NO", bool(same))
            )
        gap = levels.get(problem, math.nan)
        if not math.isnan(gap):
            what = "nation = sum of states = sum of districts"
            found.append(Goal(problem, what, f"to {_LEVELS_LIMIT:g}", f"{gap:.1e}", gap <= _LEVELS_LIMIT))
    return found


def _speed(table: Table, problem: str) -> Iterator[Goal]:
    pace, peer = (table.pace(problem, method) for method in (ours.GATED, peers.L0))
    if not math.isnan(pace / peer):
        best = table.pace(problem, peers.L0, "best") / table.pace(problem, ours.GATED, "best")
        shown = f"{peer / pace:,.0f} times (of the best {best:,.0f})"
        yield Goal(problem, "time per epoch against l0-python", ">= 200 times", shown, peer / pace >= 200)
    least = table.fact(problem, ours.GATED, "bytes") / table.fact(problem, ours.BANDWIDTH, "bandwidth")
    if not math.isnan(least / pace):
        best = least / table.pace(problem, ours.GATED, "best")
        shown = f"{least / pace:.0%} (of the best {best:.0%})"
        yield Goal(problem, "share of the bandwidth bound", ">= 50 %", shown, least / pace >= 0.5)
    if problem != "scale":
        return
    if row := table.of(problem, ours.GATED):
        outcome = row.outcome
        seconds, held, epochs = outcome.facts["seconds_of_epochs"], outcome.peak or math.nan, outcome.epochs or 0
        shown = f"{epochs:,} epochs in {seconds:.0f} s, {held:.1f} GB"
        met = epochs >= 1000 and seconds <= 60 and held <= 3
        yield Goal(problem, "1,000 epochs of L0 with compaction", "<= 60 s, 3 GB", shown, met)
    row = table.of(problem, ours.EXACT)
    if row and row.outcome.total is not None:
        shown = f"{row.outcome.total:.0f} s ({row.outcome.note})"
        yield Goal(problem, "dense to a gap of 1e-4, exact size, polish", "<= 120 s", shown, row.outcome.total <= 120)


def _of_quality(table: Table, problem: str) -> Iterator[Goal]:
    exact, dense = (table.quality(problem, method) for method in (ours.EXACT, ours.DENSE))
    if exact is None:
        return
    if dense is not None:
        shown = f"{exact.loss:.5g} against {dense.loss:.5g}"
        yield Goal(problem, "loss at the exact size", "<= dense + 1 %", shown, exact.loss <= 1.01 * dense.loss)
    others = {name: table.quality(problem, name) for name in (peers.REFITTED, ours.RANDOM)}
    known = {name: quality for name, quality in others.items() if quality is not None and quality.kept == exact.kept}
    if not known:
        return

    def against(figure: str, form: str) -> str:
        values = (f"{format(getattr(quality, figure), form)} ({name})" for name, quality in known.items())
        return f"{format(getattr(exact, figure), form)} against {', '.join(values)}"

    rivals = list(known.values())
    better = all(exact.held_loss < rival.held_loss for rival in rivals)
    yield Goal(problem, "held-out loss at equal records", "better than both", against("held_loss", ".5g"), better)
    better = all(exact.held_capped < rival.held_capped for rival in rivals)
    yield Goal(
        problem, "held-out mean error, capped, at equal records", "better than both", against("held_capped", ".2%"), better
    )
    twice = all(exact.effective >= 2 * rival.effective for rival in rivals)
    yield Goal(problem, "effective sample size at equal records", ">= 2 times", against("effective", ",.0f"), twice)
    third = all(exact.largest <= rival.largest / 3 for rival in rivals)
    yield Goal(problem, "largest weight at equal records", "<= a third", against("largest", ",.0f"), third)


def summary(table: Table, levels: Mapping[str, float]) -> str:
    """Bytes and bounds, and the goals beside what was measured."""
    problems = dict.fromkeys(row.problem for row in table.rows)
    lines = [text for problem in problems if (text := bound(table, problem))]
    lines += ["", "| problem | goal | wanted | measured | met |", "|---|---|---|---|---|"]
    for goal in goals(table, levels):
        lines.append(f"| {goal.problem} | {goal.what} | {goal.wanted} | {goal.measured} | {'yes' if goal.met else 'no'} |")
    return "\n".join(lines) + "\n"


def write(table: Table, about: Sequence[str], levels: Mapping[str, float], folder: Path) -> None:
    """``fit.md`` and ``fit.csv`` in a folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*about, "", heading(), *(line(table.figures(row)) for row in table.rows), ""]
    (folder / "fit.md").write_text("\n".join(lines) + "\n" + summary(table, levels), encoding="utf-8")
    table.frame().to_csv(folder / "fit.csv", index=False)
