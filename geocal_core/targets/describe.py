"""Targets, strata and places in words: ``persons aged 0 to 4 (age > -1 and age < 5) in California's 12th district``.

Variables keep the engine's names, which is what a reader can look up; only ages, filing and the entities have words of their
own. No database here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from geocal_core.errors import ConfigError
from geocal_core.places.states import DISTRICTS, STATES, state_of_code, state_of_fips
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION
from geocal_core.targets.vocabulary import COUNT, DOLLAR, variables


class _Truth(NamedTuple):
    """Words for a variable that is true or false."""

    holds: str
    holds_not: str
    short: str


_UNITS = {
    "person": "persons",
    "household": "households",
    "tax_unit": "tax units",
    "spm_unit": "SPM units",
    "family": "families",
    "marital_unit": "marital units",
}
_TRUE, _FALSE = ("True", "1"), ("False", "0")
_TRUTHS = {"tax_unit_is_filer": _Truth("that file a tax return", "that file no tax return", "filer")}
_BOUNDS = {"==": "of", "!=": "other than", ">": "above", ">=": "of at least", "<": "below", "<=": "of at most"}
_OLDEST = 120  # an age bin that reaches further is open at the top
_CODES = {str(place): place for place in (NATION, *(state.fips for state in STATES), *DISTRICTS)}


def place_named(text: str) -> int:
    """Code of a place given as ``US``, ``CA``, ``CA-12``, or as its code (``0``, ``6``, ``601``); other text is an error."""
    if text.isascii() and text.isdecimal():
        if text not in _CODES:
            raise ConfigError(f"there is no place {text!r}", "codes are 0, FIPS codes such as 6, and districts such as 601")
        return _CODES[text]
    code, _, number = text.upper().partition("-")
    if not code:
        raise ConfigError(f"there is no place {text!r}", "write US, CA, CA-12, or a code: 0, 6, 612")
    if not number:
        return NATION if code == "US" else state_of_code(code).fips
    state = state_of_code(code)
    if number.isascii() and number.isdecimal() and len(number) <= 2 and 100 * state.fips + int(number) in state.districts:
        return 100 * state.fips + int(number)
    raise ConfigError(
        f"there is no district {text!r}", f"{state.name} has {key_of(state.districts[0])} to {key_of(state.districts[-1])}"
    )


def key_of(place: int) -> str:
    """A place as the catalogue of areas calls it: ``US``, ``CA``, ``CA-12``; the District's one district is ``DC-01``."""
    if place == NATION:
        return "US"
    if place < 100:
        return state_of_fips(place).code
    return f"{state_of_fips(place // 100).code}-{place % 100:02d}"


def place_in_words(place: int) -> str:
    """A place as it is called in a sentence: ``California's 12th district``."""
    if place == NATION:
        return "the United States"
    state = state_of_fips(place if place < 100 else place // 100)
    name = f"the {state.name}" if state.seats == 0 else state.name
    if place < 100:
        return name
    if state.seats == 0:
        return f"{name} (counted as one district)"
    return f"{name} at large" if state.seats == 1 else f"{name}'s {_ordinal(place % 100)} district"


def target_in_words(variable: str, rules: Iterable[Constraint], place: int, reform_id: int = 0) -> str:
    """What a target measures, with its exact constraints in brackets.

    Parameters
    ----------
    variable : str
        One of the engine's, or ``<entity>_count``.
    rules : iterable of Constraint
        Constraints of its stratum other than place.
    place : int
        0 for the nation, FIPS code of a state, or a district's code.
    reform_id : int
    """
    what = variables()[variable]
    units = _UNITS[what.entity]
    conditions = _conditions(rules)
    where = f"in {place_in_words(place)}"
    if reform_id > 0:
        return " ".join(filter(None, (f"change in income tax when {variable} is neutralised, of tax units", conditions, where)))
    if what.unit == COUNT:
        return " ".join(filter(None, (units, conditions, where)))
    amount = f"{variable} in dollars" if what.unit == DOLLAR else variable
    return " ".join(filter(None, (f"{amount} of {units}", conditions, where)))


def stratum_in_words(rules: Iterable[Constraint], place: int) -> str:
    """Whom a stratum holds."""
    conditions = _conditions(rules)
    return f"{place_in_words(place)}: those {conditions}" if conditions else f"{place_in_words(place)}: all"


def compact(rules: Iterable[Constraint]) -> str:
    """Constraints as short as they can be unambiguous: ``-1<age<5, filer``."""
    parts = []
    for variable, of_one in _by_variable(rules).items():
        by_side = {constraint.operation[0]: constraint for constraint in of_one}
        low, high = by_side.get(">"), by_side.get("<")
        if low is not None and high is not None:
            parts.append(f"{low.value}{low.operation.replace('>', '<')}{variable}{high.operation}{high.value}")
        elif variable in _TRUTHS and (holds := _holds(of_one)) is not None:
            parts.append(_TRUTHS[variable].short if holds else f"no {_TRUTHS[variable].short}")
        else:
            parts += [str(constraint) for constraint in of_one]
    return ", ".join(parts)


def _conditions(rules: Iterable[Constraint]) -> str:
    by_variable = _by_variable(rules)
    if not by_variable:
        return ""
    words = [_condition(name, of_one) for name, of_one in by_variable.items()]
    exact = " and ".join(f"{c.variable} {c.operation} {c.value}" for of_one in by_variable.values() for c in of_one)
    return f"{' and '.join(words)} ({exact})"


def _by_variable(rules: Iterable[Constraint]) -> Mapping[str, list[Constraint]]:
    """Constraints by variable in alphabetical order, of each variable the lower bound first."""
    found: dict[str, list[Constraint]] = {}
    for constraint in sorted(rules, key=lambda c: (c.variable, c.operation[0] != ">", c.operation)):
        found.setdefault(constraint.variable, []).append(constraint)
    return found


def _condition(name: str, of_one: list[Constraint]) -> str:
    known = variables().get(name)
    unit = known.unit if known is not None else "text"
    if unit == "truth" and (holds := _holds(of_one)) is not None:
        truth = _TRUTHS.get(name, _Truth(f"where {name} holds", f"where {name} does not hold", name))
        return truth.holds if holds else truth.holds_not
    if any(constraint.number is None for constraint in of_one):
        return " and ".join(f"where {name} is {'not ' if c.operation == '!=' else ''}{c.value}" for c in of_one)
    if name == "age" and (ages := _ages(of_one)):
        return ages
    bounds = [f"{_BOUNDS[c.operation]} {_amount(c, unit)}" for c in of_one]
    return f"with {name} {' and '.join(bounds)}"


def _holds(of_one: list[Constraint]) -> bool | None:
    """Whether constraints on a truth value want it to hold; None where they say neither."""
    first = of_one[0]
    if len(of_one) > 1 or first.operation not in ("==", "!=") or first.value not in (*_TRUE, *_FALSE):
        return None
    return (first.value in _TRUE) == (first.operation == "==")


def _ages(of_one: list[Constraint]) -> str:
    """Bounds in whole years as people say them; empty where they are no such bounds."""
    low = high = None
    for constraint in of_one:
        number = constraint.number
        if not isinstance(number, int) or constraint.operation == "!=":
            return ""
        if constraint.operation in (">", ">=", "=="):
            low = number + (constraint.operation == ">")
        if constraint.operation in ("<", "<=", "=="):
            high = number - (constraint.operation == "<")
    if low is None:
        return f"aged {high} or younger"
    if high is None or (low < high and high >= _OLDEST):
        return f"aged {low} or older"
    return f"aged {low}" if low == high else f"aged {low} to {high}"


def _amount(constraint: Constraint, unit: str) -> str:
    number = constraint.number
    if number is None or unit not in (COUNT, DOLLAR, "number"):
        return constraint.value
    sign, size = ("-" if number < 0 else ""), abs(number)
    text = f"{size:,}" if isinstance(size, int) else f"{size:,.10g}"
    return f"{sign}${text}" if unit == DOLLAR else f"{sign}{text}"


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
