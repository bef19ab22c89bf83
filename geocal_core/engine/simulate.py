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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.lookups import quicken
from geocal_core.engine.reads import Node
from geocal_core.engine.variables import check_inputs, check_outputs, tax_benefit_system, value_kind
from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, Population

Values = NDArray[np.generic]

Known = Mapping[Node, Values]
"""Values of nodes, one for each unit of the variable's entity."""


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


def simulate(population: Population, variables: Sequence[str], year: int, known: Known | None = None) -> dict[str, Values]:
    """Values of variables for every unit of their own entity, in the order of the population.

    Parameters
    ----------
    population : Population
        Input variables only, ``state_fips`` among them. A take-up or other input that is left out takes the engine's default.
    variables : sequence of str
        Any of the engine's variables that are local (see ``variables.nonlocal_variables``).
    year : int
        Must be the population's own: bringing amounts to another year is the work of the microdata stages.
    known : Known, optional
        What is known of calculated variables already, for the units of the population; it is taken as it is.

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
    wanted = list(dict.fromkeys(variables))
    check_outputs(wanted)
    with simulation_of(population, year, known or {}) as simulation:
        values = {name: value_of(simulation, name, year) for name in wanted}
    del simulation
    release_memory()
    return values


@contextmanager
def simulation_of(population: Population, year: int, known: Known) -> Iterator[Any]:
    """A simulation of the engine for as long as the context lasts; see ``simulate`` for what is asked of the arguments.

    Who opens it calls ``release_memory`` when nothing refers to it any more.
    """
    if year != population.period:
        raise ConfigError(
            f"the population speaks of {population.period}, not of {year}",
            f"simulate {population.period}, or age the population",
        )
    check_inputs(population)
    tax_benefit_system()
    quicken()
    from policyengine_us import Simulation

    simulation = Simulation(dataset=_InMemory(population))
    _adopt_pinned_systems(simulation.tax_benefit_system)
    for node, values in known.items():
        _take_as_known(simulation, node, values)
    try:
        # Formulas divide by zero and then replace the result; numpy's warnings of it would only bury what matters.
        with np.errstate(divide="ignore", invalid="ignore"):
            yield simulation
    finally:
        _let_go(simulation)


def value_of(simulation: Any, variable: str, year: int) -> Values:
    """Values of a variable in a year, enums and texts as str."""
    try:
        values = np.asarray(simulation.calculate(variable, year, decode_enums=True))
    except ValueError as error:
        raise ConfigError(f"policyengine-us cannot compute {variable} of this population ({error})") from error
    return values.astype(str) if value_kind(variable) is str else values


def node_value(simulation: Any, node: Node) -> Values:
    """Values of a variable in a period as the engine holds them, enums as its arrays of codes."""
    variable, period = node
    values: Values = simulation.calculate(variable, period)
    return values


def _take_as_known(simulation: Any, node: Node, values: Values) -> None:
    """Store values where the engine keeps what it has calculated, so that it calculates them no more."""
    from policyengine_core.periods import period as period_of

    variable, text = node
    period = period_of(text)
    simulation.get_holder(variable).put_in_cache(values, period, simulation.branch_name, derived=True)
    simulation._fast_cache[(variable, period)] = values


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
