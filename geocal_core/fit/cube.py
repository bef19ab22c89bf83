"""The cube method: samples without replacement that keep given chances and given totals.

Deville and Tillé (2004, Efficient balanced sampling: the cube method, Biometrika 91), in the fast form of Chauvet and Tillé
(2006, A fast algorithm for balanced sampling, Computational Statistics 21), by strata as in Chauvet (2009, Stratified balanced
sampling, Survey Methodology 35). A vector of chances walks to a corner of the cube by steps that change no balanced total and
no expectation. Here: the walk alone, over units, strata and rows of numbers; nothing of weights, targets or packages.

A step needs a vector that the balanced rows do not see. Instead of a decomposition for each step, an inverse of the open units'
rows is kept and changed by one pivot when a unit leaves, as the simplex method does: rows^2 operations for a step in place of
rows^3. All strata take their step at once. Rows that depend on others cost nothing: their place in the inverse stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dger

from geocal_core.seeds import uniform
from geocal_core.workers import worker_count

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rows = Callable[[Integers], NDArray[np.floating]]

_LEAST_PIVOT = 1e-7
_DECIDED = 1e-9
_PIVOTS_OF_AN_INVERSE = 256
_NUMBERS_OF_A_BLOCK = 1 << 25  # of the rows of the strata that walk together: 128 MB


def cube_sample(chances: Floats, rows: Rows, strata: Sequence[Integers], seed: int) -> NDArray[np.bool_]:
    """Units of a balanced sample.

    Each stratum walks until no more units are open than it balances rows. What is still open walks on in the next coarser
    strata, where the sizes of the finest and the totals of the coarser are kept; at last sizes alone are kept, first of the
    finest strata, then of the whole.

    Parameters
    ----------
    chances : ndarray of float64, shape (n_units,)
        In [0, 1]; they add up to a whole number.
    rows : callable
        Numbers of units to what they add to each balanced total if they are sampled, shape (len(units), n_rows).
    strata : sequence of ndarray of int, each of shape (n_units,)
        Labels, from the finest strata to the coarsest, each made of whole ones of the one before; at least one array.
    seed : int

    Returns
    -------
    ndarray of bool, shape (n_units,)
        As many as the chances add up to. The finest strata have theirs but for less than one unit; a unit is in the sample
        with its chance; the same seed gives the same sample for any number of threads.
    """
    now = np.array(chances, dtype=np.float64)
    finest = np.unique(strata[0], return_inverse=True)[1].astype(np.int64)
    whole = np.zeros(len(now), dtype=np.int64)
    for phase, labels in enumerate([*strata, whole]):
        _walk(now, labels, finest if phase else None, rows, seed, phase)
    for phase, labels in enumerate((finest, whole), len(strata) + 1):
        _walk(now, labels, None, None, seed, phase)
    return now > 0.5


def _walk(now: Floats, labels: Integers, finest: Integers | None, rows: Rows | None, seed: int, phase: int) -> None:
    """Let the open units of every stratum walk, in place: their size is kept, or that of their finest strata, and the rows."""
    now[now < _DECIDED] = 0.0
    now[now > 1 - _DECIDED] = 1.0
    open_ = np.flatnonzero((now > 0) & (now < 1))
    if not len(open_):
        return
    order = np.lexsort((uniform("fit.cube.order", open_, np.int64(phase), seed=seed), labels[open_]))
    units = open_[order]
    groups = np.split(units, np.flatnonzero(np.diff(labels[units])) + 1)
    groups.sort(key=len, reverse=True)  # strata of a like size walk together

    def walk(block: list[Integers]) -> None:
        values = _block(block, finest, rows)
        chances, draws = (np.zeros(values.shape[:2]) for _ in range(2))
        for place, members in enumerate(block):
            chances[: len(members), place] = now[members]
            draws[: len(members), place] = uniform("fit.cube.step", members, np.int64(phase), seed=seed)
        found = fly(values, chances, draws)
        for place, members in enumerate(block):
            now[members] = found[: len(members), place]

    with ThreadPoolExecutor(worker_count()) as pool:
        list(pool.map(walk, _blocks(groups, rows)))


def _blocks(groups: list[Integers], rows: Rows | None) -> Iterator[list[Integers]]:
    """Strata that walk together: whatever the number of threads, so that each has the same neighbours."""
    width = 1 if rows is None else 1 + rows(groups[0][:1]).shape[1]
    most = max(1, min(_NUMBERS_OF_A_BLOCK // (width * len(groups[0])), -(-len(groups) // 2)))
    for begin in range(0, len(groups), most):
        yield groups[begin : begin + most]


def _block(block: list[Integers], finest: Integers | None, rows: Rows | None) -> NDArray[np.float32]:
    """What the units of some strata add to what is kept: shape (units of the longest, strata, rows), filled up with zeros."""
    parts = []
    for members in block:
        if finest is None:
            sizes = np.ones((len(members), 1), dtype=np.float32)
        else:
            column = np.unique(finest[members], return_inverse=True)[1]
            sizes = np.zeros((len(members), int(column.max()) + 1), dtype=np.float32)
            sizes[np.arange(len(members)), column] = 1.0
        parts.append((sizes, sizes[:, :0] if rows is None else _scaled(np.asarray(rows(members), dtype=np.float32))))
    width = max(sizes.shape[1] for sizes, _ in parts)
    values = np.zeros((len(block[0]), len(block), width + parts[0][1].shape[1]), dtype=np.float32)
    for place, (sizes, balanced) in enumerate(parts):
        values[: len(sizes), place, : sizes.shape[1]] = sizes
        values[: len(sizes), place, width:] = balanced
    return values


def _scaled(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows brought to a mean square of 1, so that one tolerance serves them all."""
    size = np.sqrt(np.einsum("ij,ij->j", rows, rows, dtype=np.float64) / len(rows))
    return rows * np.divide(1.0, size, out=np.zeros_like(size), where=size > 0).astype(np.float32)


def fly(values: NDArray[np.floating], chances: Floats, draws: Floats) -> Floats:
    """The flight: chances after which every stratum has at most as many open units as rows, and the same totals as before.

    Parameters
    ----------
    values : ndarray, shape (n_units, n_strata, n_rows)
        What each unit adds to each balanced total of its stratum when it is sampled. Strata with fewer units are filled up
        with zeros.
    chances : ndarray of float64, shape (n_units, n_strata)
        In [0, 1].
    draws : ndarray of float64, shape (n_units, n_strata)
        Uniform in [0, 1): the direction of the step at which a unit comes in.

    Returns
    -------
    ndarray of float64, shape (n_units, n_strata)
        The expectation over the draws is ``chances``.
    """
    flight = _Flight(values, chances)
    for unit in range(len(chances)):
        flight.step(unit, draws[unit])
    return flight.result()


class _Flight:
    """The open units of all strata, at most one to a row, and the inverses of their rows."""

    def __init__(self, values: NDArray[np.floating], chances: Floats) -> None:
        _, n_strata, n_rows = values.shape
        self._values, self._chances = values, chances
        self._strata = np.arange(n_strata)
        self._unit = np.full((n_strata, n_rows), -1)  # of each place; -1 while it is empty
        self._now = np.zeros((n_strata, n_rows))
        self._inverse = np.tile(np.eye(n_rows), (n_strata, 1, 1))
        self._pivots = 0
        self._done = np.array(chances)

    def step(self, unit: int, draw: Floats) -> None:
        """A unit of each stratum comes in; whoever reaches 0 or 1 by the step goes."""
        strata = self._strata
        shift = np.matmul(self._inverse, self._values[unit, :, :, None], dtype=np.float64)[:, :, 0]
        empty = self._unit < 0
        size = np.abs(shift)
        takes = np.where(empty, size, 0.0)
        place = takes.argmax(axis=1)
        settles = takes[strata, place] > _LEAST_PIVOT
        # The others give way: as the unit rises by 1, they change by -shift.
        still = empty | (size <= _LEAST_PIVOT)
        falls = shift > 0
        low, high = self._now, 1.0 - self._now
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = np.where(still, np.inf, np.where(falls, low, high) / size)
            fall = np.where(still, np.inf, np.where(falls, high, low) / size)
        chance = self._chances[unit]
        first_up, first_down = rise.argmin(axis=1), fall.argmin(axis=1)
        most_up = np.minimum(rise[strata, first_up], 1.0 - chance)
        most_down = np.minimum(fall[strata, first_down], chance)
        up = draw * (most_up + most_down) < most_down
        move = np.where(settles, 0.0, np.where(up, most_up, -most_down))
        goes_itself = ~settles & np.where(up, most_up >= 1.0 - chance, most_down >= chance)
        self._now -= move[:, None] * np.where(still, 0.0, shift)
        self._done[unit] = np.where(goes_itself, up, self._done[unit])
        stays = np.flatnonzero(~goes_itself)
        if len(stays):
            where = np.where(settles, place, np.where(up, first_up, first_down))[stays]
            self._replace(unit, stays, where, shift[stays], (chance + move)[stays])

    def _replace(self, unit: int, strata: Integers, place: Integers, shift: Floats, chance: Floats) -> None:
        """Put a unit into a place of some strata; who stood there is decided."""
        gone, here = self._unit[strata, place], np.arange(len(strata))
        left = gone >= 0
        self._done[gone[left], strata[left]] = self._now[strata[left], place[left]] > 0.5
        self._unit[strata, place] = unit
        self._now[strata, place] = chance
        self._pivots += 1
        if self._pivots % _PIVOTS_OF_AN_INVERSE == 0:
            self._invert()
            return
        row = self._inverse[strata, place] / shift[here, place][:, None]
        shift[here, place] -= 1.0
        for one, stratum in enumerate(strata.tolist()):
            # In place and in cache; the transpose because BLAS counts by columns.
            dger(-1.0, row[one], shift[one], a=self._inverse[stratum].T, overwrite_a=True)

    def _invert(self) -> None:
        """The inverses anew, before rounding adds up."""
        filled = self._unit >= 0
        rows = self._values[self._unit, self._strata[:, None]].astype(np.float64)
        rows = np.where(filled[:, :, None], rows, np.eye(filled.shape[1]))
        self._inverse = np.ascontiguousarray(np.linalg.inv(rows.transpose(0, 2, 1)))

    def result(self) -> Floats:
        """The chances as they are now."""
        strata, place = np.nonzero(self._unit >= 0)
        self._done[self._unit[strata, place], strata] = np.clip(self._now[strata, place], 0.0, 1.0)
        return self._done
