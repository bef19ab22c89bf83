"""How the domains of strata relate: which lies inside another, and which together make up a whole without gap or overlap.

Constraints on one variable are an interval, whole numbers where the variable counts something. No database and no values here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from geocal_core.targets.constraints import Constraint

_OLDEST = 120
_TRUTH = {"True": 1.0, "False": 0.0}
_MOST_TILINGS = 32


@dataclass(frozen=True)
class Interval:
    """What constraints on one variable leave of it: numbers between two bounds, one text, or all but one value.

    ``low`` and ``high`` are pairs of a number and 0 or 1, so that bounds compare as they lie: an interval begins at
    (5, 0) if 5 belongs to it, at (5, 1) if it begins just above; it ends before (9, 0) or, with 9 in it, before (9, 1).
    """

    low: tuple[float, int] = (-math.inf, 0)
    high: tuple[float, int] = (math.inf, 0)
    text: str = ""

    @property
    def loose(self) -> Interval:
        """The same, whether its bounds belong to it or not; zero stays, as who has none is many."""
        low, high = ((number, kind if number == 0 else 0) for number, kind in (self.low, self.high))
        return Interval(low, high, self.text)

    def within(self, other: Interval) -> bool:
        """Whether all of it lies in another."""
        if other.text or self.text:
            return self.text == other.text or other == Interval()
        return other.low <= self.low and self.high <= other.high


_ANY = Interval()


def interval(variable: str, constraints: Iterable[Constraint]) -> Interval:
    """The interval of the constraints on a variable."""
    low, high = Interval().low, Interval().high
    for constraint in constraints:
        number = _TRUTH.get(constraint.value, constraint.number)
        if constraint.operation == "!=" or number is None:
            return Interval(text=f"{constraint.operation}{constraint.value}")
        if constraint.operation in ("==", ">=", ">"):
            low = max(low, (float(number), 1 if constraint.operation == ">" else 0))
        if constraint.operation in ("==", "<=", "<"):
            high = min(high, (float(number), 0 if constraint.operation == "<" else 1))
    return _whole_numbers(low, high) if _counts(variable) else Interval(low, high)


def _counts(variable: str) -> bool:
    return variable == "age" or variable.endswith("_count")


def _whole_numbers(low: tuple[float, int], high: tuple[float, int]) -> Interval:
    """An interval of whole numbers from 0 on: begins at one of them, ends before another; beyond any age it has no end."""
    first = math.floor(low[0]) + 1 if low[1] and low[0] > -math.inf else low[0]
    if first > -math.inf:
        first = math.ceil(first)
    beyond = math.floor(high[0]) + 1 if high[1] else math.ceil(high[0]) if high[0] < math.inf else math.inf
    return Interval((-math.inf if first <= 0 else float(first), 0), (math.inf if beyond > _OLDEST else float(beyond), 0))


@dataclass(frozen=True)
class Domain:
    """What the constraints of a stratum other than place leave of each variable that they look at."""

    parts: tuple[tuple[str, Interval], ...]

    @classmethod
    def of(cls, constraints: Sequence[Constraint]) -> Domain:
        """The domain of some constraints."""
        names = sorted({c.variable for c in constraints})
        return cls(tuple((name, interval(name, [c for c in constraints if c.variable == name])) for name in names))

    def on(self, variable: str) -> Interval:
        """What it leaves of a variable: all of it, if it does not look at it."""
        return self._by_name.get(variable, _ANY)

    @cached_property
    def _by_name(self) -> Mapping[str, Interval]:
        return dict(self.parts)

    @property
    def loose(self) -> Domain:
        """The same with loose intervals."""
        return Domain(tuple((name, of_name.loose) for name, of_name in self.parts))

    def without(self, variable: str) -> Domain:
        """The domain of the constraints on other variables."""
        return Domain(tuple((name, of_name) for name, of_name in self.parts if name != variable))

    def inside(self, other: Domain) -> bool:
        """Whether it lies in another and is not the same."""
        return self != other and all(self.on(name).within(of_name) for name, of_name in other.parts)


def tilings(whole: Interval, pieces: Sequence[Interval]) -> list[tuple[int, ...]]:
    """All ways (at most 32) to make up a whole of two or more pieces without gap or overlap, as positions in ``pieces``."""
    starts: dict[tuple[float, int], list[int]] = {}
    for position, piece in enumerate(pieces):
        if not piece.text and piece != whole and piece.within(whole) and piece.low < piece.high:
            starts.setdefault(piece.low, []).append(position)
    found: list[tuple[int, ...]] = []
    _continue(starts, pieces, whole, whole.low, (), found)
    return found


def _continue(
    starts: dict[tuple[float, int], list[int]],
    pieces: Sequence[Interval],
    whole: Interval,
    point: tuple[float, int],
    so_far: tuple[int, ...],
    found: list[tuple[int, ...]],
) -> None:
    for position in starts.get(point, ()):
        if len(found) >= _MOST_TILINGS:
            return
        end, laid = pieces[position].high, (*so_far, position)
        if end == whole.high:
            found.append(laid)
        else:
            _continue(starts, pieces, whole, end, laid, found)
