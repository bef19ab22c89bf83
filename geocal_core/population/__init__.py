"""Entity tables with their links and weights; reading and writing them as H5."""

from geocal_core.population.h5 import read_h5, write_h5
from geocal_core.population.population import ENTITIES, GROUPS, IMPUTED, Population, id_name, link_name, stack

__all__ = ["ENTITIES", "GROUPS", "IMPUTED", "Population", "id_name", "link_name", "read_h5", "stack", "write_h5"]
