"""The ASEC reader: what it reads, and the one line it gives for every kind of bad file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from geocal_core.errors import InputError
from geocal_core.surveys.asec import read_asec, zip_name
from tests.surveys.conftest import families, households, people, zipped

Writer = Callable[..., Path]


def read(folder: Path, year: int = 2024) -> object:
    return read_asec(folder, year, ["A_AGE", "WSAL_VAL"], ["HSUP_WGT", "GESTFIPS"])


def refused(folder: Path, *words: str, year: int = 2024) -> None:
    with pytest.raises(InputError) as caught:
        read(folder, year)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_name_is_that_of_the_march_after_the_income_year() -> None:
    assert zip_name(2024) == "asecpub25csv.zip"
    assert zip_name(2008) == "asecpub09csv.zip"


def test_reads_wanted_columns_sorted_and_leaves_empty_households_out(asec_folder: Writer) -> None:
    asec = read_asec(asec_folder(), 2024, ["A_AGE"], ["HSUP_WGT"])
    assert list(asec.persons.columns) == ["PH_SEQ", "P_SEQ", "PF_SEQ", "A_AGE"]
    assert asec.persons["PH_SEQ"].tolist() == [3, 7, 7, 7, 7, 7]
    assert asec.households["H_SEQ"].tolist() == [3, 7]
    assert len(asec.families) == 3
    assert asec.empty_households == 1
    assert (asec.persons.dtypes == "int64").all()


def test_finds_members_in_a_folder_of_the_zip(tmp_path: Path) -> None:
    members = {"a/b/pppub25.csv": people(), "a/b/ffpub25.csv": families(), "a/b/hhpub25.csv": households()}
    (tmp_path / "asecpub25csv.zip").write_bytes(zipped(members))
    assert len(read_asec(tmp_path, 2024, [], []).persons) == 6


def test_refuses_a_zip_of_another_year(asec_folder: Writer) -> None:
    refused(asec_folder(march=24), "asecpub25csv.zip", "asecpub24csv.zip", "2024")


def test_refuses_another_year_under_the_right_name(asec_folder: Writer) -> None:
    folder = asec_folder(march=24)
    (folder / "asecpub24csv.zip").rename(folder / "asecpub25csv.zip")
    refused(folder, "pppub25.csv", "pppub24.csv")


def test_refuses_households_of_another_survey_under_the_right_names(asec_folder: Writer) -> None:
    refused(asec_folder(households=households().assign(H_YEAR=2024)), "survey of 2024", "2025")


def test_refuses_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "asecpub25csv.zip", "nothing like it")


def test_refuses_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "asecpub25csv.zip").write_text("<html>challenge page</html>")
    refused(tmp_path, "asecpub25csv.zip", "not a whole zip", "fetch")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.98])
def test_refuses_a_truncated_zip(asec_folder: Writer, kept: float) -> None:
    path = asec_folder() / "asecpub25csv.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    refused(path.parent, "asecpub25csv.zip", "not a whole zip")


def test_refuses_damaged_bytes_inside_the_zip(asec_folder: Writer) -> None:
    path = asec_folder() / "asecpub25csv.zip"
    whole = bytearray(path.read_bytes())
    whole[120:140] = b"\x55" * 20
    path.write_bytes(bytes(whole))
    refused(path.parent, "asecpub25csv.zip")


def test_refuses_a_missing_column(asec_folder: Writer) -> None:
    refused(asec_folder(persons=people().drop(columns="WSAL_VAL")), "pppub25.csv", "WSAL_VAL")
    refused(asec_folder(households=households().drop(columns=["HSUP_WGT", "GESTFIPS"])), "HSUP_WGT", "1 more")


def test_refuses_a_value_that_is_no_number(asec_folder: Writer) -> None:
    wrong = people().astype({"WSAL_VAL": object})
    wrong.loc[2, "WSAL_VAL"] = "n/k"
    refused(asec_folder(persons=wrong), "WSAL_VAL", "'n/k'", "line 4")


def test_refuses_a_row_that_is_cut_off(asec_folder: Writer) -> None:
    text = people().to_csv(index=False)
    refused(asec_folder(persons=text[: text.rstrip().rindex("\n") + 4]), "pppub25.csv", "no value", "line 7")


def test_refuses_a_file_without_records(asec_folder: Writer) -> None:
    refused(asec_folder(persons=people().iloc[:0]), "pppub25.csv", "no record")


def test_refuses_persons_without_household_or_family(asec_folder: Writer) -> None:
    refused(asec_folder(households=households().iloc[1:]), "PH_SEQ 7", "household file")
    refused(asec_folder(families=families().iloc[[0, 2]]), "PF_SEQ 2", "family file")


def test_refuses_a_record_that_stands_twice(asec_folder: Writer) -> None:
    refused(asec_folder(persons=pd.concat([people(), people().iloc[[1]]])), "PH_SEQ 7, P_SEQ 2", "twice")
    refused(asec_folder(households=pd.concat([households(), households().iloc[[1]]])), "H_SEQ 3", "twice")
