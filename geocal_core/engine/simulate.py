"""Values of the engine's variables for a population: one fresh simulation per call, given back afterwards.

A simulation is never used again after its inputs change, because the engine keeps values of earlier inputs in places that no
public call clears. Households may lie in several states, but then the formulas of every one of these states run over every
household, which costs many times more time and memory; give one state at a time wherever the file is large.

The engine's ``Simulation`` is used, not its ``Microsimulation``: the values are the same (tests compare them), but the latter
wraps every intermediate array in a weighted pandas series, which takes most of the time of a small simulation.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.variables import check_inputs, check_outputs, tax_benefit_system, value_kind
from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, Population

Values = NDArray[np.generic]


@dataclass(frozen=True)
class _InMemory:
    """A population in the form that policyengine-core reads a dataset in, without a file."""

    population: Population
    name: str = "geocal"
    label: str = "geocal"
    data_format: str = "time_period_arrays"
    file_path: Path = Path("geocal")

    @property
    def time_period(self) -> str:
        return str(self.population.period)

    def load(self) -> dict[str, dict[str, Values]]:
        tables = self.population.tables
        return {name: {self.time_period: column} for entity in ENTITIES for name, column in tables[entity].items()}


def simulate(population: Population, variables: Sequence[str], year: int) -> dict[str, Values]:
    """Values of variables for every unit of their own entity, in the order of the population.

    Parameters
    ----------
    population : Population
        Input variables only, ``state_fips`` among them. A take-up or other input that is left out takes the engine's default.
    variables : sequence of str
        Any of the engine's variables that are local (see ``variables.nonlocal_variables``).
    year : int
        Must be the population's own: bringing amounts to another year is the work of the microdata stages.

    Returns
    -------
    dict of str to ndarray
        float, int or bool as the engine has them, enums and texts as str. Of a variable that the engine defines by month, a
        flow (such as ``snap``, in dollars) is summed over the year and a stock is that of December.

    Raises
    ------
    ConfigError
        If a variable is unknown or not local, the population holds anything but inputs of the engine, the year differs, or
        the engine needs an input that is not there (SPM thresholds need a county).
    """
    if year != population.period:
        raise ConfigError(
            f"the population speaks of {population.period}, not of {year}",
            f"simulate {population.period}, or age the population",
        )
    wanted = list(dict.fromkeys(variables))
    check_outputs(wanted)
    check_inputs(population)
    values = _calculate(population, wanted)
    release_memory()
    return values


def _calculate(population: Population, variables: list[str]) -> dict[str, Values]:
    tax_benefit_system()
    from policyengine_us import Simulation

    simulation = Simulation(dataset=_InMemory(population))
    _adopt_pinned_systems(simulation.tax_benefit_system)
    try:
        # Formulas divide by zero and then replace the result; numpy's warnings of it would only bury what matters.
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: _native(simulation, name, population.period) for name in variables}
    finally:
        _let_go(simulation)


def _native(simulation: Any, variable: str, year: int) -> Values:
    try:
        values = np.asarray(simulation.calculate(variable, year, decode_enums=True))
    except ValueError as error:
        raise ConfigError(f"policyengine-us cannot compute {variable} of this population ({error})") from error
    return values.astype(str) if value_kind(variable) is str else values


def _adopt_pinned_systems(system: Any) -> None:
    """Let a simulation use the law of earlier years that an earlier simulation of this process has prepared.

    New York's child credit is computed under federal law of 2017, for which the engine clones its whole system (5 s, 0.8 GB).
    It keeps the clone but ties it to the one simulation that asked first, although every simulation of current law could
    share it: all have one parameter tree. Entries for another tree are left alone.
    """
    cache = _pinned_systems()
    for name, (_, tree, pinned) in cache.items():
        if tree() is system.parameters:
            cache[name] = (weakref.ref(system), tree, pinned)


def _let_go(simulation: Any) -> None:
    """Make sure that nothing keeps a simulation, and with it every intermediate array, alive: its system would, and a clone of
    its system for the law of an earlier year would too."""
    simulation.tax_benefit_system.simulation = None
    for _, _, pinned in _pinned_systems().values():
        pinned.simulation = None


def _pinned_systems() -> dict[str, Any]:
    """The engine's cache of systems with the law of earlier years: (system it was made for, parameter tree, clone)."""
    from policyengine_us.tools import pinned_tbs

    cache: dict[str, Any] = pinned_tbs._PINNED_TBS_CACHE
    return cache


def release_memory() -> None:
    """Collect the cycles of finished simulations and, where the C library can, return their memory to the system."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
