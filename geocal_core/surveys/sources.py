"""The published files of the surveys and of the census blocks; those of the targets are declared by their agencies.

Which files there are is data (``data/sources.csv``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from geocal_core.places.states import State, state_of_code
from geocal_core.published import PublishedFile

_TABLE = Path(__file__).parent / "data" / "sources.csv"


def files_of(source: str, states: Iterable[str]) -> tuple[PublishedFile, ...]:
    """The files of one source, for example ``census_asec``; one for each state where the agency publishes by state.

    Raises
    ------
    ConfigError
        If a state is unknown.
    """
    with _TABLE.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == source]
    found: list[PublishedFile] = []
    for row in rows:
        by_state = "{" in row["file"]
        for state in map(state_of_code, states) if by_state else (None,):
            text = {name: value.format_map(_names(state)) for name, value in row.items()} if state else row
            found.append(
                PublishedFile(
                    name=text["file"],
                    description=f"{text['description']}, {state.code}" if state else text["description"],
                    url=text["url"],
                    lookalike=text["lookalike"],
                )
            )
    return tuple(found)


def _names(state: State) -> dict[str, str]:
    """What stands for a state in the names of its files and folders."""
    return {
        "state": state.code.lower(),
        "STATE": state.code,
        "fips": f"{state.fips:02d}",
        "state_name": state.name.replace(" ", "_"),
    }
