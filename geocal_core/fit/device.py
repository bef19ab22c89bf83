"""Where the arrays of a fit live, which functions work on them, and how blocks of work are spread over threads.

One text of arithmetic serves numpy arrays on the CPU and torch tensors on a GPU: both know the same operators and the same
names for exp, log, tanh, sqrt and clip. On the CPU work goes in pieces whose bounds depend on nothing but the problem
(``products``), so that the result is the same bytes for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from geocal_core.errors import ConfigError
from geocal_core.workers import worker_count

_MEMORY = Path("/proc/meminfo")

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Device:
    """A place for arrays, with the functions that work there.

    Attributes
    ----------
    name : str
        ``cpu`` or ``cuda`` (or ``cuda:1`` and so on).
    xp : module
        numpy, or torch where the arrays are tensors.
    threads : int
        Threads that share the pieces of work.
    """

    name: str
    xp: Any
    threads: int = 1
    _pool: ThreadPoolExecutor | None = None

    def put(self, values: Any, dtype: str) -> Any:
        """Values as an array of this device, of dtype ``float32``, ``float64``, ``int32`` or ``int64``; a copy of its own."""
        array = np.array(values, dtype=dtype)
        return array if self.xp is np else torch.from_numpy(array).to(self.name)

    def get(self, array: Any) -> Any:
        """An array of this device as a numpy array."""
        return array if self.xp is np else array.cpu().numpy()

    def memory(self) -> int | None:
        """Bytes that are free for a fit; None where the system does not tell."""
        if self.name != "cpu":
            return int(torch.cuda.mem_get_info(self.name)[0])
        try:
            lines = _MEMORY.read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)

    def zeros(self, size: int, dtype: str) -> Any:
        """An array of zeros on this device."""
        return self.put(np.zeros(size), dtype)

    def dot(self, left: Any, right: Any) -> float:
        """Inner product, summed in one order whatever the number of threads (a threaded BLAS does not)."""
        return float(np.einsum("i,i", left, right)) if self.xp is np else float(torch.dot(left, right))

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Results of some work on each item, in the items' order, by the threads of this device."""
        return [work(item) for item in items] if self._pool is None else list(self._pool.map(work, items))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The threads, for as long as a fit lasts.

        The threads of torch and of MKL rest meanwhile, in each of ours: they would fight for the processors, and split sums
        in a way that depends on their number. Numbers below the least normal one count as 0, as they would be on a GPU: moments
        that fade for hundreds of epochs become such numbers, whose arithmetic is a hundred times slower.
        """
        before = torch.get_num_threads()
        _ready()
        try:
            if self.threads == 1:
                yield
            else:
                with ThreadPoolExecutor(self.threads, initializer=_ready) as self._pool:
                    yield
        finally:
            self._pool = None
            torch.set_num_threads(before)
            torch.set_flush_denormal(False)


def _ready() -> None:
    """Prepare a thread for the work of a fit."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def open_device(name: str, threads: int | None = None) -> Device:
    """The device of a name.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda`` or ``cuda:<index>``.
    threads : int, optional
        Threads on the CPU; ``GEOCAL_WORKERS`` or at most 2 where nothing is given.

    Raises
    ------
    ConfigError
        If the name is unknown, or CUDA was asked for and torch finds none.
    """
    if threads is None:
        threads = worker_count()
    if threads < 1:
        raise ConfigError(f"threads is {threads}", "it must be at least 1")
    if name == "cpu":
        return Device(name, np, threads=threads)
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"there is no device {name!r}", "the devices are cpu and cuda")
    if not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for and torch finds no CUDA", "use device cpu, or install a GPU build")
    if index and int(index) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} was asked for and torch finds {torch.cuda.device_count()} GPUs", "use device cuda")
    return Device(name, torch)
