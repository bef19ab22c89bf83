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

    def length(self, change: Floats) -> float:
        """The longest step, 1 at most, that keeps clear of the walls."""
        shares = [sign * change / distance for sign, distance, _ in self._sides()]
        most = max((float(np.max(share)) for share in shares if share.size), default=0.0)
        return min(1.0, _NEAREST / most) if most > 0 else 1.0

    def move(self, change: Floats, product: float, length: float) -> None:
        """A step on the way to products as given, in place.

        Forces do not shorten it: one that would vanish falls to a share of what it was.
        """
        for sign, distance, force in self._sides():
            aim = force + length * ((product + sign * force * change) / distance - force)
            np.maximum(aim, _LEAST_LEFT * force, out=force)
        self.place[...] += length * change
