"""Simulated values on disk, kept from build to build: what one change of the targets does not touch is not simulated again.

A world is all that decides a value but the quantity: households, places, draws, rules, code. Below its folder lie batches, each
of some groups of quantities (``quantity.groups_of``) with a file for each chunk of columns. A batch is whole when all its files
are there; a group is taken from any whole batch that has it, and the groups that no whole batch has make the next one. A file
holds the distinct vectors of each group and which of them each column shows.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix.quantity import Quantity, groups_of
from geocal_core.matrix.variants import Variants
from geocal_core.store import atomic, fingerprint, remove

Group = tuple[str, ...]
"""The texts of a group's quantities."""

_INDEX = "groups.json"


@dataclass(frozen=True)
class Batch:
    """Groups that were, or are to be, valued together.

    Attributes
    ----------
    folder : Path
    quantities : tuple of Quantity
        All quantities of the groups, in the order of the rows of ``write``.
    """

    folder: Path
    quantities: tuple[Quantity, ...]

    def has(self, chunk: str) -> bool:
        """Whether the values of a chunk are there."""
        return self._file(chunk).exists()

    def write(self, chunk: str, values: NDArray[np.float32]) -> None:
        """Keep the values of a chunk, shape (quantities, columns of the chunk)."""
        parts: dict[str, NDArray[np.generic]] = {}
        for number, members in enumerate(groups_of(self.quantities)):
            table, row = _distinct(np.ascontiguousarray(values[list(members)].T))
            parts[f"table_{number}"] = table
            parts[f"row_{number}"] = row.astype(np.uint16 if len(table) <= 1 << 16 else np.uint32)
        with atomic(self._file(chunk)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **parts)  # type: ignore[arg-type]  # its stubs take the names for those of its own options

    def read(self, chunk: str, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """The values of some columns of a chunk that was written, shape (quantities, len(at))."""
        found = np.empty((len(self.quantities), len(at)), dtype=np.float32)
        for number, members in enumerate(groups_of(self.quantities)):
            table, row = _read(self._file(chunk), number)
            found[list(members)] = table[row[at]].T
        return found

    def _file(self, chunk: str) -> Path:
        return self.folder / f"{chunk}.npz"


@dataclass(frozen=True)
class World:
    """The batches of one world.

    Attributes
    ----------
    folder : Path
    chunks : mapping of str to ndarray of int64
        The columns of each chunk, by its name.
    """

    folder: Path
    chunks: Mapping[str, NDArray[np.int64]]

    @classmethod
    def open(cls, folder: Path, facts: Mapping[str, object], chunks: Mapping[str, NDArray[np.int64]]) -> World:
        """The world that some facts decide, below a folder of worlds."""
        path = folder / fingerprint(dict(facts))[:16]
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, chunks)

    def missing(self, quantities: Sequence[Quantity]) -> Batch | None:
        """The batch of the groups that no whole batch has, ready to be written; None if there is none."""
        there = self._whole()
        groups = [group for group in groups_of(quantities) if there.of(_texts(quantities, group)) is None]
        wanted = [quantity for group in groups for quantity in _at(quantities, group)]
        if not wanted:
            return None
        texts = [list(_texts(wanted, group)) for group in groups_of(wanted)]
        folder = self.folder / fingerprint(texts)[:16]
        folder.mkdir(exist_ok=True)
        with atomic(folder / _INDEX) as temporary:
            temporary.write_text(json.dumps(texts, indent=1), encoding="utf-8")
        return Batch(folder, tuple(wanted))

    def collect(self, quantities: Sequence[Quantity], n_records: int, n_clones: int) -> Variants:
        """The values of quantities in all columns.

        Raises
        ------
        ArtifactError
            If a group or a chunk is not there, or a file is damaged; a damaged one is removed, so that the next build makes it
            again.
        """
        there = self._whole()
        tables, rows = [], []
        for group in groups_of(quantities):
            texts = _texts(quantities, group)
            kept = there.of(texts)
            if kept is None:
                raise ArtifactError(f"the values of {texts[0]} have not been simulated", "build the package again")
            table, row = self._of_group(kept, texts, n_records * n_clones)
            indices = np.array(group, dtype=np.int32)[table.indices]
            shape = (table.shape[0], len(quantities))
            tables.append(sparse.csr_matrix((table.data, indices, table.indptr), shape=shape, copy=False))
            rows.append(row)
        return Variants.from_tables(tables, rows, groups_of(quantities), n_records, n_clones)

    def keep_only(self, quantities: Sequence[Quantity]) -> None:
        """Remove other worlds, and batches of which none of these quantities is taken."""
        there = self._whole()
        kept = [there.of(_texts(quantities, group)) for group in groups_of(quantities)]
        used = {one.folder for one in kept if one is not None}
        for path in self.folder.iterdir():
            if path not in used:
                remove(path)
        for path in self.folder.parent.iterdir():
            if path != self.folder:
                remove(path)

    def _whole(self) -> _Whole:
        """The groups of whole batches."""
        found: list[_Kept] = []
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            if (folder / _INDEX).exists() and all((folder / f"{name}.npz").exists() for name in self.chunks):
                groups = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
                found += [_Kept(folder, number, tuple(group)) for number, group in enumerate(groups)]
        return _Whole(tuple(found))

    def _of_group(self, kept: _Kept, texts: Group, n_columns: int) -> tuple[sparse.csr_matrix, NDArray[np.int32]]:
        """The distinct vectors of quantities of a group, chunk by chunk, and the row of each column."""
        members = [kept.texts.index(text) for text in texts]
        tables: list[sparse.csr_matrix] = []
        row = np.empty(n_columns, dtype=np.int32)
        begin = 0
        for name, columns in self.chunks.items():
            table, rows = _read(kept.folder / f"{name}.npz", kept.number)
            if rows.shape != columns.shape:
                remove(kept.folder / f"{name}.npz")
                raise ArtifactError(f"{name}.npz did not fit its columns and is removed", "run again: it is simulated anew")
            row[columns] = rows.astype(np.int32) + begin
            tables.append(sparse.csr_matrix(table[:, members]))
            begin += len(table)
        return sparse.vstack(tables, format="csr"), row


@dataclass(frozen=True)
class _Kept:
    """A group in a whole batch: its number there, and the texts of its quantities."""

    folder: Path
    number: int
    texts: Group


@dataclass(frozen=True)
class _Whole:
    """The groups of whole batches."""

    groups: tuple[_Kept, ...]

    def of(self, texts: Group) -> _Kept | None:
        """A group that holds some quantities; None if there is none."""
        return next((one for one in self.groups if set(texts) <= set(one.texts)), None)


def _read(path: Path, number: int) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """The distinct vectors of a group, and the one of each column."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            table, row = parts[f"table_{number}"], parts[f"row_{number}"]
            if len(row) and int(row.max()) >= len(table):
                raise ValueError("a column shows a vector that is not there")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        remove(path)
        raise ArtifactError(f"{path} was not whole ({error}) and is removed", "run again: it is simulated anew") from error
    return table, row


def _distinct(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The distinct rows of a matrix, and for each row the one of them that it equals."""
    bits = (vectors + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    keys = bits.view(np.dtype((np.void, bits.dtype.itemsize * bits.shape[1]))).ravel()
    _, first, row = np.unique(keys, return_index=True, return_inverse=True)
    return vectors[first], row


def _texts(quantities: Sequence[Quantity], group: Iterable[int]) -> Group:
    return tuple(str(quantity) for quantity in _at(quantities, group))


def _at(quantities: Sequence[Quantity], group: Iterable[int]) -> list[Quantity]:
    return [quantities[position] for position in group]
