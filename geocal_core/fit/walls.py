"""Variables between walls that repel them, as the interior-point method of ``dual`` moves them.

A wall and the force with which it holds a variable belong together: at a solution one of force and distance is 0. The method
has both above 0 and their products shrink (Wright 1997, Primal-Dual Interior-Point Methods). Nothing here knows of targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from geocal_core.matrix.factored import Floats

_NEAREST = 0.99  # of the way to a wall, at most
_LEAST_LEFT = 0.03  # of a force, after a step
_CLEAR = 1e-14  # of a wall's position, that a variable keeps from it


@dataclass(frozen=True)
class Walls:
    """Variables, the walls on both sides of them, and the forces of these.

    Attributes
    ----------
    place : ndarray of float64
        The variables.
    walls : tuple of (sign, position, force)
        1 and -1 for walls above and below; positions are numbers or arrays, forces arrays above 0.
    """

    place: Floats
    walls: tuple[tuple[float, Any, Floats], ...]

    @classmethod
    def around(cls, place: Floats, low: Any, high: Any, product: float) -> Walls:
        """Variables between two walls, all products of force and distance the same. There is no wall at infinity."""
        walls = [
            (sign, wall, product / (sign * (wall - place)))
            for sign, wall in ((1.0, high), (-1.0, low))
            if np.isfinite(wall).all()
        ]
        return cls(place, tuple(walls))

    def part(self, here: slice) -> Walls:
        """Some of the variables, where positions of walls are numbers; what moves them moves these."""
        return Walls(self.place[here], tuple((sign, wall, force[here]) for sign, wall, force in self.walls))

    def _sides(self) -> Iterator[tuple[float, Floats, Floats]]:
        for sign, wall, force in self.walls:
            yield sign, sign * (wall - self.place), force

    def stiffness(self) -> Floats:
        """What the force towards lower values rises by with the place."""
        return sum((force / distance for _, distance, force in self._sides()), np.zeros_like(self.place))

    def wanted(self, product: float) -> Floats:
        """The force towards lower values, of walls whose products are as given."""
        return sum((sign * product / distance for sign, distance, _ in self._sides()), np.zeros_like(self.place))

    def products(self) -> Floats:
        """Sums of a variable's products."""
        return sum((force * distance for _, distance, force in self._sides()), np.zeros_like(self.place))

    def length(self, change: Floats, most: float = 1.0) -> float:
        """The longest step, 1 at most, that keeps a share of the variables clear of the walls."""
        shares = self._shares(change)
        return min(1.0, _NEAREST / max(float(np.quantile(shares, most)), _NEAREST)) if shares.size else 1.0

    def move(self, change: Floats, product: float, length: float) -> None:
        """A step on the way to products as given, in place.

        A variable that would come too near to a wall goes less far. Forces do not shorten a step: one that would vanish falls
        to a share of what it was.
        """
        own = np.minimum(length, _NEAREST / np.maximum(self._shares(change), _NEAREST))
        for sign, distance, force in self._sides():
            aim = force + own * ((product + sign * force * change) / distance - force)
            np.maximum(aim, _LEAST_LEFT * force, out=force)
        self.place[...] += own * change
        for sign, wall, _ in self.walls:  # where rounding would put it on the wall
            clear = wall - sign * _CLEAR * np.abs(wall)
            (np.minimum if sign > 0 else np.maximum)(self.place, clear, out=self.place)

    def _shares(self, change: Floats) -> Floats:
        """Changes as shares of the distances on their way."""
        shares = [sign * change / distance for sign, distance, _ in self._sides()]
        return np.asarray(np.maximum.reduce([np.zeros_like(change), *shares]))
