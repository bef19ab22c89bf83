"""Single national figures, each quoted from a publication: every line of ``data/published.csv`` names it, its table and URL.

These are figures that no file of another agency module holds. Where one of them is also in such a file, the more trusted
source is followed and the other kept beside it (``data/sources.csv``). Of a publication that gives several years, the latest
one not after the year wanted is read. ``reform_id`` above 0 marks a tax expenditure: what neutralising the variable adds to
income tax.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from geocal_core.errors import ConfigError
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import constraint_of
from geocal_core.targets.figures import NATION, Domain, Figure, Scope, Table
from geocal_core.targets.files import RawFiles
from geocal_core.targets.vocabulary import data_rows, target_variable

_DATA = "published.csv"


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    raw.use(Path(str(resources.files("geocal_core.targets").joinpath("data", _DATA))))
    latest: dict[tuple[str, Domain, int, str], Figure] = {}
    for row in data_rows(_DATA):
        figure = _figure(row)
        if figure.period > scope.year:
            continue
        key = (figure.variable, figure.domain, figure.reform_id, figure.source)
        if key not in latest or latest[key].period < figure.period:
            latest[key] = figure
    return list(latest.values())


def _figure(row: dict[str, str]) -> Figure:
    variable = target_variable(row["variable"])
    if row["unit"] != variable.unit:
        raise ConfigError(f"{_DATA}: {variable.name} is in {row['unit']}, the engine's in {variable.unit}")
    return Figure(
        variable.name,
        float(row["value"]),
        int(row["period"]),
        NATION,
        row["source"],
        _domain(row["constraints"]),
        notes="; ".join(filter(None, (row["publication"], row["note"], row["url"]))),
        reform_id=int(row["reform_id"]),
    )


def _domain(text: str) -> Domain:
    """Constraints written as ``snap>0``, several apart by blanks; none is the nation as a whole."""
    return (tuple(constraint_of(part) for part in text.split()),) if text else ()


SOURCES: tuple[PublishedFile, ...] = ()
TABLES = (Table("published", ("national",), _read, whole_nation=True),)
