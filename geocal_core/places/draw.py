"""The systematic draw: which block each (household, clone) lives in, given the masses of districts and blocks.

Two steps. *Districts*: they stand on a circle in the order of their codes, each as long as its mass. A household has one start,
and its clones follow it at equal distances, so the number of its clones in a district, and in a state, is its expectation
rounded down or up: twice in one district only where mass times clones is above 1. The starts of all households are themselves
at equal distances in random order, so that districts receive their columns to within one. *Blocks*: the columns of a district
are put in random order and spread at equal distances over its blocks in the order of their codes, so that tracts and counties
within the district receive theirs to within one.

Random order within every district, drawn anew for each, because equal distances alone would send the same households to
neighbouring blocks everywhere: a county's sample would be no sample of its own. The price is that a county which spans
districts meets a household as often as chance has it. Every column lives in a block with probability district's mass times the
block's share of it, whatever the others do; nothing here takes more than one pass over columns and blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def draw_blocks(
    district_mass: Floats,
    first_block: Integers,
    block_mass: Floats,
    n_households: int,
    n_clones: int,
    rng: np.random.Generator,
) -> Integers:
    """Draw a block for every (clone, household).

    Parameters
    ----------
    district_mass : ndarray of float64, shape (n_districts,)
        Not negative, of any total; a district of mass 0 receives nobody.
    first_block : ndarray of int64, shape (n_districts + 1,)
        Where the blocks of each district begin in ``block_mass``, and their number at the end.
    block_mass : ndarray of float64, shape (n_blocks,)
        Positive; its scale matters only within a district.
    n_households, n_clones : int
    rng : numpy Generator

    Returns
    -------
    ndarray of int64, shape (n_clones, n_households)
        Positions of blocks. A clone's number says nothing about its place.
    """
    columns = n_households * n_clones
    if not columns:
        return np.empty((n_clones, n_households), dtype=np.int64)
    counts = _counts(district_mass, np.array([0, len(district_mass)]), np.array([columns]), rng)
    line = np.repeat(np.arange(len(block_mass)), _counts(block_mass, first_block, counts, rng))
    end = 0
    for count in counts.tolist():
        start, end = end, end + count
        line[start:end] = rng.permutation(line[start:end])
    by_household = line.reshape(n_clones, n_households)[:, rng.permutation(n_households)]
    return rng.permuted(by_household, axis=0)


def _counts(mass: Floats, first: Integers, points: Integers, rng: np.random.Generator) -> Integers:
    """How many points fall to each mass, when each group's points lie at equal distances on the line of its masses.

    Parameters
    ----------
    mass : ndarray of float64, shape (n,)
    first : ndarray of int64, shape (groups + 1,)
        Where each group begins in ``mass``.
    points : ndarray of int64, shape (groups,)

    Returns
    -------
    ndarray of int64, shape (n,)
        Each the group's points times its share of the group's mass, rounded down or up.
    """
    size = np.diff(first)
    edge = np.cumsum(mass)
    before = np.concatenate([[0.0], edge])[first]
    total = np.diff(before)
    share = (edge - np.repeat(before[:-1], size)) / np.repeat(np.where(total > 0, total, 1.0), size)
    wanted = np.repeat(points, size)
    passed = np.clip(np.ceil(share * wanted - np.repeat(rng.random(len(points)), size)), 0, wanted).astype(np.int64)
    counts = np.diff(passed, prepend=0)
    starts = first[:-1][size > 0]
    counts[starts] = passed[starts]
    return counts
