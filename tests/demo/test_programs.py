"""Programs and taxes of the demo nation: read back from the agencies' formats they are the hidden truth."""

from __future__ import annotations

import pandas as pd
import pytest

from geocal_core.demo import truth
from geocal_core.demo.sources import TABLES, WRITERS
from geocal_core.places.states import STATES
from geocal_core.progress import Silent
from geocal_core.settings import RawSettings, TargetSettings
from geocal_core.targets.build import build_database
from geocal_core.targets.registry import tables
from geocal_core.targets.select import load_targets

BY_STATE = ("census_state_income_tax", "cms_medicaid", "ssa_ssi")


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Targets of these tables for the whole nation."""
    folder = tmp_path_factory.mktemp("programs")
    for agency in ("census", "cms", "ssa"):
        (folder / agency).mkdir()
        WRITERS[agency](RawSettings(), folder / agency)
    settings = TargetSettings(without=tuple(name for name in tables() if name not in BY_STATE))
    build_database(folder, folder / "policy_data.db", settings, Silent())
    return load_targets(folder / "policy_data.db", 2024)[0]


@pytest.mark.parametrize(
    ("variable", "domain", "column", "unit"),
    [
        ("person_count", "medicaid_enrolled", "medicaid_persons", 1),
        ("person_count", "ssi", "ssi_persons", 1),
        ("ssi", "", "ssi_dollars", 1000),
        ("state_income_tax", "", "state_income_tax_dollars", 1000),
    ],
)
def test_figures_are_the_truth(targets: pd.DataFrame, variable: str, domain: str, column: str, unit: int) -> None:
    of_one = targets[(targets["variable"] == variable) & (targets["domain_variable"] == domain)].set_index("geographic_id")
    hidden = truth.programs()[column]
    levied = hidden[(hidden / unit).round() > 0]
    found = of_one.loc[of_one["geo_level"] == "state", "value"]
    assert sorted(found.index.astype(int)) == sorted(levied.index)
    assert (found.to_numpy() / unit == (levied.loc[found.index.astype(int)] / unit).round().to_numpy()).all()
    assert of_one.loc["US", "value"] == pytest.approx(found.sum(), rel=1e-12)


def test_programs_are_those_of_every_state_and_plausible() -> None:
    table = truth.programs()
    assert list(table.index) == [state.fips for state in sorted(STATES, key=lambda state: state.fips)]
    total = table.sum()
    assert 55e6 < total["medicaid_persons"] < 90e6  # 71.8 million in December 2024
    assert 0.5e6 < total["tanf_families"] < 2e6  # 0.84 million in fiscal 2024
    assert 300e9 < total["state_income_tax_dollars"] < 650e9  # 462 billion in fiscal 2023


def test_every_published_table_is_one_of_the_registry() -> None:
    assert set(TABLES) <= set(tables())
