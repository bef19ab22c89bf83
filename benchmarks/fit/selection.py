"""Selection to an exact size: seconds, and how well the kept columns stand for all of them, by each method.

    python -m benchmarks.fit.selection [--households 12000] [--clones 430] [--records 57240] [--most 30] [--methods cube,pps]

The made-up nation of ``synthetic`` under skewed weights, whose dollars have tails far longer than any survey's; or a
package and weights of a dense fit of it (``--package FOLDER --weights FILE``; its own starting weights without the file).
Errors are relative, of design weights before any polish, against the totals of all columns: of the rows that the cube method
balanced and of all others, by level. Prints Markdown. Full size takes two minutes and less than 3 GB; ``--households 600
--records 3000`` takes seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.fit.outcome import peak
from benchmarks.fit.synthetic import nation, write
from geocal_core.fit.balance import balancing_quantities, balancing_rows
from geocal_core.fit.diagnostics import weight_summary
from geocal_core.fit.selection import select
from geocal_core.matrix.package import Package


def errors(opened: Package, totals: NDArray[np.float64], weights: NDArray[np.float64], balanced: list[int]) -> dict[str, float]:
    """Median absolute relative errors by level, of balanced rows and of others."""
    targets = opened.targets
    reached = totals != 0
    error = np.abs(opened.matrix.estimates(weights)[reached] / totals[reached] - 1)
    inside = np.where(targets["quantity"].isin(balanced), "balanced", "other")[reached]
    table = pd.DataFrame({"level": targets["geo_level"][reached], "inside": inside, "error": error})
    return {f"{level}, {kind}": value for (level, kind), value in table.groupby(["level", "inside"])["error"].median().items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, default=12_000)
    parser.add_argument("--clones", type=int, default=430)
    parser.add_argument("--records", type=int, default=57_240)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--most", type=int, default=30)
    parser.add_argument("--methods", default="cube,pps")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if arguments.package:
            opened = Package.open(arguments.package, verify=False)
        else:
            made = nation(arguments.households, arguments.clones)
            skewed = np.random.default_rng(2).lognormal(3, 1, made.variants.n_columns)  # they know the size of no row
            opened = write(made, Path(place) / "package", skewed)
        weights = np.load(arguments.weights) if arguments.weights else opened.initial_weights
        totals = opened.matrix.estimates(weights)
        print(f"{arguments.records:,} of {opened.n_columns:,} columns; peak {peak():.1f} GB so far")
        started = time.perf_counter()
        chosen = balancing_quantities(opened, weights, arguments.records, arguments.most)
        rows = balancing_rows(opened, chosen)
        print(f"{len(chosen)} quantities to balance chosen in {time.perf_counter() - started:.1f} s\n")
        found: dict[str, dict[str, float]] = {}
        for method in arguments.methods.split(","):
            started = time.perf_counter()
            kept = select(weights, arguments.records, method, balance=rows, strata=[opened.district, opened.state])
            seconds = time.perf_counter() - started
            quality = weight_summary(kept.weights(), opened.district)
            found[method] = {
                "seconds": seconds,
                "kept": quality["kept"],
                "effective sample size": quality["effective_sample_size"],
                "largest weight": quality["largest"],
                "districts without a record": quality["districts_empty"],
                "kept in a district, least": quality["kept_per_district_least"],
                **errors(opened, totals, kept.weights(), chosen),
            }
        print("| | " + " | ".join(found) + " |")
        print("|---|" + "--:|" * len(found))
        for name in next(iter(found.values())):
            print(f"| {name} | " + " | ".join(f"{figures[name]:,.4g}" for figures in found.values()) + " |")
        print(f"\nErrors are medians. Peak {peak():.1f} GB.")


if __name__ == "__main__":
    main()
