"""Checks over all tables: counts, and the totals that the agencies' own files are known to give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geocal_core.errors import ArtifactError, InputError
from geocal_core.targets.checks import check_counts, check_known_totals, known_totals
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import Figure
from geocal_core.targets.registry import tables
from geocal_core.targets.vocabulary import target_variable

SNAP = tables()["usda_snap"]
FIGURE = Figure("snap", 93_657_872_614.0, 2024, 1, "USDA FNS SNAP", ((Constraint("snap", ">", "0"),),))


def test_known_totals_are_of_known_tables() -> None:
    for known in known_totals():
        assert known.table in tables()
        assert known.level in tables()[known.table].levels
        assert target_variable(known.variable)
        assert known.source


def test_a_total_is_met_to_the_dollar_and_none_twice() -> None:
    assert check_known_totals({SNAP: [FIGURE]}) == 1
    halves = [replace(FIGURE, value=FIGURE.value / 2 if FIGURE.value else None, place=place) for place in (1, 2)]
    assert check_known_totals({SNAP: halves}) == 1
    assert check_known_totals({SNAP: [replace(FIGURE, period=2023)]}) == 0
    assert check_known_totals({}) == 0


@pytest.mark.parametrize("by", [1, -1])
def test_a_total_that_is_missed_is_refused(by: int) -> None:
    with pytest.raises(InputError, match="SNAP benefits: the table usda_snap gives 9365787261[35]"):
        check_known_totals({SNAP: [replace(FIGURE, value=93_657_872_614.0 + by)]})


def test_counts() -> None:
    figures = [FIGURE, replace(FIGURE, place=0), replace(FIGURE, place=0, source="CBO Baseline Programs")]
    check_counts({"national": 1, "state": 1, "district": 0}, figures, 1)
    for stored, alternatives in (
        ({"national": 1, "state": 1, "district": 0}, 0),
        ({"national": 0, "state": 2, "district": 0}, 1),
    ):
        with pytest.raises(ArtifactError, match="the database holds"):
            check_counts(stored, figures, alternatives)
