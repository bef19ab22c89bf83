"""Starting weights in closed form, and what must always hold of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.initial_weights import initial_weights, people_per_column, spread_survey_weights

PEOPLE = pd.Series({1001: 300.0, 3601: 500.0, 3602: 200.0})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9))
def test_every_household_keeps_its_survey_weight(seed: int, n_records: int, n_clones: int) -> None:
    rng = np.random.default_rng(seed)
    survey = rng.lognormal(7, 1, n_records) * (rng.random(n_records) < 0.9)
    district = rng.choice(PEOPLE.index.to_numpy(), n_records * n_clones)
    weights = spread_survey_weights(survey, district, PEOPLE)
    assert np.allclose(weights.reshape(n_clones, n_records).sum(axis=0), survey, rtol=1e-12)
    assert (weights >= 0).all()
    # Two columns of a household stand to each other as people per column of their districts.
    columns = pd.Series(district).value_counts()
    by_hand = [PEOPLE[code] / columns[code] for code in district]
    for household in range(n_records):
        mine = slice(household, None, n_records)
        expected = survey[household] * np.array(by_hand[mine]) / sum(by_hand[mine])
        assert np.allclose(weights[mine], expected, rtol=1e-9)


def test_columns_by_population_spread_a_weight_evenly() -> None:
    """Where districts have columns in proportion to their people, a household's columns share its weight equally."""
    district = np.repeat([1001, 3601, 3602], [3, 5, 2])
    assert np.allclose(spread_survey_weights(np.array([40.0]), district, PEOPLE), 4.0)


def test_districts_start_at_their_share_where_every_household_visits_every_district() -> None:
    district = np.repeat([1001, 3601, 3602], 4)  # 4 households, 3 clones
    weights = spread_survey_weights(np.array([10.0, 20.0, 30.0, 40.0]), district, PEOPLE)
    totals = pd.Series(weights).groupby(district).sum()
    assert totals.to_dict() == pytest.approx({1001: 30.0, 3601: 50.0, 3602: 20.0})


def test_people_of_districts_without_columns_count_for_nobody() -> None:
    more = pd.concat([PEOPLE, pd.Series({5600: 1e9})])
    district = np.array([1001, 3601, 3602, 3602])
    survey = np.array([1.0, 5.0])
    assert np.array_equal(spread_survey_weights(survey, district, PEOPLE), spread_survey_weights(survey, district, more))


@pytest.mark.parametrize(
    ("survey", "district", "words"),
    [
        ([1.0, -2.0], [1001, 1001], r"household 1 has the survey weight -2\.0"),
        ([np.nan], [1001], "household 0 has the survey weight nan"),
        ([1.0, 1.0], [1001] * 3, "3 columns are no whole number of clones of 2 households"),
        ([], [1001], "no whole number of clones of 0 households"),
        ([1.0], [1002], "district 1002 has columns and no population"),
    ],
)
def test_bad_inputs_are_refused(survey: list[float], district: list[int], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        spread_survey_weights(np.array(survey), np.array(district), PEOPLE)


def _reference_problem() -> tuple[FactoredMatrix, pd.DataFrame, Any]:
    """Two age rows for each of two districts, one of which nobody adds to, and rows that must not count."""
    district = np.array([1001, 1001, 1001, 1001, 3601, 3601, 3602])
    rows = np.array(
        [
            [1, 2, 0, 0, 0, 0, 0],  # young in 1001
            [0, 1, 0, 3, 0, 0, 0],  # old in 1001: columns 0, 1 and 3 have somebody
            [0, 0, 0, 0, 0, 0, 0],  # young in 3601: nobody
            [1, 1, 1, 1, 1, 1, 1],  # households, no people
            [1, 3, 0, 3, 0, 0, 0],  # people of the state by age
        ],
        dtype=np.float32,
    )
    targets = pd.DataFrame(
        {
            "variable": ["person_count"] * 3 + ["household_count", "person_count"],
            "geo_level": ["district"] * 4 + ["state"],
            "domain_variable": "age",
            "geographic_id": ["1001", "1001", "3601", "1001", "10"],
            "value": [400.0, 200.0, 70.0, 1e6, 1e6],
        }
    )
    return FactoredMatrix.of(sparse.csr_matrix(rows)), targets, district


def test_the_reference_divides_people_by_columns() -> None:
    weights = people_per_column(*_reference_problem())
    assert weights.tolist() == [200.0] * 4 + [100.0] * 3


def test_without_targets_by_age_the_reference_gives_a_hundred() -> None:
    matrix, targets, district = _reference_problem()
    others = targets.assign(domain_variable="income")
    assert people_per_column(matrix, others, district).tolist() == [100.0] * 7


def test_schemes_are_chosen_by_name() -> None:
    matrix, targets, district = _reference_problem()
    survey = np.arange(1.0, 8.0)
    found = {
        scheme: initial_weights(scheme, survey, district, PEOPLE, lambda: matrix, targets) for scheme in ("survey", "reference")
    }
    assert np.allclose(found["survey"], survey)
    assert found["reference"].tolist() == people_per_column(matrix, targets, district).tolist()
    with pytest.raises(ConfigError, match="there is no scheme 'equal' of initial weights; the schemes are survey, reference"):
        initial_weights("equal", survey, district, PEOPLE, lambda: matrix, targets)
