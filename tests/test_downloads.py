"""Downloads against a server on this machine that misbehaves in every way that publishers' servers do."""

from __future__ import annotations

import gzip
import io
import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geocal_core import downloads
from geocal_core.downloads import Patience, cache_folder, fetch
from geocal_core.errors import InputError
from geocal_core.published import RETRIEVED, PublishedFile, retrieved
from geocal_core.settings import RawSettings
from geocal_core.sources import observe, outside_digest
from geocal_core.store import digest_bytes, digest_path

REPOSITORY = Path(__file__).resolve().parents[1]
FAST = Patience(tries=3, pause=0.01, silence=0.3, whole=0.6)
TEXT = b"STATE,N1\nWY,1\n"

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the test wants it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Publisher)
        server.asked.append(self.path)
        server.headers.append(dict(self.headers))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Publisher(ThreadingHTTPServer):
    """A server that gives its answers one after the other, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [body(TEXT)]
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def file(self, name: str, path: str = "") -> PublishedFile:
        return PublishedFile(name, "a table", f"{self.url}/{path or name}")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def body(content: bytes, *, announced: int | None = None, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if announced is None else announced))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def silence(handler: Handler) -> None:
    time.sleep(0.8)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A byte now and then: never silent for long, and never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        try:
            handler.wfile.write(b"x" * 20)
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def broken_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\nSTATE\r\n")
    handler.close_connection = True


def test_a_file_is_fetched_once_and_then_had_offline(publisher: Publisher, tmp_path: Path) -> None:
    file = publisher.file("a.csv")
    path = fetch(file, tmp_path, patience=FAST)
    assert path.read_bytes() == TEXT
    today = datetime.now(UTC).date().isoformat()
    assert retrieved(tmp_path) == {"a.csv": {"sha256": digest_bytes(TEXT), "date": today}}
    publisher.shutdown()
    publisher.server_close()
    assert fetch(file, tmp_path, patience=FAST) == path
    assert publisher.asked == ["/a.csv"]
    with pytest.raises(InputError, match=r"a\.csv was not to be had from .* in 3 tries: .*refused.*; try again later"):
        fetch(file, tmp_path, refresh=True, patience=FAST)
    assert fetch(file, tmp_path, patience=FAST).read_bytes() == TEXT


def test_the_date_changes_with_the_content_only(publisher: Publisher, tmp_path: Path) -> None:
    file = publisher.file("a.csv")
    publisher.answers = [body(TEXT, ETag='"1"', Last_Modified="Sat, 01 Mar 2025 10:00:00 GMT")]
    fetch(file, tmp_path, patience=FAST)
    records = json.loads((tmp_path / RETRIEVED).read_text())
    records["a.csv"]["date"] = "2025-03-02"
    (tmp_path / RETRIEVED).write_text(json.dumps(records))
    publisher.answers = [status(304), body(TEXT), body(b"STATE,N1\nWY,2\n", ETag='"2"')]
    fetch(file, tmp_path, refresh=True, patience=FAST)
    assert publisher.headers[-1]["If-None-Match"] == '"1"'
    assert publisher.headers[-1]["If-Modified-Since"] == "Sat, 01 Mar 2025 10:00:00 GMT"
    assert retrieved(tmp_path)["a.csv"]["date"] == "2025-03-02"
    fetch(file, tmp_path, refresh=True, patience=FAST)
    assert retrieved(tmp_path)["a.csv"]["date"] == "2025-03-02"
    fetch(file, tmp_path, refresh=True, patience=FAST)
    assert retrieved(tmp_path)["a.csv"]["date"] == datetime.now(UTC).date().isoformat()
    assert (tmp_path / "a.csv").read_bytes() == b"STATE,N1\nWY,2\n"


def test_a_damaged_copy_is_fetched_again_whole(publisher: Publisher, tmp_path: Path) -> None:
    """Without asking whether it has changed: the answer "no" would leave the damage."""
    publisher.answers = [body(TEXT, ETag='"1"')]
    path = fetch(publisher.file("a.csv"), tmp_path, patience=FAST)
    path.write_bytes(TEXT[:5])
    assert fetch(publisher.file("a.csv"), tmp_path, patience=FAST).read_bytes() == TEXT
    assert "If-None-Match" not in publisher.headers[-1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(500), "500 Internal Server Error"),
        (status(503), "503 Service Unavailable"),
        (status(429), "429 Too Many Requests"),
        (body(TEXT[:5], announced=len(TEXT)), "broke off after 5 of 14 bytes"),
        (broken_chunks, "IncompleteRead"),
        (silence, "timed out"),
        (drip, "took longer than 1 s"),
    ],
)
def test_a_fault_that_may_pass_is_tried_again_and_then_told(
    publisher: Publisher, tmp_path: Path, answer: Answer, reason: str
) -> None:
    publisher.answers = [answer, body(TEXT)]
    assert fetch(publisher.file("a.csv"), tmp_path / "one", patience=FAST).read_bytes() == TEXT
    publisher.answers = [answer]
    with pytest.raises(InputError, match=f"in 3 tries: .*{reason}"):
        fetch(publisher.file("a.csv"), tmp_path / "two", patience=FAST)
    assert list((tmp_path / "two").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("a.csv", status(404), "answers 404 Not Found for a.csv"),
        ("a.csv", status(403), "answers 403 Forbidden"),
        ("a.csv", body(b""), "answers with nothing in place of a.csv"),
        ("a.csv", body(b"\xef\xbb\xbf\n<!DOCTYPE html><html>Sorry"), "a web page in place of a.csv"),
        ("a.json", body(b"<HTML>Sorry"), "a web page"),
        ("a.json", body(b'[["NAME"], ["Wyo'), r"no whole \.json file"),
        ("a.zip", body(b"<html>Sorry"), "a web page"),
        ("a.zip", body(b"PK\x03\x04 and no more"), r"no whole \.zip file"),
        ("a.xlsx", body(b"PK\x03\x04 and no more"), r"no whole \.xlsx file"),
        ("a.xls", body(b"\xd0\xcf"), r"no whole \.xls file"),
        ("a.csv.gz", body(gzip.compress(TEXT)[:-4]), r"no whole \.gz file"),
        ("a.html", body(b""), "nothing in place of a.html"),
    ],
)
def test_what_is_not_the_file_is_refused_at_once_and_the_copy_kept(
    publisher: Publisher, tmp_path: Path, name: str, answer: Answer, reason: str
) -> None:
    (tmp_path / name).write_bytes(TEXT)
    (tmp_path / RETRIEVED).write_text(json.dumps({name: {"sha256": digest_bytes(TEXT), "date": "2025-03-02"}}))
    publisher.answers = [answer]
    with pytest.raises(InputError, match=reason) as caught:
        fetch(publisher.file(name), tmp_path, refresh=True, patience=FAST)
    assert "\n" not in str(caught.value)
    assert len(publisher.asked) == 1
    assert fetch(publisher.file(name), tmp_path, patience=FAST).read_bytes() == TEXT
    assert {path.name for path in tmp_path.iterdir()} == {name, RETRIEVED}


def test_whole_files_of_each_format_are_taken(publisher: Publisher, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a.csv", TEXT)
    for name, content in {
        "a.zip": archive.getvalue(),
        "a.xlsx": archive.getvalue(),
        "a.xls": b"\xd0\xcf\x11\xe0\xa1\xb1",
        "a.json": b'[["NAME"]]',
        "a.csv.gz": gzip.compress(TEXT),
        "a.html": b"<!doctype html>",
        "a.txt": TEXT,
    }.items():
        publisher.answers = [body(content)]
        assert fetch(publisher.file(name), tmp_path, patience=FAST).read_bytes() == content


def test_redirects_are_followed_but_not_for_ever(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers = [status(302, Location="/elsewhere.csv"), body(TEXT)]
    assert fetch(publisher.file("a.csv"), tmp_path, patience=FAST).read_bytes() == TEXT
    assert publisher.asked == ["/a.csv", "/elsewhere.csv"]
    publisher.answers = [status(302, Location="/a.csv")]
    with pytest.raises(InputError, match="answers 302"):
        fetch(publisher.file("a.csv"), tmp_path, refresh=True, patience=FAST)


def test_a_pattern_takes_the_name_of_its_address(publisher: Publisher, tmp_path: Path) -> None:
    assert fetch(publisher.file("??in55cmcsv.csv", "irs-soi/22in55cmcsv.csv"), tmp_path).name == "22in55cmcsv.csv"
    with pytest.raises(InputError, match=r"\?\?incd\.csv \(a table\) cannot be fetched: .*/tables is the page that offers it"):
        fetch(publisher.file("??incd.csv", "tables"), tmp_path)


def test_addresses_may_hold_blanks(publisher: Publisher, tmp_path: Path) -> None:
    fetch(publisher.file("a.csv", "acs?get=group(S0101)&for=congressional district:*&in=state:*"), tmp_path, patience=FAST)
    assert publisher.asked == ["/acs?get=group(S0101)&for=congressional%20district:*&in=state:*"]


def test_a_killed_download_leaves_nothing_that_counts(publisher: Publisher, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from geocal_core.downloads import fetch; "
        "from geocal_core.published import PublishedFile; "
        "fetch(PublishedFile('a.csv', 'a table', sys.argv[1]), Path(sys.argv[2]))"
    )
    publisher.answers = [drip]
    process = subprocess.Popen([sys.executable, "-c", code, f"{publisher.url}/a.csv", str(tmp_path)], cwd=REPOSITORY)
    deadline = time.monotonic() + 20
    while not publisher.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "a.csv").exists()
    publisher.answers = [body(TEXT)]
    assert fetch(publisher.file("a.csv"), tmp_path, patience=FAST).read_bytes() == TEXT
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", RETRIEVED}


def test_a_file_put_down_without_its_record_is_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    """As when the process is killed between the two."""
    (tmp_path / "a.csv").write_bytes(b"of another day")
    assert fetch(publisher.file("a.csv"), tmp_path, patience=FAST).read_bytes() == TEXT


def test_downloads_at_the_same_time_are_all_recorded(publisher: Publisher, tmp_path: Path) -> None:
    files = [publisher.file(f"{name}.csv") for name in "abcdef"]
    threads = [threading.Thread(target=fetch, args=(file, tmp_path)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(retrieved(tmp_path)) == [file.name for file in files]


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEOCAL_CACHE", str(tmp_path))
    assert cache_folder("", "irs") == tmp_path / "irs"
    assert cache_folder("/elsewhere", "irs") == Path("/elsewhere/irs")
    monkeypatch.delenv("GEOCAL_CACHE")
    assert cache_folder("", "irs") == Path.home() / ".cache" / "geocal" / "irs"


def test_a_source_from_its_publisher(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building asks nobody once the cache is filled, unless told to; observing always asks."""
    file = publisher.file("a.csv")
    monkeypatch.setattr("geocal_core.sources.published_files", lambda: {"moon": (file,)})
    monkeypatch.setattr(downloads, "PATIENCE", FAST)
    settings = RawSettings(origin="publisher", folder=str(tmp_path))
    first = outside_digest("moon", settings)
    assert outside_digest("moon", settings) == first
    assert len(publisher.asked) == 1
    publisher.answers = [body(b"STATE,N1\nWY,2\n")]
    seen = observe("moon", file, settings)
    assert len(publisher.asked) == 2
    assert seen.version == digest_path(tmp_path / "moon" / "a.csv")
    assert seen.facts["retrieved"] == datetime.now(UTC).date().isoformat()
    assert outside_digest("moon", settings) != first
    monkeypatch.setenv("GEOCAL_REFRESH", "1")
    outside_digest("moon", settings)
    assert len(publisher.asked) == 3
