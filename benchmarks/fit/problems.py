"""The problems of the suite, each written as a calibration package with some targets held out.

Targets of 0 are left out of all of them: the peers divide by the target and 1, so that a dollar missed of nothing would count
more than all else, and the objectives would not be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.fit import synthetic
from geocal_core.matrix.package import Package, write_package
from geocal_core.matrix.quantity import Quantity
from geocal_core.matrix.variants import Variants, columns_of
from geocal_core.places.states import DISTRICTS
from geocal_core.progress import Silent
from geocal_core.settings import TargetSettings
from geocal_core.targets.build import build_database
from geocal_core.targets.select import load_targets
from geocal_core.targets.selection import read_selection, selected

YEAR = 2024
WITHOUT = ("irs_soi_district", "cdc_births")  # tables that a folder of public files may lack
# About 24,000 rows and 1e8 explicit non-zeros with 12,000 households in 430 clones.
_SCALE_AT_DISTRICTS = 47
_SCALE_ATOMS = 7.3
_TINY_DISTRICTS = 12


@dataclass(frozen=True)
class Sources:
    """What problems are made of.

    Attributes
    ----------
    demo, full : Path
        Packages of the demo nation: of the demo's size, and with 430 clones.
    raw : Path or None
        Folder of the agencies' own files.
    households, clones : int
        Of the problem ``scale``.
    held_out : float
        Share of the targets of each level that is held out where a package holds out none.
    seed : int
    """

    demo: Path
    full: Path
    raw: Path | None
    households: int = 12_000
    clones: int = 430
    held_out: float = 0.08
    seed: int = 0


class Missing(Exception):
    """What a problem is made of is not there."""


def build(name: str, sources: Sources, folder: Path) -> str:
    """Write a problem as a package into a new folder; a line on what it is.

    Raises
    ------
    Missing
        If a package or a folder that it needs is not there.
    """
    return PROBLEMS[name](sources, folder)


def _tiny(sources: Sources, folder: Path) -> str:
    districts = [code for code in DISTRICTS if code // 100 in (9, 44, 50)][:_TINY_DISTRICTS]
    made = synthetic.nation(150, 2 * len(districts), sources.seed, districts, at_districts=10)
    return _made_up(synthetic.near_hidden_weights(made, sources.seed), sources, folder)


def _scale(sources: Sources, folder: Path) -> str:
    size = (sources.households, sources.clones, sources.seed, DISTRICTS, _SCALE_AT_DISTRICTS, _SCALE_ATOMS)
    return _made_up(synthetic.near_hidden_weights(synthetic.nation(*size), sources.seed), sources, folder)


def _made_up(made: synthetic.Nation, sources: Sources, folder: Path) -> str:
    made.targets = prepared(made.targets, sources)
    synthetic.write(made, folder, np.full(made.variants.n_columns, synthetic.MEAN_WEIGHT))
    return f"made up: {made.variants.n_records:,} households x {made.variants.n_clones} clones, targets near hidden weights"


def _demo(sources: Sources, folder: Path) -> str:
    package = _opened(sources.demo, "make it with `make demo`")
    rewrite(package, prepared(package.targets, sources), folder)
    return f"the demo nation's package: {package.n_records:,} households x {package.n_clones} clones"


def _real(sources: Sources, folder: Path) -> str:
    """Households, places and values of the full package; the agencies' targets of what it has values of."""
    package = _opened(sources.full, "make it with `python benchmarks/package.py`")
    if sources.raw is None or not sources.raw.is_dir():
        raise Missing("give the folder of the agencies' files with --raw")
    targets, left_out = published(package, sources.raw, folder.with_suffix(".db"))
    rewrite(package, prepared(targets, sources), folder)
    return (
        f"{package.n_records:,} households of the demo nation x {package.n_clones} clones where the demo's draw put them, "
        f"targets of the agencies' files; {left_out} left out that the package has no values of"
    )


def _state(sources: Sources, folder: Path) -> str:
    return _cut(_opened(sources.demo, "make it with `make demo`"), sources, folder, lambda district: district // 100, "state")


def _district(sources: Sources, folder: Path) -> str:
    whole = sources.full if (sources.full / "manifest.json").is_file() else sources.demo
    return _cut(_opened(whole, "make it with `make demo`"), sources, folder, lambda district: district, "district")


PROBLEMS: dict[str, Callable[[Sources, Path], str]] = {
    "tiny": _tiny,
    "district": _district,
    "state": _state,
    "demo": _demo,
    "real": _real,
    "scale": _scale,
}


def _opened(folder: Path, remedy: str) -> Package:
    if not (folder / "manifest.json").is_file():
        raise Missing(f"{folder} is no package: {remedy}")
    return Package.open(folder, verify=False)


def prepared(targets: pd.DataFrame, sources: Sources) -> pd.DataFrame:
    """Targets without those of 0, some of each level held out if none are."""
    kept = targets[targets["value"] != 0].reset_index(drop=True)
    if kept["held_out"].any():
        return kept
    draw = np.random.default_rng(sources.seed).random(len(kept))
    rank = pd.Series(draw).groupby(kept["geo_level"].to_numpy()).rank(pct=True)
    return kept.assign(held_out=(rank <= sources.held_out).to_numpy())


def rewrite(package: Package, targets: pd.DataFrame, folder: Path) -> None:
    """A package with other targets of the same quantities."""
    write_package(
        folder,
        package.variants,
        targets,
        package.quantities.drop(columns="group"),
        package.initial_weights,
        package.district,
        (package.county_index, package.counties),
        package.household_id,
        {"year": package.year, "seed": package.seed},
    )


def published(package: Package, raw: Path, database: Path) -> tuple[pd.DataFrame, int]:
    """The targets of the agencies' files that a package's quantities measure, and how many others there are."""
    build_database(raw, database, TargetSettings(without=WITHOUT, known_totals=True), Silent())
    every, constraints = load_targets(database, YEAR)
    chosen = selected(read_selection("default"), every, None).reset_index(drop=True)
    position = {text: number for number, text in enumerate(package.quantities["text"])}
    texts = [
        str(
            Quantity(
                str(row.variable),
                tuple(sorted(constraints.get(int(row.stratum_id), ()))),
                str(row.variable) * (row.reform_id > 0),
            )
        )
        for row in chosen.itertuples()
    ]
    national = chosen["geo_level"] == "national"
    place = chosen["geographic_id"].where(~national, "0").astype(int)
    placed = chosen.assign(quantity=[position.get(text, -1) for text in texts], place=place)
    known = placed["quantity"] >= 0
    return placed[known].reset_index(drop=True), int((~known).sum())


def _cut(
    package: Package, sources: Sources, folder: Path, area_of: Callable[[NDArray[np.int32]], NDArray[np.int32]], level: str
) -> str:
    """The largest area of a level alone: its columns, each a household of its own, and the targets within it."""
    area = area_of(package.district)
    codes, counts = np.unique(area, return_counts=True)
    code = int(codes[counts.argmax()])
    columns = np.flatnonzero(area == code)
    targets = package.targets
    inside = (targets["place"] == code) | ((level == "state") & (targets["place"] // 100 == code))
    write_package(
        folder,
        _alone(package.variants, columns),
        prepared(targets[inside], sources),
        package.quantities.drop(columns="group"),
        package.initial_weights[columns],
        package.district[columns],
        package.county[columns],
        np.arange(len(columns)),
        {"year": package.year, "seed": package.seed},
    )
    return f"the {level} {code} of the demo nation ({package.n_clones} clones) alone"


def _alone(variants: Variants, columns: NDArray[np.integer]) -> Variants:
    """Some columns, each as the one clone of a household of its own."""
    values: sparse.csr_matrix = columns_of(variants.table(), variants.rows_of(columns))
    groups: Sequence[Sequence[int]] = [range(variants.n_quantities)]
    return Variants.from_tables([values], [np.arange(len(columns))], groups, len(columns), 1)
