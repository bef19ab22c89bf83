"""The reference's calibration package, its dict of matrix, targets and places, as a package of ours and back.

The reference keeps an explicit matrix. Its rows of one quantity at several levels become one quantity where their values agree
in every column that both cover, else a quantity for each level that differs. It says nothing of the identifiers of households,
so these are numbered from 0.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.package import Package, write_package
from geocal_core.matrix.quantity import Quantity, groups_of, quantity_table
from geocal_core.matrix.reference_arrays import array_of, csr_of, plain_of, table_of
from geocal_core.matrix.reference_pickle import printable, read_records
from geocal_core.matrix.variants import Variants
from geocal_core.store import digest_path
from geocal_core.targets.constraints import GEOGRAPHIC, constraint_of

KEYS = ("X_sparse", "targets_df", "target_names", "metadata", "initial_weights", "cd_geoid", "block_geoid")
"""Entries of the dict."""

_COLUMNS = ("variable", "reform_id", "value", "geo_level", "geographic_id")
_LEVELS = ("national", "state", "district")
_UNTOLD = (*GEOGRAPHIC, "ucgid_str")


@dataclass(frozen=True)
class Reference:
    """The reference's dict, checked.

    Attributes
    ----------
    matrix : csr_matrix of float32, shape (n_targets, n_columns)
    targets : DataFrame
        A row per matrix row, with the columns of the reference, ``place`` (0, FIPS code or district) and ``name``.
    metadata : mapping
        Plain values.
    initial_weights : ndarray of float64, shape (n_columns,)
    district : ndarray of int64, shape (n_columns,)
    block : ndarray of S15, shape (n_columns,), or None
        Census blocks, where it has them.
    n_clones : int
    """

    matrix: sparse.csr_matrix
    targets: pd.DataFrame
    metadata: Mapping[str, Any]
    initial_weights: NDArray[np.float64]
    district: NDArray[np.int64]
    block: NDArray[np.bytes_] | None
    n_clones: int

    @property
    def n_records(self) -> int:
        """Households."""
        return int(self.matrix.shape[1]) // self.n_clones


def read_reference(path: Path) -> Reference:
    """Read ``calibration_package.pkl`` of the reference without loading a pickle.

    Raises
    ------
    ArtifactError
        If it is no such file, names anything but arrays and tables, or its parts do not fit together.
    """
    content = read_records(path)
    if not isinstance(content, dict) or not set(KEYS[:3]) <= set(content):
        raise ArtifactError(f"{path.name} holds no calibration package", f"its entries are {', '.join(KEYS)}")
    try:
        reference = _reference(content)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(
            f"{path.name} is not laid out as a calibration package of the reference ({printable(str(error))})"
        ) from error
    _check(path.name, reference)
    return reference


def _reference(content: Mapping[str, Any]) -> Reference:
    matrix = csr_of(content["X_sparse"]).astype(np.float32)
    matrix.eliminate_zeros()
    targets = table_of(content["targets_df"])
    lacking = [column for column in _COLUMNS if column not in targets]
    if lacking:
        raise ValueError(f"its targets have no {lacking[0]}")
    targets["name"] = [_name(name) for name in array_of(content["target_names"]).tolist()]
    targets["place"] = [
        _place(level, place) for level, place in zip(targets["geo_level"], targets["geographic_id"], strict=True)
    ]
    metadata = {key: plain_of(value) for key, value in (content.get("metadata") or {}).items()}
    blocks = content.get("block_geoid")
    return Reference(
        matrix=matrix,
        targets=targets,
        metadata=metadata,
        initial_weights=array_of(content["initial_weights"]).astype(np.float64),
        district=array_of(content["cd_geoid"]).astype(np.int64),
        block=None if blocks is None else array_of(blocks).astype("S15"),
        n_clones=int(metadata["n_clones"]),
    )


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable():
        raise ValueError(f"the name of a target is {name!r}")
    return name


def _place(level: Any, geographic_id: Any) -> int:
    if level not in _LEVELS:
        raise ValueError(f"a target is of the level {level!r}")
    return 0 if level == "national" else int(geographic_id)


def _check(file: str, reference: Reference) -> None:
    n_targets, n_columns = reference.matrix.shape
    lengths = {
        "targets_df": (len(reference.targets), n_targets),
        "initial_weights": (len(reference.initial_weights), n_columns),
        "cd_geoid": (len(reference.district), n_columns),
        "block_geoid": (n_columns if reference.block is None else len(reference.block), n_columns),
    }
    for part, (length, wanted) in lengths.items():
        if length != wanted:
            raise ArtifactError(f"{file}: {part} has length {length} where the matrix has {wanted}")
    if reference.n_clones < 1 or n_columns % reference.n_clones:
        raise ArtifactError(f"{file}: {n_columns} columns are no whole number of {reference.n_clones} clones")
    repeated = reference.targets.loc[reference.targets["name"].duplicated(), "name"]
    if len(repeated):
        raise ArtifactError(f"{file} has two targets called {repeated.iloc[0]}")
    if not (np.isfinite(reference.matrix.data).all() and np.isfinite(reference.initial_weights).all()):
        raise ArtifactError(f"{file} holds values or weights that are not finite")


def quantities_in(reference: Reference) -> tuple[tuple[Quantity, ...], tuple[str, ...], sparse.csr_matrix, NDArray[np.int64]]:
    """The quantities that the rows measure, with their values in all columns.

    Returns
    -------
    quantities : tuple of Quantity
    texts : tuple of str
        Their names, which differ where one quantity has other values at another level.
    values : csr_matrix of float32, shape (n_quantities, n_columns)
        0 in columns that no row of the quantity covers.
    row_quantity : ndarray of int64, shape (n_targets,)

    Raises
    ------
    ArtifactError
        If a row has a value in a column outside its place.
    """
    targets = reference.targets
    measured = [_measured(*row) for row in zip(targets["name"], targets["variable"], targets["reform_id"], strict=True)]
    rows_of: dict[Quantity, list[int]] = {}
    for row, quantity in enumerate(measured):
        rows_of.setdefault(quantity, []).append(row)
    quantities: list[Quantity] = []
    texts: list[str] = []
    parts: list[sparse.csr_matrix] = []
    row_quantity = np.empty(len(targets), dtype=np.int64)
    for quantity in sorted(rows_of):
        for version in _versions(reference, np.array(rows_of[quantity])):
            texts.append(f"{quantity}{f' ({version.levels[0]})' if quantities[-1:] == [quantity] else ''}")
            quantities.append(quantity)
            parts.append(sparse.csr_matrix(version.values))
            row_quantity[version.rows] = len(parts) - 1
    return tuple(quantities), tuple(texts), sparse.vstack(parts, format="csr"), row_quantity


def import_reference(path: Path, folder: Path, year: int) -> None:
    """Write the reference's ``calibration_package.pkl`` as a package of ours, into a new folder.

    Parameters
    ----------
    path : Path
    folder : Path
        A temporary path; the caller moves it into place.
    year : int
        The year that targets and values speak of, which the reference does not say.

    Raises
    ------
    ArtifactError
        As ``read_reference`` and ``quantities_in``.
    """
    reference = read_reference(path)
    quantities, texts, values, row_quantity = quantities_in(reference)
    variants = Variants.from_values(values, groups_of(quantities), reference.n_records, reference.n_clones)
    texts_of = ("domain_variable", "source", "uprating_series")
    targets = reference.targets.assign(
        **{column: _texts(reference.targets[column]) for column in texts_of if column in reference.targets},
        geographic_id=_texts(reference.targets["geographic_id"]),
        reform_id=reference.targets["reform_id"].fillna(0).astype(np.int64),
        value=reference.targets["value"].astype(np.float64),
        held_out=False,
        quantity=row_quantity,
    )
    seed = reference.metadata.get("seed")
    write_package(
        folder,
        variants,
        targets,
        quantity_table(quantities).assign(text=texts),
        initial_weights=reference.initial_weights,
        district=reference.district,
        county=_counties(reference),
        household_id=np.arange(reference.n_records),
        facts={
            "year": year,
            "seed": seed if type(seed) is int else 0,
            "imported": {"file": path.name, "digest": digest_path(path), "metadata": dict(reference.metadata)},
        },
    )


def _texts(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else str(value) for value in values]


def _counties(reference: Reference) -> NDArray[np.bytes_]:
    """County of each column, the empty text where the reference tells no blocks."""
    if reference.block is None:
        return np.full(len(reference.district), b"", dtype="S5")
    return reference.block.astype("S5")


def reference_content(package: Package, blocks: NDArray[np.bytes_] | None = None) -> dict[str, Any]:
    """The dict that the reference keeps of a package: the explicit matrix and all that goes with it.

    Parameters
    ----------
    package : Package
    blocks : ndarray of S15, shape (n_columns,), optional
        Census block of each column, which a package does not hold; ``block_geoid`` is None without it.

    Returns
    -------
    dict
        With the entries ``KEYS``.
    """
    held = package.manifest.get("imported", {}).get("metadata", {})
    targets = package.targets.drop(columns=["name", "quantity", "place", "held_out"])
    texts = {column: targets[column].astype(object) for column in targets if not pd.api.types.is_numeric_dtype(targets[column])}
    targets = targets.assign(**texts)
    targets.columns = pd.Index(list(targets.columns), dtype=object)
    return {
        "X_sparse": package.matrix.tocsr(),
        "targets_df": targets,
        "target_names": package.targets["name"].tolist(),
        "metadata": {
            **held,
            "n_clones": package.n_clones,
            "n_records": package.n_columns,
            "base_n_records": package.n_records,
            "seed": package.seed,
            "geocal_digest": package.digest,
        },
        "initial_weights": np.asarray(package.initial_weights),
        "cd_geoid": np.asarray(package.district).astype(str),
        "block_geoid": None if blocks is None else np.asarray(blocks).astype(str),
    }


def _measured(name: str, variable: str, reform_id: int) -> Quantity:
    """The quantity of a row from its name, ``cd_601/person_count/[age<5,age>-1]``."""
    inside = name.partition("[")[2].removesuffix("]")
    try:
        rules = [constraint_of(text) for text in inside.split(",")] if inside else []
    except ConfigError as error:
        raise ArtifactError(f"the name of the row {name} cannot be read ({error.what})") from error
    told = tuple(sorted(rule for rule in rules if rule.variable not in _UNTOLD))
    quantity = Quantity(str(variable), told, str(variable) if reform_id and reform_id > 0 else "")
    what = str(replace(quantity, constraints=()))
    if name.split("/")[1:2] != [what]:
        raise ArtifactError(f"the row {name} is not named after {what}, which its target is of")
    return quantity


@dataclass
class _Version:
    """Values of a quantity, the columns that they are known for, and the rows and levels that agree on them."""

    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    rows: list[int]
    levels: list[str]


def _versions(reference: Reference, rows: NDArray[np.int64]) -> list[_Version]:
    """The rows of one quantity, level by level, put together as far as their values agree."""
    place = reference.targets["place"].to_numpy()[rows]
    found: list[_Version] = []
    for level, mine, key in (
        ("national", rows[place == 0], np.zeros(len(reference.district), dtype=np.int64)),
        ("state", rows[(place > 0) & (place < 100)], reference.district // 100),
        ("district", rows[place >= 100], reference.district),
    ):
        if not len(mine):
            continue
        values, known = _of_level(reference, mine, key)
        for version in found:
            both = version.known & known
            if (version.values[both] == values[both]).all():
                version.values[known] = values[known]
                version.known |= known
                version.rows += mine.tolist()
                version.levels.append(level)
                break
        else:
            found.append(_Version(values, known, mine.tolist(), [level]))
    return found


def _of_level(
    reference: Reference, rows: NDArray[np.int64], key: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values of the rows of one level, which cover different columns, and the columns that any of them covers."""
    place = reference.targets["place"].to_numpy()[rows]
    if len(np.unique(place)) < len(place):
        twice = rows[np.flatnonzero(pd.Series(place).duplicated())[0]]
        raise ArtifactError(f"two rows measure the same as {reference.targets['name'].iat[twice]}")
    part = reference.matrix[rows]
    owner = np.repeat(place, np.diff(part.indptr))
    outside = np.flatnonzero(key[part.indices] != owner)
    if len(outside):
        row = rows[np.searchsorted(part.indptr, outside[0], side="right") - 1]
        raise ArtifactError(f"the row {reference.targets['name'].iat[row]} has a value outside its place")
    values = np.zeros(len(key), dtype=np.float32)
    values[part.indices] = part.data
    return values, np.isin(key, place)


def blocks_of(path: Path, package: Package) -> NDArray[np.bytes_]:
    """Census block of each column from the assignment (``geography_assignment.npz``) that the package was made with.

    Raises
    ------
    ArtifactError
        If it is no whole assignment, or of other places than the package's.
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            blocks, districts = parts["block_geoid"], parts["cd_geoid"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is no whole geography assignment ({printable(str(error))})") from error
    if not np.array_equal(districts, package.district):
        raise ArtifactError(f"{path} places the columns in other districts than the package", "give that of the same run")
    return np.asarray(blocks)


def write_plain(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the entries of the reference's dict as a folder of plain files, one each.

    ``X_sparse.npz`` (``scipy.sparse.load_npz``), ``targets_df.parquet``, ``target_names.json``, ``metadata.json`` and arrays
    (``.npy``); an entry that is None has no file.
    """
    folder.mkdir(parents=True)
    sparse.save_npz(folder / "X_sparse.npz", content["X_sparse"], compressed=False)
    content["targets_df"].to_parquet(folder / "targets_df.parquet", index=False)
    for name in ("target_names", "metadata"):
        (folder / f"{name}.json").write_text(json.dumps(content[name], indent=1) + "\n", encoding="utf-8")
    for name in ("initial_weights", "cd_geoid", "block_geoid"):
        if content[name] is not None:
            np.save(folder / f"{name}.npy", content[name], allow_pickle=False)
