"""Constraints: what a stratum demands of a person, a tax unit or a household, one ``variable operation value`` at a time.

The six operators and their meaning on arrays, the rules that keep the constraints of one stratum free of contradiction, the
rules by which a stratum nests in its parent, and the names that constraints give to targets. No database here.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.states import DISTRICTS, STATES

STATE = "state_fips"
DISTRICT = "congressional_district_geoid"
GEOGRAPHIC = (STATE, DISTRICT)

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
OPERATIONS: tuple[str, ...] = tuple(_COMPARE)
_ALONE = ("==", "!=")
_LOWER = (">", ">=")
_UPPER = ("<", "<=")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_WRITTEN = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|!=|>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII)
_TRUTH = {"True": 1, "False": 0}
_STATE_CODES = {str(state.fips) for state in STATES}
_DISTRICT_CODES = {str(district) for district in DISTRICTS}


@dataclass(frozen=True, order=True)
class Constraint:
    """One condition, such as ``age < 5``.

    Attributes
    ----------
    variable : str
        Name of the variable that it looks at.
    operation : str
        One of ``== != > >= < <=``.
    value : str
        A number, ``True``, ``False``, or (with ``==`` and ``!=``) any other text. Geographic codes are whole numbers
        without leading zeros: ``6``, ``601``.

    Raises
    ------
    ConfigError
        If the operation is unknown, or the value does not fit it or the variable.
    """

    variable: str
    operation: str
    value: str

    def __post_init__(self) -> None:
        if not self.variable:
            raise ConfigError(f"a constraint ({self.operation!r} {self.value!r}) names no variable")
        if self.operation not in _COMPARE:
            raise ConfigError(
                f"the constraint on {self.variable} has the unknown operation {self.operation!r}",
                f"the operations are {' '.join(OPERATIONS)}",
            )
        if not self.value:
            raise ConfigError(f"the constraint on {self.variable} has no value")
        if self.number is not None and abs(self.number) > sys.float_info.max:
            raise ConfigError(f"the constraint on {self.variable} compares with a number out of range ({self.value[:20]}...)")
        if self.operation not in _ALONE and self.number is None:
            raise ConfigError(
                f"the constraint {self} compares with {self.value!r}, which is not a number", "use == or != for other values"
            )
        if self.variable in GEOGRAPHIC:
            self._check_geography()

    def _check_geography(self) -> None:
        known = _STATE_CODES if self.variable == STATE else _DISTRICT_CODES
        if self.operation != "==" or self.value not in known:
            raise ConfigError(
                f"the constraint {self} does not name a place",
                "geography is state_fips == 6 or congressional_district_geoid == 601, codes without leading zeros",
            )

    @property
    def number(self) -> int | float | None:
        """The value as a number (an int where it is written as one), None if it is a truth value or text."""
        if _WHOLE.fullmatch(self.value):
            return int(self.value)
        return float(self.value) if _NUMBER.fullmatch(self.value) else None

    def __str__(self) -> str:
        return f"{self.variable}{self.operation}{self.value}"


def constraint_of(text: str) -> Constraint:
    """A constraint as one writes it, ``age>=18``; any other text is an error."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no constraint", f"write it as age>=18; the operations are {' '.join(OPERATIONS)}")
    return Constraint(*found.groups())


def satisfied(values: NDArray[Any], constraint: Constraint) -> NDArray[np.bool_]:
    """Which values satisfy a constraint.

    Numbers are compared at the precision of ``values``, so that exactly one of ``<``, ``==`` and ``>`` holds for each; whole
    numbers exactly. Truth values count as 1 and 0 and may be written ``True``, ``False``, ``1`` or ``0``. Text takes only
    ``==`` and ``!=`` and is compared as it is written.

    Parameters
    ----------
    values : ndarray
        Numbers, booleans, or text (as ``U``, ``S`` or objects), of any shape.
    constraint : Constraint

    Returns
    -------
    ndarray of bool
        Of the shape of ``values``.

    Raises
    ------
    ConfigError
        If the constraint's value cannot be compared with such values.
    ArtifactError
        If a value is missing (NaN, None) or the values are of no kind that can be compared.
    """
    values = np.asarray(values)
    compare = _COMPARE[constraint.operation]
    if values.dtype.kind in "biuf":
        threshold = _threshold(values, constraint)
        return np.asarray(compare(values, threshold), dtype=np.bool_)
    if constraint.operation not in _ALONE:
        raise ConfigError(f"the constraint {constraint} orders {constraint.variable}, which is text", "use == or !=")
    return np.asarray(compare(_as_text(values, constraint), constraint.value), dtype=np.bool_)


def _threshold(values: NDArray[Any], constraint: Constraint) -> Any:
    number = _TRUTH.get(constraint.value, constraint.number)
    if number is None:
        raise ConfigError(
            f"the constraint {constraint} compares {constraint.variable}, which is a number, with {constraint.value!r}"
        )
    if values.dtype.kind != "f":
        return number
    if np.isnan(values).any():
        raise ArtifactError(f"{constraint.variable} has missing values (NaN), so {constraint} cannot be decided")
    with np.errstate(over="ignore"):
        return np.asarray(number, dtype=np.float64).astype(values.dtype)


def _as_text(values: NDArray[Any], constraint: Constraint) -> NDArray[np.str_]:
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel()):
        return values.astype(np.str_)
    raise ArtifactError(f"{constraint.variable} holds neither numbers nor text throughout, so {constraint} cannot be decided")


def geography(constraints: Iterable[Constraint]) -> int:
    """Code of the place that constraints name: 0 for the nation, a state's FIPS code, or a district's code (100 and more)."""
    named = {c.variable: int(c.value) for c in constraints if c.variable in GEOGRAPHIC}
    return named.get(DISTRICT, named.get(STATE, 0))


def place_constraints(place: int) -> tuple[Constraint, ...]:
    """The constraints of a place, the reverse of ``geography``."""
    if place == 0:
        return ()
    return (Constraint(STATE if place < 100 else DISTRICT, "==", str(place)),)


def is_geographic(constraints: Iterable[Constraint]) -> bool:
    """Whether constraints look at nothing but place."""
    return all(c.variable in GEOGRAPHIC for c in constraints)


def check_consistent(constraints: Iterable[Constraint]) -> None:
    """Refuse constraints of one stratum that repeat or contradict each other.

    Of one variable: ``==`` and ``!=`` stand alone; at most one lower and one upper bound; the lower lies below the upper, or
    at it if both are inclusive. A district lies in its state.

    Raises
    ------
    ConfigError
        That names the constraints which do not go together.
    """
    by_variable: dict[str, list[Constraint]] = {}
    for constraint in constraints:
        by_variable.setdefault(constraint.variable, []).append(constraint)
    for of_one in by_variable.values():
        _check_one_variable(of_one)
    if STATE in by_variable and DISTRICT in by_variable:
        state, district = by_variable[STATE][0], by_variable[DISTRICT][0]
        if int(district.value) // 100 != int(state.value):
            raise ConfigError(f"{district} does not lie in {state}")


def _check_one_variable(constraints: list[Constraint]) -> None:
    if len(constraints) == 1:
        return
    together = " and ".join(str(c) for c in sorted(constraints))
    if any(c.operation in _ALONE for c in constraints):
        raise ConfigError(f"{together} do not go together", "== and != stand alone for a variable")
    lower = [c for c in constraints if c.operation in _LOWER]
    upper = [c for c in constraints if c.operation in _UPPER]
    if len(lower) > 1 or len(upper) > 1:
        raise ConfigError(f"{together} do not go together", "a variable has at most one lower and one upper bound")
    low, high = lower[0].number, upper[0].number
    assert low is not None
    assert high is not None
    if low > high or (low == high and (lower[0].operation, upper[0].operation) != (">=", "<=")):
        raise ConfigError(f"nothing satisfies {together}")


def check_nested(child: Iterable[Constraint], parent: Iterable[Constraint] | None) -> None:
    """Refuse a stratum that does not nest in its parent.

    A child holds every constraint of its parent and adds at least one, where a district counts as holding its state. A
    purely geographic stratum hangs one level below: a state on the nation, a district on its state. Only the nation, which
    has no constraints, has no parent.

    Raises
    ------
    ConfigError
        That names what is amiss.
    """
    inner = frozenset(child)
    if parent is None:
        if inner:
            raise ConfigError(f"the stratum {brackets(inner)} has no parent", "only the nation, without constraints, has none")
        return
    outer = frozenset(parent)
    held = inner | set(place_constraints(geography(inner) // 100) if geography(inner) >= 100 else ())
    lacking = outer - held
    if lacking:
        raise ConfigError(f"the stratum {brackets(inner)} lacks {brackets(lacking)} of its parent {brackets(outer)}")
    if not inner - outer:
        raise ConfigError(f"the stratum {brackets(inner)} adds nothing to its parent")
    if is_geographic(inner) and geography(outer) != (geography(inner) // 100 if geography(inner) >= 100 else 0):
        raise ConfigError(
            f"the stratum {brackets(inner)} hangs on {brackets(outer)}", "a state hangs on the nation, a district on its state"
        )


def brackets(constraints: Iterable[Constraint]) -> str:
    """Constraints as they stand in the name of a target, sorted: ``[age<5,age>-1]``."""
    return f"[{','.join(sorted(str(c) for c in constraints))}]"
