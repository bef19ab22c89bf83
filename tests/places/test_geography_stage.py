"""The stage that draws places: what it writes and reports, and that a draw out of proportion is not kept."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places import assignment
from geocal_core.places.assignment import Geography, assign, build, read_geography
from geocal_core.population import write_h5
from geocal_core.progress import Silent
from geocal_core.settings import GeographySettings
from geocal_core.store import Store
from tests.places.test_assignment import blocks
from tests.population.conftest import random_population

DISTRICTS = (601, 602, 603, 5601)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    population = random_population(5, 60)
    write_h5(population, tmp_path / "base.h5")
    ids = population.ids("household")
    agi = pd.DataFrame({"household_id": ids, "adjusted_gross_income": np.arange(60.0)})
    agi.to_parquet(tmp_path / "agi.parquet")
    blocks(per_district=10).assign(place_fips=pd.Categorical(["7"] * 40)).to_parquet(tmp_path / "blocks.parquet", index=False)
    with sqlite3.connect(tmp_path / "policy_data.db") as connection:
        connection.execute(
            "CREATE TABLE target_overview (geographic_id TEXT, period INTEGER, value REAL, variable TEXT, active INTEGER, "
            "reform_id INTEGER, domain_variable TEXT, geo_level TEXT)"
        )
        rows = [(str(district), 10.0 + district % 7) for district in DISTRICTS]
        connection.executemany(
            "INSERT INTO target_overview VALUES (?, 2022, ?, 'adjusted_gross_income', 1, 0, NULL, 'district')", rows
        )
    return StageContext(
        name="geography",
        inputs={
            "stratified_cps": tmp_path / "base.h5",
            "household_agi": tmp_path / "agi.parquet",
            "blocks": tmp_path / "blocks.parquet",
            "target_db": tmp_path / "policy_data.db",
        },
        input_digests={},
        output=tmp_path / "geography.npz",
        scratch=tmp_path / "scratch",
        settings=GeographySettings(clones=20),
        reporter=Silent(),
        store=Store(tmp_path / "store"),
        fingerprint="f",
        areas=(),
    )


def reported(context: StageContext) -> dict[str, bool]:
    assert isinstance(context.reporter, Silent)
    return dict(context.reporter.checks)


def test_the_assignment_is_written_checked_and_described(context: StageContext) -> None:
    facts = build(context)
    geography = read_geography(context.output)
    assert (geography.n_records, geography.n_clones) == (60, 20)
    assert (facts["columns"], facts["routed_households"], facts["districts"]) == (1200, 6, 4)
    assert facts["counties_never_drawn"] == facts["needless_repeats"] == 0
    assert reported(context) == {"geography_proportional": True}


def test_a_draw_out_of_proportion_is_reported_and_refused(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def everybody_in_one_place(*arguments: object) -> Geography:
        whole = assign(*arguments)  # type: ignore[arg-type]
        return replace(whole, block=whole.block[:1].repeat(1200), district=whole.district[:1].repeat(1200))

    monkeypatch.setattr(assignment, "assign", everybody_in_one_place)
    with pytest.raises(ArtifactError, match=r"the draw is not in proportion: district \d+ has .* more or less than its share"):
        build(context)
    assert reported(context) == {"geography_proportional": False}
    assert not context.output.exists()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_the_rich_is_a_share(context: StageContext, share: float) -> None:
    with pytest.raises(ConfigError, match="top_agi_share is .*give 0 to 1"):
        build(replace(context, settings=GeographySettings(top_agi_share=share)))
