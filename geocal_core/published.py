"""Files as agencies publish them: what each is called, where it is to be had, and how it is found in a folder.

One loader for surveys and targets alike. What a file holds is the business of its reader in ``surveys/`` or
``targets/agencies/``; here only its name, its presence and that it is not empty. ``downloads`` gets it from its publisher.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from geocal_core.errors import ConfigError, InputError
from geocal_core.store import digest_path

RETRIEVED = "retrieved.json"
"""Beside files that were downloaded: for each its sha256 and the date on which this content was first fetched."""

_KINDS = {".csv": "csv", ".txt": "csv", ".json": "json", ".xls": "excel", ".xlsx": "excel", ".zip": "zip", ".html": "html"}


@dataclass(frozen=True)
class PublishedFile:
    """A file that an agency publishes.

    Attributes
    ----------
    name : str
        Published name; ``??`` stands for the two digits of a year, ``*`` for any text.
    description : str
        What it is.
    url : str
        Where the agency publishes it.
    lookalike : str
        Pattern of its siblings of other years or forms, to tell what was found in its place.
    needed : bool
        Whether a folder without it is refused at once. A later stage decides on the others.
    columns : tuple of str
        Columns or header texts that a reader looks for.
    tables : tuple of str
        Tables that cannot be read without it, by name; empty: all those of its agency.
    """

    name: str
    description: str
    url: str
    lookalike: str = ""
    needed: bool = True
    columns: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    def matches(self, name: str) -> bool:
        """Whether a file's name is this file's."""
        return fnmatchcase(name, self.name)

    @property
    def key(self) -> str:
        """The name in letters, digits and underscores only, for catalogues."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.name).strip("_")

    @property
    def kind(self) -> str:
        """Technology of its format, for catalogues, for example ``excel``; empty where it has no name."""
        return _KINDS.get(PurePosixPath(self.name).suffix.rstrip("*"), "")

    @property
    def remote_name(self) -> str:
        """Name under which a download is kept; empty where ``url`` is a page on which people look for the file.

        The address of the file itself ends in its name, or at least in its kind, or is a query.
        """
        address = urlsplit(self.url)
        last = PurePosixPath(unquote(address.path))
        if self.matches(last.name):
            return last.name
        kind = PurePosixPath(self.name).suffix
        exact = not any(mark in self.name for mark in "*?[")
        return self.name if exact and (address.query or kind in (last.suffix, ".html")) else ""


def files_below(folder: str) -> tuple[Path, list[Path]]:
    """A folder and all files below it, but for the records of downloads.

    Raises
    ------
    ConfigError
        If no folder is named.
    InputError
        If there is none of that name.
    """
    if not folder:
        raise ConfigError("files are to be read from a folder, but none is named", "set folder")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist", "name the folder that holds the published files")
    return root, sorted(path for path in root.rglob("*") if path.is_file() and path.name != RETRIEVED)


def find(wanted: PublishedFile, present: list[Path], root: Path) -> Path | None:
    """The one file of a folder tree that is the wanted one; None if it is missing and may be.

    Parameters
    ----------
    wanted : PublishedFile
    present : list of Path
        All files below ``root``.
    root : Path
        Folder that the messages name.

    Raises
    ------
    InputError
        If the file is needed and missing, there are several of different content, or it is empty.
    """
    matches = [path for path in present if wanted.matches(path.name)]
    if len(matches) > 1 and len({(path.name, digest_path(path)) for path in matches}) > 1:
        places = ", ".join(str(path.relative_to(root)) for path in matches)
        raise InputError(f"{root} holds {wanted.name} ({wanted.description}) more than once: {places}", "leave one of them")
    if not matches:
        if not wanted.needed:
            return None
        others = sorted({path.name for path in present if fnmatchcase(path.name, wanted.lookalike)})
        instead = f" (found {', '.join(others)}, which is of another year or form)" if others else ""
        raise InputError(
            f"{root} holds no {wanted.name}, the {wanted.description}{instead}", f"put it there; published at {wanted.url}"
        )
    if matches[0].stat().st_size == 0:
        raise InputError(f"{matches[0]} ({wanted.description}) is empty", f"fetch it again from {wanted.url}")
    return matches[0]


def copy_files(files: Iterable[Path], folder: Path) -> None:
    """Copy files into a folder, with what is known of when each was fetched."""
    records: dict[str, Mapping[str, Any]] = {}
    for path in files:
        shutil.copyfile(path, folder / path.name)
        record = retrieved(path.parent).get(path.name)
        if record is not None and record["sha256"] == digest_path(path):
            records[path.name] = {"sha256": record["sha256"], "date": record["date"]}
    if records:
        (folder / RETRIEVED).write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


def retrieved(folder: Path) -> dict[str, dict[str, str]]:
    """What is recorded of the downloads in a folder, by file name; empty if nothing is.

    Raises
    ------
    InputError
        If the record cannot be read.
    """
    path = folder / RETRIEVED
    if not path.exists():
        return {}
    try:
        records = {name: {**record, "sha256": record["sha256"], "date": record["date"]} for name, record in _pairs(path)}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no record of downloads ({error!r})", "delete it; the files are then fetched again"
        ) from error
    return records


def _pairs(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    records: dict[str, dict[str, str]] = json.loads(path.read_text())
    return records.items()
