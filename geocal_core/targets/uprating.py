"""Uprating: a published total brought to another year by what it is, not by one price index for all.

``data/series.csv`` names the series of a variable, or of a variable within a domain (persons with Medicaid follow enrolment,
other persons the population). ``data/uprating.csv`` holds the series as published, every figure with its source;
``data/uprating_growth.csv`` says by what other series one grows where it is not published. A series that reaches only one of
the two years is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from math import prod

from geocal_core.errors import ConfigError
from geocal_core.targets.vocabulary import data_rows, target_variable


@cache
def series() -> Mapping[str, Mapping[int, float]]:
    """All series: name to year to value, in the unit of their rows (a product of series: in that of the product)."""
    found = published()
    for name in growth():
        _extend(found, name)
    return {name: dict(sorted(values.items())) for name, values in sorted(found.items())}


def published() -> dict[str, dict[int, float]]:
    """The series as published, without what they grow by."""
    found: dict[str, dict[int, float]] = {}
    for row in data_rows("uprating.csv"):
        found.setdefault(row["series"], {})[int(row["year"])] = float(row["value"])
    return found


@cache
def growth() -> Mapping[str, tuple[str, ...]]:
    """By which other series (the product of them) a series grows in the years in which it is not published."""
    return {row["series"]: tuple(row["follows"].split()) for row in data_rows("uprating_growth.csv")}


def _extend(found: dict[str, dict[int, float]], name: str) -> None:
    """Fill a series in the years that all it follows have, from its nearest published year on."""
    followed = growth().get(name, ())
    for other in followed:
        _extend(found, other)
    if not followed:
        return
    years = set.intersection(*(set(found[other]) for other in followed))
    index = {year: prod(found[other][year] for other in followed) for year in years}
    own = found.setdefault(name, {})
    anchors = sorted(set(own) & years)
    if own and not anchors:
        raise ConfigError(f"the series {name} and what it follows have no year in common", "see data/uprating_growth.csv")
    for year in sorted(years - set(own)):
        nearest = min(anchors, key=lambda anchor: (abs(anchor - year), anchor), default=None)
        own[year] = index[year] if nearest is None else own[nearest] * (index[year] / index[nearest])


@cache
def _named() -> Mapping[tuple[str, str], str]:
    return {(row["variable"], row["domain"]): row["series"] for row in data_rows("series.csv")}


def series_of(variable: str, domain: Iterable[str] = ()) -> str:
    """Name of the series of a variable's totals within a domain; empty if none is named.

    Parameters
    ----------
    variable : str
    domain : iterable of str
        Variables that the target's stratum constrains. The first of them (by name) with a series of its own decides.
    """
    of_domain = (_named().get((variable, constrained)) for constrained in sorted(domain))
    return next((name for name in of_domain if name), target_variable(variable).series)


def factor(variable: str, period: int, year: int, domain: Iterable[str] = ()) -> tuple[float, str]:
    """What a total of a variable is multiplied by to come from ``period`` to ``year``, and the series that says so.

    Parameters
    ----------
    variable : str
    period, year : int
    domain : iterable of str
        Variables that the target's stratum constrains besides place.

    Returns
    -------
    factor : float
        1.0 if the years are the same.
    series : str
        Name of the series, empty if none was used.

    Raises
    ------
    ConfigError
        If the variable is unknown or its series lacks one of the years.
    """
    name = series_of(variable, domain)
    if period == year:
        return 1.0, ""
    if not name:
        raise ConfigError(
            f"{variable} of {period} cannot be uprated to {year}: no series is named for it", "add a line to data/series.csv"
        )
    values = series()[name]
    for wanted in (period, year):
        if wanted not in values:
            raise ConfigError(
                f"{variable} of {period} cannot be uprated to {year}: the series {name} has no {wanted}",
                f"it has {min(values)} to {max(values)}; add the published figure to data/uprating.csv",
            )
    return values[year] / values[period], name
