"""The nation calibrated to the agencies' own figures: do the files say what the Census Bureau says of every district?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from geocal_core.places.catalogue import AREAS
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.raw]


@pytest.fixture(scope="module")
def real(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo profile with its targets taken from the folder of published files."""
    root = tmp_path_factory.mktemp("real")
    command = [sys.executable, "-m", "geocal_core.cli", "demo", "--root", str(root), "--targets-from", str(raw_folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-4000:]
    return root


def published_ages(raw_folder: Path) -> pd.DataFrame:
    """District by age group, straight from the Census Bureau's table: 436 rows, 18 columns."""
    (path,) = raw_folder.rglob("acs_S0101_district_2024.json")
    header, *rows = json.loads(path.read_text())
    table = pd.DataFrame(rows, columns=header)
    number = table["congressional district"]
    table = table[(table["state"] != "72") & (number != "ZZ")]
    number = table["congressional district"].replace({"00": "01", "98": "01"})
    columns = [f"S0101_C01_{n:03d}E" for n in range(2, 20)]
    ages = table[columns].astype(float)
    ages.index = pd.Index((table["state"] + number).astype(int), name="district")
    return ages.sort_index()


def ages_in_file(path: Path) -> np.ndarray:
    """Weighted persons of an area's file in the 18 age groups 0-4, 5-9, … 80-84, 85 and more."""
    with h5py.File(path) as file:
        age, household, person_household, weight = (
            file[f"{name}/2024"][()] for name in ("age", "household_id", "person_household_id", "household_weight")
        )
    order = np.argsort(household)
    weights = weight[order][np.searchsorted(household[order], person_household)].astype(np.float64)
    return np.bincount(np.minimum(age // 5, 17).astype(int), weights=weights, minlength=18)


def test_age_totals_of_the_district_files_are_the_published_ones(real: Path, raw_folder: Path) -> None:
    assert len(list((real / "areas").rglob("*.h5"))) == 488
    published = published_ages(raw_folder)
    assert published.shape == (436, 18)
    assert published.to_numpy().sum() == 340_110_990
    found = {one.districts[0]: ages_in_file(real / one.artifact) for one in AREAS if one.level == "district"}
    found[1101] = ages_in_file(real / "areas/119/states/DC.h5")
    files = pd.DataFrame(found).T.sort_index()
    error = np.abs(files.to_numpy() / published.to_numpy() - 1)
    assert (error <= 0.01).mean() >= 0.95
    nation = ages_in_file(real / "areas/119/US.h5")
    np.testing.assert_allclose(files.sum().to_numpy(), nation, rtol=1e-6)
    np.testing.assert_allclose(nation, published.sum().to_numpy(), rtol=0.01)


def test_state_snap_follows_the_administrative_totals(real: Path) -> None:
    table = pd.read_csv(real / "calibration/local/unified_diagnostics.csv")
    dollars = table[table["target"].str.startswith("state_") & table["target"].str.contains("/snap/")]
    assert len(dollars) == 51
    assert dollars["true_value"].sum() == pytest.approx(93_657_872_614)
    assert (dollars["abs_rel_error"] < 0.05).mean() > 0.9
