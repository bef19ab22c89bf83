"""Operators against brute force; contradiction against a search for a value; nesting; names."""

from __future__ import annotations

import itertools
import operator
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.targets.constraints import (
    OPERATIONS,
    Constraint,
    brackets,
    check_consistent,
    check_nested,
    geography,
    place_constraints,
    satisfied,
)

PYTHON = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
operations = st.sampled_from(OPERATIONS)
places = st.sampled_from((0, *(s.fips for s in STATES), *DISTRICTS))


@given(st.lists(st.integers(-(2**62), 2**62)), operations, st.integers(-(2**70), 2**70))
def test_whole_numbers_compare_exactly(values: list[int], operation: str, threshold: int) -> None:
    found = satisfied(np.array(values, dtype=np.int64), Constraint("x", operation, str(threshold)))
    assert found.dtype == np.bool_
    assert found.tolist() == [PYTHON[operation](value, threshold) for value in values]


@given(st.lists(st.floats(allow_nan=False)), operations, st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_compare_as_python_does(values: list[float], operation: str, threshold: float) -> None:
    found = satisfied(np.array(values, dtype=np.float64), Constraint("x", operation, repr(threshold)))
    assert found.tolist() == [PYTHON[operation](value, threshold) for value in values]


@given(st.lists(st.floats(width=32, allow_nan=False)), st.floats(-1e30, 1e30))
def test_exactly_one_of_less_equal_greater(values: list[float], threshold: float) -> None:
    array = np.array(values, dtype=np.float32)
    hits = sum(satisfied(array, Constraint("x", op, repr(threshold))).astype(int) for op in ("<", "==", ">"))
    assert np.all(hits == 1)
    for loose, strict in ((">=", ">"), ("<=", "<")):
        either = satisfied(array, Constraint("x", strict, repr(threshold))) | satisfied(
            array, Constraint("x", "==", repr(threshold))
        )
        assert np.array_equal(satisfied(array, Constraint("x", loose, repr(threshold))), either)
    assert np.array_equal(
        satisfied(array, Constraint("x", "!=", repr(threshold))), ~satisfied(array, Constraint("x", "==", repr(threshold)))
    )


def test_a_decimal_equals_its_single_precision_self() -> None:
    assert satisfied(np.array([0.1], dtype=np.float32), Constraint("x", "==", "0.1")).all()


@pytest.mark.parametrize(("value", "wanted"), [("True", True), ("1", True), ("False", False), ("0", False)])
def test_truth_values(value: str, wanted: bool) -> None:
    values = np.array([True, False, True])
    assert satisfied(values, Constraint("flag", "==", value)).tolist() == (values == wanted).tolist()
    assert satisfied(values.astype(np.float32), Constraint("flag", "!=", value)).tolist() == (values != wanted).tolist()


@given(
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0"))),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1),
)
def test_text_compares_as_written(values: list[str], wanted: str) -> None:
    expected = [value == wanted for value in values]
    for array in (np.array(values, dtype=np.str_), np.array(values, dtype=object)):
        assert satisfied(array, Constraint("name", "==", wanted)).tolist() == expected
        assert satisfied(array, Constraint("name", "!=", wanted)).tolist() == [not hit for hit in expected]
    assert satisfied(np.array([v.encode() for v in values], dtype="S"), Constraint("name", "==", wanted)).tolist() == expected


def test_text_codes_keep_their_leading_zeros() -> None:
    assert satisfied(np.array(["06037", "6037"]), Constraint("county", "==", "06037")).tolist() == [True, False]


def test_shape_is_kept() -> None:
    assert satisfied(np.arange(6).reshape(2, 3), Constraint("x", ">", "2")).shape == (2, 3)


@pytest.mark.parametrize(
    ("variable", "operation", "value", "word"),
    [
        ("age", "=", "5", "unknown operation"),
        ("age", "in", "5", "unknown operation"),
        ("", "==", "5", "no variable"),
        ("age", "==", "", "no value"),
        ("age", "<", "five", "not a number"),
        ("age", "<", "nan", "not a number"),
        ("age", "<", "1_000", "not a number"),
        ("age", ">=", "True", "not a number"),
        ("age", "<", "1e999", "out of range"),
        ("state_fips", "==", "06", "does not name a place"),
        ("state_fips", "==", "3", "does not name a place"),
        ("state_fips", ">", "6", "does not name a place"),
        ("congressional_district_geoid", "==", "600", "does not name a place"),
        ("congressional_district_geoid", "!=", "601", "does not name a place"),
    ],
)
def test_refused(variable: str, operation: str, value: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Constraint(variable, operation, value)


def test_values_that_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="is a number"):
        satisfied(np.arange(3), Constraint("x", "==", "NONE"))
    with pytest.raises(ConfigError, match="is text"):
        satisfied(np.array(["a"]), Constraint("x", "<", "3"))
    with pytest.raises(ArtifactError, match="missing"):
        satisfied(np.array([1.0, np.nan]), Constraint("x", ">", "0"))
    with pytest.raises(ArtifactError, match="neither"):
        satisfied(np.array(["a", None], dtype=object), Constraint("x", "==", "a"))


small = st.builds(Constraint, st.just("x"), operations, st.integers(0, 3).map(str))


@given(st.lists(small, min_size=1, max_size=4, unique_by=lambda c: c.operation))
def test_what_is_consistent_can_be_satisfied(constraints: list[Constraint]) -> None:
    """On a fine grid: accepted constraints leave values over; those refused as unsatisfiable leave none."""
    grid = np.arange(-1, 5, 0.25)
    left = np.logical_and.reduce([satisfied(grid, c) for c in constraints])
    operations_ = [c.operation for c in constraints]
    alone = any(op in ("==", "!=") for op in operations_) and len(operations_) > 1
    twice = {">", ">="} <= set(operations_) or {"<", "<="} <= set(operations_)
    if alone or twice:
        with pytest.raises(ConfigError, match="do not go together"):
            check_consistent(constraints)
    elif left.any():
        check_consistent(constraints)
    else:
        with pytest.raises(ConfigError, match="nothing satisfies"):
            check_consistent(constraints)


@given(places, places)
def test_geography_nests_as_the_map_does(child: int, parent: int) -> None:
    lies_in = (child >= 100 and child // 100 == parent) or (0 < child < 100 and parent == 0)
    if lies_in:
        check_nested(place_constraints(child), place_constraints(parent))
    else:
        with pytest.raises(ConfigError):
            check_nested(place_constraints(child), place_constraints(parent))


@given(places)
def test_geography_is_read_back(place: int) -> None:
    assert geography(place_constraints(place)) == place


@given(
    places,
    st.lists(st.sampled_from(("age", "snap", "eitc")), unique=True),
    st.lists(st.sampled_from(("age", "snap", "eitc")), unique=True),
)
def test_a_child_holds_its_parent_and_more(place: int, inner: list[str], outer: list[str]) -> None:
    child = (*place_constraints(place), *(Constraint(name, ">", "0") for name in inner))
    parent = (*place_constraints(place), *(Constraint(name, ">", "0") for name in outer))
    if set(outer) < set(inner):
        check_nested(child, parent)
    else:
        with pytest.raises(ConfigError, match="lacks|adds nothing"):
            check_nested(child, parent)


def test_a_state_below_itself_is_refused() -> None:
    """A second stratum of a state's geography would pass for the state."""
    with pytest.raises(ConfigError, match="adds nothing"):
        check_nested(place_constraints(6), place_constraints(6))


def test_only_the_nation_has_no_parent() -> None:
    check_nested((), None)
    with pytest.raises(ConfigError, match="no parent"):
        check_nested(place_constraints(6), None)


def test_a_district_lies_in_its_state() -> None:
    with pytest.raises(ConfigError, match="does not lie in"):
        check_consistent((*place_constraints(601), *place_constraints(8)))
    check_consistent((*place_constraints(601), *place_constraints(6)))


def test_names_do_not_depend_on_order() -> None:
    bounds = (Constraint("age", ">", "-1"), Constraint("age", "<", "5"))
    assert {brackets(order) for order in itertools.permutations(bounds)} == {"[age<5,age>-1]"}
    assert brackets(()) == "[]"


def test_light_to_import() -> None:
    code = (
        "import sys, geocal_core.targets.constraints; "
        "print(sorted({'sqlalchemy', 'pandas', 'torch', 'openpyxl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
