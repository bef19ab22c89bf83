"""A target database opened to be read: whatever is wrong with the file is one line that names it.

With sqlite3 alone, so that a matrix can be built without the packages that make the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from geocal_core.errors import ArtifactError

SCHEMA = (
    *("alternative_figures", "field_valid_values", "place_uprating", "sources", "strata", "stratum_constraints"),
    *("target_overview", "targets"),
)
"""Tables and views that a target database has."""
_HEAD = b"SQLite format 3\0"


@contextmanager
def reading(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads.

    Raises
    ------
    ArtifactError
        If there is no such file, or it is no database, is damaged, or lacks a table.
    """
    if db.is_dir():
        raise ArtifactError(f"{db} is a folder", "give the file of a target database")
    if not db.is_file():
        raise ArtifactError(f"there is no target database {db}", "build it (stage target_db, or geocal targets build)")
    try:
        with closing(sqlite3.connect(f"{db.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            _check_tables(connection, db)
            yield connection
    except sqlite3.Error as error:
        raise ArtifactError(f"{db} is not a whole target database ({error})", "build it again") from error


def is_database(path: Path) -> bool:
    """Whether a path is a database of SQLite, whole or not."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_HEAD)) == _HEAD


def _check_tables(connection: sqlite3.Connection, db: Path) -> None:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")}
    lacking = [name for name in SCHEMA if name not in there]
    if len(lacking) == len(SCHEMA):
        raise ArtifactError(f"{db} is not a whole target database (it has none of its tables)", "give one, or build it")
    if lacking:
        raise ArtifactError(f"{db} is of another version of geocal: it lacks {', '.join(lacking)}", "build it again")
