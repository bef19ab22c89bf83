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

import numpy as np
import pandas as pd

from geocal_core.errors import InputError
from geocal_core.surveys.columns import read_columns

# What places a person, a family and a household; record keys of the ASEC data dictionary.
PERSON_KEYS = ("PH_SEQ", "P_SEQ", "PF_SEQ")
FAMILY_KEYS = ("FH_SEQ", "FFPOS")
HOUSEHOLD_KEYS = ("H_SEQ",)
_SURVEY_YEAR = "H_YEAR"

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
            households = _read(
                archive, path.name, f"hhpub{path.name[7:9]}.csv", [*HOUSEHOLD_KEYS, _SURVEY_YEAR, *household_columns]
            )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path.name} is not a whole zip file ({error})", _AGAIN) from error
    other = households[_SURVEY_YEAR] != year + 1
    if other.any():
        raise InputError(
            f"{path.name} holds households of the survey of {households.loc[other.idxmax(), _SURVEY_YEAR]}, not of {year + 1}",
            "use the zip as it was published",
        )
    return _close(persons, families, households, path.name)


def _read(archive: zipfile.ZipFile, zip_file: str, member: str, columns: Sequence[str]) -> pd.DataFrame:
    """The wanted columns of one member."""
    inside = [name for name in archive.namelist() if name.rpartition("/")[2] == member]
    if len(inside) != 1:
        held = ", ".join(sorted(name.rpartition("/")[2] for name in archive.namelist()))
        raise InputError(f"{zip_file} holds no {member} but {held}", "it is of another year or form; use the published zip")
    return read_columns(lambda: archive.open(inside[0]), f"{zip_file}/{member}", columns)


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
