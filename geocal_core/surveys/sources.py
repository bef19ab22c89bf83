"""Where the raw files come from: the demo nation writes them, or a folder holds them as they were published.

One stage function serves all ``raw_*`` assets. Which files a source consists of is data (``data/sources.csv``). What the
files hold is the business of their readers; here only their names, their presence and that they are not empty.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.states import state_of_code
from geocal_core.progress import Value
from geocal_core.settings import RawSettings
from geocal_core.stages import StageContext
from geocal_core.store import digest_path, fingerprint

_TABLE = Path(__file__).parent / "data" / "sources.csv"


@dataclass(frozen=True)
class SourceFile:
    """A file that an agency publishes.

    Attributes
    ----------
    agency : str
        Source it belongs to, for example ``census_asec``.
    pattern : str
        Published name; ``??`` stands for the two digits of a year that a later stage reads.
    lookalike : str
        Pattern of its siblings of other years, to tell what was found in its place.
    needed : bool
        Whether a folder without it is refused at once. A later stage decides on the others.
    description, url : str
        What it is, and where the agency publishes it.
    """

    agency: str
    pattern: str
    lookalike: str
    needed: bool
    description: str
    url: str


def files_of(agency: str, states: tuple[str, ...]) -> list[SourceFile]:
    """The files of one source; one for each state where the agency publishes by state.

    Raises
    ------
    ConfigError
        If the source or a state is unknown.
    """
    with _TABLE.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["agency"] == agency]
    if not rows:
        raise ConfigError(f"there is no source {agency!r}")
    found: list[SourceFile] = []
    for row in rows:
        by_state = "{state}" in row["file"]
        names = [state_of_code(code).code.lower() for code in states] if by_state else [""]
        found += [
            SourceFile(
                agency=agency,
                pattern=row["file"].format(state=name),
                lookalike=row["lookalike"].format(state=name),
                needed=row["presence"] == "needed",
                description=f"{row['description']}, {name.upper()}" if by_state else row["description"],
                url=row["url"],
            )
            for name in names
        ]
    return found


def collect(context: StageContext) -> dict[str, Value]:
    """Stage of every ``raw_*`` asset: bring the published files of one source together in one folder.

    Raises
    ------
    ConfigError
        If the origin is neither ``demo`` nor ``folder``, or no folder is named.
    InputError
        If a needed file is missing, ambiguous or empty.
    """
    settings: RawSettings = context.settings
    agency = context.name.removeprefix("raw_")
    wanted = files_of(agency, settings.states)
    context.output.mkdir(parents=True)
    if settings.origin == "demo":
        context.reporter.progress(f"the demo nation writes {agency}")
        _write_demo(agency, settings, context.output)
    elif settings.origin == "folder":
        _copy(wanted, settings.folder, context)
    else:
        raise ConfigError(f"there is no origin {settings.origin!r} of raw files", "use demo or folder")
    files = sorted(context.output.iterdir())
    facts: dict[str, Value] = {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return facts | {f"sha256 {path.name}": digest_path(path) for path in files}


def outside_digest(agency: str, settings: RawSettings) -> str:
    """Digest of the published files that a source would be copied from now; empty where the demo nation writes it.

    A folder's files may change while its name stays: with this in the fingerprint, new figures are never taken for old ones.
    """
    if settings.origin != "folder" or not Path(settings.folder).expanduser().is_dir():
        return ""
    root = Path(settings.folder).expanduser()
    present = sorted(path for path in root.rglob("*") if path.is_file())
    found = [find(source, present, root) for source in files_of(agency, settings.states)]
    return fingerprint({path.name: digest_path(path) for path in found if path is not None})


def _write_demo(agency: str, settings: RawSettings, folder: Path) -> None:
    from geocal_core.demo.sources import WRITERS

    WRITERS[agency](settings, folder)


def _copy(wanted: list[SourceFile], folder: str, context: StageContext) -> None:
    if not folder:
        raise ConfigError(f"{context.name} is to be read from a folder, but none is named", "set folder")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"the folder {root} for {context.name} does not exist")
    present = sorted(path for path in root.rglob("*") if path.is_file())
    for source in wanted:
        path = find(source, present, root)
        if path is None:
            context.reporter.progress(f"{source.pattern} ({source.description}) is not in {root}; a later stage decides on it")
            continue
        context.reporter.progress(f"copying {path.name}")
        shutil.copyfile(path, context.output / path.name)


def find(source: SourceFile, present: list[Path], root: Path) -> Path | None:
    """The one file of a folder tree that is the wanted one; None if it is missing and may be.

    Parameters
    ----------
    source : SourceFile
    present : list of Path
        All files below ``root``.
    root : Path
        Folder that the messages name.

    Raises
    ------
    InputError
        If the file is needed and missing, there are several, or it is empty.
    """
    matches = [path for path in present if fnmatchcase(path.name, source.pattern)]
    if len(matches) > 1:
        places = ", ".join(str(path.relative_to(root)) for path in matches)
        raise InputError(f"{root} holds {source.pattern} ({source.description}) more than once: {places}", "leave one of them")
    if not matches:
        if not source.needed:
            return None
        others = sorted({path.name for path in present if fnmatchcase(path.name, source.lookalike)})
        instead = f" (found {', '.join(others)}, which is of another year or form)" if others else ""
        raise InputError(
            f"{root} holds no {source.pattern}, the {source.description}{instead}", f"put it there; published at {source.url}"
        )
    if matches[0].stat().st_size == 0:
        raise InputError(f"{matches[0]} ({source.description}) is empty", f"fetch it again from {source.url}")
    return matches[0]
