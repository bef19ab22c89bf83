"""Reconciliation: parts of a whole made to add up to it, nation over states over districts, by the more trusted figure.

The hierarchy inconsistency factor. A quantity (variable, constraints without place, reform) is compared where all parts of a
whole are there. First a whole follows its parts where they are more trusted, from the districts up; then all parts are scaled
to their whole, from the nation down. So in the end nation = states = districts, unless a ratio lies outside ``BOUNDS``: such
figures do not mean the same, are left alone, and stay in the consistency report.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.targets.vocabulary import sources

PLACES: frozenset[int] = frozenset({0, *(state.fips for state in STATES), *DISTRICTS})
"""The nation, every state, every district."""

BOUNDS = (1 / 3, 3.0)
"""Ratios of a whole to the sum of its parts between which they are taken for the same quantity."""

NEGLIGIBLE = 1e-9
"""Relative difference that is rounding of floating point and no contradiction."""

_PERIODS = 10_000  # more than any year: a rank is trust, then vintage
_UNRANKED = -1


@dataclass(frozen=True)
class _Links:
    """Wholes of one level and their parts: row numbers of the wholes, row numbers of all parts, and whose part each is."""

    wholes: NDArray[np.int64]
    parts: NDArray[np.int64]
    owner: NDArray[np.int64]

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.owner, values[self.parts], len(self.wholes)).astype(np.float64)


def quantities(targets: pd.DataFrame) -> pd.Series:
    """What each target is a total of, place aside: reform and name without the place."""
    return targets["reform_id"].astype(str) + "/" + targets["name"].str.split("/", n=1).str[1]


def reconcile(targets: pd.DataFrame, places: Collection[int] = PLACES) -> pd.DataFrame:
    """Targets whose parts add up to their wholes.

    Parameters
    ----------
    targets : DataFrame
        Uprated targets, one per name: at least value (dollars or counts), reform_id, name, geographic_id, source, period.
    places : collection of int
        All places that there are: a whole is compared with its parts only where none of them is missing.

    Returns
    -------
    DataFrame
        The same rows with two more columns and ``value`` multiplied by the first: hierarchy_factor (1.0 where nothing was
        scaled) and hierarchy_follows (source of the figure that decided, empty where nothing was scaled).
    """
    return _solve(targets, places)[0]


def compare_levels(targets: pd.DataFrame, places: Collection[int] = PLACES) -> pd.DataFrame:
    """Every whole against the sum of its parts, before reconciliation, and which of them is followed.

    Returns
    -------
    DataFrame
        A row per whole with all its parts: quantity, place (code of the whole), level of the parts, row and part (row numbers
        of the whole and of its first part in ``targets``), whole and parts (the two values), ratio (whole / parts),
        follows_parts (whether the whole took their sum), reconciled (whether they are equal after ``reconcile``).
    """
    return _solve(targets, places)[1]


def largest_gap(targets: pd.DataFrame, places: Collection[int] = PLACES) -> float:
    """Largest relative difference between a whole and the sum of its parts, of those whose ratio lies within ``BOUNDS``."""
    ratio = compare_levels(targets, places)["ratio"]
    gaps = (ratio[ratio.between(*BOUNDS)] - 1).abs()
    return float(gaps.max()) if len(gaps) else 0.0


def _solve(targets: pd.DataFrame, places: Collection[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    before = targets["value"].to_numpy(np.float64)
    values, rank, follows = before.copy(), _rank(targets), np.full(len(targets), -1, dtype=np.int64)
    up = [_links(targets, places, level) for level in ("district", "state")]
    led = [_follow_parts(links, values, rank, follows) for links in up]
    for links in reversed(up):
        _follow_wholes(links, values, follows)
    scaled = ~_same(values, before)
    factor = np.ones(len(values))
    factor[scaled] = values[scaled] / before[scaled]
    source = targets["source"].to_numpy()
    names = np.where(scaled & (follows >= 0), source[follows], "")
    done = targets.assign(value=before * factor, hierarchy_factor=factor, hierarchy_follows=names)
    compared = [
        _compared(targets, links, before, done["value"].to_numpy(np.float64), leads, level)
        for links, leads, level in zip(up, led, ("district", "state"), strict=True)
    ]
    return done, pd.concat(compared, ignore_index=True)


def _rank(targets: pd.DataFrame) -> NDArray[np.int64]:
    """Order of trust: the source's, then the vintage. A target added by hand without a source comes last."""
    trust = {name: source.trust for name, source in sources().items()}
    of_source = targets["source"].map(trust).fillna(_UNRANKED).to_numpy(np.int64)
    return of_source * _PERIODS + targets["period"].to_numpy(np.int64)


def _links(targets: pd.DataFrame, places: Collection[int], level: str) -> _Links:
    """Wholes that have all their parts at a level (``state`` or ``district``), each once."""
    place = targets["geographic_id"].replace("US", "0").astype(np.int64).to_numpy()
    quantity = pd.factorize(quantities(targets))[0].astype(np.int64)
    low, high = (1, 100) if level == "state" else (100, np.iinfo(np.int64).max)
    over = np.where(place >= 100, place // 100, 0)
    of_level = np.flatnonzero((place >= low) & (place < high))
    wanted = pd.Series([p // 100 if p >= 100 else 0 for p in places if low <= p < high], dtype=np.int64).value_counts()
    parts = pd.DataFrame({"quantity": quantity[of_level], "place": over[of_level], "row": of_level})
    count = parts.groupby(["quantity", "place"])["row"].transform("size")
    parts = parts[count.to_numpy() == parts["place"].map(wanted).to_numpy()]
    wholes = pd.DataFrame({"quantity": quantity, "place": place, "whole": np.arange(len(place))})
    wholes = wholes[place < 100 if level == "district" else place == 0]
    found = parts.merge(wholes, on=["quantity", "place"])
    rows, first = np.unique(found["whole"].to_numpy(np.int64), return_inverse=True)
    return _Links(rows, found["row"].to_numpy(np.int64), first.astype(np.int64))


def _follow_parts(
    links: _Links, values: NDArray[np.float64], rank: NDArray[np.int64], follows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Give wholes the sum of their parts where these are more trusted, and then the trust of the least trusted part."""
    weakest = np.full(len(links.wholes), np.iinfo(np.int64).max)
    np.minimum.at(weakest, links.owner, rank[links.parts])
    leads = _alike(links, values) & (weakest > rank[links.wholes])
    first = _first(links)
    values[links.wholes[leads]] = links.sums(values)[leads]
    rank[links.wholes[leads]] = weakest[leads]
    leader = np.where(follows[first] >= 0, follows[first], first)
    follows[links.wholes[leads]] = leader[leads]
    return leads


def _follow_wholes(links: _Links, values: NDArray[np.float64], follows: NDArray[np.int64]) -> None:
    """Scale parts to their wholes."""
    sums, wholes = links.sums(values), values[links.wholes]
    scales = _alike(links, values) & ~_same(wholes, sums)
    ratio = np.ones(len(wholes))
    ratio[scales] = wholes[scales] / sums[scales]
    leader = np.where(follows[links.wholes] >= 0, follows[links.wholes], links.wholes)
    chosen = scales[links.owner]
    values[links.parts] *= ratio[links.owner]
    follows[links.parts[chosen]] = leader[links.owner[chosen]]


def _alike(links: _Links, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether whole and sum may be the same quantity: both zero, or of one sign and not too far apart."""
    sums, wholes = links.sums(values), values[links.wholes]
    size = np.abs(wholes)
    within = (size >= BOUNDS[0] * np.abs(sums)) & (size <= BOUNDS[1] * np.abs(sums))
    return within & (np.sign(sums) == np.sign(wholes))


def _same(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(first - second) <= NEGLIGIBLE * np.maximum(np.abs(first), np.abs(second)))


def _first(links: _Links) -> NDArray[np.int64]:
    """Row of the first part of each whole."""
    first = np.full(len(links.wholes), np.iinfo(np.int64).max)
    np.minimum.at(first, links.owner, links.parts)
    return first


def _compared(
    targets: pd.DataFrame,
    links: _Links,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    leads: NDArray[np.bool_],
    level: str,
) -> pd.DataFrame:
    sums, wholes = links.sums(before), before[links.wholes]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(_same(wholes, sums), 1.0, wholes / sums)
    named = quantities(targets).to_numpy()[links.wholes]
    return pd.DataFrame(
        {
            "quantity": named,
            "place": targets["geographic_id"].to_numpy()[links.wholes],
            "level": level,
            "row": links.wholes,
            "part": _first(links),
            "whole": wholes,
            "parts": sums,
            "ratio": ratio,
            "follows_parts": leads,
            "reconciled": _same(after[links.wholes], links.sums(after)),
        }
    )
