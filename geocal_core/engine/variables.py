"""What the engine knows of its variables: entity, kind, whether it is an input, and whether its values are local.

The only way from the rest of geocal to policyengine-us's registry of variables. Names are checked here, because the engine
drops an unknown input with a log line and would lose its data. Importing this module does not import the engine; calling a
function of it does (about 22 s, once per process).
"""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, GROUPS, Population, id_name, link_name

STRUCTURE = frozenset({id_name(entity) for entity in ENTITIES} | {link_name(group) for group in GROUPS})


@cache
def tax_benefit_system() -> Any:
    """The current law of the United States as policyengine-us models it; imported at the first call.

    Its millions of objects live as long as the process. They are made with the garbage collector at rest and then set aside
    from it, because walking them again and again would take half the time of a small simulation.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        from policyengine_us.system import system
    except ImportError as error:
        raise ConfigError(f"the engine cannot be imported ({error})", "pip install 'geocal[simulate]'") from error
    finally:
        if was_enabled:
            gc.enable()
    gc.collect()
    gc.freeze()
    return system


def _definition(variable: str) -> Any:
    known: Mapping[str, Any] = tax_benefit_system().variables
    if variable not in known:
        near = get_close_matches(variable, known, n=3, cutoff=0.6)
        raise ConfigError(
            f"policyengine-us has no variable {variable!r}", f"the nearest are {', '.join(near)}" if near else None
        )
    return known[variable]


def entity_of(variable: str) -> str:
    """The entity that a variable belongs to: person, household, tax_unit, spm_unit, family or marital_unit."""
    entity: str = _definition(variable).entity.key
    return entity


def is_input(variable: str) -> bool:
    """Whether a variable has no formula and is no sum of others, so that its values come from data alone."""
    answer: bool = _definition(variable).is_input_variable()
    return answer


def value_kind(variable: str) -> type:
    """Type of a variable's values: bool, int, float, or str (dates and the names of enums too)."""
    kind: type = _definition(variable).value_type
    return kind if kind in (bool, int, float) else str


def default_values(variable: str, units: int) -> Any:
    """What the engine takes for a variable of which it knows nothing, for a number of units, in its own kind of array."""
    return _definition(variable).default_array(units)


def enum_names(variable: str) -> tuple[str, ...]:
    """Names of the values that an enum variable may take; empty for any other variable."""
    values = getattr(_definition(variable), "possible_values", None)
    return tuple(item.name for item in values) if values is not None else ()


@cache
def nonlocal_variables() -> Mapping[str, str]:
    """Variables whose value for a household depends on which other households are simulated, each with the reason.

    Such a value means nothing for a copy of a household in a chunk of copies; ``data/nonlocal.csv`` says how the list was made.
    """
    text = resources.files("geocal_core.engine").joinpath("data/nonlocal.csv").read_text()
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["variable"]: row["reason"] for row in rows}


def check_outputs(variables: Iterable[str]) -> None:
    """Refuse names that the engine does not know and variables that are not local."""
    for variable in variables:
        _definition(variable)
        if variable in nonlocal_variables():
            raise ConfigError(
                f"{variable} of a household depends on the other households in the file ({nonlocal_variables()[variable]})",
                "use a local variable, such as medicaid_enrolled in place of medicaid",
            )


def check_inputs(population: Population) -> None:
    """Refuse a population that the engine would read otherwise than it is meant.

    Raises
    ------
    ConfigError
        If state_fips is missing (the engine would take every household to be in California), a column is no input variable of
        the engine or belongs to another entity, or an enum holds a name that it does not have.
    """
    if "state_fips" not in population.tables["household"]:
        raise ConfigError("the population has no state_fips, and the engine would place it in California", "set state_fips")
    for entity in ENTITIES:
        for name, column in population.tables[entity].items():
            if name not in STRUCTURE:
                _check_input(entity, name, column)


def _check_input(entity: str, name: str, column: Any) -> None:
    owner = entity_of(name)
    if owner != entity:
        raise ConfigError(f"{name} stands in the {entity} table, but it belongs to {owner}")
    if not is_input(name):
        raise ConfigError(f"{name} is computed by the engine and must not be given as data", "leave it out of the population")
    if names := enum_names(name):
        odd = sorted(set(np.unique(np.asarray(column).astype(str)).tolist()) - set(names))
        if odd:
            raise ConfigError(f"{name} holds {odd[0]!r}", f"its values are {', '.join(names[:12])}")
