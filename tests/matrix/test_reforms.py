"""Tax expenditures against the engine's own way of neutralising a variable, on the same written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geocal_core.engine.copies import Copies, Question
from geocal_core.engine.place import Places
from geocal_core.engine.takeup import TakeUp
from geocal_core.matrix.chunks import values_of, wanted_variables
from geocal_core.matrix.quantity import Quantity
from geocal_core.population import write_h5
from geocal_core.targets.constraints import Constraint
from tests.engine.households import YEAR, make_population

HOUSEHOLDS = 200
RICH = (Constraint("adjusted_gross_income", ">", "200000"),)


@pytest.mark.engine
def test_a_tax_expenditure_is_what_the_engine_says_of_the_neutralised_variable(tmp_path: Path) -> None:
    from policyengine_core.reforms import Reform
    from policyengine_us import Microsimulation

    base = make_population(HOUSEHOLDS, seed=12)
    ones = np.ones(HOUSEHOLDS, dtype=np.int64)
    copies = Copies(
        np.arange(HOUSEHOLDS), 0 * ones, Places.of(1001 * ones, np.full(HOUSEHOLDS, "10003"), np.full(HOUSEHOLDS, ""))
    )
    quantities = tuple(Quantity("salt_deduction", rules, "salt_deduction") for rules in ((), RICH))
    answer = Question(base, TakeUp.of(base, 1), wanted_variables(quantities)).answer(copies)
    found = values_of(quantities, answer)

    path = tmp_path / "file.h5"
    write_h5(answer.population, path)
    plain = Microsimulation(dataset=str(path))
    tax = np.asarray(plain.calculate("income_tax", YEAR), dtype=np.float64)
    rich = np.asarray(plain.calculate("adjusted_gross_income", YEAR)) > 200_000
    household = answer.population.household_of("tax_unit")

    class Without(Reform):
        def apply(self) -> None:
            self.neutralize_variable("salt_deduction")

    reformed = Microsimulation(dataset=str(path), reform=Without)
    change = np.asarray(reformed.calculate("income_tax", YEAR), dtype=np.float64) - tax
    for values, units in zip(found, (np.ones(len(tax), dtype=np.bool_), rich), strict=True):
        expected = np.bincount(household, np.where(units, change, 0.0), HOUSEHOLDS)
        np.testing.assert_allclose(values, expected, atol=0.01)
    assert found[0].sum() > found[1].sum() > 0
