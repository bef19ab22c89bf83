"""Files fetched from their publishers into a cache, whole or not at all, each with its digest and the date of its content.

A cached file whose digest is the recorded one is used without asking anyone, so a filled cache works offline. With
``GEOCAL_REFRESH=1``, and when a source is observed, the publisher is asked whether it has changed; the date changes only with
the content. What is not the file (an error page, half a file, nothing) is refused and the cached copy kept.
"""

from __future__ import annotations

import fcntl
import gzip
import http.client
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from geocal_core import __version__
from geocal_core.errors import InputError
from geocal_core.published import RETRIEVED, PublishedFile, retrieved
from geocal_core.store import atomic, digest_path

_CHUNK = 1 << 16
_BUSY = frozenset({408, 425, 429})
_MOVED = "see whether its address has changed, or get it by hand and name its folder"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a publisher.

    Attributes
    ----------
    tries : int
        Attempts, where the fault may pass (no connection, a server error, half a file).
    pause : float
        Seconds before the second attempt; doubled before each further one.
    silence : float
        Seconds without a byte after which an attempt is given up.
    whole : float
        Seconds that an attempt may take in all.
    """

    tries: int = 4
    pause: float = 2.0
    silence: float = 30.0
    whole: float = 900.0


PATIENCE = Patience()


def cache_folder(folder: str, source: str) -> Path:
    """Where downloads of a source are kept: below the folder, if one is named, or ``GEOCAL_CACHE``, or ``~/.cache/geocal``."""
    return Path(folder or os.environ.get("GEOCAL_CACHE") or "~/.cache/geocal").expanduser() / source


def refresh_wanted() -> bool:
    """Whether ``GEOCAL_REFRESH`` asks for cached files to be compared with their publisher's."""
    return os.environ.get("GEOCAL_REFRESH", "") not in ("", "0")


def fetch(file: PublishedFile, cache: Path, *, refresh: bool = False, patience: Patience = PATIENCE) -> Path:
    """A published file in the cache, downloaded if it is not there whole.

    Parameters
    ----------
    file : PublishedFile
    cache : Path
        Folder of its source's downloads.
    refresh : bool
        Whether to ask the publisher for a newer one.
    patience : Patience
        How long to wait and how often to try.

    Raises
    ------
    InputError
        If its address is a page for people, or the publisher does not answer, or not with the file.
    """
    name = file.remote_name
    if not name:
        raise InputError(
            f"{file.name} ({file.description}) cannot be fetched: {file.url} is the page that offers it",
            "get it there and name its folder, or leave its tables out (setting without)",
        )
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / name
    with _locked(cache):
        record = retrieved(cache).get(name, {})
        whole = path.is_file() and record.get("sha256") == digest_path(path)
        if whole and not refresh:
            return path
        with atomic(path) as temporary:
            answer = _download(file, temporary, record if whole else {}, patience)
            if answer is None:  # not changed; what is there stays, and atomic is given it back
                shutil.copy2(path, temporary)
                return path
            _check(file, temporary)
            digest = digest_path(temporary)
        dated = record["date"] if record.get("sha256") == digest else datetime.now(UTC).date().isoformat()
        _keep(cache, name, {"sha256": digest, "date": dated, **answer})
    return path


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One download at a time in a folder: others would write the same record."""
    handle = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _keep(cache: Path, name: str, record: dict[str, str]) -> None:
    records = retrieved(cache) | {name: record}
    with atomic(cache / RETRIEVED) as temporary:
        temporary.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


def _download(file: PublishedFile, path: Path, record: dict[str, str], patience: Patience) -> dict[str, str] | None:
    """Download into a path, trying again where the fault may pass; the answer's validators, or None if nothing has changed."""
    pause = patience.pause
    for left in reversed(range(patience.tries)):
        try:
            return _attempt(file, path, record, patience)
        except HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in _BUSY:
                raise InputError(f"{file.url} answers {reason} for {file.name}", _MOVED) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if left:
            time.sleep(pause)
            pause *= 2
    raise InputError(
        f"{file.name} was not to be had from {file.url} in {patience.tries} tries: {reason}",
        "try again later, or name a folder that holds it",
    )


def _attempt(file: PublishedFile, path: Path, record: dict[str, str], patience: Patience) -> dict[str, str] | None:
    headers = {"User-Agent": f"geocal/{__version__}", "Accept-Encoding": "identity"}
    if "etag" in record:
        headers["If-None-Match"] = record["etag"]
    if "last_modified" in record:
        headers["If-Modified-Since"] = record["last_modified"]
    deadline = time.monotonic() + patience.whole
    try:
        answer = urlopen(Request(quote(file.url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers), timeout=patience.silence)
    except HTTPError as error:
        if error.code == 304 and record:
            return None
        raise
    with answer, path.open("wb") as stream:
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"it took longer than {patience.whole:.0f} s")
        announced = answer.headers.get("Content-Length")
        if announced is not None and stream.tell() != int(announced):
            raise OSError(f"it broke off after {stream.tell()} of {announced} bytes")
        validators = {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}
    return {key: value for key, value in validators.items() if value}


def _check(file: PublishedFile, path: Path) -> None:
    """Refuse a download that is empty, a web page in place of the data, or not whole in its format."""
    with path.open("rb") as stream:
        start = stream.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    suffix = Path(file.remote_name).suffix.lower()
    if not start:
        amiss = "nothing"
    elif start.startswith(b"<") and suffix not in (".html", ".htm", ".xml"):
        amiss = "a web page"
    elif not _whole(suffix, path, start):
        amiss = f"something that is no whole {suffix} file"
    else:
        return
    raise InputError(f"{file.url} answers with {amiss} in place of {file.name}", _MOVED)


def _whole(suffix: str, path: Path, start: bytes) -> bool:
    if suffix in (".zip", ".xlsx"):
        return zipfile.is_zipfile(path)
    if suffix == ".xls":
        return start.startswith(b"\xd0\xcf\x11\xe0")
    try:
        if suffix == ".json":
            json.loads(path.read_bytes())
        if suffix == ".gz":
            with gzip.open(path) as stream:
                while stream.read(_CHUNK):
                    pass
    except (ValueError, EOFError, OSError):
        return False
    return True
