"""Artifacts are published whole or not at all, and known by their content."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError
from geocal_core.store import Manifest, Store, atomic, digest_path, fingerprint


def committed(store: Store, artifact: str, content: str, mark: str = "f") -> Manifest:
    with atomic(store.path(artifact)) as temporary:
        temporary.write_text(content)
    manifest = Manifest(artifact, digest_path(store.path(artifact)), mark)
    store.commit(manifest)
    return manifest


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.startswith("."))


def test_a_committed_artifact_is_verified(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = committed(store, "a/b.txt", "hello")
    path, digest = store.verified("a/b.txt")
    assert path.read_text() == "hello"
    assert digest == manifest.digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert store.is_current("a/b.txt", "f")
    assert not store.is_current("a/b.txt", "g")


def test_a_changed_artifact_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    committed(store, "x", "hello")
    store.path("x").write_text("hullo")
    assert not store.is_current("x", "f")
    with pytest.raises(ArtifactError, match="x is not what its manifest claims"):
        store.verified("x")


def test_an_artifact_without_manifest_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with atomic(store.path("x")) as temporary:
        temporary.write_text("hello")
    with pytest.raises(ArtifactError, match="x is not in the store"):
        store.verified("x")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    abandoned = tmp_path / ".x.abcd_123"
    abandoned.mkdir()
    (abandoned / "x").write_text("half")
    others = [tmp_path / ".x.y.abcd_123", tmp_path / ".x.scratch", tmp_path / ".x.longer_than_eight"]
    for other in others:
        other.mkdir()
    with atomic(tmp_path / "x") as temporary:
        temporary.write_text("whole")
        assert not abandoned.exists()
    assert (tmp_path / "x").read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "x"])


def test_what_another_writer_is_at_work_in_is_left_alone(tmp_path: Path) -> None:
    with atomic(tmp_path / "x") as first:
        first.write_text("first")
        with atomic(tmp_path / "x") as second:
            second.write_text("second")
        assert first.read_text() == "first"
    assert (tmp_path / "x").read_text() == "first"
    assert leftovers(tmp_path) == []


def test_a_damaged_manifest_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    committed(store, "x", "hello")
    store.manifest_path("x").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        store.verified("x")


def test_an_error_publishes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")

    def fail() -> None:
        with atomic(target) as temporary:
            temporary.write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]


def test_a_killed_writer_leaves_the_old_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    committed(store, "x", "old")
    script = textwrap.dedent(
        f"""
        import os, signal
        from geocal_core.store import Store, atomic
        with atomic(Store({str(tmp_path)!r}).path("x")) as temporary:
            temporary.write_text("new")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.verified("x")[0].read_text() == "old"


def test_digest_of_a_folder_sees_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("1")
    first = digest_path(tmp_path / "a")
    (tmp_path / "a" / "f").rename(tmp_path / "a" / "g")
    second = digest_path(tmp_path / "a")
    (tmp_path / "a" / "g").write_text("2")
    assert len({first, second, digest_path(tmp_path / "a")}) == 3


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert fingerprint(value) == fingerprint(backwards)
