"""Artifacts on disk: written whole or not at all, each with a manifest that says what it is and what it was made from.

An artifact is a file or a folder below the store's root. It is written under a temporary name, moved into place when
complete, and committed by its manifest, which is written last below ``manifests/``. An artifact without a manifest whose
digest matches does not exist for geocal: a killed run leaves at most work to be done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geocal_core.errors import ArtifactError, ConfigError

_CHUNK = 1 << 20


def digest_bytes(content: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_path(path: Path) -> str:
    """The sha256 of a file, or of a folder: over the sorted relative names and digests of its files."""
    if path.is_dir():
        lines = [f"{p.relative_to(path).as_posix()}\n{digest_path(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
        return digest_bytes("\n".join(lines).encode())
    running = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without spare blanks, the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def fingerprint(value: Any) -> str:
    """The sha256 of a value's canonical JSON."""
    return digest_bytes(canonical_json(value).encode())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write a file or a folder to; move it into place on success.

    On any error nothing is published and nothing is left behind; what a killed process left behind is removed by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    workplace, lock = _workplace(path)
    temporary = workplace / path.name
    try:
        yield temporary
        if not temporary.exists():
            raise ArtifactError(f"nothing was written for {path.name}")
        files = [p for p in temporary.rglob("*") if p.is_file()] if temporary.is_dir() else [temporary]
        for file in files:
            _sync(file)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        os.close(lock)


def _workplace(path: Path) -> tuple[Path, int]:
    """A new folder beside ``path``, and the handle that holds its lock for as long as this process works in it."""
    while True:
        workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        lock = os.open(workplace, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if workplace.exists():
            return workplace, lock
        os.close(lock)  # another process took it for an abandoned one before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove the workplaces of ``path`` that no process has locked: those who made them were killed."""
    named = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")  # as mkdtemp names them
    for name in os.listdir(path.parent):
        if named.fullmatch(name) is None:
            continue
        try:
            lock = os.open(path.parent / name, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent / name, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and what it was made from.

    Attributes
    ----------
    artifact : str
        Its path below the store's root, in POSIX form.
    digest : str
        sha256 of its content (``digest_path``).
    fingerprint : str
        sha256 of everything that decides the content: stage, config, code version, engine version, digests of inputs.
    inputs : mapping of str to str
        Name of each input and the digest that was read.
    code_version, engine_version : str
        Digest of the modules that made it; version of policyengine-us, or "" where the engine took no part.
    config : mapping
        The stage's configuration.
    metadata : mapping
        Numbers that the stage reports.
    """

    artifact: str
    digest: str
    fingerprint: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    engine_version: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """The artifacts below one root folder."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        try:
            self.root = Path(root).expanduser().resolve()
        except (RuntimeError, ValueError) as error:  # a home that is nobody's, a character that no path has
            raise ConfigError(
                f"the root {os.fspath(root)!r} is no folder ({error})", "give the folder of the artifacts"
            ) from error

    def path(self, artifact: str) -> Path:
        """Where an artifact lies."""
        return self.root / artifact

    def manifest_path(self, artifact: str) -> Path:
        """Where the manifest of an artifact lies."""
        return self.root / "manifests" / f"{artifact}.json"

    def scratch(self, key: str) -> Path:
        """A folder for work in progress, which survives a killed process; the caller removes it when done."""
        folder = self.root / "scratch" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def manifest(self, artifact: str) -> Manifest | None:
        """The manifest of an artifact, or None if it was never committed."""
        path = self.manifest_path(artifact)
        if not path.exists():
            return None
        try:
            return Manifest(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"the manifest {path} cannot be read ({error})", "delete it and build again") from error

    def is_current(self, artifact: str, wanted: str) -> bool:
        """Whether the artifact is there, whole, and was made under the fingerprint ``wanted``."""
        manifest = self.manifest(artifact)
        path = self.path(artifact)
        return (
            manifest is not None and manifest.fingerprint == wanted and path.exists() and digest_path(path) == manifest.digest
        )

    def verified(self, artifact: str) -> tuple[Path, str]:
        """Path and digest of an artifact whose content is what its manifest claims.

        Raises
        ------
        ArtifactError
            If it is missing, was never completed, or was changed since.
        """
        path = self.path(artifact)
        manifest = self.manifest(artifact)
        if manifest is None or not path.exists():
            raise ArtifactError(f"{artifact} is not in the store {self.root}", "materialise the stage that makes it")
        found = digest_path(path)
        if found != manifest.digest:
            raise ArtifactError(
                f"{artifact} is not what its manifest claims (sha256 {found[:12]}, claimed {manifest.digest[:12]})",
                "it was changed or damaged; materialise its stage again",
            )
        return path, found

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest of an artifact that is in place: the artifact exists from now on."""
        with atomic(self.manifest_path(manifest.artifact)) as temporary:
            temporary.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")
