"""Words for targets and places: what they say, and that exactly one place answers to each name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.places.catalogue import AREAS
from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.targets.constraints import OPERATIONS, Constraint
from geocal_core.targets.describe import compact, key_of, place_in_words, place_named, stratum_in_words, target_in_words

PLACES = (0, *(state.fips for state in STATES), *DISTRICTS)


def rules(*texts: str) -> list[Constraint]:
    return [Constraint(*text.split(" ")) for text in texts]


@pytest.mark.parametrize(
    ("variable", "constraints", "place", "words"),
    [
        (
            "person_count",
            ("age > -1", "age < 5"),
            612,
            "persons aged 0 to 4 (age > -1 and age < 5) in California's 12th district",
        ),
        (
            "person_count",
            ("age > 84", "age < 1000"),
            0,
            "persons aged 85 or older (age > 84 and age < 1000) in the United States",
        ),
        ("person_count", ("age <= 17",), 11, "persons aged 17 or younger (age <= 17) in the District of Columbia"),
        ("person_count", ("age == 5",), 1001, "persons aged 5 (age == 5) in Delaware at large"),
        (
            "person_count",
            ("age > 17.5",),
            1101,
            "persons with age above 17.5 (age > 17.5) in the District of Columbia (counted as one district)",
        ),
        ("household_count", (), 48, "households in Texas"),
        ("snap", ("snap > 0",), 6, "snap in dollars of SPM units with snap above $0 (snap > 0) in California"),
        (
            "tax_unit_count",
            ("adjusted_gross_income >= 1", "adjusted_gross_income < 10000", "tax_unit_is_filer == 1"),
            3601,
            "tax units with adjusted_gross_income of at least $1 and below $10,000 and that file a tax return "
            "(adjusted_gross_income >= 1 and adjusted_gross_income < 10000 and tax_unit_is_filer == 1) "
            "in New York's 1st district",
        ),
        (
            "tax_unit_count",
            ("filing_status == JOINT",),
            2,
            "tax units where filing_status is JOINT (filing_status == JOINT) in Alaska",
        ),
        (
            "tax_unit_count",
            ("adjusted_gross_income < -2500",),
            2,
            "tax units with adjusted_gross_income below -$2,500 (adjusted_gross_income < -2500) in Alaska",
        ),
    ],
)
def test_words(variable: str, constraints: tuple[str, ...], place: int, words: str) -> None:
    assert target_in_words(variable, rules(*constraints), place) == words


def test_a_reform_is_a_change_in_tax() -> None:
    words = target_in_words("salt_deduction", (), 0, reform_id=1)
    assert words == "change in income tax when salt_deduction is neutralised, of tax units in the United States"


def test_truths_and_strata() -> None:
    of = rules("is_female == True", "medicaid_enrolled == 0")
    assert stratum_in_words(of, 6) == (
        "California: those where is_female holds and where medicaid_enrolled does not hold "
        "(is_female == True and medicaid_enrolled == 0)"
    )
    assert stratum_in_words((), 0) == "the United States: all"


def test_compact() -> None:
    assert compact(rules("snap > 0", "age < 5", "age > -1")) == "-1<age<5, snap>0"
    assert compact(rules("age >= 18", "age <= 64")) == "18<=age<=64"
    assert compact(()) == ""
    assert compact(rules("tax_unit_is_filer == 1", "eitc > 0")) == "eitc>0, filer"
    assert compact(rules("tax_unit_is_filer == False")) == "no filer"
    assert compact(rules("is_female == True")) == "is_female==True"


@given(st.sampled_from(PLACES))
def test_a_place_answers_to_its_key_and_its_code(place: int) -> None:
    assert place_named(key_of(place)) == place_named(key_of(place).lower()) == place_named(str(place)) == place
    assert place_in_words(place)


def test_keys_are_those_of_the_catalogue() -> None:
    of_areas = {area.key for area in AREAS if area.level != "city"}
    assert {key_of(place) for place in PLACES} == of_areas | {"DC-01"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("XX", "no state 'XX'"),
        ("CA-53", "no district 'CA-53'; California has CA-01 to CA-52"),
        ("CA-0", "no district"),
        ("CA-1x", "no district"),
        ("CA-7000001", "no district"),
        ("3", "no place '3'"),
        ("653", "no place '653'"),
        ("", "no place ''"),
        ("NYC", "no state 'NYC'"),
        ("٦", "no state"),
    ],
)
def test_no_such_place(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place_named(text)


bounds = st.integers(-50, 200).map(str)


@given(st.sampled_from(OPERATIONS), bounds)
def test_one_bound_of_age_in_words_admits_the_same_ages(operation: str, value: str) -> None:
    """``aged N or older`` and its like say what the constraint does, for every whole age."""
    words = stratum_in_words([Constraint("age", operation, value)], 0).removeprefix("the United States: those ")
    kind = words.split(" (")[0].split()
    number = int(kind[1]) if kind[0] == "aged" else None
    compared = {"==": int.__eq__, ">": int.__gt__, ">=": int.__ge__, "<": int.__lt__, "<=": int.__le__}
    for age in range(-60, 210):
        if number is None:
            assert operation == "!="
            continue
        said = age == number if len(kind) == 2 else age >= number if kind[-1] == "older" else age <= number
        assert said == compared[operation](age, int(value))


def test_light_to_import() -> None:
    script = "import sys, geocal_core.targets.describe; print({'pandas', 'sqlalchemy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "set()"
