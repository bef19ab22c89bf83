"""Crosswalks between Congresses: properties, spoilt tables, and the published ones against the census and each other."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError, GeocalError, InputError
from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.targets.files import RawFiles
from geocal_core.targets.redistricting import (
    Crosswalk,
    find_crosswalk,
    read_blocks_crosswalk,
    read_geocorr,
    read_shares,
)
from tests.places import test_blocks as block_files
from tests.targets.redistricted import PAIRS, write_geocorr

STATE_CODES = (4, 30, 56)
ALL = [state.code for state in STATES]


@st.composite
def crosswalks(draw: st.DrawFn, steps: int = 1) -> list[Crosswalk]:
    """Crosswalks that follow each other, of three states with up to four districts in each Congress."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = [
        [100 * fips + number for fips in STATE_CODES for number in range(1, 1 + generator.integers(1, 5))]
        for _ in range(steps + 1)
    ]
    found = []
    for step, (old, new) in enumerate(pairwise(codes)):
        people = {
            (o, n): float(generator.integers(1, 10**6) * (generator.random() < 0.7 or o % 100 == 1 or n % 100 == 1))
            for o in old
            for n in new
            if o // 100 == n // 100
        }
        found.append(Crosswalk.of_people(116 + step, 117 + step, people, f"step {step}"))
    return found


def _by_state(codes: tuple[int, ...], values: np.ndarray) -> pd.Series:
    return pd.Series(values, index=[code // 100 for code in codes]).groupby(level=0).sum()


@given(crosswalks(), st.integers(0, 2**32))
def test_states_keep_their_totals(found: list[Crosswalk], seed: int) -> None:
    (crosswalk,) = found
    values = np.random.default_rng(seed).normal(0, 1e9, len(crosswalk.old))
    carried = crosswalk.through(values)
    before, after = _by_state(crosswalk.old, values), _by_state(crosswalk.new, carried)
    scale = _by_state(crosswalk.old, np.abs(values))
    assert ((before - after).abs() <= 1e-9 * scale).all()
    assert crosswalk.shares.sum(axis=1) == pytest.approx(1)
    assert crosswalk.through(np.stack([values, 2 * values], axis=1))[:, 1] == pytest.approx(2 * carried)


@given(crosswalks(), st.integers(0, 2**32))
def test_counts_stay_counts(found: list[Crosswalk], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 10**6, len(found[0].old))
    assert (found[0].through(values) >= 0).all()


@given(crosswalks())
def test_identity(found: list[Crosswalk]) -> None:
    (crosswalk,) = found
    before = Crosswalk.identity(crosswalk.old_congress, crosswalk.old)
    after = Crosswalk.identity(crosswalk.new_congress, crosswalk.new)
    values = np.arange(len(crosswalk.old), dtype=float)
    assert np.array_equal(before.through(values), values)
    assert before.then(crosswalk).shares == pytest.approx(crosswalk.shares)
    assert crosswalk.then(after).shares == pytest.approx(crosswalk.shares)


@given(crosswalks(steps=3))
def test_composition_is_associative(found: list[Crosswalk]) -> None:
    a, b, c = found
    left, right = a.then(b).then(c), a.then(b.then(c))
    assert left.shares == pytest.approx(right.shares)
    assert (left.old_congress, left.new_congress, left.old, left.new) == (116, 119, a.old, c.new)
    values = np.arange(1.0, 1 + len(a.old))
    assert left.through(values) == pytest.approx(c.through(b.through(a.through(values))))
    if a.new != c.old:
        with pytest.raises(ConfigError, match="is not followed by one from"):
            a.then(c)


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_blocks_carry_what_lives_on_them(blocks: int, seed: int) -> None:
    """Figures in proportion to people: those of the new districts are sums over their blocks."""
    generator = np.random.default_rng(seed)
    old, new = 400 + generator.integers(1, 5, blocks), 400 + generator.integers(1, 5, blocks)
    people = generator.integers(1, 3000, blocks)
    crosswalk = Crosswalk.of_blocks(118, 119, old, new, people, "blocks")
    rate = {code: generator.random() for code in crosswalk.old}
    figures = [rate[code] * people[old == code].sum() for code in crosswalk.old]
    each = np.array([rate[int(code)] for code in old]) * people
    assert crosswalk.through(figures) == pytest.approx([each[new == code].sum() for code in crosswalk.new])
    assert crosswalk.through([people[old == code].sum() for code in crosswalk.old]) == pytest.approx(
        [people[new == code].sum() for code in crosswalk.new]
    )


def test_part_of_some_states() -> None:
    whole = Crosswalk.of_people(117, 119, {(401, 401): 2, (401, 402): 1, (5601, 5601): 5}, "a test")
    part = whole.within([4])
    assert (part.old, part.new, part.shares.tolist()) == ((401,), (401, 402), [[2 / 3, 1 / 3]])


@pytest.mark.parametrize(
    ("old", "new", "shares", "words"),
    [
        ((), (), np.empty((0, 0)), "has no districts"),
        ((402, 401), (401, 402), np.eye(2), "out of order"),
        ((401,), (401,), np.eye(2), "shares for 1 old and 1 new"),
        ((401,), (401, 402), np.array([[0.5, 0.4]]), "the shares of old district 401 do not add up to 1"),
        ((401,), (401, 402), np.array([[1.5, -0.5]]), "a share that is not a number from 0 to 1"),
        ((401,), (401, 402), np.array([[np.nan, 1.0]]), "a share that is not a number"),
        ((401,), (401, 402), np.array([[1.0, 0.0]]), "no part of an old district falls to new district 402"),
        (
            (401, 501),
            (401, 501),
            np.array([[0.5, 0.5], [0.5, 0.5]]),
            "a part of old district 401 falls to 501, in another state",
        ),
    ],
)
def test_shares_that_contradict_each_other(old: tuple[int, ...], new: tuple[int, ...], shares: np.ndarray, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Crosswalk(117, 119, old, new, shares, "a test")


def test_a_district_where_nobody_lives() -> None:
    with pytest.raises(ConfigError, match="nobody lives in old district 402"):
        Crosswalk.of_people(117, 119, {(401, 401): 1, (402, 401): 0}, "a test")
    with pytest.raises(ConfigError, match=r"the crosswalk has 1 old districts, and there are figures for 2"):
        Crosswalk.of_people(117, 119, {(401, 401): 1}, "a test").through([1, 2])
    with pytest.raises(ConfigError, match=r"blocks have \(2,\) old and \(1,\) new districts"):
        Crosswalk.of_blocks(117, 119, [401, 401], [401], [1, 2], "a test")


def test_block_files_of_two_congresses(tmp_path: Path) -> None:
    block_files.write(tmp_path, block_files.DISTRICTS, block_files.POPULATION)
    text = "GEOID,CDFP\n" + "".join(f"{block},{code}\n" for block, code in block_files.DISTRICTS.items())
    with zipfile.ZipFile(tmp_path / "cd118.zip", "w") as archive:
        archive.writestr("National_CD118.txt", text)
    crosswalk = read_blocks_crosswalk(tmp_path, 118, 119, ("WY", "DE"))
    assert (crosswalk.old, crosswalk.new, crosswalk.source) == ((1001, 5601), (1001, 5601), "cd118.zip and cd119.zip")
    with zipfile.ZipFile(tmp_path / "cd118.zip", "w") as archive:
        archive.writestr("National_CD118.txt", text.replace("560010001001000,00", "560010001001000,ZZ"))
    with pytest.raises(InputError, match=r"cd118\.zip has no district for the populated block 560010001001000"):
        read_blocks_crosswalk(tmp_path, 118, 119, ("WY", "DE"))


def test_block_files_are_found_below_the_folder(tmp_path: Path) -> None:
    """Of the 118th Congress, with all that belongs to them in the same folder; what lacks is named."""
    folder = tmp_path / "geography"
    folder.mkdir()
    with pytest.raises(InputError, match=r"make geocorr2022_cd118_to_cd119\.csv .* or put cd118\.zip, cd119\.zip and"):
        find_crosswalk(RawFiles(tmp_path), 118, ("WY", "DE"))
    block_files.write(folder, block_files.DISTRICTS, block_files.POPULATION)
    text = "GEOID,CDFP\n" + "".join(f"{block},{code}\n" for block, code in block_files.DISTRICTS.items())
    with zipfile.ZipFile(folder / "cd118.zip", "w") as archive:
        archive.writestr("National_CD118.txt", text)
    raw = RawFiles(tmp_path)
    assert find_crosswalk(raw, 118, ("WY", "DE")).new == (1001, 5601)
    assert [path.name for path in raw.take_used()] == ["cd118.zip", "cd119.zip", "de2020.pl.zip", "wy2020.pl.zip"]
    with pytest.raises(InputError, match=r"geography has cd118\.zip and not ak2020\.pl\.zip"):
        find_crosswalk(RawFiles(tmp_path), 118, ("WY", "AK"))
    (folder / "cd119.zip").rename(tmp_path / "cd119.zip")
    with pytest.raises(InputError, match=r"geography has cd118\.zip and not cd119\.zip; .* in one folder"):
        find_crosswalk(RawFiles(tmp_path), 118, ("WY", "DE"))


@dataclass(frozen=True, repr=False)
class Written:
    """Lines of a written table of Geocorr, and the crosswalk that they give."""

    lines: list[str]
    crosswalk: Crosswalk


@pytest.fixture(scope="module")
def written_table(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(lines, _read(tmp_path_factory.mktemp("whole"), lines))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = write_geocorr(tmp_path_factory.mktemp("geocorr"), 117)
    return path.read_text().splitlines()


def _read(folder: Path, lines: list[str]) -> Crosswalk:
    path = folder / "geocorr2022_cd117_to_cd119.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_geocorr(path, 117, 119)


def test_a_written_table_is_read(lines: list[str], tmp_path: Path) -> None:
    crosswalk = _read(tmp_path, lines)
    assert crosswalk.new == DISTRICTS
    totals = {code: sum(n for (o, _), n in PAIRS.items() if o == code) for code in crosswalk.old}
    for (old, new), number in PAIRS.items():
        share = crosswalk.shares[crosswalk.old.index(old), crosswalk.new.index(new)]
        assert share == pytest.approx(number / totals[old])
    assert find_crosswalk(RawFiles(tmp_path), 117, ALL).old == crosswalk.old


@pytest.mark.parametrize(
    ("line", "before", "after", "words"),
    [
        (0, '"cd117"', '"cd116"', "has no column CD117"),
        (0, '"pop20"', '"pop10"', "has no column POP20"),
        (1, "Total population (2020 Census)", "Total population (2010 Census)", "is not the row of labels"),
        (1, "117th", "116th", "is not the row of labels"),
        (2, ",", ",,", "line 3 has 8 cells"),
        (2, '"01","01","01"', '"01","01","98x"', "column CD117 holds '98x', which is not a number"),
        (2, '"01","01","01"', '"01","99","01"', "is not of the 119th Congress: it has new district 199"),
        (2, '"01","01","01"', '"01","01","09"', "lacks old district 10"),
        (2, '"01","01","01","AL",', '"01","01","01","AL",9', "column AFACT2? does not agree with column POP20"),
        (2, '"01","01","01","AL",', '"01","01","-","AL",', "people of state 1 are in no old district"),
        (2, '"01","01","01","AL",', '"01","01","01","AL",-', "below zero"),
    ],
)
def test_spoilt_tables_of_geocorr(lines: list[str], tmp_path: Path, line: int, before: str, after: str, words: str) -> None:
    spoilt = list(lines)
    assert before in spoilt[line]
    spoilt[line] = spoilt[line].replace(before, after, 1)
    with pytest.raises(InputError, match=words) as caught:
        _read(tmp_path, spoilt)
    assert "\n" not in str(caught.value)


def test_tables_that_are_not_whole(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="old district 101 and new district 101 are there twice"):
        _read(tmp_path, [*lines, lines[2]])
    whole = len(lines)
    for kept, words in ((1, "no rows"), (2, "no rows"), (200, "lacks new district"), (whole - 2, "lacks new district 5601")):
        with pytest.raises(InputError, match=words):
            _read(tmp_path, lines[:kept])
    (tmp_path / "geocorr2022_cd117_to_cd119.csv").write_text("<html>")
    with pytest.raises(InputError, match="is a web page"):
        find_crosswalk(RawFiles(tmp_path), 117, ALL)
    for congress in (116, 118):
        with pytest.raises(InputError, match=f"no crosswalk from the {congress}th to the 119th Congress is below"):
            find_crosswalk(RawFiles(tmp_path), congress, ALL)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_change_a_share_unseen(
    written_table: Written, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A byte of the table overwritten, lost or doubled: refused, or shares that differ by no more than their printed digits."""
    folder = tmp_path_factory.mktemp("fuzz")
    whole, text = written_table.crosswalk, "\n".join(written_table.lines)
    start = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(("", "0", "9", "x", text[start] * 2, "\n")))
    message = ""
    found = whole
    try:
        found = _read(folder, (text[:start] + put + text[start + 1 :]).splitlines())
    except GeocalError as error:
        message = str(error)
    assert "\n" not in message
    assert (found.old, found.new) == (whole.old, whole.new)
    assert np.abs(found.shares - whole.shares).max() <= 2e-4


def _shares(folder: Path, rows: list[str]) -> Path:
    path = folder / "district_mapping.csv"
    path.write_text("\n".join(["code_old,code_new,proportion", *rows]) + "\n")
    return path


def test_a_table_of_shares(tmp_path: Path) -> None:
    rows = [f"5001800US{code:04d},5001800US{code:04d},1.0" for code in DISTRICTS]
    crosswalk = read_shares(_shares(tmp_path, rows))
    assert (crosswalk.old_congress, crosswalk.old) == (116, DISTRICTS)
    assert find_crosswalk(RawFiles(tmp_path), 116, ALL).source == "district_mapping.csv"
    for spoilt, words in (
        (rows[1:], "lacks new district 101"),
        ([*rows, rows[0]], "are there twice"),
        ([rows[0].replace("1.0", "0.9"), *rows[1:]], r"the proportions of old district 101 add up to 0\.9, not to 1"),
        ([rows[0].replace("1.0", "1.5"), *rows[1:]], "which is no share from 0 to 1"),
        ([rows[0].replace("1.0", "X"), *rows[1:]], "holds 'X', which is no share"),
        ([rows[0].replace("5001800US0101", "5001800US101", 1), *rows[1:]], "column code_old holds '5001800US101'"),
        ([rows[0].replace("US0101", "US0299", 1), *rows[1:]], "in another state"),
    ):
        with pytest.raises(InputError, match=words):
            read_shares(_shares(tmp_path, spoilt))


@pytest.fixture(scope="module")
def published(raw_folder: Path) -> tuple[Crosswalk, Crosswalk, pd.DataFrame]:
    """Geocorr, the table of shares, and Geocorr as pandas reads it."""
    folder = raw_folder / "geography"
    path = folder / "geocorr2022_cd117_to_cd119.csv"
    table = pd.read_csv(path, dtype=str, skiprows=[1])
    table = table[(table["state"] != "72") & (table["cd117"] != "-")].astype({"pop20": int})
    for column in ("cd117", "cd119"):
        number = table[column].astype(int).replace({0: 1, 98: 1})
        table[column] = table["state"].astype(int) * 100 + number
    return read_geocorr(path, 117, 119), read_shares(folder / "district_mapping.csv"), table


@pytest.mark.raw
def test_published_people_are_those_of_the_census(published: tuple[Crosswalk, Crosswalk, pd.DataFrame]) -> None:
    geocorr, shares, table = published
    assert geocorr.old == shares.old
    assert geocorr.new == shares.new == DISTRICTS
    people = table.groupby("cd117")["pop20"].sum()
    assert tuple(people.index) == geocorr.old
    # Geocorr has 4,318 people more in Connecticut than the census, and 13 of North Carolina in no district of the 117th.
    assert people.sum() == 331_449_281 + 4_318 - 13
    carried = pd.Series(geocorr.through(people.to_numpy()), index=geocorr.new)
    assert carried.to_numpy() == pytest.approx(table.groupby("cd119")["pop20"].sum().to_numpy())
    by_state = carried.groupby(carried.index // 100)
    apart = (carried / by_state.transform("mean") - 1).abs()
    several = by_state.transform("size") > 1
    assert (apart[several] < 0.01).mean() > 0.99  # drawn for equal numbers of people in 2020
    assert apart.max() < 0.03
    texas, seats = [code for code in geocorr.old if code // 100 == 48], {s.code: s.seats for s in STATES}
    assert (len(texas), seats["TX"]) == (36, 38)


@pytest.mark.raw
def test_the_table_of_shares_is_not_of_people(published: tuple[Crosswalk, Crosswalk, pd.DataFrame]) -> None:
    """Outside North Carolina the 116th and 117th Congress had the same districts, yet the two tables differ.

    Through the table of shares the new districts of a state, drawn equal, come out up to 62 percent apart; so a file of the
    117th Congress must go through Geocorr.
    """
    geocorr, shares, table = published
    people = table.groupby("cd117")["pop20"].sum().to_numpy()
    elsewhere = np.abs(geocorr.shares - shares.shares).sum(axis=1) / 2
    redrawn = np.array(geocorr.old) // 100 == 37
    assert np.average(elsewhere[~redrawn], weights=people[~redrawn]) == pytest.approx(0.043, abs=0.001)
    assert np.average(elsewhere[redrawn], weights=people[redrawn]) == pytest.approx(0.396, abs=0.001)
    carried = pd.Series(shares.through(people), index=shares.new)
    apart = (carried / carried.groupby(carried.index // 100).transform("mean") - 1).abs()
    assert (apart.idxmax(), round(apart.max(), 2)) == (4808, 0.62)
    small = [i for i, code in enumerate(geocorr.old) if code // 100 in (23, 33, 44)]  # where lines hardly moved
    assert elsewhere[small] == pytest.approx(0, abs=0.01)
