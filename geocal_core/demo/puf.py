"""The demo nation as the IRS public use file of tax year 2015 with its demographic supplement.

Tax units that file are drawn, the rich far more often than others; their amounts of 2024 are brought back to 2015 by the growth
of published totals per return. The four most unusual groups of returns are withdrawn and published as aggregate records.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from geocal_core import seeds
from geocal_core.demo.archives import csv_text
from geocal_core.demo.districts import Floats, Integers, districts_of, rows_of
from geocal_core.demo.nation import Nation, draw_nation, share_out
from geocal_core.demo.returns import Returns, file_returns
from geocal_core.population.population import Column
from geocal_core.settings import RawSettings

_LEAN = 2.6
_TOLD = 0.97
_AGGREGATES = (999_996, 999_997, 999_998, 999_999)
_GROUP = 2

_AGES = (26, 35, 45, 55, 65, 80)
_DEPENDENT_AGES = (5, 13, 17, 19, 24)
_AGI_RANGES = (1, 5e3, 1e4, 1.5e4, 2e4, 2.5e4, 3e4, 4e4, 5e4, 7.5e4, 1e5, 2e5, 5e5, 1e6, 1.5e6, 2e6, 5e6, 1e7)


def write(settings: RawSettings, folder: Path) -> None:
    """Write ``puf_2015.csv`` and ``demographics_2015.csv`` with ``settings.households`` returns and four aggregate records.

    Raises
    ------
    ConfigError
        If there are fewer returns than districts.
    """
    districts = districts_of(settings.states)
    counts = share_out(settings.households, districts)
    nation = draw_nation(districts, counts, stream="puf", seed=settings.seed, lean=_LEAN, control="state")
    rng = seeds.generator("demo.puf", settings.seed)
    returns = _sample(file_returns(nation, rng), settings.households, rng)
    amounts = _in_2015(returns.amounts)
    weight = np.rint(100 * returns.weight / _growth()["S006", "all"]).astype(np.int64)
    records = _records(nation, returns, amounts, weight)
    aggregate = _aggregates(records, amounts["E00100"])
    kept = np.setdiff1d(np.arange(len(weight)), np.concatenate(list(aggregate.values())))
    table = {name: np.concatenate([column[kept], _summed(name, column, weight, aggregate)]) for name, column in records.items()}
    (folder / "puf_2015.csv").write_text(csv_text(table))
    told = kept[rng.random(len(kept)) < _TOLD]
    supplement = {name: column[told] for name, column in _demographics(nation, returns).items()}
    (folder / "demographics_2015.csv").write_text(csv_text({"RECID": records["RECID"][told], **supplement}))


def _sample(returns: Returns, size: int, rng: np.random.Generator) -> Returns:
    """``size`` of the returns, or all of them, at weights that keep the number of returns."""
    n = len(returns.weight)
    chosen = np.sort(rng.permutation(n)[: min(size, n)])
    weight = returns.weight[chosen]
    return Returns(
        tax_unit=returns.tax_unit[chosen],
        status=returns.status[chosen],
        weight=weight * returns.weight.sum() / weight.sum(),
        amounts={name: values[chosen] for name, values in returns.amounts.items()},
    )


def _growth() -> dict[tuple[str, str], float]:
    """Growth of each column from 2015 to 2024, per return, by part of its amounts; of ``S006``, of the number of returns."""
    factors = {
        (column, row["part"]): float(row["total_2024"]) / float(row["total_2015"])
        for row in rows_of("puf_growth.csv")
        for column in row["columns"].split()
    }
    returns = factors["S006", "all"]
    return {key: factor if key[0] == "S006" else factor / returns for key, factor in factors.items()}


def _in_2015(amounts: Mapping[str, Floats]) -> dict[str, Floats]:
    """Amounts brought back to 2015 and rounded to dollars, with the sums that follow from them."""
    growth = _growth()
    parts = {"all": lambda x: x, "gain": lambda x: np.maximum(x, 0), "loss": lambda x: np.minimum(x, 0)}
    back: dict[str, Floats] = {}
    for (column, part), factor in growth.items():
        if column in amounts:
            back[column] = back.get(column, 0.0) + np.rint(parts[part](amounts[column]) / factor)
    back["E00600"] = back["E00600"] + back["E00650"]
    back["E01500"] = back["E01500"] + back["E01700"]
    back["E01000"] = np.maximum(back["P22250"] + back["P23250"], -3_000)
    estate = back["E26390"] - back["E26400"]
    back["E02000"] = back["E25850"] - back["E25860"] + back["E26270"] + estate + back["E27200"]
    return back


def _records(nation: Nation, returns: Returns, amounts: Mapping[str, Floats], weight: Integers) -> dict[str, Integers]:
    people = nation.people
    unit = nation.population.group_of_person("tax_unit")
    n = nation.population.count("tax_unit")
    size = np.bincount(unit, minlength=n)[returns.tax_unit]
    young = np.bincount(unit[people.dependent & (people.age < 17)], minlength=n)[returns.tax_unit]
    qualifying = np.bincount(unit[people.dependent & (people.age < 24)], minlength=n)[returns.tax_unit]
    codes = {
        "RECID": np.arange(len(weight)) + 1,
        "MARS": returns.status,
        "S006": weight,
        "XTOT": size,
        "DSI": np.zeros(len(weight), dtype=np.int64),
        "FLPDYR": np.full(len(weight), 2015),
        "AGIR1": np.digitize(amounts["E00100"], _AGI_RANGES),
        "N24": np.where(amounts["E00100"] < 110_000, young, 0),
        "EIC": np.where((amounts["E00200"] > 0) & (amounts["E00100"] < 53_000), np.minimum(qualifying, 3), 0),
    }
    return codes | {name: values.astype(np.int64) for name, values in sorted(amounts.items())}


def _aggregates(records: Mapping[str, Integers], agi: Floats) -> dict[int, Integers]:
    """Returns withdrawn for each aggregate record: those of the greatest loss, and three groups of the greatest income."""
    order = np.argsort(agi, kind="stable")
    top = order[-3 * _GROUP :]
    groups = [order[:_GROUP], top[:_GROUP], top[_GROUP : 2 * _GROUP], top[2 * _GROUP :]]
    return dict(zip(_AGGREGATES, groups, strict=True))


def _summed(name: str, column: Integers, weight: Integers, groups: Mapping[int, Integers]) -> Integers:
    """A column of the aggregate records: weights add up, amounts are means by weight, codes do not apply."""
    if name == "RECID":
        return np.array(list(groups))
    if name == "S006":
        return np.array([column[rows].sum() for rows in groups.values()])
    if name == "FLPDYR":
        return np.full(len(groups), 2015)
    if name in ("MARS", "XTOT", "DSI", "AGIR1", "N24", "EIC"):
        return np.zeros(len(groups), dtype=np.int64)
    return np.array([int(np.rint(np.average(column[rows], weights=weight[rows]))) for rows in groups.values()])


def _demographics(nation: Nation, returns: Returns) -> dict[str, Column]:
    """Age range and sex of the filer, who earns, and age ranges of up to three dependents, youngest first."""
    people = nation.people
    person_unit = nation.population.group_of_person("tax_unit")
    first = np.unique(person_unit, return_index=True)[1][returns.tax_unit]
    joint = returns.status == 2
    share = np.where(joint, returns.filer_share(nation), 1.0)
    columns: dict[str, Column] = {
        "AGERANGE": np.digitize(people.age[first], _AGES) + 1,
        "GENDER": np.where(people.female[first], 2, 1),
        "EARNSPLIT": np.where(joint, np.digitize(-share, (-0.75, -0.25)) + 1, 0),
    }
    rows = np.flatnonzero(people.dependent)
    rows = rows[np.lexsort((people.age[rows], person_unit[rows]))]
    unit = person_unit[rows]
    order = np.arange(len(rows)) - np.searchsorted(unit, unit)
    codes = np.zeros((nation.population.count("tax_unit"), 3), dtype=np.int64)
    within = order < 3
    codes[unit[within], order[within]] = np.digitize(people.age[rows[within]], _DEPENDENT_AGES) + 1
    return columns | {f"AGEDP{k + 1}": codes[returns.tax_unit, k] for k in range(3)}
