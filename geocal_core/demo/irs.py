"""The demo nation as IRS SOI publishes returns by state (``24in55cmcsv.csv``) and by congressional district (``24incd.csv``).

Tax units that file count, by size of adjusted gross income: stubs 0 (all) to 10 by state, 0 to 9 by district, where the last is
500,000 and more. Returns are in tens and amounts in thousands of dollars, but A59664 in dollars; the state file has thousands
separators. Lines that the demo does not fill are 0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from geocal_core.demo import truth
from geocal_core.demo.districts import Integers, rows_of
from geocal_core.places.states import State, state_of_code
from geocal_core.settings import RawSettings

STATE_FILE, DISTRICT_FILE = "24in55cmcsv.csv", "24incd.csv"
_DISTRICT_STUBS = 9
_IN_DOLLARS = "A59664"
# Returns from other areas and Puerto Rico, which the United States' rows include: shares of the states' returns.
_ABROAD = {"OA": 0.004, "PR": 0.005}


def write(settings: RawSettings, folder: Path) -> None:
    """Write both files; rows of the United States are the sums over ``settings.states`` and the areas abroad."""
    states = sorted((state_of_code(code) for code in settings.states), key=lambda state: state.name)
    by_state = {state: _stubs(_of_state(state)) for state in states}
    home: Integers = np.sum(list(by_state.values()), axis=0)
    abroad = {code: _share(home, share) for code, share in _ABROAD.items()}
    nation = home + np.sum(list(abroad.values()), axis=0)
    areas = [("US", nation), *((state.code, table) for state, table in by_state.items()), *abroad.items()]
    lines = ([code, stub, *row] for code, table in areas for stub, row in enumerate(_with_total(table)))
    (folder / STATE_FILE).write_text(_csv(["STATE", "AGI_STUB", *_columns()], lines, separators=True))
    keys = ["STATEFIPS", "STATE", "CONG_DISTRICT", "AGI_STUB"]
    (folder / DISTRICT_FILE).write_text(_csv([*keys, *_columns()], _district_rows(by_state, home), separators=False))


@cache
def _columns() -> tuple[str, ...]:
    return tuple(row["column"] for row in rows_of("soi_columns.csv"))


def _of_state(state: State) -> pd.DataFrame:
    table = truth.returns()
    return table.loc[list(state.districts)]


def _stubs(table: pd.DataFrame) -> Integers:
    """Rows of stubs 1 to 10 in the published columns, summed over districts; amounts in thousands of dollars."""
    summed = table.groupby("stub").sum()
    lines = truth.CHILDREN_LINES
    for kind in ("N", "A"):
        summed[f"{kind}59660"] = summed[[f"{kind}{line}" for line in lines]].sum(axis=1)
    published: Integers = summed.reindex(columns=_columns(), fill_value=0).to_numpy(dtype=np.int64)
    return published


def _share(table: Integers, share: float) -> Integers:
    """A part of a table: counts in tens, the parts of EITC adding up."""
    part: Integers = 10 * np.rint(table * share / 10).astype(np.int64)
    columns = _columns()
    for kind in ("N", "A"):
        parts = [columns.index(f"{kind}{line}") for line in truth.CHILDREN_LINES]
        part[:, columns.index(f"{kind}59660")] = part[:, parts].sum(axis=1)
    return part


def _with_total(table: Integers) -> Integers:
    """Stub 0 before the others, and the one column that is published in dollars."""
    whole: Integers = np.vstack([table.sum(axis=0), table])
    whole[:, _columns().index(_IN_DOLLARS)] *= 1_000
    return whole


def _district_stubs(table: Integers) -> Integers:
    """Stubs 1 to 9: the two highest of the state file together."""
    return np.vstack([table[: _DISTRICT_STUBS - 1], table[_DISTRICT_STUBS - 1 :].sum(axis=0)])


def _district_rows(by_state: dict[State, Integers], home: Integers) -> Iterator[Sequence[str | int]]:
    """The United States, then each state (district 0) followed by its districts, unless it has only one."""
    areas: list[tuple[int, str, int, Integers]] = [(0, "US", 0, home)]
    for state, table in by_state.items():
        areas.append((state.fips, state.code, 0, table))
        if state.seats > 1:
            of_state = _of_state(state)
            areas += [(state.fips, state.code, code % 100, _stubs(of_state.loc[[code]])) for code in state.districts]
    for fips, state_code, number, table in areas:
        for stub, row in enumerate(_with_total(_district_stubs(table))):
            yield [fips, state_code, number, stub, *row]


def _csv(header: list[str], rows: Iterator[Sequence[str | int]], separators: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([value if isinstance(value, str) or not separators else f"{value:,}" for value in row])
    return text.getvalue()
