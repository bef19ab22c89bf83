"""Collecting raw files: copies by name from anywhere below a folder, and refuses what is missing, double or empty."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geocal_core.errors import ConfigError, InputError
from geocal_core.profiles import profile
from geocal_core.progress import Silent
from geocal_core.published import RETRIEVED, retrieved
from geocal_core.settings import RawSettings
from geocal_core.sources import ABSENT, collect, files_of, observe, outside_digest
from geocal_core.stages import STAGES
from geocal_core.store import digest_path

Context = Callable[..., Any]


@pytest.fixture
def stage_context(tmp_path: Path) -> Context:
    """The part of a ``StageContext`` that a raw stage uses."""

    def make(name: str, settings: object, output: str = "output") -> Any:
        return SimpleNamespace(name=name, settings=settings, output=tmp_path / output, reporter=Silent())

    return make


def published(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}\n")
    return folder


def from_folder(stage_context: Context, agency: str, folder: Path, **more: Any) -> Any:
    return stage_context(f"raw_{agency}", RawSettings(origin="folder", folder=str(folder), **more))


def test_every_raw_stage_has_files_that_are_described() -> None:
    for name in STAGES:
        if name.startswith("raw_"):
            files = files_of(name.removeprefix("raw_"), ("WY",))
            assert files
            assert all(file.url.startswith("https://") and file.description for file in files)


def test_copies_published_files_from_anywhere_below_the_folder(tmp_path: Path, stage_context: Context) -> None:
    folder = published(tmp_path / "raw", "a/b/puf_2015.csv", "c/demographics_2015.csv", "c/other.csv")
    context = from_folder(stage_context, "irs_puf", folder)
    numbers = collect(context)
    assert sorted(path.name for path in context.output.iterdir()) == ["demographics_2015.csv", "puf_2015.csv"]
    assert (context.output / "puf_2015.csv").read_text() == "content of a/b/puf_2015.csv\n"
    assert numbers["files"] == 2
    assert len(str(numbers["sha256 puf_2015.csv"])) == 64


def test_copies_the_block_files_of_the_states_in_scope(tmp_path: Path, stage_context: Context) -> None:
    of_the_nation = sorted(file.name for file in files_of("census_blocks", ()))
    of_states = ["BlockAssign_ST10_DE.zip", "BlockAssign_ST56_WY.zip", "de2020.pl.zip", "wy2020.pl.zip"]
    folder = published(tmp_path / "raw", *of_the_nation, *of_states, "ny2020.pl.zip", "BlockAssign_ST36_NY.zip")
    context = from_folder(stage_context, "census_blocks", folder, states=("DE", "WY"))
    collect(context)
    assert sorted(path.name for path in context.output.iterdir()) == sorted([*of_the_nation, *of_states])


@pytest.mark.parametrize("missing", [file.name for file in files_of("census_blocks", ("WY",))])
def test_a_missing_file_of_blocks_is_named_with_its_address(tmp_path: Path, stage_context: Context, missing: str) -> None:
    files = {file.name: file for file in files_of("census_blocks", ("WY",))}
    folder = published(tmp_path / "raw", *(name for name in files if name != missing))
    with pytest.raises(InputError) as caught:
        collect(from_folder(stage_context, "census_blocks", folder, states=("WY",)))
    assert f"holds no {missing}, the " in str(caught.value)
    assert files[missing].url in str(caught.value)


def test_leaves_the_district_file_of_the_irs_to_a_later_stage(tmp_path: Path, stage_context: Context) -> None:
    context = from_folder(
        stage_context, "irs", published(tmp_path / "raw", "22in55cmcsv.csv"), without=others_than("??in55cmcsv.csv")
    )
    assert collect(context)["files"] == 1
    assert any("??incd.csv" in message for message in context.reporter.messages)


def others_than(name: str) -> tuple[str, ...]:
    """The needed files of the IRS but for one."""
    return tuple(file.name for file in files_of("irs", ()) if file.needed and file.name != name)


def test_refuses_a_folder_without_a_needed_file_and_names_what_was_found(tmp_path: Path, stage_context: Context) -> None:
    context = from_folder(stage_context, "census_asec", published(tmp_path / "raw", "x/asecpub24csv.zip"))
    with pytest.raises(InputError) as caught:
        collect(context)
    message = str(caught.value)
    for word in ("asecpub25csv.zip", "income year 2024", "found asecpub24csv.zip", "www2.census.gov"):
        assert word in message
    assert "\n" not in message


def test_refuses_a_file_that_is_there_twice(tmp_path: Path, stage_context: Context) -> None:
    folder = published(tmp_path / "raw", "a/22in55cmcsv.csv", "b/21in55cmcsv.csv")
    with pytest.raises(InputError, match="more than once: a/22in55cmcsv.csv, b/21in55cmcsv.csv"):
        collect(from_folder(stage_context, "irs", folder))


def test_refuses_an_empty_file(tmp_path: Path, stage_context: Context) -> None:
    folder = published(tmp_path / "raw", "demographics_2015.csv", "puf_2015.csv")
    (folder / "puf_2015.csv").write_text("")
    with pytest.raises(InputError, match=r"puf_2015\.csv .*is empty"):
        collect(from_folder(stage_context, "irs_puf", folder))


def test_refuses_unknown_origins_and_folders(tmp_path: Path, stage_context: Context) -> None:
    with pytest.raises(ConfigError, match="moon"):
        collect(stage_context("raw_irs_puf", RawSettings(origin="moon"), output="one"))
    with pytest.raises(ConfigError, match="none is named"):
        collect(stage_context("raw_irs_puf", RawSettings(origin="folder"), output="two"))
    with pytest.raises(InputError, match="does not exist"):
        collect(stage_context("raw_irs_puf", RawSettings(origin="folder", folder=str(tmp_path / "no")), output="three"))
    with pytest.raises(ConfigError, match="no source"):
        files_of("census_moon", ("WY",))


def test_refuses_to_leave_out_what_is_no_file_of_the_source(tmp_path: Path, stage_context: Context) -> None:
    with pytest.raises(ConfigError, match=r"usda has no file 'snap\.zip' to leave out; its files are \['snap-zip"):
        collect(from_folder(stage_context, "usda", published(tmp_path / "raw", "x"), without=("snap.zip",)))


def test_says_where_the_demo_publishes_nothing(stage_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geocal_core.sources.WRITERS", {})
    context = stage_context("raw_usda", RawSettings())
    facts = collect(context)
    assert (facts["origin"], facts["files"], facts["bytes"]) == ("demo", 0, 0)
    assert facts["not_there"] == "snap-zip-fy69tocurrent-6.zip"
    assert context.reporter.messages[0] == "the demo nation publishes nothing of usda"
    assert "the settings of target_db say which tables are left out" in context.reporter.messages[-1]
    assert list(context.output.iterdir()) == []


def test_keeps_the_date_of_a_download_that_is_still_the_same_file(tmp_path: Path, stage_context: Context) -> None:
    folder = published(tmp_path / "raw", "puf_2015.csv", "demographics_2015.csv")
    record = {"sha256": digest_path(folder / "puf_2015.csv"), "date": "2025-03-01", "etag": "x"}
    other = {"sha256": "0" * 64, "date": "2025-03-01"}
    (folder / RETRIEVED).write_text(json.dumps({"puf_2015.csv": record, "demographics_2015.csv": other}))
    context = from_folder(stage_context, "irs_puf", folder)
    assert collect(context)["files"] == 2
    assert retrieved(context.output) == {"puf_2015.csv": {"sha256": record["sha256"], "date": "2025-03-01"}}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"sha256": "x"}}'])
def test_refuses_a_record_of_downloads_that_is_none(tmp_path: Path, stage_context: Context, text: str) -> None:
    folder = published(tmp_path / "raw", "puf_2015.csv", "demographics_2015.csv", RETRIEVED)
    (folder / RETRIEVED).write_text(text)
    with pytest.raises(InputError, match="is no record of downloads"):
        collect(from_folder(stage_context, "irs_puf", folder))


def test_observes_content_and_nothing_else(tmp_path: Path) -> None:
    folder = published(tmp_path / "raw", "deep/snap-zip-fy69tocurrent-6.zip")
    (file,) = files_of("usda", ())
    settings = RawSettings(origin="folder", folder=str(folder))
    path = folder / "deep" / file.name
    first = observe("usda", file, settings)
    assert first.version == digest_path(path) == first.facts["sha256"]
    assert first.facts["bytes"] == path.stat().st_size
    os.utime(path, (1, 1))
    touched = observe("usda", file, settings)
    assert touched.version == first.version
    assert touched.facts["modified"] == "1970-01-01T00:00:01+00:00"
    before = outside_digest("usda", settings)
    path.write_text("other")
    assert observe("usda", file, settings).version != first.version
    assert outside_digest("usda", settings) != before
    path.unlink()
    with pytest.raises(InputError, match="holds no snap-zip"):
        observe("usda", file, settings)


def test_observes_that_a_file_is_absent_which_may_be(tmp_path: Path) -> None:
    file = next(file for file in files_of("irs", ()) if not file.needed)
    settings = RawSettings(origin="folder", folder=str(tmp_path))
    assert observe("irs", file, settings).version == ABSENT
    (needed,) = files_of("usda", ())
    assert observe("usda", needed, replace(settings, without=(needed.name,))).version == ABSENT


def test_observes_the_demo_by_its_settings() -> None:
    (file,) = files_of("usda", ())
    first = observe("usda", file, RawSettings())
    assert observe("usda", file, RawSettings()) == first
    assert observe("usda", file, RawSettings(seed=1)).version != first.version


@pytest.mark.raw
def test_finds_the_real_files(raw_folder: Path, stage_context: Context) -> None:
    """Whatever an agency publishes and the folder holds; a file that it lacks is left out by name."""
    chosen = profile("demo").with_folder(str(raw_folder)).stages
    for name in STAGES["target_db"].inputs:
        settings = chosen[name]
        assert isinstance(settings, RawSettings)
        wanted = [file for file in files_of(name.removeprefix("raw_"), ()) if file.name not in settings.without]
        assert collect(stage_context(name, settings, output=name))["files"] == len(wanted)
