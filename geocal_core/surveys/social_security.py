"""Social Security as the engine takes it in: four kinds, told by the reason for receiving it, or by age where none is told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The engine's inputs and the reasons of the CPS ASEC (RESNSS1, RESNSS2), strongest first: a person who gives two reasons
# counts for the stronger.
REASONS: dict[str, tuple[int, ...]] = {
    "social_security_retirement": (1,),
    "social_security_disability": (2,),
    "social_security_survivors": (3, 5),
    "social_security_dependents": (4, 6, 7),
}
KINDS = tuple(REASONS)
RETIREMENT, DISABILITY = KINDS[:2]

# The earliest age at which a retirement benefit can be claimed (42 U.S.C. 402(a)).
EARLIEST_RETIREMENT = 62

Vector = NDArray[np.float64]


def by_reason(amount: Vector, first: NDArray[np.int64], second: NDArray[np.int64], age: Vector) -> dict[str, Vector]:
    """Each person's benefits under the strongest of the two reasons given; by age where neither is one of the four kinds.

    Parameters
    ----------
    amount : ndarray of float64, shape (n_persons,)
        Dollars of the year.
    first, second : ndarray of int64
        Codes of the reasons, 0 for none.
    age : ndarray of float64
        Years.
    """
    left = np.ones(len(amount), dtype=bool)
    values: dict[str, Vector] = {}
    for kind, codes in REASONS.items():
        named = left & (np.isin(first, codes) | np.isin(second, codes))
        values[kind] = np.where(named, amount, 0.0)
        left &= ~named
    for kind, benefits in by_age(np.where(left, amount, 0.0), age).items():
        values[kind] = values[kind] + benefits
    return values


def by_age(amount: Vector, age: Vector) -> dict[str, Vector]:
    """Benefits for retirement from the earliest age at which it can be claimed, for disability before."""
    retired = age >= EARLIEST_RETIREMENT
    return {RETIREMENT: np.where(retired, amount, 0.0), DISABILITY: np.where(retired, 0.0, amount)}
