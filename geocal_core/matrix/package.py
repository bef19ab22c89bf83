"""The calibration package on disk: a folder of plain arrays, a table of targets and a manifest with the digest of each part.

The matrix is in CSR form and stays memory-mapped when a package is opened; nothing is pickled. Needs the base install only, so
that a package can be fitted on a machine that has neither the engine nor the factory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.store import canonical_json, digest_bytes, digest_path
from geocal_core.targets.selection import read_selection, selected

FORMAT = 2  # 1 had no column held_out
_REMEDY = "materialise calibration_package again"
_TYPES: Mapping[str, Any] = {
    "indptr": np.int64,
    "indices": np.int32,
    "data": np.float32,
    "initial_weights": np.float64,
    "district": np.int32,
    "state": np.int32,
    "household_id": np.int64,
}
_PARTS = ("targets.parquet", *(f"{name}.npy" for name in _TYPES))


def write_package(
    folder: Path,
    matrix: sparse.csr_matrix,
    targets: pd.DataFrame,
    initial_weights: NDArray[np.float64],
    district: NDArray[np.int32],
    state: NDArray[np.int32],
    household_id: NDArray[np.int64],
    n_clones: int,
    facts: Mapping[str, Any],
) -> None:
    """Write a package into a new folder, the manifest last.

    Parameters
    ----------
    folder : Path
        A temporary path; the caller moves it into place.
    matrix : csr_matrix of float32, shape (targets, columns)
        Sorted columns in each row, no stored zeros.
    targets : DataFrame
        A row per matrix row (the columns of ``targets.select.load_targets``, and ``held_out``: bool, whether a fit must not use
        it).
    initial_weights : ndarray of float64, shape (columns,)
        Weights at which a fit starts.
    district, state : ndarray of int32, shape (columns,)
        Congressional district (100 * FIPS + number) and state of each column.
    household_id : ndarray of int64, shape (records,)
        Identifier of each household; the column of (clone, household position) is clone * records + position.
    n_clones : int
    facts : mapping
        JSON-able facts on how it was made, kept in the manifest: ``year`` (of targets and values), ``seed`` (of the take-up
        draws) and whatever else helps to trace it.

    Raises
    ------
    ArtifactError
        If the parts do not fit together.
    """
    arrays = {
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "data": matrix.data,
        "initial_weights": initial_weights,
        "district": district,
        "state": state,
        "household_id": household_id,
    }
    folder.mkdir(parents=True)
    targets.to_parquet(folder / "targets.parquet", index=False)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array, dtype=_TYPES[name]), allow_pickle=False)
    manifest = {
        **facts,
        "format": FORMAT,
        "n_targets": len(targets),
        "n_columns": int(matrix.shape[1]),
        "n_records": len(household_id),
        "n_clones": int(n_clones),
        "digests": {part: digest_path(folder / part) for part in _PARTS},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    Package.open(folder, verify=False)


@dataclass(frozen=True)
class Package:
    """A calibration package, opened.

    Attributes
    ----------
    folder : Path
    matrix : csr_matrix of float32, shape (n_targets, n_columns)
        Over memory-mapped arrays: units or dollars that a household in a place adds to a target.
    targets : DataFrame
        A row per matrix row; ``held_out`` marks those that no fit may use.
    initial_weights : ndarray of float64, shape (n_columns,)
    district, state : ndarray of int32, shape (n_columns,)
    household_id : ndarray of int64, shape (n_records,)
    n_records, n_clones : int
        Column = clone * n_records + position of the household.
    manifest : mapping
        Facts on how it was made, and the digest of each part.
    """

    folder: Path
    matrix: sparse.csr_matrix
    targets: pd.DataFrame
    initial_weights: NDArray[np.float64]
    district: NDArray[np.int32]
    state: NDArray[np.int32]
    household_id: NDArray[np.int64]
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
        arrays = {name: _read_array(folder, name) for name in _TYPES}
        try:
            targets = pd.read_parquet(folder / "targets.parquet")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder / 'targets.parquet'} cannot be read ({error})", _REMEDY) from error
        if "held_out" not in targets or targets["held_out"].dtype != np.bool_:
            raise ArtifactError(f"{folder / 'targets.parquet'} does not say which targets are held out", _REMEDY)
        n_targets, n_columns = int(manifest["n_targets"]), int(manifest["n_columns"])
        n_records, n_clones = int(manifest["n_records"]), int(manifest["n_clones"])
        indptr, indices, data = arrays["indptr"], arrays["indices"], arrays["data"]
        wanted = {
            "targets.parquet": (len(targets), n_targets),
            "indptr.npy": (len(indptr), n_targets + 1),
            "indices.npy": (len(indices), int(indptr[-1]) if len(indptr) else 0),
            "data.npy": (len(data), len(indices)),
            "initial_weights.npy": (len(arrays["initial_weights"]), n_columns),
            "district.npy": (len(arrays["district"]), n_columns),
            "state.npy": (len(arrays["state"]), n_columns),
            "household_id.npy": (len(arrays["household_id"]), n_records),
            "manifest.json": (n_records * n_clones, n_columns),
        }
        for part, (length, expected) in wanted.items():
            if length != expected:
                raise ArtifactError(f"{folder / part} has length {length} where the package has {expected}", _REMEDY)
        if indptr[0] != 0 or (np.diff(indptr) < 0).any():
            raise ArtifactError(f"{folder / 'indptr.npy'} does not rise from 0", _REMEDY)
        if len(indices) and not (indices.min() >= 0 and indices.max() < n_columns):
            raise ArtifactError(f"{folder / 'indices.npy'} names a column that the package has not", _REMEDY)
        return cls(
            folder=folder,
            matrix=sparse.csr_matrix((data, indices, indptr), shape=(n_targets, n_columns), copy=False),
            targets=targets,
            initial_weights=np.asarray(arrays["initial_weights"]),
            district=np.asarray(arrays["district"]),
            state=np.asarray(arrays["state"]),
            household_id=np.asarray(arrays["household_id"]),
            n_records=n_records,
            n_clones=n_clones,
            manifest=manifest,
        )

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
    def supported(self) -> NDArray[np.bool_]:
        """Rows to which at least one column adds something, shape (n_targets,)."""
        supported: NDArray[np.bool_] = np.diff(self.matrix.indptr) > 0
        return supported

    def chosen(self, selection: str, tell: Callable[[str], None] | None = None) -> tuple[sparse.csr_matrix, pd.DataFrame]:
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
        return self.matrix if whole else self.matrix[targets.index.to_numpy()], targets.reset_index(drop=True)


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArtifactError(f"{folder} is no calibration package: it has no manifest.json", _REMEDY)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        lacking = [
            key
            for key in ("format", "n_targets", "n_columns", "n_records", "n_clones", "year", "seed", "digests")
            if key not in manifest
        ]
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error})", _REMEDY) from error
    if lacking:
        raise ArtifactError(f"{path} says nothing of {lacking[0]}", _REMEDY)
    for key in ("n_targets", "n_columns", "n_records", "n_clones", "year", "seed"):
        if not isinstance(manifest[key], int):
            raise ArtifactError(f"{path} says {manifest[key]!r} of {key}, which is no whole number", _REMEDY)
    if not isinstance(manifest["digests"], dict):
        raise ArtifactError(f"{path} has no table of digests", _REMEDY)
    if manifest["format"] != FORMAT:
        raise ArtifactError(f"{path} is of format {manifest['format']}, this version reads format {FORMAT}", _REMEDY)
    return dict(manifest)


def _verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    for part in _PARTS:
        path = folder / part
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", _REMEDY)
        if digest_path(path) != manifest["digests"].get(part):
            raise ArtifactError(f"{path} is not the part that the manifest claims", f"it was changed or damaged; {_REMEDY}")


def _read_array(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing", _REMEDY) from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} is not a whole array ({error})", _REMEDY) from error
    if array.dtype != _TYPES[name] or array.ndim != 1:
        raise ArtifactError(
            f"{path} holds {array.ndim}-dimensional {array.dtype}, not one dimension of {np.dtype(_TYPES[name])}", _REMEDY
        )
    return array
