"""What is stored is what the engine takes in: names, entities, codes, and roles that it follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geocal_core.impute import extended
from geocal_core.population import ENTITIES, GROUPS, Population, id_name, link_name, read_h5
from geocal_core.settings import CpsSettings, PufSettings
from geocal_core.surveys import cps, entities, puf, social_security

pytestmark = pytest.mark.engine
STRUCTURE = {id_name(entity) for entity in ENTITIES} | {link_name(group) for group in GROUPS}


def stored(
    asec_folder: Callable[..., Path], puf_folder: Callable[..., Path], stage_context: Callable[..., Any]
) -> list[Population]:
    contexts = [
        (cps.build, stage_context("cps", CpsSettings(), {"raw_census_asec": asec_folder()}, "cps")),
        (puf.build, stage_context("puf", PufSettings(), {"raw_irs_puf": puf_folder()}, "puf")),
    ]
    populations = []
    for build, context in contexts:
        build(context)
        populations.append(read_h5(context.output))
    return populations


def test_every_stored_variable_is_an_input_of_the_engine_at_its_entity(
    asec_folder: Callable[..., Path], puf_folder: Callable[..., Path], stage_context: Callable[..., Any]
) -> None:
    from policyengine_us.system import system

    for population in stored(asec_folder, puf_folder, stage_context):
        for entity in ENTITIES:
            for name in set(population.tables[entity]) - STRUCTURE:
                variable = system.variables[name]
                assert variable.is_input_variable(), name
                assert variable.entity.key == entity, name
                values = np.asarray(population.tables[entity][name])
                assert (values.dtype.kind == "U") == (variable.value_type.__name__ == "Enum"), name
                if values.dtype.kind == "U":
                    assert set(values) <= {item.name for item in variable.possible_values}, name
    for name in {*extended._RULES["variable"], *social_security.KINDS} - {"social_security"}:
        assert system.variables[name].is_input_variable(), name
        assert system.variables[name].entity.key == "person", name


def test_the_engine_sees_the_heads_and_couples_that_are_stored(
    asec_folder: Callable[..., Path], puf_folder: Callable[..., Path], stage_context: Callable[..., Any]
) -> None:
    from policyengine_us import Microsimulation

    stored(asec_folder, puf_folder, stage_context)
    path = stage_context("cps", None, output="cps").output
    population = read_h5(path)
    simulation = Microsimulation(dataset=str(path.rename(path.with_suffix(".h5"))))
    role = np.asarray(population["tax_unit_role_input"])
    assert (np.asarray(simulation.calculate("is_tax_unit_head", 2024)) == (role == entities.HEAD)).all()
    assert (np.asarray(simulation.calculate("is_tax_unit_spouse", 2024)) == (role == entities.SPOUSE)).all()
    status = np.asarray(simulation.calculate("filing_status", 2024))
    assert status.tolist() == ["SINGLE", "JOINT", "SINGLE", "SINGLE"]
    assert np.asarray(simulation.calculate("state_fips", 2024)).tolist() == [10, 36]
    agi = np.asarray(simulation.calculate("adjusted_gross_income", 2024))
    contributions = np.asarray(population["traditional_401k_contributions_desired"])
    wages = np.asarray(population["employment_income_before_lsr"])
    couple = [1, 2, 4]
    expected = (wages[couple] - contributions[couple]).sum() + 680 + 900
    assert agi[1] == pytest.approx(expected - np.asarray(population["traditional_ira_contributions_desired"])[1], abs=0.001)
