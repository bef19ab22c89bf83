"""Where the raw files of a source come from: the demo nation, a folder of published files, or their publisher.

``collect`` is the stage of every ``raw_*`` asset; ``observe`` tells, without building anything, what one of its files holds
now. Targets' sources are the agencies of ``targets/agencies/``, all others are in ``surveys/data/sources.csv``: this module
stands above both and above ``demo``, and none of them knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from geocal_core.context import StageContext
from geocal_core.demo.sources import WRITERS
from geocal_core.downloads import cache_folder, fetch, refresh_wanted
from geocal_core.errors import ConfigError
from geocal_core.progress import Value
from geocal_core.published import RETRIEVED, PublishedFile, copy_files, files_below, find, retrieved
from geocal_core.settings import RawSettings, as_config
from geocal_core.store import digest_path, fingerprint
from geocal_core.surveys.sources import files_of as survey_files
from geocal_core.targets.registry import published_files, tables_of

ABSENT = "absent"
"""Version of a file that is not there and need not be."""


@dataclass(frozen=True)
class Observation:
    """What a published file holds now: a version that changes with its content only, and facts for people."""

    version: str
    facts: Mapping[str, Value] = field(default_factory=dict)


def files_of(source: str, states: tuple[str, ...]) -> tuple[PublishedFile, ...]:
    """The files of one source, for example ``irs`` or ``census_asec``.

    Raises
    ------
    ConfigError
        If the source or a state is unknown.
    """
    files = published_files().get(source) or survey_files(source, states)
    if not files:
        raise ConfigError(f"there is no source {source!r}")
    return files


def collect(context: StageContext) -> dict[str, Value]:
    """Stage of every ``raw_*`` asset: bring the published files of one source together in one folder.

    Raises
    ------
    ConfigError
        If the origin is unknown, no folder is named, or a file to leave out is none of the source's.
    InputError
        If a needed file is missing, ambiguous or empty, or its publisher does not give it.
    """
    settings: RawSettings = context.settings
    source = context.name.removeprefix("raw_")
    facts: dict[str, Value] = {"origin": settings.origin}
    context.output.mkdir(parents=True)
    if settings.origin != "demo":
        copy_files([path for path in _located(source, settings).values() if path is not None], context.output)
    elif source in WRITERS:
        context.reporter.progress(f"the demo nation writes {source}")
        WRITERS[source](settings, context.output)
    else:
        context.reporter.progress(f"the demo nation publishes nothing of {source}")
    files = sorted(path for path in context.output.iterdir() if path.name != RETRIEVED)
    absent = [file.name for file in files_of(source, settings.states) if not any(file.matches(path.name) for path in files)]
    if absent:
        facts["not_there"] = ", ".join(absent)
        context.reporter.progress(f"not there: {facts['not_there']}; the settings of target_db say which tables are left out")
    facts |= {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return facts | {f"sha256 {path.name}": digest_path(path) for path in files}


def outside_digest(source: str, settings: RawSettings) -> str:
    """Digest of the published files that a source would be copied from now; empty where the demo nation writes it.

    A folder's files may change while its name stays: with this in the fingerprint, new figures are never taken for old ones.
    """
    if settings.origin == "demo":
        return ""
    found = _located(source, settings, refresh=refresh_wanted())
    return fingerprint({path.name: digest_path(path) for path in found.values() if path is not None})


def observe(source: str, file: PublishedFile, settings: RawSettings) -> Observation:
    """What one file of a source holds now, asking its publisher where it comes from there.

    Raises
    ------
    GeocalError
        If the file is needed and not to be had.
    """
    if settings.origin == "demo":
        return Observation(fingerprint(as_config(settings)), {"origin": "demo", "states": len(settings.states)})
    path = _locate([file], source, settings, refresh=True)[file]
    if path is None:
        return Observation(ABSENT, {"origin": settings.origin, "not_there": file.name})
    digest, status = digest_path(path), path.stat()
    facts: dict[str, Value] = {
        "origin": settings.origin,
        "path": str(path),
        "bytes": status.st_size,
        "modified": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds"),
        "sha256": digest,
    }
    record = retrieved(path.parent).get(path.name)
    if record is not None and record["sha256"] == digest:
        facts["retrieved"] = record["date"]
    return Observation(digest, facts)


@dataclass(frozen=True)
class LeftOut:
    """A file that is not to be had, and the tables that cannot be read without it."""

    source: str
    file: PublishedFile
    tables: tuple[str, ...]
    why: str


def left_out(settings: RawSettings) -> list[LeftOut]:
    """Files of all agencies that a folder does not hold, or that a publisher does not let be fetched.

    Files found twice, or empty, are not among them: they are refused when they are read.

    Raises
    ------
    GeocalError
        If there is no such folder.
    """
    missing: list[LeftOut] = []
    root, present = files_below(settings.folder) if settings.origin == "folder" else (None, [])
    names = [path.name for path in present]
    for source, files in published_files().items():
        for file in files:
            there = any(map(file.matches, names)) if root else bool(file.remote_name)
            if not there:
                why = f"is not in {root}" if root else f"is offered on a page for people only, {file.url}"
                missing.append(LeftOut(source, file, file.tables or tables_of(source), why))
    return missing


def _located(source: str, settings: RawSettings, *, refresh: bool = False) -> dict[PublishedFile, Path | None]:
    """Every file of a source with where it is now; None where it is left out, or missing and may be."""
    files = files_of(source, settings.states)
    unknown = sorted(set(settings.without) - {file.name for file in files})
    if unknown:
        raise ConfigError(f"{source} has no file {unknown[0]!r} to leave out", f"its files are {[file.name for file in files]}")
    return _locate(files, source, settings, refresh=refresh)


def _locate(
    files: tuple[PublishedFile, ...] | list[PublishedFile], source: str, settings: RawSettings, *, refresh: bool
) -> dict[PublishedFile, Path | None]:
    wanted = [file for file in files if file.name not in settings.without]
    found: dict[PublishedFile, Path | None] = dict.fromkeys(files)
    if settings.origin == "folder":
        root, present = files_below(settings.folder)
        found |= {file: find(file, present, root) for file in wanted}
    elif settings.origin == "publisher":
        cache = cache_folder(settings.folder, source)
        found |= {file: fetch(file, cache, refresh=refresh) for file in wanted if file.needed or file.remote_name}
    else:
        raise ConfigError(f"there is no origin {settings.origin!r} of raw files", "use demo, folder or publisher")
    return found
