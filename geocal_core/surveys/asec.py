"""The reader of the CPS Annual Social and Economic Supplement, as the Census Bureau zips it.

``asecpub{yy}csv.zip`` holds the person, family and household files of the supplement of one March, which asks about the
income of the year before. What belongs here: the members, the wanted columns, their types, and that the three files agree.
What the columns mean for the engine is said in ``surveys.cps``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from geocal_core.errors import InputError

# What places a person, a family and a household; record keys of the ASEC data dictionary.
PERSON_KEYS = ("PH_SEQ", "P_SEQ", "PF_SEQ")
FAMILY_KEYS = ("FH_SEQ", "FFPOS")
HOUSEHOLD_KEYS = ("H_SEQ",)

_AGAIN = "fetch the zip again from census.gov, programs-surveys/cps/datasets"


@dataclass(frozen=True)
class Asec:
    """The three files of one supplement, numeric, closed and sorted.

    Attributes
    ----------
    persons : DataFrame
        Sorted by ``PH_SEQ``, ``P_SEQ``.
    families : DataFrame
        Families that a person belongs to, sorted by ``FH_SEQ``, ``FFPOS``.
    households : DataFrame
        Households with persons, sorted by ``H_SEQ``.
    empty_households : int
        Household records without a person (no interview), left out.
    """

    persons: pd.DataFrame
    families: pd.DataFrame
    households: pd.DataFrame
    empty_households: int


def zip_name(year: int) -> str:
    """Name of the zip that tells of the income of ``year``."""
    return f"asecpub{(year + 1) % 100:02d}csv.zip"


def read_asec(folder: Path, year: int, person_columns: Iterable[str], household_columns: Iterable[str]) -> Asec:
    """Read the supplement that tells of the income of one year.

    Parameters
    ----------
    folder : Path
        Folder that holds the zip under its published name.
    year : int
        Income year; the supplement is that of the March after it.
    person_columns, household_columns : iterable of str
        Columns wanted beside the record keys.

    Raises
    ------
    InputError
        If the zip is missing, of another year, truncated, lacks a column, holds a value that is no number, is empty, or a
        person belongs to no household or family of it.
    """
    path = folder / zip_name(year)
    if not path.exists():
        found = ", ".join(sorted(p.name for p in folder.glob("asecpub*"))) or "nothing like it"
        raise InputError(
            f"income year {year} needs {path.name}, but {folder.name} holds {found}", "put the zip of that year there"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            persons = _read(archive, path.name, f"pppub{path.name[7:9]}.csv", [*PERSON_KEYS, *person_columns])
            families = _read(archive, path.name, f"ffpub{path.name[7:9]}.csv", FAMILY_KEYS)
            households = _read(archive, path.name, f"hhpub{path.name[7:9]}.csv", [*HOUSEHOLD_KEYS, *household_columns])
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path.name} is not a whole zip file ({error})", _AGAIN) from error
    return _close(persons, families, households, path.name)


def _read(archive: zipfile.ZipFile, zip_file: str, member: str, columns: Sequence[str]) -> pd.DataFrame:
    """The wanted columns of one member; its rows are streamed, so the many others take no memory."""
    inside = [name for name in archive.namelist() if name.rpartition("/")[2] == member]
    if len(inside) != 1:
        held = ", ".join(sorted(name.rpartition("/")[2] for name in archive.namelist()))
        raise InputError(f"{zip_file} holds no {member} but {held}", "it is of another year or form; use the published zip")
    label = f"{zip_file}/{member}"
    with archive.open(inside[0]) as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace").strip().replace('"', "").split(",")
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{label} lacks the column {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "use the zip as the Census Bureau publishes it",
        )
    with archive.open(inside[0]) as stream:
        return read_numbers(stream, label, columns)


def read_numbers(stream: IO[bytes], label: str, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a csv stream as numbers (int64 where all are whole, else float64).

    Parameters
    ----------
    stream : binary stream
        A csv file with a header.
    label : str
        Name of the file for messages.
    columns : sequence of str
        Wanted columns, all of them in the header.

    Raises
    ------
    InputError
        If there is no row, a row is cut off, or a wanted value is missing or no number.
    """
    wanted = list(dict.fromkeys(columns))
    try:
        frame = pd.read_csv(stream, usecols=wanted, low_memory=False, encoding="utf-8-sig")[wanted]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{label} cannot be read as csv ({str(error).splitlines()[0]})", "fetch the file again") from error
    if frame.empty:
        raise InputError(f"{label} holds no record", "fetch the file again")
    for name in wanted:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype(np.float64).to_numpy()
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            value = frame[name].iloc[wrong[0]]
            shown = "no value" if pd.isna(value) else f"the value {value!r}"
            raise InputError(f"{label} has {shown} in column {name}, line {wrong[0] + 2}", "a number is needed there")
        whole = bool((numbers == np.floor(numbers)).all())
        frame[name] = numbers.astype(np.int64) if whole else numbers
    return frame


def _close(persons: pd.DataFrame, families: pd.DataFrame, households: pd.DataFrame, zip_file: str) -> Asec:
    """Sort the three files, and see that every person has a household and a family and that no record is repeated."""
    persons = _sorted(persons, PERSON_KEYS[:2], zip_file)
    families = _sorted(families, FAMILY_KEYS, zip_file)
    households = _sorted(households, HOUSEHOLD_KEYS, zip_file)
    homeless = ~persons["PH_SEQ"].isin(households["H_SEQ"])
    if homeless.any():
        lost = int(persons.loc[homeless.idxmax(), "PH_SEQ"])
        raise InputError(f"{zip_file} has persons of household PH_SEQ {lost}, which the household file lacks", _AGAIN)
    known = pd.MultiIndex.from_frame(families[list(FAMILY_KEYS)])
    single = ~pd.MultiIndex.from_frame(persons[["PH_SEQ", "PF_SEQ"]]).isin(known)
    if single.any():
        row = persons.iloc[int(np.argmax(single))]
        lost_family = f"PF_SEQ {int(row['PF_SEQ'])} of household PH_SEQ {int(row['PH_SEQ'])}"
        raise InputError(f"{zip_file} has a person of family {lost_family}, which the family file lacks", _AGAIN)
    peopled = households["H_SEQ"].isin(persons["PH_SEQ"])
    inhabited = known.isin(pd.MultiIndex.from_frame(persons[["PH_SEQ", "PF_SEQ"]]))
    return Asec(
        persons=persons,
        families=families[inhabited].reset_index(drop=True),
        households=households[peopled].reset_index(drop=True),
        empty_households=int((~peopled).sum()),
    )


def _sorted(table: pd.DataFrame, keys: Sequence[str], zip_file: str) -> pd.DataFrame:
    ordered = table.sort_values(list(keys), kind="stable", ignore_index=True)
    repeated = ordered.duplicated(subset=list(keys))
    if repeated.any():
        row = ordered.loc[repeated.idxmax(), list(keys)]
        named = ", ".join(f"{key} {int(row[key])}" for key in keys)
        raise InputError(f"{zip_file} holds the record {named} twice", _AGAIN)
    return ordered
