"""The frontier: what each size of a file costs in loss, hold-out loss and effective sample size, by each method of selection.

One raking and one gated fit serve all sizes. Sizes go from the largest to the smallest, and each polish may start from the one
before. Here: the figures and the files they are written to.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.errors import ConfigError
from geocal_core.fit.balance import Balance
from geocal_core.fit.charts import line_chart, panels
from geocal_core.fit.diagnostics import effective_sample_size, error_shares, relative_errors
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.raking import PRICE
from geocal_core.fit.rendering import grid, number, share
from geocal_core.fit.sized import METHODS, POLISH_BOUNDS, Dense, TooFew, dense_of, exact
from geocal_core.matrix.factored import Floats
from geocal_core.matrix.package import Package

TABLE = "frontier.csv"
FACTS = "frontier.json"
TEXT = "frontier.md"
PLOT = "frontier.svg"
FILES = frozenset((TABLE, FACTS, TEXT, PLOT))

DENSE = "dense"
COLUMNS = (
    "method",
    "records",
    "loss",
    "held_out_loss",
    "median",
    "held_out_median",
    "within_1",
    "held_out_within_1",
    "effective_sample_size",
    "largest_weight",
    "design_loss",
    "gap",
)
_RAKED = ("cube", "pps")
_SHARES = ("median", "held_out_median", "within_1", "held_out_within_1", "gap")
_PANELS = (
    ("loss", "Loss", True),
    ("held_out_loss", "Hold-out loss", True),
    ("effective_sample_size", "Effective sample size", True),
    ("largest_weight", "Largest weight", True),
)


@dataclass(frozen=True)
class Frontier:
    """Figures by method and size.

    Attributes
    ----------
    table : DataFrame
        A row for each method and size, and first one for the dense weights, whose method is ``dense``, where a method selects
        from them. Columns method, records, loss, held_out_loss, median and held_out_median (of relative errors), within_1 and
        held_out_within_1 (shares of the targets that are not 0), effective_sample_size, largest_weight, design_loss (before the
        polish) and gap (of raking or polish). NaN where there is nothing of the kind; of random and gated weights of all
        columns there is no row.
    left_out : list of dict
        Sizes that a method could not give: method, records, why.
    """

    table: pd.DataFrame
    left_out: list[dict[str, Any]]


def frontier(
    fitted: Package | Problem,
    sizes: Sequence[int],
    methods: Sequence[str] = ("cube", "pps"),
    *,
    strata: Any = None,
    balance: Any = None,
    seed: int = 0,
    bounds: tuple[float, float] | None = POLISH_BOUNDS,
    price: float = PRICE,
    gap: float = 1e-4,
    device: str = "cpu",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
    **gates: Any,
) -> Frontier:
    """Fit a problem to several sizes by several methods.

    Parameters
    ----------
    fitted : Package or Problem
    sizes : sequence of int
        Numbers of columns to keep.
    methods : sequence of str
        Of ``sized.METHODS``.
    strata, balance, seed, bounds, price, gap, device, threads, progress, **gates
        As in ``exact``.

    Raises
    ------
    ConfigError
        If sizes or methods are none, repeated or out of their range.
    """
    if isinstance(fitted, Package):
        strata = [fitted.district, fitted.state] if strata is None else strata
        balance = Balance(fitted, fitted.matrix, fitted.targets) if balance is None else balance
        fitted = problem(fitted.matrix, fitted.targets, fitted.initial_weights)
    _check(sizes, methods, device, gates)
    tell = progress or (lambda line: None)
    rows, left_out = [], []
    found: dict[str, Dense] = {}
    for method in methods:
        own: dict[str, Any] = {"device": device, **gates} if method == "gates" else {}
        common = {"price": price, "gap": gap, "seed": seed, "threads": threads, "progress": progress, **own}
        kind = "raking" if method in _RAKED else method
        if kind not in found:
            found[kind] = dense_of(fitted, method, **common)
        start = None
        for records in sorted(sizes, reverse=True):
            began = time.monotonic()
            try:
                result = exact(
                    fitted,
                    records,
                    method,
                    strata=strata,
                    balance=balance,
                    bounds=bounds,
                    dense=found[kind],
                    start=start,
                    **common,
                )
            except TooFew as error:
                left_out.append({"method": method, "records": records, "why": str(error)})
                tell(f"{method} {records:,}: left out, {error}")
                continue
            start = result.polished.multipliers
            row = _row(fitted, method, result.weights, result.design_loss, result.polished.gap)
            rows.append(row)
            tell(
                f"{method} {records:,}: loss {row['loss']:.6g}, held out {row['held_out_loss']:.6g}, effective sample size "
                f"{row['effective_sample_size']:,.0f}, {time.monotonic() - began:.1f} s"
            )
    if "raking" in found:
        of_dense = found["raking"]
        rows.insert(0, _row(fitted, DENSE, of_dense.weights, math.nan, of_dense.facts["dense_gap"]))
    return Frontier(pd.DataFrame(rows, columns=COLUMNS), left_out)


def _check(sizes: Sequence[int], methods: Sequence[str], device: str, gates: Mapping[str, Any]) -> None:
    for name, wanted in (("sizes", sizes), ("methods", methods)):
        if not len(wanted) or len(set(wanted)) != len(wanted):
            raise ConfigError(f"the {name} of the frontier are none or repeated", "give each once")
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"there is no method {method!r} of an exact size", f"the methods are {', '.join(METHODS)}")
    if "gates" not in methods:
        if gates:
            raise ConfigError(f"{next(iter(gates))} is a setting of gates", "add gates to the methods, or leave it out")
        if device != "cpu":
            raise ConfigError(f"device {device!r} was asked for and is for gates alone", "use device cpu")


def _row(fitted: Problem, method: str, weights: Floats, design_loss: float, gap: float) -> dict[str, Any]:
    estimates = fitted.all_estimates(weights)
    error = np.abs(relative_errors(fitted.all_targets, estimates))
    held = fitted.supported & fitted.held_out
    seen, unseen = (error_shares(error[rows & ~np.isnan(error)]) for rows in (fitted.supported & ~fitted.held_out, held))
    return {
        "method": method,
        "records": int(np.count_nonzero(weights)),
        "loss": fitted.loss(estimates[fitted.fitted]),
        "held_out_loss": fitted.held_objective.loss(estimates[held]) if held.any() else math.nan,
        **{name: seen[name] for name in ("median", "within_1")},
        **{f"held_out_{name}": unseen[name] for name in ("median", "within_1")},
        "effective_sample_size": effective_sample_size(weights),
        "largest_weight": float(weights.max()),
        "design_loss": design_loss,
        "gap": gap,
    }


def plot(table: pd.DataFrame) -> str:
    """Four panels over the number of records, a line for each method; empty where there is nothing to show."""
    drawn = []
    for column, title, log_y in _PANELS:
        lines = {
            str(method): list(zip(rows["records"].astype(float).tolist(), rows[column].tolist(), strict=True))
            for method, rows in table.sort_values("records").groupby("method", sort=False)
            if (rows[column] > 0).all()
        }
        drawn.append(line_chart(lines, title=title, x_label="records", y_label=title.lower(), log_x=True, log_y=log_y))
    return panels(drawn, "Size against loss, hold-out loss, effective sample size and largest weight")


def write(folder: Path, found: Frontier, facts: Mapping[str, Any]) -> None:
    """Write a frontier into an existing folder; ``facts`` are JSON-able and say what was fitted."""
    table = found.table
    table.to_csv(folder / TABLE, index=False, lineterminator="\n")
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_dict("records")]
    content = {**facts, "rows": rows, "left_out": found.left_out}
    (folder / FACTS).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / TEXT).write_text(markdown(found), encoding="utf-8")
    (folder / PLOT).write_text(plot(table), encoding="utf-8")


def markdown(found: Frontier) -> str:
    """The figures as a table."""
    shows = [str if name == "method" else share if name in _SHARES else number for name in COLUMNS]
    heads = [name.replace("_", " ") for name in COLUMNS]
    parts = ["# Frontier", grid(heads, found.table[list(COLUMNS)].itertuples(index=False), shows)]
    parts += [f"Left out: {one['method']} {one['records']:,}: {one['why']}." for one in found.left_out]
    return "\n\n".join(parts) + "\n"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
