"""Samples of the demo nation that several tests look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geocal_core.demo.districts import districts_of
from geocal_core.demo.nation import Nation, draw_nation, share_out
from geocal_core.demo.sources import WRITERS
from geocal_core.profiles import profile
from geocal_core.settings import ALL_STATES, RawSettings

TINY = ("DE", "NY", "WY")


@pytest.fixture(scope="session")
def nation() -> Nation:
    """Forty thousand households of all districts."""
    districts = districts_of(ALL_STATES)
    return draw_nation(districts, share_out(40_000, districts), stream="test", seed=1, lean=1.6, control="district")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the demo of three states, a folder for each agency."""
    root = tmp_path_factory.mktemp("demo")
    stages = profile("tiny").stages
    for agency, write in WRITERS.items():
        (root / agency).mkdir()
        settings = stages[f"raw_{agency}"]
        assert isinstance(settings, RawSettings)
        write(settings, root / agency)
    return root


def weighted_share(marked: np.ndarray, weights: np.ndarray) -> float:
    return float((weights * marked).sum() / weights.sum())
