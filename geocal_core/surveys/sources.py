"""The published files of the surveys and of the census blocks; those of the targets are declared by their agencies.

Which files there are is data (``data/sources.csv``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from geocal_core.places.states import state_of_code
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
        by_state = "{state}" in row["file"]
        for code in states if by_state else [""]:
            code = code and state_of_code(code).code
            found.append(
                PublishedFile(
                    name=row["file"].format(state=code.lower()),
                    description=f"{row['description']}, {code}" if code else row["description"],
                    url=row["url"].format(state=code.lower(), state_name=state_of_code(code).name.replace(" ", "_"))
                    if code
                    else row["url"],
                    lookalike=row["lookalike"].format(state=code.lower()),
                )
            )
    return tuple(found)
