"""What a package holds: its parts on disk, its dimensions, groups and variants, its targets, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geocal_core.matrix.package import Package
from geocal_core.matrix.quantity import listed_quantities, variables_of
from geocal_core.targets.figures import LEVELS

_COUNTED = ("n_targets", "n_columns", "n_records", "n_clones", "n_quantities")
_OWN = (*_COUNTED, "format", "digests", "sizes")


def contents(package: Package) -> dict[str, Any]:
    """All of it, as plain values.

    Returns
    -------
    dict
        ``dimensions``, ``parts`` (bytes on disk), ``matrix`` (what is stored against the explicit matrix), ``groups``,
        ``targets`` (numbers by level, and by variable and domain) and ``provenance`` (facts of the manifest).
    """
    matrix = package.matrix
    explicit = matrix.nnz
    return {
        "folder": str(package.folder),
        "digest": package.digest,
        "dimensions": {
            **{name: package.manifest[name] for name in _COUNTED},
            "n_districts": len(np.unique(package.district)),
            "n_states": len(np.unique(package.state)),
            "n_counties": len(package.counties),
            "n_imputed_records": None if package.imputed is None else int(package.imputed.sum()),
            "weight": float(package.initial_weights.sum()),
        },
        "parts": {**package.sizes, "total": sum(package.sizes.values())},
        "matrix": {
            "values_stored": len(package.variants.data),
            "variants": package.variants.n_variants,
            "atoms": matrix.atoms,
            "explicit_nonzeros": explicit,
            "explicit_bytes": 8 * explicit + 8 * (package.manifest["n_targets"] + 1),
            "factored_bytes": matrix.nbytes,
        },
        "groups": [_group(package, group) for group in range(len(package.variants.groups))],
        "targets": _targets(package),
        "provenance": {name: value for name, value in package.manifest.items() if name not in _OWN},
    }


def _group(package: Package, group: int) -> dict[str, Any]:
    """A group of quantities, the engine's variables that they need, and how many variants households show of it."""
    members = package.quantities.iloc[list(package.variants.groups[group])]
    counts = np.diff(package.variants.first[group])
    listed = listed_quantities(members)
    return {
        "group": group,
        "quantities": len(members),
        "variables": list(variables_of(listed)),
        "without": listed[0].neutralised,
        "variants": int(counts.sum()),
        "variants_per_household": float(counts.mean()) if len(counts) else 0.0,
        "most_variants": int(counts.max(initial=0)),
        "first_quantity": str(members["text"].iloc[0]),
    }


def _targets(package: Package) -> dict[str, Any]:
    targets = package.targets
    rows = targets.assign(domain=targets.get("domain_variable", ""), at_level=targets["geo_level"])
    by_family: list[Mapping[str, Any]] = []
    for (variable, domain_variable), family in rows.groupby(["variable", "domain"], sort=True):
        counts = family["at_level"].value_counts()
        by_family.append(
            {"variable": variable, "domain": domain_variable, **{level: int(counts.get(level, 0)) for level in LEVELS}}
        )
    return {
        "by_level": {level: int((rows["at_level"] == level).sum()) for level in LEVELS},
        "held_out": int(rows["held_out"].sum()),
        "without_support": int((~package.supported).sum()),
        "by_family": by_family,
    }
