"""Domains: what lies inside what, and what makes up a whole, against brute force over numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.targets.constraints import Constraint, satisfied
from geocal_core.targets.intervals import Domain, Interval, interval, tilings

INCOME = "adjusted_gross_income"


def _interval(text: str, variable: str = INCOME) -> Interval:
    """The interval of ``>=1 <10``."""
    return interval(variable, [_constraint(variable, part) for part in text.split()])


def _constraint(variable: str, text: str) -> Constraint:
    operation = text[:2] if text[1:2] in "=" and text[1:2] else text[0]
    return Constraint(variable, operation, text[len(operation) :])


@pytest.mark.parametrize(
    ("variable", "first", "second", "same"),
    [
        ("age", ">4 <10", ">=5 <=9", True),
        ("age", ">84 <1000", ">=85", True),
        ("age", ">-1 <5", "<5", True),
        ("eitc_child_count", ">2", ">=3", True),
        ("eitc_child_count", "==0", "<1", True),
        (INCOME, ">4 <10", ">=5 <=9", False),
        (INCOME, "<=10", "<10", False),
        ("medicaid_enrolled", "==True", "==1", True),
        ("total_self_employment_income", "!=0", ">0", False),
    ],
)
def test_the_same_domain_in_two_wordings(variable: str, first: str, second: str, same: bool) -> None:
    assert (_interval(first, variable) == _interval(second, variable)) is same


def test_loose_bounds() -> None:
    assert _interval(">=1 <10").loose == _interval(">1 <=10").loose
    assert _interval(">0").loose != _interval(">=0").loose  # those with nothing are many


_BOUND = st.integers(0, 5)
_ONE = st.one_of(
    st.tuples(st.sampled_from((">", ">=")), _BOUND).map(lambda b: [b]),
    st.tuples(st.sampled_from(("<", "<=")), _BOUND).map(lambda b: [b]),
    st.tuples(st.just("=="), _BOUND).map(lambda b: [b]),
    st.tuples(st.sampled_from((">", ">=")), _BOUND, st.sampled_from(("<", "<=")), _BOUND)
    .filter(lambda b: b[1] < b[3])
    .map(lambda b: [b[:2], b[2:]]),
)


@given(st.sampled_from((INCOME, "eitc_child_count")), _ONE, _ONE)
def test_within_is_what_numbers_say(variable: str, first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    """Over every number at and between the bounds; whole ones, not below zero, of what counts."""
    step = 1.0 if variable == "eitc_child_count" else 0.5
    numbers = np.arange(0 if step == 1 else -1, 8, step)
    inside = []
    for of_one in (first, second):
        rules = [Constraint(variable, operation, str(value)) for operation, value in of_one]
        inside.append(np.logical_and.reduce([satisfied(numbers, rule) for rule in rules]))
    if not inside[0].any() or not inside[1].any():
        return
    inner, outer = (_interval(" ".join(f"{o}{v}" for o, v in of_one), variable) for of_one in (first, second))
    assert inner.within(outer) is not bool((inside[0] & ~inside[1]).any())


def test_tilings() -> None:
    texts = ["<1", ">=1 <10", ">=10", ">=1", ">10", ">=10 <20", ">=20", "==5"]
    pieces = [_interval(text) for text in texts]
    found = {tuple(texts[p] for p in tiling) for tiling in tilings(Interval(), pieces)}
    assert found == {
        ("<1", ">=1"),
        ("<1", ">=1 <10", ">=10"),
        ("<1", ">=1 <10", ">=10 <20", ">=20"),
    }
    assert tilings(_interval(">=1"), pieces) == [(1, 2), (1, 5, 6)]
    assert tilings(_interval(">=2"), pieces) == []
    assert tilings(Interval(text="==X"), pieces) == []


def test_tilings_of_whole_numbers() -> None:
    children = [_interval(text, "eitc_child_count") for text in ("==0", "==1", "==2", ">2")]
    assert tilings(Interval(), children) == [(0, 1, 2, 3)]
    ages = [_interval(f">{low - 1} <{low + 5 if low < 85 else 1000}", "age") for low in range(0, 90, 5)]
    assert tilings(Interval(), ages) == [tuple(range(18))]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8, unique=True), st.permutations(range(9)))
def test_cuts_tile_whatever_their_order(cuts: list[int], order: list[int]) -> None:
    bounds = [-math.inf, *sorted(cuts), math.inf]
    pieces = [Interval((low, 0), (high, 0)) for low, high in itertools.pairwise(bounds)]
    shuffled = [pieces[i] for i in order if i < len(pieces)]
    (tiling,) = tilings(Interval(), shuffled)
    assert [shuffled[i] for i in tiling] == pieces


def test_domains() -> None:
    filer, receives = Constraint("tax_unit_is_filer", "==", "1"), Constraint("eitc", ">", "0")
    whole, part = Domain.of([filer]), Domain.of([filer, receives])
    assert part.inside(whole)
    assert not whole.inside(part)
    assert not whole.inside(whole)
    assert part.without("eitc") == whole
    assert part.on("eitc") == Interval((0.0, 1))
    assert part.on("age") == Interval()
    assert Domain.of([Constraint("ssn_card_type", "==", "NONE")]).inside(Domain(()))
