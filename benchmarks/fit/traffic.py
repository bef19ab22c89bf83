"""The bytes that an epoch of the gated fit moves, and the bandwidth of memory: together the least time it could take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from geocal_core.fit.device import Device, open_device
from geocal_core.fit.gated import GatedFit
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.usual import Usual

_OWNERS = ("geocal_core.", "scipy.sparse")  # whose objects are looked into
_READ_ONLY = ("words",)  # all other vectors over columns are written as well


def bytes_of_an_epoch(fit: GatedFit) -> int:
    """Bytes that must go between memory and processors in an epoch on the CPU, whatever is in cache before.

    All that the two products hold is read once, and each vector over columns is read once and, but for the columns' words,
    written once; what lives within a block is in cache.
    """
    vectors = vars(fit._all).items()
    moved: int = sum(tensor.nbytes * (1 if name in _READ_ONLY else 2) for name, tensor in vectors)
    return moved + _covered(_pieces(fit._products, set()))


def bytes_by_atoms(matrix: FactoredMatrix) -> int:
    """The same if each product read every atom of the matrix, value and index, and nothing were known of usual values."""
    return 2 * 8 * matrix.atoms + 17 * 4 * matrix.shape[1]


def _pieces(thing: object, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Bounds in memory of the arrays that belong to a thing, however deep."""
    if id(thing) in seen or isinstance(thing, Usual | Device):  # a usual table is read as products hold it
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        yield thing.ctypes.data, thing.ctypes.data + thing.nbytes
    elif isinstance(thing, torch.Tensor):
        csr = thing.layout == torch.sparse_csr
        for part in (thing.crow_indices(), thing.col_indices(), thing.values()) if csr else (thing,):
            yield part.data_ptr(), part.data_ptr() + part.nbytes
    elif isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from _pieces(part, seen)
    elif type(thing).__module__.startswith(_OWNERS):
        yield from _pieces(dict(vars(thing)), seen)


def _covered(pieces: Iterator[tuple[int, int]]) -> int:
    """Bytes in any of the pieces, those of several once."""
    covered = reached = 0
    for begin, end in sorted(pieces):
        covered += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return covered


def bandwidth(threads: int) -> float:
    """Bytes per second that the threads read and write together, on arrays far larger than the caches."""
    device = open_device("cpu", threads)
    source = np.ones(1 << 26, np.float32)
    target = np.zeros_like(source)
    step = 1 << 20
    pieces = [slice(begin, begin + step) for begin in range(0, len(source), step)]

    def add(piece: slice) -> None:
        np.add(source[piece], target[piece], out=target[piece])

    with device.at_work():
        return 3 * source.nbytes / seconds_of(lambda: device.each(add, pieces), 7)


def seconds_of(work: Callable[[], object], times: int) -> float:
    """Median seconds of a piece of work."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent))
