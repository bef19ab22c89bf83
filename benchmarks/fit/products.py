"""X w and its transpose through the factors, against scipy on the explicit matrix; building, memory and disk besides.

    python -m benchmarks.fit.products [--households 12000] [--clones 430] [--threads 2] [--repeats 7] [--epochs 3]

The made-up nation of ``synthetic``: 70 quantities in 15 groups, targets of the nation, 51 states and 436 districts. Prints
Markdown. Times are the best of the repeats, for both sides. Full size takes some minutes and less than 8 GB;
``--households 600`` takes seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.fit.outcome import peak
from benchmarks.fit.synthetic import Nation, nation, write
from benchmarks.fit.traffic import bandwidth
from geocal_core.fit.device import open_device
from geocal_core.fit.gated import GatedFit
from geocal_core.fit.presets import preset
from geocal_core.fit.problem import problem
from geocal_core.fit.products import open_products
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.package import Package

_BYTES_OF_AN_ATOM = 4 + 4  # value and index


def best(work: Callable[[], object], repeats: int) -> float:
    """Least seconds of a piece of work."""
    spent = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def factored(
    matrix: FactoredMatrix, weights: NDArray[np.float32], values: NDArray[np.float64], threads: int, repeats: int
) -> tuple[float, float]:
    """Seconds of X w and of X' r on some threads."""
    device = open_device("cpu", threads)
    inner = weights[matrix.order]
    with device.at_work():
        products = open_products(matrix, device)

        def backward() -> None:
            coefficients = products.coefficients(values)
            device.each(lambda block: products.backward(block, coefficients), products.blocks)

        return best(lambda: products.forward(inner), repeats), best(backward, repeats)


def explicit(
    matrix: FactoredMatrix, weights: NDArray[np.float32], values: NDArray[np.float64], repeats: int
) -> tuple[float, float, float, float]:
    """Seconds of scipy for X w, for X' r on the same arrays and on CSR of the transpose, and seconds to build the matrix."""
    narrow = values.astype(np.float32)
    started = time.perf_counter()
    csr = matrix.tocsr()
    built = time.perf_counter() - started
    forward = best(lambda: csr @ weights, repeats)
    scattered = best(lambda: csr.T @ narrow, repeats)
    csr = csr.T.tocsr()
    return forward, scattered, best(lambda: csr @ narrow, repeats), built


def deviation(matrix: FactoredMatrix, weights: NDArray[np.float32]) -> float:
    """Largest error of a float32 product, as a share of the sum of its absolute terms."""
    found = open_products(matrix, open_device("cpu", 1)).forward(weights[matrix.order])
    doubled = weights.astype(np.float64)
    exact, size = matrix.estimates(doubled), matrix.estimates(doubled, np.abs)
    return float((np.abs(found - exact)[size > 0] / size[size > 0]).max())


def on_disk(made: Nation) -> tuple[float, float, float, int]:
    """Seconds to write a package, to open it, to open it with its digests verified; its bytes."""
    weights = np.random.default_rng(1).lognormal(3, 1, made.variants.n_columns)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "package"
        started = time.perf_counter()
        write(made, folder, weights)
        written = time.perf_counter() - started
        opened, verified = (best(partial(Package.open, folder, verify=verify), 2) for verify in (False, True))
        return written, opened, verified, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def epoch(matrix: FactoredMatrix, targets: pd.DataFrame, threads: int, epochs: int) -> float:
    """Seconds of an epoch of the gated fit."""
    device = open_device("cpu", threads)
    with device.at_work():
        fit = GatedFit(problem(matrix, targets, np.full(matrix.shape[1], 29.0)), preset("local"), 0, device)
        return best(fit.advance, epochs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, default=12_000)
    parser.add_argument("--clones", type=int, default=430)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    started = time.perf_counter()
    made = nation(arguments.households, arguments.clones)
    gathered = time.perf_counter() - started
    started = time.perf_counter()
    targets = made.targets
    matrix = made.matrix()
    built, held = time.perf_counter() - started, peak()
    nonzeros, atoms = matrix.nnz, matrix.atoms
    rng = np.random.default_rng(2)
    weights = rng.lognormal(3, 1, matrix.shape[1]).astype(np.float32)
    values = rng.normal(size=matrix.shape[0])
    print(f"{matrix.shape[0]:,} targets x {matrix.shape[1]:,} columns in {len(matrix.tiles)} tiles")
    print(f"{atoms:,} atoms ({matrix.nbytes / 1e6:,.0f} MB) for {nonzeros:,} non-zeros of the explicit matrix")
    print(f"{made.variants.n_variants:,} variants with {len(made.variants.data):,} values, gathered in {gathered:.1f} s")
    print(f"matrix built from variants in {built:.1f} s, peak {held:.1f} GB")
    print(f"float32 products within {deviation(matrix, weights):.1e} of the sum of absolute terms")
    written, opened, verified, size = on_disk(made)
    print(f"package of {size / 1e6:,.0f} MB written in {written:.1f} s, opened in {opened:.2f} s, verified in {verified:.2f} s")
    del made.variants
    counts = sorted({1, arguments.threads})
    ours = {threads: factored(matrix, weights, values, threads, arguments.repeats) for threads in counts}
    if arguments.epochs:
        seconds = epoch(matrix, targets, arguments.threads, arguments.epochs)
        print(f"epoch of the gated fit {1e3 * seconds:.0f} ms on {arguments.threads} threads, peak {peak():.1f} GB so far")
    forward, scattered, by_rows, spent = explicit(matrix, weights, values, arguments.repeats)
    backward = min(scattered, by_rows)
    print(
        f"explicit matrix in {spent:.0f} s; its transpose {1e3 * scattered:.0f} ms by columns, {1e3 * by_rows:.0f} ms by rows\n"
    )
    print("| | threads | X w, ms | X' r, ms | ns per non-zero | times faster | share of bandwidth |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    pace = 1e9 * (forward + backward) / (2 * nonzeros)
    print(f"| scipy, explicit | 1 | {1e3 * forward:.1f} | {1e3 * backward:.1f} | {pace:.3f} | 1.0 / 1.0 / 1.0 | |")
    for threads, (left, right) in ours.items():
        moved = 2 * (atoms * _BYTES_OF_AN_ATOM + 4 * matrix.shape[1])
        share = moved / (left + right) / bandwidth(threads)
        ratios = f"{forward / left:.1f} / {backward / right:.1f} / {(forward + backward) / (left + right):.1f}"
        pace = 1e9 * (left + right) / (2 * nonzeros)
        print(f"| geocal, factored | {threads} | {1e3 * left:.1f} | {1e3 * right:.1f} | {pace:.3f} | {ratios} | {share:.0%} |")
    print(f"\nTimes faster: of X w, of X' r, of both. Peak {peak():.1f} GB.")


if __name__ == "__main__":
    main()
