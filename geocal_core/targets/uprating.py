"""Uprating: a published total brought to another year by what it is, not by one price index for all.

Counts move with the population; adjusted gross income, earned income credit and SNAP benefits each with a series of their
own (``data/uprating.csv``, every figure with its source). A series that lacks one of the two years is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from geocal_core.errors import ConfigError
from geocal_core.targets.vocabulary import data_rows, target_variable


@cache
def series() -> Mapping[str, Mapping[int, float]]:
    """All series: name to year to value, in persons or dollars."""
    found: dict[str, dict[int, float]] = {}
    for row in data_rows("uprating.csv"):
        found.setdefault(row["series"], {})[int(row["year"])] = float(row["value"])
    return found


def factor(variable: str, period: int, year: int) -> tuple[float, str]:
    """What a total of a variable is multiplied by to come from ``period`` to ``year``, and the series that says so.

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
    name = target_variable(variable).series
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
