"""Populations as PolicyEngine H5 files.

Layout: one dataset ``<variable>/<period>`` per variable (policyengine-core's TIME_PERIOD_ARRAYS), strings as fixed-width
bytes, compressed, without timestamps, so that equal populations give equal bytes. Each dataset carries an attribute
``entity``, which the engine ignores and ``read_h5`` needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from geocal_core.errors import ArtifactError
from geocal_core.population.population import ENTITIES, Column, Population, id_name, link_name

_ID_NAMES = {id_name(entity) for entity in ENTITIES} | {link_name(entity) for entity in ENTITIES[1:]}


def _stored(name: str, values: Column) -> Column:
    """The type in which a column is stored: int32 ids, float32 amounts, bytes for text."""
    values = np.asarray(values)
    if name in _ID_NAMES:
        if len(values) and (values.min() < 0 or values.max() > np.iinfo(np.int32).max):
            raise ArtifactError(f"{name} does not fit into 32 bits")
        return values.astype(np.int32)
    if values.dtype.kind in "UO":
        return np.char.encode(values.astype(str), "utf-8")
    if values.dtype == np.float64:
        return values.astype(np.float32)
    if values.dtype == np.int64:
        return values.astype(np.int32)
    return values


def write_h5(population: Population, path: Path, attributes: Mapping[str, str] | None = None) -> None:
    """Write a population; the caller gives a temporary path and moves the file into place.

    Parameters
    ----------
    population : Population
    path : Path
        A file that does not exist yet.
    attributes : mapping, optional
        Text attributes of the file itself.
    """
    path.write_bytes(_image(population, attributes or {}))


def _image(population: Population, attributes: Mapping[str, str]) -> bytes:
    """The file's content, made in memory: on a full disk HDF5 itself would end the process instead of raising an error."""
    period = str(population.period)
    with h5py.File("image", "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        for key, value in attributes.items():
            file.attrs[key] = value
        file.attrs["period"] = period
        for entity in ENTITIES:
            for name in sorted(population.tables[entity]):
                values = _stored(name, population.tables[entity][name])
                options = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if len(values) > 64 else {}
                chunks = (min(len(values), 1 << 16),) if options else None
                dataset = file.create_dataset(f"{name}/{period}", data=values, chunks=chunks, **options)
                dataset.attrs["entity"] = entity
        file.flush()
        return bytes(file.id.get_file_image())


def read_h5(path: Path) -> Population:
    """Read a population that ``write_h5`` wrote.

    Raises
    ------
    ArtifactError
        If the file is missing, truncated, or a dataset does not name its entity.
    """
    if not Path(path).exists():
        raise ArtifactError(f"{path} does not exist")
    tables: dict[str, dict[str, Column]] = {entity: {} for entity in ENTITIES}
    try:
        with h5py.File(path, "r") as file:
            period = str(file.attrs.get("period", ""))
            if not period:
                raise ArtifactError(f"{path} names no period", "only files that geocal wrote can be read here")
            for name in file:
                dataset = file[f"{name}/{period}"]
                entity = dataset.attrs.get("entity")
                if entity not in tables:
                    raise ArtifactError(f"{path}: dataset {name}/{period} does not say which entity it belongs to")
                values = dataset[()]
                if values.dtype.kind == "S":
                    values = np.char.decode(values, "utf-8")
                tables[entity][name] = values.astype(np.int64) if name in _ID_NAMES else values
    except (OSError, KeyError) as error:
        raise ArtifactError(f"{path} is not a whole H5 file ({error})", "build it again") from error
    return Population(int(period), tables)
