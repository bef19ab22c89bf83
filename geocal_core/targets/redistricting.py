"""Redistricting: figures by the districts of one Congress, shared out to the districts of another by population.

A ``Crosswalk`` says which share of each old district's people lives in each new one. It is read from a table of Geocorr (the
117th to the 119th Congress), from a table of shares (the 116th to the 119th), or made from block equivalency files of any two
Congresses. Districts never leave their state, so the totals of states are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.catalogue import CONGRESS
from geocal_core.places.states import DISTRICTS, state_of_code
from geocal_core.targets.files import RawFiles, Row, read_csv

Floats = NDArray[np.float64]

SHARES_FILE = "district_mapping.csv"
_SHARES_CONGRESS = 116
_ON_BLOCKS = 118  # from this Congress on, equivalency files are on the blocks of 2020
_GEOCORR = r"geocorr2022_cd(\d{3})_to_cd(\d{3})\.csv"
_CODE = re.compile(r"500\d\d00US(\d{4})", re.ASCII)
_PUERTO_RICO = 72
_AT_LARGE = {0, 98}
_AGAIN = "get the table again from its publisher"
# Geocorr puts a few blocks of water or shore, with at most some people, into no district of the older Congress.
_NO_DISTRICT = "-"
_NOT_PLACED = 1e-4


@dataclass(frozen=True, eq=False)
class Crosswalk:
    """Shares of old districts in new ones.

    Attributes
    ----------
    old_congress, new_congress : int
    old, new : tuple of int
        Codes (``100 * fips + number``) in ascending order; at-large districts and the District of Columbia have number 1.
    shares : ndarray of float64, shape (old, new)
        Share of each old district's people in each new one; rows add up to 1.
    source : str
        Where the shares come from.

    Raises
    ------
    ConfigError
        If codes or shares contradict each other: a row that does not add up to 1, a district that leaves its state, a new
        district to which nothing falls.
    """

    old_congress: int
    new_congress: int
    old: tuple[int, ...]
    new: tuple[int, ...]
    shares: Floats
    source: str

    def __post_init__(self) -> None:
        where = f"the crosswalk from the {self.old_congress}th to the {self.new_congress}th Congress ({self.source})"
        for codes in (self.old, self.new):
            if not codes or list(codes) != sorted(set(codes)):
                raise ConfigError(f"{where} has no districts, or has them out of order")
        if self.shares.shape != (len(self.old), len(self.new)):
            raise ConfigError(
                f"{where} has {self.shares.shape} shares for {len(self.old)} old and {len(self.new)} new districts"
            )
        if not np.isfinite(self.shares).all() or (self.shares < 0).any():
            raise ConfigError(f"{where} has a share that is not a number from 0 to 1")
        gaps = np.flatnonzero(np.abs(self.shares.sum(axis=1) - 1) > 1e-9)
        if len(gaps):
            raise ConfigError(f"{where}: the shares of old district {self.old[gaps[0]]} do not add up to 1")
        empty = np.flatnonzero(self.shares.sum(axis=0) == 0)
        if len(empty):
            raise ConfigError(f"{where}: no part of an old district falls to new district {self.new[empty[0]]}")
        leaves = (np.array(self.old) // 100)[:, None] != np.array(self.new) // 100
        across = np.argwhere(leaves & (self.shares > 0))
        if len(across):
            i, j = across[0]
            raise ConfigError(f"{where}: a part of old district {self.old[i]} falls to {self.new[j]}, in another state")

    @classmethod
    def identity(cls, congress: int, codes: Iterable[int]) -> Crosswalk:
        """The crosswalk of a Congress to itself."""
        ordered = tuple(sorted(codes))
        return cls(congress, congress, ordered, ordered, np.eye(len(ordered)), "the same districts")

    @classmethod
    def of_people(cls, old_congress: int, new_congress: int, people: Mapping[tuple[int, int], float], source: str) -> Crosswalk:
        """The crosswalk of the people, or shares of them, who live in each pair of an old and a new district.

        Parameters
        ----------
        old_congress, new_congress : int
        people : mapping of (int, int) to float
            By code of the old and of the new district, 0 or more.
        source : str

        Returns
        -------
        Crosswalk
            Each old district's people shared out by their numbers.
        """
        old, new = (tuple(sorted({pair[side] for pair in people})) for side in (0, 1))
        at_old, at_new = ({code: i for i, code in enumerate(codes)} for codes in (old, new))
        table = np.zeros((len(old), len(new)))
        for (from_code, to_code), number in people.items():
            table[at_old[from_code], at_new[to_code]] = number
        totals = table.sum(axis=1)
        if len(totals) and not (totals > 0).all():
            raise ConfigError(f"{source}: nobody lives in old district {old[int(np.argmin(totals))]}")
        return cls(old_congress, new_congress, old, new, table / totals[:, None], source)

    @classmethod
    def of_blocks(
        cls, old_congress: int, new_congress: int, old: ArrayLike, new: ArrayLike, population: ArrayLike, source: str
    ) -> Crosswalk:
        """The crosswalk of two block equivalency files.

        Parameters
        ----------
        old_congress, new_congress : int
        old, new : array of int
            Codes of the districts in which each block lies.
        population : array of float
            People of each block.
        source : str

        Raises
        ------
        ConfigError
            If the arrays are of different lengths, nobody lives in a district, or a block changes its state.
        """
        olds, news, people = (np.asarray(values) for values in (old, new, population))
        if not olds.shape == news.shape == people.shape:
            raise ConfigError(f"{source}: blocks have {olds.shape} old and {news.shape} new districts, {people.shape} numbers")
        pairs, position = np.unique(np.stack([olds, news], axis=1), axis=0, return_inverse=True)
        numbers = np.bincount(position.ravel(), weights=people.astype(np.float64), minlength=len(pairs))
        return cls.of_people(
            old_congress, new_congress, {(int(o), int(n)): float(p) for (o, n), p in zip(pairs, numbers, strict=True)}, source
        )

    def through(self, values: ArrayLike) -> Floats:
        """Figures by new district.

        Parameters
        ----------
        values : array of float, shape (old,) or (old, k)
            Figures by old district, in the order of ``old``.

        Returns
        -------
        ndarray of float64, shape (new,) or (new, k)
            In the order of ``new``; the sum over a state is that of its old districts.
        """
        table = np.asarray(values, dtype=np.float64)
        if len(table) != len(self.old):
            raise ConfigError(f"the crosswalk has {len(self.old)} old districts, and there are figures for {len(table)}")
        result: Floats = self.shares.T @ table
        return result

    def then(self, later: Crosswalk) -> Crosswalk:
        """This crosswalk followed by another, which begins with the districts where this one ends.

        People are taken to live in each new district as evenly as the figures are shared out: composing two crosswalks is less
        exact than one made from blocks.
        """
        if (later.old_congress, later.old) != (self.new_congress, self.new):
            raise ConfigError(
                f"a crosswalk to the {self.new_congress}th Congress is not followed by one from the {later.old_congress}th "
                "with the same districts"
            )
        source = f"{self.source}, then {later.source}"
        return Crosswalk(self.old_congress, later.new_congress, self.old, later.new, self.shares @ later.shares, source)

    def within(self, states: Iterable[int]) -> Crosswalk:
        """The part of some states, by their FIPS codes."""
        wanted = set(states)
        rows, columns = ([i for i, code in enumerate(codes) if code // 100 in wanted] for codes in (self.old, self.new))
        old, new = tuple(self.old[i] for i in rows), tuple(self.new[j] for j in columns)
        return Crosswalk(self.old_congress, self.new_congress, old, new, self.shares[np.ix_(rows, columns)], self.source)


def read_blocks_crosswalk(folder: Path, old_congress: int, new_congress: int, states: Sequence[str]) -> Crosswalk:
    """The crosswalk of the Census Bureau's block equivalency files, by the people of 2020.

    Parameters
    ----------
    folder : Path
        Holds ``cd<old>.zip``, ``cd<new>.zip`` and one ``<st>2020.pl.zip`` for each state.
    old_congress, new_congress : int
        From the 118th on, whose files are on blocks of 2020.
    states : sequence of str
        Postal codes.

    Raises
    ------
    InputError
        If a file is missing or damaged, or a populated block has no district in one of them.
    """
    from geocal_core.places.blocks import read_blocks, read_districts  # with pandas, which declaring files needs not

    blocks = read_blocks(folder, states)
    codes = [f"{state_of_code(code).fips:02d}" for code in states]
    sides: list[NDArray[np.int64]] = []
    for congress in (old_congress, new_congress):
        districts = read_districts(folder / f"cd{congress}.zip", congress, codes).set_index("block_geoid")["district"]
        found = districts.reindex(blocks["block_geoid"])
        if found.isna().any():
            block = found.index[found.isna()][0]
            raise InputError(f"cd{congress}.zip has no district for the populated block {block}", "fetch it again")
        sides.append(found.to_numpy(dtype=np.int64))
    old, new = sides
    source = f"cd{old_congress}.zip and cd{new_congress}.zip"
    return Crosswalk.of_blocks(old_congress, new_congress, old, new, blocks["population"].to_numpy(), source)


def find_crosswalk(raw: RawFiles, old_congress: int, states: Sequence[str]) -> Crosswalk:
    """The crosswalk of some states from an earlier Congress to the one in force, read from the files that are there.

    A table of Geocorr (``geocorr2022_cd117_to_cd119.csv``) goes before a table of shares, which is there for the 116th alone,
    and that before block equivalency files, which are on the blocks of 2020 from the 118th Congress on.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged or has not the districts that it should have.
    """
    wanted = {state_of_code(code).fips for code in states}
    for name, path in raw.matching(_GEOCORR).items():
        congresses = re.fullmatch(_GEOCORR, name)
        if congresses and tuple(map(int, congresses.groups())) == (old_congress, CONGRESS):
            return read_geocorr(raw.use(path), old_congress, CONGRESS).within(wanted)
    shares = raw.matching(re.escape(SHARES_FILE))
    if old_congress == _SHARES_CONGRESS and shares:
        return read_shares(raw.use(shares[SHARES_FILE])).within(wanted)
    needed = [f"cd{old_congress}.zip", f"cd{CONGRESS}.zip", *(f"{code.lower()}2020.pl.zip" for code in states)]
    blocks = {path.name: path for path in raw.matching("|".join(map(re.escape, needed))).values()}
    if old_congress >= _ON_BLOCKS and needed[0] in blocks:
        return read_blocks_crosswalk(_folder_of(raw, needed, blocks), old_congress, CONGRESS, states)
    or_blocks = f", or put {needed[0]}, {needed[1]} and the <st>2020.pl.zip of each state in one folder below it"
    raise InputError(
        f"no crosswalk from the {old_congress}th to the {CONGRESS}th Congress is below {raw.place}",
        f"make geocorr2022_cd{old_congress}_to_cd{CONGRESS}.csv with Geocorr 2022 of the Missouri Census Data Center"
        + (or_blocks if old_congress >= _ON_BLOCKS else ""),
    )


def _folder_of(raw: RawFiles, needed: Sequence[str], found: Mapping[str, Path]) -> Path:
    """The one folder that holds all of these files, which are noted as used."""
    folder = found[needed[0]].parent
    lacking = [name for name in needed if name not in found or not (folder / name).is_file()]
    if lacking:
        raise InputError(
            f"{folder} has {needed[0]} and not {', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}",
            "a crosswalk by blocks needs both Congresses and the PL 94-171 files of all states in one folder",
        )
    for name in needed:
        raw.use(folder / name)
    return folder


def read_geocorr(path: Path, old_congress: int, new_congress: int) -> Crosswalk:
    """Read a table of Geocorr 2022: people of 2020 by state, old and new district, with a second header row of labels.

    Parameters
    ----------
    path : Path
    old_congress, new_congress : int
        Its columns are called ``cd`` and these numbers.

    Raises
    ------
    InputError
        If a column is missing or a row spoilt, or shares do not agree with the numbers of people.
    """
    state, old, new, people, *factors = "STATE", f"CD{old_congress}", f"CD{new_congress}", "POP20", "AFACT2", "AFACT"
    labels, *rows = _rows(path, (state, old, new, people, *factors))
    if labels.text(people) != "Total population (2020 Census)" or f"{old_congress}th Congress" not in labels.text(old):
        raise InputError(f"{labels.where} is not the row of labels of a table of Geocorr 2022", _AGAIN)
    found: dict[tuple[int, int], float] = {}
    of_pair: dict[tuple[int, int], Row] = {}
    lost: dict[int, float] = {}
    for row in rows:
        fips = row.whole(state)
        if fips == _PUERTO_RICO:
            continue
        number = float(row.whole(people))
        if row.text(old) == _NO_DISTRICT:
            lost[fips] = lost.get(fips, 0.0) + number
            continue
        pair = _code(fips, row.whole(old)), _code(fips, row.whole(new))
        if pair in found:
            raise InputError(f"{row.where}: old district {pair[0]} and new district {pair[1]} are there twice", _AGAIN)
        found[pair], of_pair[pair] = number, row
    for fips, number in lost.items():
        if number > _NOT_PLACED * sum(count for (code, _), count in found.items() if code // 100 == fips):
            raise InputError(f"{path.name}: {number:,.0f} people of state {fips} are in no old district", _AGAIN)
    crosswalk = _crosswalk(old_congress, new_congress, found, path)
    for side, factor in enumerate(factors):
        totals: dict[int, float] = {}
        for pair, number in found.items():
            totals[pair[side]] = totals.get(pair[side], 0.0) + number
        for pair, number in found.items():
            row = of_pair[pair]
            # Shares are printed with four decimals; people in no old district are still in the totals of the new ones.
            if abs(number / totals[pair[side]] - row.number(factor)) > 1.01e-4:
                raise InputError(f"{row.where}, column {factor} does not agree with column {people}", _AGAIN)
    return crosswalk


def read_shares(path: Path) -> Crosswalk:
    """Read the table of shares from the 116th to the 119th Congress: ``code_old``, ``code_new``, ``proportion``."""
    found: dict[tuple[int, int], float] = {}
    for row in _rows(path, ("CODE_OLD", "CODE_NEW", "PROPORTION")):
        pair = _geo_id(row, "CODE_OLD"), _geo_id(row, "CODE_NEW")
        if pair in found:
            raise InputError(f"{row.where}: old district {pair[0]} and new district {pair[1]} are there twice", _AGAIN)
        found[pair] = _share(row)
    totals: dict[int, float] = {}
    for (code, _), value in found.items():
        totals[code] = totals.get(code, 0.0) + value
    for code, total in totals.items():
        if abs(total - 1) > 1e-6:
            raise InputError(f"{path.name}: the proportions of old district {code} add up to {total:.9g}, not to 1", _AGAIN)
    return _crosswalk(_SHARES_CONGRESS, CONGRESS, found, path)


def _share(row: Row) -> float:
    """A proportion, which may be written with an exponent."""
    text = row.text("PROPORTION")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"{row.where}, column proportion holds {text!r}, which is no share from 0 to 1", _AGAIN)
    return value


def _rows(path: Path, columns: tuple[str, ...]) -> list[Row]:
    rows = read_csv(path, columns)
    if len(rows) < 2:
        raise InputError(f"{path.name} has no rows", _AGAIN)
    return rows


def _code(fips: int, number: int) -> int:
    """Code of a district, whose number is 1 if it is at large (0) or that of the District of Columbia (98)."""
    return 100 * fips + (1 if number in _AT_LARGE else number)


def _geo_id(row: Row, column: str) -> int:
    match = _CODE.fullmatch(row.text(column))
    if not match:
        raise InputError(f"{row.where}, column {column.lower()} holds {row.text(column)!r}, which is no district", _AGAIN)
    return _code(*divmod(int(match[1]), 100))


def _crosswalk(old_congress: int, new_congress: int, found: Mapping[tuple[int, int], float], path: Path) -> Crosswalk:
    """A crosswalk of all states, whose new districts are those in force and whose old ones have no gap in their numbers."""
    try:
        crosswalk = Crosswalk.of_people(old_congress, new_congress, found, path.name)
    except ConfigError as error:
        raise InputError(error.what, _AGAIN) from error
    wrong = sorted(set(crosswalk.new) ^ set(DISTRICTS)) if new_congress == CONGRESS else []
    if wrong:
        amiss = "lacks" if wrong[0] in DISTRICTS else f"is not of the {CONGRESS}th Congress: it has"
        raise InputError(f"{path.name} {amiss} new district {wrong[0]}", _AGAIN)
    gaps = sorted({code - 1 for code in crosswalk.old if code % 100 > 1} - set(crosswalk.old))
    if gaps:
        raise InputError(f"{path.name} lacks old district {gaps[0]}", _AGAIN)
    return crosswalk
