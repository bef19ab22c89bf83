"""The bytes that an epoch of the gated fit moves, and the bandwidth of memory: together the least time it could take."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from geocal_core.fit.device import open_device
from geocal_core.matrix.factored import FactoredMatrix

BYTES_OF_AN_ATOM = 2 * (4 + 4)  # value and index, read by each of the two products
# Four-byte vectors read or written once in an epoch: two parameters with two moments each (12), the columns' words (1), the
# weight before its gate, the weight and its slope by the gate (each written, then read: 6).
BYTES_OF_A_COLUMN = 19 * 4


def bytes_of_an_epoch(matrix: FactoredMatrix) -> int:
    """Bytes that must go between memory and processors in an epoch of all columns, whatever is in cache before."""
    return BYTES_OF_AN_ATOM * matrix.atoms + BYTES_OF_A_COLUMN * matrix.shape[1]


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
