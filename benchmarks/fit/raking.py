"""Raking to a duality gap, and where the time of its Newton steps goes.

    python -m benchmarks.fit.raking [--households 1200] [--clones 430] [--price 100] [--gap 1e-4] [--threads 2]

The made-up nation of ``synthetic``: targets of the nation, 51 states and 436 districts, near what hidden weights give. Prints
Markdown. Full size (``--households 12000``) takes under a minute and 4 GB.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.fit.outcome import peak
from benchmarks.fit.synthetic import MEAN_WEIGHT, nation, near_hidden_weights
from geocal_core.fit.diagnostics import effective_sample_size
from geocal_core.fit.problem import problem
from geocal_core.fit.raking import BOUNDS, PRICE, Raked, rake


def steps(raked: Raked, wall: float) -> list[str]:
    """The history as a table."""
    lines = ["| step | gap | distance | cost of misses | length | assembly, s | elimination, s | rest, s |"]
    lines.append("|--:" * 8 + "|")
    for row in raked.history.to_dict("records"):
        seconds = " | ".join(f"{row[f'seconds_{name}']:.2f}" for name in ("assembly", "elimination", "rest"))
        values = f"{row['gap']:.1e} | {row['distance']:.5f} | {row['cost']:.5f} | {row['step']:.3g}"
        lines.append(f"| {row['iteration']} | {values} | {seconds} |")
    names = ("assembly", "elimination", "rest")
    total = [raked.history[f"seconds_{name}"].sum() for name in names]
    parts = ", ".join(f"{seconds:.1f} s {name}" for name, seconds in zip(names, total, strict=True))
    lines.append(f"\n{parts}, {max(wall - sum(total), 0):.1f} s setting up and reporting")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, default=1_200)
    parser.add_argument("--clones", type=int, default=430)
    parser.add_argument("--price", type=float, default=PRICE)
    parser.add_argument("--gap", type=float, default=1e-4)
    parser.add_argument("--entropy", action="store_true", help="without bounds")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    near = near_hidden_weights(nation(arguments.households, arguments.clones))
    made = problem(near.matrix(), near.targets, np.full(near.variants.n_columns, MEAN_WEIGHT))
    held = peak()
    print(f"{made.matrix.shape[0]:,} targets x {made.n_columns:,} columns, {made.matrix.atoms:,} atoms; peak {held:.1f} GB")
    started = time.perf_counter()
    bounds = None if arguments.entropy else BOUNDS
    raked = rake(made, price=arguments.price, bounds=bounds, gap=arguments.gap, threads=arguments.threads)
    wall = time.perf_counter() - started
    print(f"{raked.method}: {raked.iterations} steps to a gap of {raked.gap:.1e} in {wall:.1f} s\n")
    print("\n".join(steps(raked, wall)))
    error = (raked.targets["residual"].abs() / raked.targets["value"].abs()).to_numpy()
    shares = ", ".join(f"{np.mean(error <= limit):.1%} within {limit:.1%}" for limit in (0.005, 0.01, 0.05))
    print(f"relative error: median {np.median(error):.3%}, p99 {np.quantile(error, 0.99):.3%}, {shares}")
    squares = raked.cost / arguments.price
    print(f"objective {raked.primal:.6g}, of it misses {raked.cost:.6g}; sum of squared relative errors {squares:.6g}")
    sizes = [effective_sample_size(weights) for weights in (made.initial_weights, raked.weights)]
    ratio = raked.weights / made.initial_weights
    print(f"effective sample size {sizes[1]:,.0f} of {sizes[0]:,.0f}; w / w0 from {ratio.min():.2g} to {ratio.max():.3g}")
    print(f"peak {peak():.1f} GB")


if __name__ == "__main__":
    main()
