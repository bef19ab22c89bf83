"""Block files as the Census Bureau publishes them, whole and broken."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from geocal_core.errors import InputError
from geocal_core.places.blocks import read_blocks, read_districts

DISTRICTS = {
    "560010001001000": "00",
    "560010001001001": "00",
    "560030002001000": "ZZ",
    "100010001001000": "00",
    "110010001001000": "98",
}
POPULATION = {
    "56": {"560010001001000": 12, "560010001001001": 0, "560030002001000": 0},
    "10": {"100010001001000": 40},
    "11": {"110010001001000": 7},
}
CODES = {"56": "wy", "10": "de", "11": "dc"}


def write(folder: Path, districts: dict[str, str], population: dict[str, dict[str, int]]) -> None:
    text = "GEOID,CDFP\n" + "".join(f"{block},{code}\n" for block, code in districts.items())
    with zipfile.ZipFile(folder / "cd119.zip", "w") as archive:
        archive.writestr("NationalCD119.txt", text)
    for fips, blocks in population.items():
        code = CODES[fips]
        header = [["PLST", code.upper(), "040", "00", "00", "000", "00", "0000001", f"0400000US{fips}", fips]]
        segment = [["PLST", code.upper(), "000", "01", "0000001", str(sum(blocks.values()))]]
        for number, (block, count) in enumerate(blocks.items(), start=2):
            record = f"{number:07d}"
            header.append(["PLST", code.upper(), "750", "00", "00", "000", "00", record, f"7500000US{block}", block])
            segment.append(["PLST", code.upper(), "000", "01", record, str(count)])
        with zipfile.ZipFile(folder / f"{code}2020.pl.zip", "w") as archive:
            archive.writestr(f"{code}geo2020.pl", "\n".join("|".join([*row, "x"]) for row in header))
            archive.writestr(f"{code}000012020.pl", "\n".join("|".join([*row, "0"]) for row in segment))


def test_populated_blocks_with_their_district(tmp_path: Path) -> None:
    write(tmp_path, DISTRICTS, POPULATION)
    blocks = read_blocks(tmp_path, ("DE", "WY", "DC"))
    assert blocks.to_dict("records") == [
        {"block_geoid": "100010001001000", "district": 1001, "population": 40},
        {"block_geoid": "110010001001000", "district": 1101, "population": 7},
        {"block_geoid": "560010001001000", "district": 5601, "population": 12},
    ]
    assert read_blocks(tmp_path, ("WY",))["district"].tolist() == [5601]


def test_districts_of_another_congress_on_the_same_blocks(tmp_path: Path) -> None:
    """The file of the 118th Congress, whose member has a name of its own."""
    path = tmp_path / "cd118.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("National_CD118.txt", "GEOID,CDFP\n300010001001000,01\n300010001001001,02\n560010001001000,00\n")
    table = read_districts(path, 118, ("30", "56"))
    assert dict(zip(table["block_geoid"], table["district"], strict=True)) == {
        "300010001001000": 3001,
        "300010001001001": 3002,
        "560010001001000": 5601,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("National_CD118.txt", "GEOID,CDFP\n300010001001000,03\n")
    with pytest.raises(InputError, match="there is no district 3003 in the 118th Congress"):
        read_districts(path, 118, ("30",))
    with pytest.raises(InputError, match=r"has no member NationalCD119\.txt, only National_CD118\.txt"):
        read_districts(path, 119, ("30",))


def test_a_populated_block_without_district_is_refused(tmp_path: Path) -> None:
    write(tmp_path, DISTRICTS | {"560010001001000": "ZZ"}, POPULATION)
    with pytest.raises(InputError, match=r"no district in .*the first is 560010001001000"):
        read_blocks(tmp_path, ("WY",))


def test_a_district_of_another_map_is_refused(tmp_path: Path) -> None:
    write(tmp_path, DISTRICTS | {"560010001001000": "07"}, POPULATION)
    with pytest.raises(InputError, match="no district 5607"):
        read_blocks(tmp_path, ("WY",))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cd119\.zip is missing"):
        read_blocks(tmp_path, ("WY",))
    write(tmp_path, DISTRICTS, POPULATION)
    (tmp_path / "wy2020.pl.zip").write_bytes((tmp_path / "wy2020.pl.zip").read_bytes()[:100])
    with pytest.raises(InputError, match=r"wy2020\.pl\.zip is not a whole zip file"):
        read_blocks(tmp_path, ("WY",))
    (tmp_path / "cd119.zip").write_text("<html>busy</html>")
    with pytest.raises(InputError, match=r"cd119\.zip is not a whole zip file"):
        read_blocks(tmp_path, ("DE",))


def _rewrite(archive: Path, member: str, change: Callable[[list[str]], list[str]]) -> None:
    with zipfile.ZipFile(archive) as there:
        members = {name: there.read(name).decode() for name in there.namelist()}
    members[member] = "\n".join(change(members[member].splitlines()))
    with zipfile.ZipFile(archive, "w") as here:
        for name, text in members.items():
            here.writestr(name, text)


@pytest.mark.parametrize(
    ("member", "change", "words"),
    [
        ("wy000012020.pl", lambda rows: rows[:-1], "block 560030002001000 of the header is not in segment 1"),
        ("wygeo2020.pl", lambda rows: [rows[0], *rows[2:]], r"its blocks have 0 people, its row of the state says '12'"),
        ("wygeo2020.pl", lambda rows: [*rows, rows[-1]], "the geographic header has 0000004 twice"),
        ("wy000012020.pl", lambda rows: [*rows, rows[1]], "segment 1 has 0000002 twice"),
    ],
)
def test_lines_lost_or_repeated_are_refused(
    tmp_path: Path, member: str, change: Callable[[list[str]], list[str]], words: str
) -> None:
    write(tmp_path, DISTRICTS, POPULATION)
    _rewrite(tmp_path / "wy2020.pl.zip", member, change)
    with pytest.raises(InputError, match=words):
        read_blocks(tmp_path, ("WY",))


def test_a_block_listed_twice_does_not_count_twice(tmp_path: Path) -> None:
    write(tmp_path, DISTRICTS, POPULATION)
    _rewrite(tmp_path / "cd119.zip", "NationalCD119.txt", lambda rows: [*rows, rows[1]])
    with pytest.raises(InputError, match=r"NationalCD119\.txt has 560010001001000 twice"):
        read_blocks(tmp_path, ("WY",))
