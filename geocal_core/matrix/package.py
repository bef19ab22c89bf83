"""The calibration package on disk: plain arrays, tables of targets and quantities, and a manifest with the digest of each part.

Values are stored as variants (``matrix.variants``), not as a matrix: that of all targets, or of those that a selection leaves,
is put together when it is asked for. Arrays stay memory-mapped; nothing is pickled. Needs the base install only, so that a
package can be fitted on a machine that has neither the engine nor the factory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.variants import Variants
from geocal_core.store import canonical_json, digest_bytes, digest_path, size_of
from geocal_core.targets.selection import read_selection, selected

FORMAT = 3  # 1 had no column held_out; 2 held the explicit matrix; imputed.npy may be missing, and was from earlier ones
_REMEDY = "materialise calibration_package again"
_NUMBERS = ("n_targets", "n_columns", "n_records", "n_clones", "n_quantities", "year", "seed")
_TYPES: Mapping[str, tuple[str, ...]] = {
    "district": ("uint16",),
    "county": ("uint16",),
    "counties": ("|S5",),
    "household_id": ("int64",),
    "initial_weights": ("float32",),
    "variants/indptr": ("int64",),
    "variants/indices": ("uint16",),
    "variants/data": ("float32",),
    "variants/first": ("int64",),
}
_IMPUTED = "imputed"  # an array that a package has only where the file of households tells it
_TABLES = ("targets.parquet", "quantities.parquet")
_QUANTITY_COLUMNS = ("text", "variable", "constraints", "group")

Counties = NDArray[np.bytes_] | tuple[NDArray[np.integer], NDArray[np.bytes_]]


def write_package(
    folder: Path,
    variants: Variants,
    targets: pd.DataFrame,
    quantities: pd.DataFrame,
    initial_weights: NDArray[np.floating],
    district: NDArray[np.integer],
    county: Counties,
    household_id: NDArray[np.integer],
    facts: Mapping[str, Any],
    imputed: NDArray[np.bool_] | None = None,
) -> None:
    """Write a package into a new folder, the manifest last.

    Parameters
    ----------
    folder : Path
        A temporary path; the caller moves it into place.
    variants : Variants
        Values of all quantities in all columns.
    targets : DataFrame
        A row per target: the columns of ``targets.select.load_targets``, ``held_out`` (bool: whether a fit must not use it),
        ``quantity`` (position among the quantities) and ``place`` (0 for the nation, a FIPS code of a state, or a district).
    quantities : DataFrame
        A row per quantity with columns ``text``, ``variable`` and ``constraints`` (text); their groups are added.
    initial_weights : ndarray of float, shape (n_columns,)
        Weights at which a fit starts.
    district : ndarray of int, shape (n_columns,)
        Congressional district (100 * FIPS + number) of each column.
    county : ndarray of S5, shape (n_columns,), or a pair of arrays
        County of each column; or the position of each column's county in a table, and the table.
    household_id : ndarray of int, shape (n_records,)
        Identifier of each household; the column of (clone, household position) is clone * n_records + position.
    facts : mapping
        JSON-able facts on how it was made, kept in the manifest: ``year`` (of targets and values), ``seed`` (of the take-up
        draws) and whatever else helps to trace it.
    imputed : ndarray of bool, shape (n_records,), optional
        Whether a tax return of the household is imputed; left out where that is unknown.

    Raises
    ------
    ArtifactError
        If the parts do not fit together.
    """
    if len(district) and not 0 <= int(district.min()) <= int(district.max()) <= np.iinfo(np.uint16).max:
        raise ArtifactError(f"districts go from {district.min()} to {district.max()}", "they are 100 * FIPS + number")
    index, counties = county if isinstance(county, tuple) else _indexed(county)
    arrays = {
        "district": district,
        "county": index,
        "counties": counties,
        "household_id": household_id,
        "initial_weights": initial_weights,
        "variants/indptr": variants.indptr,
        "variants/indices": variants.indices,
        "variants/data": variants.data,
        "variants/first": variants.first,
    }
    (folder / "variants").mkdir(parents=True)
    for name, array in arrays.items():
        _save(folder / f"{name}.npy", array, _TYPES[name][0])
    if imputed is not None:
        _save(folder / f"{_IMPUTED}.npy", imputed, "bool")
    for group, ordinal in enumerate(variants.ordinal):
        if ordinal is not None:
            _save(folder / f"variants/ordinal_{group}.npy", ordinal, str(ordinal.dtype))
    narrow = {name: targets[name].astype(np.int32) for name in ("quantity", "place") if name in targets}
    targets.assign(**narrow).to_parquet(folder / "targets.parquet", index=False)
    group_of = variants.group_of_quantity.astype(np.int32)
    if len(quantities) != variants.n_quantities:
        raise ArtifactError(f"there are {len(quantities)} quantities and values of {variants.n_quantities}")
    quantities.assign(group=group_of).to_parquet(folder / "quantities.parquet", index=False)
    parts = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = {
        **facts,
        "format": FORMAT,
        "n_targets": len(targets),
        "n_columns": variants.n_columns,
        "n_records": variants.n_records,
        "n_clones": variants.n_clones,
        "n_quantities": variants.n_quantities,
        "digests": {part: digest_path(folder / part) for part in parts},
        "sizes": {part: size_of(folder / part) for part in parts},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    Package.open(folder, verify=False)


@dataclass(frozen=True)
class Package:
    """A calibration package, opened.

    Attributes
    ----------
    folder : Path
    variants : Variants
        Over memory-mapped arrays: units or dollars of each quantity in each column.
    targets : DataFrame
        A row per target; ``held_out`` marks those that no fit may use; ``quantity`` and ``place`` say what a target measures.
    quantities : DataFrame
        text, variable, constraints and group of each quantity.
    initial_weights : ndarray of float64, shape (n_columns,)
    district : ndarray of int32, shape (n_columns,)
    county_index, counties : ndarray of uint16, shape (n_columns,), and of S5
        County of each column as its position among the counties.
    household_id : ndarray of int64, shape (n_records,)
    imputed : ndarray of bool, shape (n_records,), or None
        Whether a tax return of the household is imputed; None where the package does not say.
    n_records, n_clones : int
        Column = clone * n_records + position of the household.
    manifest : mapping
        Facts on how it was made, and the digest and size of each part.
    """

    folder: Path
    variants: Variants
    targets: pd.DataFrame
    quantities: pd.DataFrame
    initial_weights: NDArray[np.float64]
    district: NDArray[np.int32]
    county_index: NDArray[np.uint16]
    counties: NDArray[np.bytes_]
    household_id: NDArray[np.int64]
    imputed: NDArray[np.bool_] | None
    n_records: int
    n_clones: int
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> Package:
        """Open a package.

        Parameters
        ----------
        folder : Path
        verify : bool
            Whether the digest of every part is compared with the manifest's (reads every byte once).

        Raises
        ------
        ArtifactError
            That names the part which is missing, damaged, or does not fit the others.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        if verify:
            _verify(folder, manifest)
        arrays = {name: _read_array(folder, name, types) for name, types in _TYPES.items()}
        if f"{_IMPUTED}.npy" in manifest["digests"]:
            arrays[_IMPUTED] = _read_array(folder, _IMPUTED, ("bool",))
        targets, quantities = (_read_table(folder, name) for name in _TABLES)
        lengths = {
            "targets.parquet": (len(targets), manifest["n_targets"]),
            "quantities.parquet": (len(quantities), manifest["n_quantities"]),
            "district.npy": (len(arrays["district"]), manifest["n_columns"]),
            "county.npy": (len(arrays["county"]), manifest["n_columns"]),
            "initial_weights.npy": (len(arrays["initial_weights"]), manifest["n_columns"]),
            "household_id.npy": (len(arrays["household_id"]), manifest["n_records"]),
            "manifest.json": (manifest["n_records"] * manifest["n_clones"], manifest["n_columns"]),
        }
        if _IMPUTED in arrays:
            lengths["imputed.npy"] = (len(arrays[_IMPUTED]), manifest["n_records"])
        for part, (length, expected) in lengths.items():
            if length != expected:
                raise ArtifactError(f"{folder / part} has length {length} where the package has {expected}", _REMEDY)
        _check_tables(folder, targets, quantities)
        if int(arrays["county"].max(initial=0)) >= max(len(arrays["counties"]), 1):
            raise ArtifactError(f"{folder / 'county.npy'} names a county that counties.npy has not", _REMEDY)
        return cls(
            folder=folder,
            variants=_read_variants(folder, manifest, arrays, quantities["group"].to_numpy()),
            targets=targets,
            quantities=quantities,
            initial_weights=arrays["initial_weights"].astype(np.float64),
            district=arrays["district"].astype(np.int32),
            county_index=np.asarray(arrays["county"]),
            counties=np.asarray(arrays["counties"]),
            household_id=np.asarray(arrays["household_id"]),
            imputed=np.asarray(arrays[_IMPUTED]) if _IMPUTED in arrays else None,
            n_records=manifest["n_records"],
            n_clones=manifest["n_clones"],
            manifest=manifest,
        )

    @property
    def n_columns(self) -> int:
        """Clones times households."""
        return self.n_records * self.n_clones

    @property
    def state(self) -> NDArray[np.int32]:
        """FIPS code of the state of each column."""
        return self.district // 100

    @property
    def county(self) -> NDArray[np.bytes_]:
        """County of each column, S5."""
        return self.counties[self.county_index]

    @property
    def imputed_columns(self) -> NDArray[np.bool_] | None:
        """Whether each column is of a household with an imputed tax return, shape (n_columns,); None where that is unknown."""
        return None if self.imputed is None else np.tile(self.imputed, self.n_clones)

    @property
    def year(self) -> int:
        """The year that targets and values speak of."""
        return int(self.manifest["year"])

    @property
    def seed(self) -> int:
        """Seed of the take-up draws."""
        return int(self.manifest["seed"])

    @property
    def digest(self) -> str:
        """sha256 over the digests of all parts: two packages with the same digest are the same fit problem."""
        return digest_bytes(canonical_json(self.manifest["digests"]).encode())

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each part, the manifest left out."""
        return dict(self.manifest["sizes"])

    @cached_property
    def matrix(self) -> FactoredMatrix:
        """The matrix of all targets, shape (n_targets, n_columns): put together when it is first asked for, then kept."""
        return self._matrix_of(self.targets)

    @cached_property
    def supported(self) -> NDArray[np.bool_]:
        """Rows to which at least one column adds something, shape (n_targets,)."""
        return self.matrix.row_nonzeros > 0

    def _matrix_of(self, targets: pd.DataFrame) -> FactoredMatrix:
        return FactoredMatrix.of_variants(
            self.variants, targets["quantity"].to_numpy(), targets["place"].to_numpy(), self.district
        )

    def chosen(self, selection: str, tell: Callable[[str], None] | None = None) -> tuple[FactoredMatrix, pd.DataFrame]:
        """Rows and targets that a selection leaves; all of them where none is named.

        Parameters
        ----------
        selection : str
            Name or YAML file of a selection of targets, or empty.
        tell : callable, optional
            Given a line on optional rules that match nothing.

        Raises
        ------
        ConfigError
            As ``targets.selection.read_selection`` and ``selected``.
        """
        if not selection:
            return self.matrix, self.targets
        targets = selected(read_selection(selection), self.targets, tell)
        whole = len(targets) == len(self.targets)
        return self.matrix if whole else self._matrix_of(targets), targets.reset_index(drop=True)


def _indexed(county: NDArray[np.bytes_]) -> tuple[NDArray[np.integer], NDArray[np.bytes_]]:
    """Positions of counties in a sorted table of them, and the table."""
    numbers = county.astype("S8").view(">u8").astype(np.uint64)  # compared as numbers: much quicker than as text
    _, place, index = np.unique(numbers, return_index=True, return_inverse=True)
    return index, county[place]


def _save(path: Path, array: NDArray[Any], dtype: str) -> None:
    np.save(path, np.ascontiguousarray(array, dtype=dtype), allow_pickle=False)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArtifactError(f"{folder} is no calibration package: it has no manifest.json", _REMEDY)
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    if "format" in manifest and manifest["format"] != FORMAT:
        raise ArtifactError(f"{path} is of format {manifest['format']}, this version reads format {FORMAT}", _REMEDY)
    lacking = [key for key in ("format", *_NUMBERS, "digests", "sizes") if key not in manifest]
    if lacking:
        raise ArtifactError(f"{path} says nothing of {lacking[0]}", _REMEDY)
    for key in _NUMBERS:
        if not isinstance(manifest[key], int):
            raise ArtifactError(f"{path} says {manifest[key]!r} of {key}, which is no whole number", _REMEDY)
    for key in ("digests", "sizes"):
        if not isinstance(manifest[key], dict):
            raise ArtifactError(f"{path} has no table of {key}", _REMEDY)
    for part in (*_TABLES, *(f"{name}.npy" for name in _TYPES)):
        if part not in manifest["digests"]:
            raise ArtifactError(f"{path} says nothing of {part}", _REMEDY)
    return manifest


def _verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    for part, digest in manifest["digests"].items():
        path = folder / part
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", _REMEDY)
        if digest_path(path) != digest:
            raise ArtifactError(f"{path} is not the part that the manifest claims", f"it was changed or damaged; {_REMEDY}")


def _read_array(folder: Path, name: str, types: tuple[str, ...]) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing", _REMEDY) from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} is not a whole array ({error})", _REMEDY) from error
    dimensions = 2 if name == "variants/first" else 1
    if array.dtype not in [np.dtype(of) for of in types] or array.ndim != dimensions:
        wanted = f"not {dimensions}-dimensional {' or '.join(str(np.dtype(of)) for of in types)}"
        raise ArtifactError(f"{path} holds {array.ndim}-dimensional {array.dtype}, {wanted}", _REMEDY)
    return array


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    path = folder / name
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing", _REMEDY) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error


def _check_tables(folder: Path, targets: pd.DataFrame, quantities: pd.DataFrame) -> None:
    path = folder / "targets.parquet"
    if "held_out" not in targets or targets["held_out"].dtype != np.bool_:
        raise ArtifactError(f"{path} does not say which targets are held out", _REMEDY)
    for column, least, most in (("quantity", 0, len(quantities) - 1), ("place", 0, np.iinfo(np.uint16).max)):
        if column not in targets or targets[column].dtype != np.int32:
            raise ArtifactError(f"{path} does not say the {column} of its targets", _REMEDY)
        if not targets[column].between(least, most).all():
            raise ArtifactError(f"{path} names a {column} outside {least} to {most}", _REMEDY)
    lacking = [column for column in _QUANTITY_COLUMNS if column not in quantities]
    if lacking:
        raise ArtifactError(f"{folder / 'quantities.parquet'} has no column {lacking[0]}", _REMEDY)


def _read_variants(
    folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], group: NDArray[np.integer]
) -> Variants:
    n_groups = len(arrays["variants/first"])
    ordinals = []
    for number in range(n_groups):
        name = f"variants/ordinal_{number}"
        listed = f"{name}.npy" in manifest["digests"]
        ordinals.append(_read_array(folder, name, ("uint8", "uint16")) if listed else None)
    try:
        return Variants(
            groups=tuple(tuple(np.flatnonzero(group == number).tolist()) for number in range(n_groups)),
            first=arrays["variants/first"],
            ordinal=tuple(ordinals),
            indptr=arrays["variants/indptr"],
            indices=arrays["variants/indices"],
            data=arrays["variants/data"],
            n_records=manifest["n_records"],
            n_clones=manifest["n_clones"],
            n_quantities=manifest["n_quantities"],
        )
    except ArtifactError as error:
        raise ArtifactError(f"{folder / 'variants'}: {error.what}", _REMEDY) from error
