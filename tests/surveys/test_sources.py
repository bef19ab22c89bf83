"""Collecting raw files: copies by name from anywhere below a folder, and refuses what is missing, double or empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geocal_core.errors import ConfigError, InputError
from geocal_core.settings import RawSettings
from geocal_core.stages import STAGES
from geocal_core.surveys.sources import collect, files_of

Context = Callable[..., Any]


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
    folder = published(tmp_path / "raw", "cd119.zip", "de2020.pl.zip", "wy2020.pl.zip", "ny2020.pl.zip")
    context = from_folder(stage_context, "census_blocks", folder, states=("DE", "WY"))
    collect(context)
    assert sorted(path.name for path in context.output.iterdir()) == ["cd119.zip", "de2020.pl.zip", "wy2020.pl.zip"]


def test_leaves_the_district_file_of_the_irs_to_a_later_stage(tmp_path: Path, stage_context: Context) -> None:
    context = from_folder(stage_context, "irs_soi", published(tmp_path / "raw", "22in55cmcsv.csv"))
    assert collect(context)["files"] == 1
    assert any("??incd.csv" in message for message in context.reporter.messages)


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
        collect(from_folder(stage_context, "irs_soi", folder))


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


def test_finds_the_real_files(raw_folder: Path, stage_context: Context) -> None:
    for agency, count in (("census_acs", 4), ("usda_snap", 1), ("irs_soi", 1)):
        context = stage_context(f"raw_{agency}", RawSettings(origin="folder", folder=str(raw_folder)), output=agency)
        assert collect(context)["files"] == count
