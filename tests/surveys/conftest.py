"""Small files in the agencies' formats, made by hand, one fixture for each source."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from geocal_core.progress import Silent
from geocal_core.surveys import asec, cps, puf

TABLE = Path(cps.__file__).parent / "data" / "cps_variables.csv"

# PH_SEQ, line, spouse, tax unit, SPM unit, family, family relation, age, sex, parent 1, wages
PEOPLE = [
    (7, 1, 2, 701, 7001, 1, 1, 45, 1, -1, 80_000),  # a couple with two children; the elder has a unit of her own
    (7, 2, 1, 701, 7001, 1, 2, 43, 2, -1, 30_000),
    (7, 3, 0, 702, 7001, 1, 3, 22, 2, 1, 12_000),
    (7, 4, 0, 701, 7001, 1, 3, 9, 1, 1, 0),
    (7, 5, 0, 703, 7002, 2, 0, 80, 2, -1, 0),  # a lodger of eighty or more
    (3, 1, 0, 301, 3001, 1, 1, 67, 2, -1, 0),  # a widow; her household comes first by number, last in the file
]


def people() -> pd.DataFrame:
    """The person file: every column that the reader wants, zero where nothing is said."""
    rules = pd.read_csv(TABLE, keep_default_na=False)
    names = [*asec.PERSON_KEYS, *cps._PERSON_COLUMNS, *rules["column"], *filter(None, rules["where"])]
    frame = pd.DataFrame(0, index=range(len(PEOPLE)), columns=list(dict.fromkeys(names)))
    columns = [
        "PH_SEQ",
        "A_LINENO",
        "A_SPOUSE",
        "TAX_ID",
        "SPM_ID",
        "PF_SEQ",
        "A_FAMREL",
        "A_AGE",
        "A_SEX",
        "PEPAR1",
        "WSAL_VAL",
    ]
    frame[columns] = PEOPLE
    frame["P_SEQ"] = frame["A_LINENO"]
    frame["PEPAR2"] = -1
    frame["PRDTRACE"] = 1
    frame["SPM_TENMORTSTATUS"] = [2, 2, 2, 2, 3, 3]
    frame["A_MARITL"] = [1, 1, 7, 7, 4, 4]
    frame["INT_VAL"] = [1_000, 0, 0, 0, 0, 500]
    frame["SS_VAL"] = [0, 0, 0, 0, 12_000, 18_000]
    frame["RESNSS1"] = [0, 0, 0, 0, 3, 8]
    frame["RESNSS2"] = [0, 0, 0, 0, 1, 0]
    frame["OI_VAL"] = [0, 0, 0, 0, 0, 900]
    frame["OI_OFF"] = [0, 0, 0, 0, 0, 20]
    frame["DST_VAL1"] = [0, 0, 0, 0, 4_000, 7_000]
    frame["DST_SC1"] = [0, 0, 0, 0, 4, 3]
    frame["DST_VAL2_YNG"] = [0, 900, 0, 0, 0, 0]
    frame["DST_SC2_YNG"] = [0, 4, 0, 0, 0, 0]
    frame["HRSWK"], frame["WKSWORK"] = [40, 20, 10, 0, 0, 0], [52, 26, 52, 0, 0, 0]
    frame["PEDISOUT"] = [2, 2, 2, -1, 1, 2]
    frame["RETCB_VAL"] = [6_000, 0, 0, 0, 0, 500]
    frame.insert(3, "A_WIDE_COLUMN_NOBODY_WANTS", "text")
    return frame


def families() -> pd.DataFrame:
    return pd.DataFrame({"FH_SEQ": [7, 7, 3, 9], "FFPOS": [1, 2, 1, 1], "FKIND": 1})


def households() -> pd.DataFrame:
    return pd.DataFrame(
        {"H_SEQ": [7, 3, 9], "H_YEAR": 2025, "HSUP_WGT": [150_050, 99_950, 0], "GESTFIPS": [36, 10, 56], "H_TENURE": [1, 2, 0]}
    )


def zipped(members: Mapping[str, pd.DataFrame | str]) -> bytes:
    """A zip of csv files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, table in members.items():
            archive.writestr(name, table if isinstance(table, str) else table.to_csv(index=False))
    return buffer.getvalue()


@pytest.fixture
def asec_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write the supplement of a March to a folder; keywords ``persons``, ``families``, ``households`` replace its files."""

    def write(march: int = 25, **replaced: Any) -> Path:
        tables = {"persons": people(), "families": families(), "households": households()} | replaced
        members = {
            f"{prefix}pub{march}.csv": tables[name]
            for prefix, name in (("pp", "persons"), ("ff", "families"), ("hh", "households"))
        }
        folder = tmp_path / "census_asec"
        folder.mkdir(exist_ok=True)
        (folder / f"asecpub{march}csv.zip").write_bytes(zipped(members))
        return folder

    return write


@pytest.fixture
def stage_context(tmp_path: Path) -> Callable[..., Any]:
    """The part of a ``StageContext`` that the stages here use."""

    def make(name: str, settings: object, inputs: Mapping[str, Path] | None = None, output: str = "output") -> Any:
        return SimpleNamespace(
            name=name, settings=settings, inputs=dict(inputs or {}), output=tmp_path / output, reporter=Silent()
        )

    return make


def bits(values: object) -> list[Any]:
    """Values as a plain list."""
    return np.asarray(values).tolist()


def tax_returns(n: int = 400) -> pd.DataFrame:
    """The public use file: ``n`` returns in 2015 dollars and the four aggregate records."""
    rules = pd.read_csv(Path(puf.__file__).parent / "data" / "puf_variables.csv")
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(0, index=range(n), columns=list(dict.fromkeys(rules["column"])))
    frame["RECID"] = np.arange(10, 10 + n)
    frame["MARS"] = rng.choice([1, 2, 3, 4], n, p=[0.5, 0.35, 0.05, 0.1])
    frame["XTOT"] = 1 + (frame["MARS"] == 2) + rng.integers(0, 6, n) * (rng.random(n) < 0.4)
    frame["S006"] = rng.integers(100, 90_000_00, n)
    frame["E00200"] = (rng.lognormal(10, 1, n) * (rng.random(n) < 0.8)).astype(int)
    frame["E00900"] = np.where(rng.random(n) < 0.2, rng.normal(5_000, 20_000, n), 0).astype(int)
    frame["E02400"] = np.where(rng.random(n) < 0.2, rng.integers(5_000, 30_000, n), 0)
    frame["E00600"] = np.where(rng.random(n) < 0.2, rng.integers(10, 9_000, n), 0)
    frame["E00650"] = frame["E00600"] // 2
    frame["E01500"] = np.where(rng.random(n) < 0.2, rng.integers(10, 60_000, n), 0)
    frame["E01700"] = frame["E01500"] * 2 // 3
    frame["E26270"] = np.where(rng.random(n) < 0.1, rng.normal(0, 50_000, n), 0).astype(int)
    frame["E00100"] = frame["E00200"] + frame["E00900"]
    aggregate = frame.iloc[:4].assign(RECID=range(999_996, 1_000_000), MARS=0, S006=30_000, E00100=50_000_000)
    return pd.concat([frame, aggregate], ignore_index=True)


def supplement(returns: pd.DataFrame) -> pd.DataFrame:
    """The demographic supplement of the returns, in another order; it leaves every seventh return out."""
    rng = np.random.default_rng(6)
    told = returns[(returns["RECID"] < 999_996) & (returns["RECID"] % 7 > 0)].sample(frac=1, random_state=1)
    n = len(told)
    split = np.where(told["MARS"] == 2, rng.integers(1, 4, n), 0)
    ages = {f"AGEDP{order}": rng.integers(0, 7, n) for order in (1, 2, 3)}
    return pd.DataFrame(
        {"RECID": told["RECID"], "AGERANGE": rng.integers(0, 8, n), "GENDER": rng.integers(1, 3, n), "EARNSPLIT": split, **ages}
    )


@pytest.fixture
def puf_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write the two files of the public use file; keywords ``returns`` and ``people`` replace them."""

    def write(returns: pd.DataFrame | None = None, people: pd.DataFrame | None = None) -> Path:
        folder = tmp_path / "irs_puf"
        folder.mkdir(exist_ok=True)
        returns = tax_returns() if returns is None else returns
        people = supplement(returns) if people is None else people
        returns.to_csv(folder / "puf_2015.csv", index=False)
        people.to_csv(folder / "demographics_2015.csv", index=False)
        return folder

    return write
